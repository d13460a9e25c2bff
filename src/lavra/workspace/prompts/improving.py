"""``lavra prompts improve``: other instructions, examples and orders are tried on some of the questions, and the best
is compared with the prompt there is now on others, which the search never saw.

The questions are divided once, by a hash of their words: some to show as examples, some to search on, some to test.
Replies are kept, so a search that was stopped goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.corpus.language import UNKNOWN, detect_language
from lavra.errors import LavraError
from lavra.evaluation.intervals import Difference, Interval, mean_interval, paired
from lavra.evaluation.items import Question, read_questions
from lavra.prompting import PromptTemplate, load_template
from lavra.prompting.lint import lint_text
from lavra.prompting.pool import house, labels_of
from lavra.prompting.search import Found, Variant, search
from lavra.prompting.template import known_templates
from lavra.store.files import digest
from lavra.workspace.prompts.trial import Trial
from lavra.workspace.prompts.writing import Instructions, write_instructions
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.assistants.questions.endpoint import Writer

MEASURES = ("exact_match", "token_f1", "token_recall", "rouge_l", "chrf")
_FEWEST = 30
_SHARES = (0.3, 0.6)
"""Examples, then those to search on; the rest is the test."""
_OWN = 4


@dataclass(frozen=True)
class ImproveSettings:
    """``prompt``: a name or a file; by default the one of the workspace's assistant, or without an index the one that
    asks without documents. ``counts``: of examples to try. ``measure``: by default exact match where the answers are
    labels, else token F1."""

    questions: Path
    prompt: str | None = None
    instructions: Path | None = None
    counts: tuple[int, ...] = (2, 4, 8)
    measure: str | None = None
    max_tokens: int | None = None
    limit: int | None = None
    write: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Improved:
    """What was found. ``difference``: of the best less the present prompt, on the test's questions; ``wrote``: what a
    model was asked to write, where one was."""

    trial: Trial
    found: Found
    measure: str
    counts: dict[str, int]
    present: Interval
    best: Interval
    difference: Difference
    wrote: Instructions | None = None

    @property
    def changed(self) -> bool:
        return self.found.best != present_variant(self.trial)

    @property
    def gained(self) -> bool:
        """More than chance would give."""
        return self.changed and self.difference.low > 0 and self.difference.p < 0.05

    def to_json(self) -> dict[str, Any]:
        return {
            "prompt": self.trial.present.name,
            "version": self.trial.present.version,
            "language": self.trial.language,
            "measure": self.measure,
            "questions": self.counts,
            "present": _interval(self.present),
            "best": {
                **_interval(self.best),
                "instruction": self.found.best.instruction,
                "origin": self.found.best.origin,
            }
            | {"examples": self.found.best.said},
            "difference": {"mean": self.difference.mean, "low": self.difference.low, "high": self.difference.high}
            | {"p": self.difference.p, "questions_needed": self.difference.needed},
            "gained": self.gained,
            "written": self.wrote.to_json() if self.wrote is not None else None,
            "tried": [
                {"stage": one.stage, "origin": one.variant.origin, "instruction": one.variant.instruction}
                | {"examples": one.variant.said, "mean": one.mean, "questions": one.questions}
                for one in self.found.tried
            ],
        }


def _interval(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


@dataclass(frozen=True)
class Divided:
    """Three sets without a question in common."""

    shown: list[Question] = field(default_factory=list)
    searched: list[Question] = field(default_factory=list)
    tested: list[Question] = field(default_factory=list)


def divide(questions: Sequence[Question], seed: int) -> Divided:
    """By a hash of each question's words, so that another file with the same question puts it on the same side. A file
    that says itself which ones are the test (``split``) is believed."""
    found = Divided()
    said = any(question.split == "test" for question in questions)
    for question in sorted(questions, key=lambda one: digest([seed, one.text])):
        place = int(digest([seed, "side", " ".join(question.text.casefold().split())])[:8], 16) / 16**8
        if said:
            place = 1.0 if question.split == "test" else place * _SHARES[1]
        side = found.shown if place < _SHARES[0] else found.searched if place < _SHARES[1] else found.tested
        side.append(question)
    return found


def improve(
    workspace: Workspace, settings: ImproveSettings, *, writer: Writer | None = None, progress: Progress = silent
) -> Improved:
    """Search, then test.

    Raises:
        LavraError: where there are too few questions with answers, or what was named is not there.
    """
    questions = [one for one in read_questions(settings.questions, sourced=False) if one.answerable]
    questions = sorted(questions, key=lambda one: digest([settings.seed, one.text]))[: settings.limit]
    if len(questions) < _FEWEST:
        raise LavraError(
            f"{settings.questions} has {len(questions)} questions with answers: a search and a test want {_FEWEST}."
        )
    prompt, kind = find(workspace, settings.prompt)
    language, questions = one_language(questions, prompt, workspace.settings.documents.languages)
    divided = divide(questions, settings.seed)
    trial = _trial(workspace, settings, prompt, kind, language, questions, divided, progress)
    answers = [question.answers[0] for question in questions]
    pool = house(trial.kind, trial.language, answers) + read_instructions(settings.instructions)
    present, wrote = present_variant(trial), None
    if writer is not None and settings.write:
        wrote = write_instructions(writer, trial, present.instruction, settings.write)
        pool += [(wrote.by, text) for text in wrote.usable]
    found = search(
        present,
        pool,
        lambda variant, count: trial.values(variant, divided.searched[:count]).tolist(),
        len(divided.searched),
        counts=[count for count in settings.counts if count <= len(divided.shown)],
        own=lambda best: trial.measure != "exact_match" and len(trial.own_answers(best)) >= _OWN,
    )
    return _tested(trial, found, divided, wrote)


def present_variant(trial: Trial) -> Variant:
    """The prompt as it is."""
    return Variant(trial.present.texts[trial.language].get("system", "").strip())


def one_language(
    questions: Sequence[Question], prompt: PromptTemplate, languages: Sequence[str]
) -> tuple[str, list[Question]]:
    """The language of the prompt that most questions are in, and those; a prompt is searched one language at a time."""
    told = [
        question.language if question.language != UNKNOWN else detect_language(question.text, languages, min_letters=4)
        for question in questions
    ]
    spoken = Counter(language for language in told if language in prompt.texts)
    language = spoken.most_common(1)[0][0] if spoken else prompt.language(UNKNOWN)
    kept = [one for one, said in zip(questions, told, strict=True) if said == language or said not in prompt.texts]
    if len(kept) < _FEWEST:
        raise LavraError(
            f"of {len(questions)} questions {len(kept)} are in {language}, and a search wants {_FEWEST} of one "
            "language: give more of one, or say their language in a field `language`."
        )
    return language, kept


def _trial(
    workspace: Workspace,
    settings: ImproveSettings,
    prompt: PromptTemplate,
    kind: str,
    language: str,
    questions: Sequence[Question],
    divided: Divided,
    progress: Progress,
) -> Trial:
    from lavra.inference.sampling import Sampling

    labels = labels_of([question.answers[0] for question in questions])
    measure = settings.measure or ("exact_match" if labels else "token_f1")
    if measure not in MEASURES:
        raise LavraError(f"there is no measure {measure!r} for this: {', '.join(MEASURES)}.")
    longest = max(len(question.answers[0]) for question in questions)
    tokens = settings.max_tokens or (min(256, max(16, longest)) if kind == "direct" else 128)
    return Trial(
        workspace, prompt, kind, language, measure, Sampling(max_tokens=tokens), divided.shown, progress=progress
    )


def find(workspace: Workspace, reference: str | None) -> tuple[PromptTemplate, str]:
    """The prompt, and whether it is one that asks with documents."""
    from lavra.assistants.prompted import TEXTS

    if reference is None:
        indexed = workspace.store.ref("index") is not None
        reference = workspace.settings.answer.prompt if indexed else "direct"
    path = reference if reference in known_templates() else str(workspace.root / reference)
    found = load_template(path, ("system", "user", "refusal"))
    kind = "direct" if all("refusals" in entry for entry in found.texts.values()) else "grounded"
    if kind == "grounded":
        workspace.ready()
        return load_template(path), kind
    return load_template(path, TEXTS), kind


def read_instructions(path: Path | None) -> list[tuple[str, str]]:
    """A line each. Raises LavraError for one that cannot be used."""
    if path is None:
        return []
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except OSError as error:
        raise LavraError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise LavraError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            wrong = [one for one in lint_text(line, given=("question", "sources")) if one.severity == "error"]
            if wrong:
                raise LavraError(f"{path}:{number}: {wrong[0].what}: {wrong[0].do}")
            found.append(("yours", line.strip()))
    if not found:
        raise LavraError(f"{path} holds no instructions: write one a line.")
    return found


def _tested(trial: Trial, found: Found, divided: Divided, wrote: Instructions | None) -> Improved:
    now = trial.values(present_variant(trial), divided.tested)
    best = trial.values(found.best, divided.tested)
    counts = {"shown": len(divided.shown), "searched": len(divided.searched), "tested": len(divided.tested)}
    return Improved(
        trial, found, trial.measure, counts, mean_interval(now), mean_interval(best), paired(best, now), wrote
    )


def improved_template(improved: Improved) -> PromptTemplate:
    """The best as a template of its own, with its examples."""
    from lavra.assistants.examples import fixed
    from lavra.prompting import Shown

    trial, best = improved.trial, improved.found.best
    template = trial.template(best)
    shown = Shown()
    if best.shown:
        pairs = trial.pairs(best)
        if best.choice == "fixed":
            pairs = list(fixed(pairs, best.shown, best.seed)(""))
        shown = Shown(tuple(pairs), best.shown, best.choice, best.order)
    return replace(template, version=trial.present.version + 1, examples=shown)
