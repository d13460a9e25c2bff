"""Instructions that a model writes, on this machine or behind an endpoint: asked for once, and read with suspicion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lavra.prompting import Turn, load_template
from lavra.prompting.lint import lint_text
from lavra.store.files import digest, write_atomically
from lavra.workspace.prompts.trial import Trial
from lavra.workspace.studying.replies import FOLDER

if TYPE_CHECKING:
    from lavra.assistants.questions.endpoint import Writer

SHORTEST, LONGEST = 10, 500
"""Characters of an instruction: what is shorter says nothing, what is longer is no line."""
_SHOWN = 8


@dataclass(frozen=True)
class Instructions:
    """What ``by`` wrote: ``lines`` of text, of which ``usable`` can be tried. ``counts``: of the requests, as the
    server was asked; empty where an earlier run had asked already."""

    by: str
    lines: int
    usable: tuple[str, ...]
    counts: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return {"by": self.by, "lines": self.lines, "usable": list(self.usable), "counts": self.counts}


def write_instructions(writer: Writer, trial: Trial, present: str, count: int) -> Instructions:
    """At most ``count``, from somebody who is shown the ``present`` one and eight examples. Those that have a fault are
    left out, and so is what is said twice. What was written is kept, so that a search that was stopped tries the same.

    Raises:
        LavraError: where the writer is a server that refuses, or does not answer.
    """
    turns = _turns(trial, present, count)
    asked = [writer.name, getattr(writer, "url", ""), turns]
    path = trial.workspace.store.root / FOLDER / f"written-{digest(asked)[:16]}.jsonl"
    if path.is_file():
        text, counts = str(json.loads(path.read_text("utf-8"))["text"]), {}
    else:
        text = writer.write(turns)
        counts = dict(writer.counts)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"text": text}).encode())
    lines = [line for line in text.split("\n") if line.strip()]
    usable = dict.fromkeys(found for line in lines if (found := _usable(line, trial.language)) and found != present)
    return Instructions(writer.name, len(lines), tuple(usable)[:count], counts)


def _turns(trial: Trial, present: str, count: int) -> list[Turn]:
    template = load_template("rewriting", ("system", "user"))
    pairs = [(question.text[:500], question.answers[0][:200]) for question in trial.examples[:_SHOWN]]
    language = template.language(trial.language)
    texts = [template.render(part, language, count=count, present=present, pairs=pairs) for part in ("system", "user")]
    return [{"role": "system", "content": texts[0]}, {"role": "user", "content": texts[1]}]


def _usable(line: str, language: str) -> str:
    """The instruction of a line, without its number and its marks; "" where it is none, or has a fault."""
    text = line.strip().lstrip("-*•0123456789.) ").strip('"“” ,')
    if not SHORTEST <= len(text) <= LONGEST:
        return ""
    wrong = any(one.severity == "error" for one in lint_text(text, language=language, given=()))
    return "" if wrong else text
