"""Asking a way its questions, and keeping every reply as it comes: what was answered once is not asked again.

A file of replies is named after all that they depend on. So a study that was killed continues, and another study with
the same way takes what is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lavra.assistants.events import Answer, Answering, Citation, Message, Retrieved
from lavra.errors import LavraError
from lavra.evaluation.items import Evidence, Question, Reply
from lavra.inference.sampling import Sampling
from lavra.store.energy import Cost, Meter
from lavra.store.files import digest

FOLDER = "studying"
_IN_A_ROW = 3
"""Questions without a reply after which a way counts as failing: one may be too long, three are no accident."""


@dataclass(frozen=True)
class Kept:
    """A reply and what it cost; ``memory``: bytes that the process held then, 0 where nobody knows."""

    reply: Reply
    cost: Cost
    memory: int = 0


class Replies:
    """The replies of one way, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: dict[str, Kept] = {}
        for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
            try:
                values = json.loads(line)
                kept = Kept(Reply.from_dict(values["reply"]), Cost(**values["cost"]), int(values["memory"]))
            except (ValueError, TypeError, KeyError):  # cut short by a kill
                continue
            self.kept[kept.reply.question] = kept

    def __contains__(self, question: object) -> bool:
        return isinstance(question, Question) and key(question) in self.kept

    def of(self, questions: Sequence[Question]) -> list[Kept]:
        """Those there are, under the ids that the questions have now."""
        return [self.kept[key(question)] for question in questions if question in self]

    def add(self, kept: Kept) -> None:
        self.kept[kept.reply.question] = kept
        self.path.parent.mkdir(parents=True, exist_ok=True)
        values = {"reply": kept.reply.to_dict(), "cost": asdict(kept.cost), "memory": kept.memory}
        with self.path.open("a", encoding="utf-8", errors="replace") as file:
            # The line break comes first: a kill may have cut the line before.
            file.write("\n" + json.dumps(values, ensure_ascii=False))
            file.flush()
            os.fsync(file.fileno())


def key(question: Question) -> str:
    """A reply depends on the words of a question alone, not on what a file calls it."""
    return digest(question.text)[:16]


def ask(
    answering: Callable[[], Answering],
    questions: Sequence[Question],
    replies: Replies,
    roles: frozenset[str],
    *,
    sampling: Sampling | None = None,
    enough: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Ask what was not asked yet, in order, until all is answered or ``enough`` says so.

    A question that fails has an empty reply with the error, and counts as answered wrongly. ``answering`` is called,
    and whatever is heavy loaded, only if there is something to ask.

    Raises:
        LavraError: where several questions in a row fail: then nothing is kept of these, and they are asked again.
    """
    missing = [question for question in questions if question not in replies]
    if not missing:
        return
    assistant = answering()
    failed: list[Kept] = []
    for number, question in enumerate(missing):
        progress(len(questions) - len(missing) + number, len(questions))
        if enough():
            break
        kept = reply(assistant, question, roles, sampling)
        if kept.reply.error:
            failed.append(kept)
            if len(failed) == _IN_A_ROW or len(missing) == len(failed):
                raise LavraError(kept.reply.error)
            continue
        for one in (*failed, kept):
            replies.add(one)
        failed = []
    for one in failed:
        replies.add(one)
    progress(len(questions), len(questions))


def reply(assistant: Answering, question: Question, roles: frozenset[str], sampling: Sampling | None = None) -> Kept:
    """One question, asked by somebody with ``roles``; ``sampling``: otherwise than the assistant's own."""
    meter = Meter()
    found: Retrieved | None = None
    answer: Answer | None = None
    error = ""
    try:
        for event in assistant.answer([Message("user", question.text)], roles=roles, sampling=sampling):
            if isinstance(event, Retrieved):
                found = event
            elif isinstance(event, Answer):
                answer = event
        if answer is None:
            error = "it ended without an answer"
    except Exception as raised:  # a way may be anybody's code: what it does wrong is reported, and the others go on
        error = str(raised) if isinstance(raised, LavraError) else f"{type(raised).__name__}: {raised}"
    cost = meter.read()
    if answer is None or error:
        return Kept(Reply(key(question), "", seconds=cost.seconds, error=error), cost, resident_bytes())
    passages = _passages(assistant, found, roles) if found is not None else ()
    return Kept(_reply(question, passages, answer, cost.seconds), cost, resident_bytes())


def _reply(question: Question, passages: tuple[Evidence, ...], answer: Answer, seconds: float) -> Reply:
    return Reply(
        question=key(question),
        text=answer.text,
        refused=not answer.answerable,
        quoted=answer.quoted,
        passages=passages,
        cited=tuple(map(_evidence, answer.citations)),
        numbers=tuple(citation.number for citation in answer.citations),
        first_token=answer.timings.get("first_token", seconds),
        seconds=seconds,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
    )


def _passages(assistant: Answering, found: Retrieved, roles: frozenset[str]) -> tuple[Evidence, ...]:
    """What was retrieved, whole where the assistant's index has it: an event quotes only the nearest sentences."""
    index = getattr(assistant, "index", None)
    passages = []
    for citation in found.citations:
        passage = index.passage(citation.chunk_id, roles) if index is not None else None
        if passage is None:
            passages.append(_evidence(citation))
        else:
            passages.append(Evidence(passage.source, passage.text, citation.score, passage.start, passage.end))
    return tuple(passages)


def _evidence(citation: Citation) -> Evidence:
    return Evidence(citation.source, citation.quote, citation.score, citation.start, citation.end)


def resident_bytes() -> int:
    """What the process holds in memory now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * int(os.sysconf("SC_PAGE_SIZE"))


def replies_path(root: Path, recipe: Any) -> Path:
    """Where the replies that depend on ``recipe`` are kept."""
    return root / FOLDER / f"{digest(recipe)[:24]}.jsonl"
