"""The questions of a study: those that are asked, and those that are learned from, which are never the same.

Given by the user, or made by ``lavra questions``; some that nothing answers are always among them. They are asked in
an order whose every beginning is a fair sample of the whole, since under a budget not all of them may be.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lavra.assistants.questions.items import Item, plain_key
from lavra.assistants.questions.unanswerable import Texts, swapped
from lavra.corpus.language import detect_language
from lavra.errors import LavraError
from lavra.evaluation.items import Question, question_of, read_questions
from lavra.store.files import digest
from lavra.workspace.studying.placing import Places
from lavra.workspace.workspace import Progress, Workspace, silent

UNANSWERABLE = 0.1
"""Share of questions that nothing answers, where a set has none of its own."""
_FEWEST = 2
"""Of them, at least."""


@dataclass(frozen=True)
class Note:
    """Something that the report has to say of the questions; ``words.py`` has the sentence."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exam:
    """``asked`` of every way, in this order; ``training``: for those that learn; ``artifact``: where they were made."""

    asked: tuple[Question, ...]
    training: tuple[Item, ...]
    notes: tuple[Note, ...]
    artifact: str = ""

    @property
    def held(self) -> frozenset[str]:
        """Documents that are asked about."""
        return frozenset(source.document for question in self.asked for source in question.sources)

    @property
    def digest(self) -> str:
        """Changes with any question, answer or source."""
        asked = [[q.id, q.text, list(q.answers), [[s.document, s.text] for s in q.sources]] for q in self.asked]
        return digest([asked, [item.row() for item in self.training]])


def make_exam(
    workspace: Workspace,
    *,
    questions: Path | None = None,
    tuning: Path | None = None,
    learns: bool = True,
    limit: int | None = None,
    count: int = 200,
    roles: frozenset[str] = frozenset({"public"}),
    seed: int = 0,
    progress: Progress = silent,
) -> Exam:
    """Read or make the questions. ``learns``: some way needs questions to learn from; ``limit``: asked at most;
    ``count``: made at most.

    Raises:
        LavraError: for rows without sources or answers, sources outside the corpus, and questions that would be both
            learned from and asked.
    """
    if questions is None:
        exam = _made(workspace, count, roles, seed, progress)
    else:
        exam = _given(workspace, questions, tuning, learns, roles, seed)
    refuse_duplicates(exam)
    exam = _with_unanswerable(workspace, exam, roles, seed)
    if not exam.asked:
        raise LavraError("there is no question left to ask: give more, or make more with --count.")
    ordered = fair_order(exam.asked, seed)
    if limit is not None and limit < len(ordered):
        note = Note("limited", {"asked": limit, "of": len(ordered)})
        return replace(exam, asked=ordered[:limit], notes=(*exam.notes, note))
    return replace(exam, asked=ordered)


def _made(workspace: Workspace, count: int, roles: frozenset[str], seed: int, progress: Progress) -> Exam:
    from lavra.workspace.questioning import QuestionSettings
    from lavra.workspace.questioning import questions as make_questions

    settings = QuestionSettings(count=count, unanswerable=UNANSWERABLE, seed=seed)
    made = make_questions(workspace, settings, roles=sorted(roles), progress=progress)
    asked = tuple(question_of(item.row(), "made") for item in made.items if item.split == "test")
    training = tuple(item for item in made.items if item.split == "train")
    if not asked:
        raise LavraError("too few questions can be made of these documents to hold some out: give your own.")
    return Exam(asked, training, (Note("made", {"questions": len(made.items)}),), made.artifact.id)


def _given(
    workspace: Workspace, path: Path, tuning: Path | None, learns: bool, roles: frozenset[str], seed: int
) -> Exam:
    places = Places(readable_documents(workspace, roles))
    languages = workspace.settings.documents.languages
    notes: list[Note] = []

    def read(file: Path) -> list[Question]:
        twice: list[str] = []
        found = [places.question(question, str(file)) for question in read_questions(file, note=twice.append)]
        if twice:
            notes.append(Note("twice", {"file": file.name, "count": len(twice)}))
        return [
            replace(question, language=detect_language(question.text, languages, min_letters=4))
            if question.language == "und"
            else question
            for question in found
        ]

    everything = read(path)
    learned = [question for question in everything if question.split == "train"]
    asked = [question for question in everything if question.split != "train"]
    if tuning is not None:
        learned += read(tuning)
    elif learns and not learned:
        learned, asked = _divided(asked, seed)
        notes.append(Note("divided", {"learned": len(learned), "asked": len(asked)}))
    shared = {d for q in learned for d in _documents_of(q)} & {d for q in asked for d in _documents_of(q)}
    if shared:
        notes.append(Note("shared", {"documents": len(shared)}))
    notes.insert(0, Note("given", {"file": path.name, "questions": len(asked)}))
    return Exam(tuple(asked), tuple(places.item(question) for question in learned), tuple(notes))


def _divided(questions: Sequence[Question], seed: int) -> tuple[list[Question], list[Question]]:
    """About half to learn from and half to ask, each document on one side."""
    piles: dict[tuple[str, ...], list[Question]] = defaultdict(list)
    for question in questions:
        piles[_documents_of(question) or (question.id,)].append(question)
    learned: list[Question] = []
    asked: list[Question] = []
    for pile in sorted(piles, key=lambda pile: digest([seed, list(pile)])):
        (learned if len(learned) < len(asked) else asked).extend(piles[pile])
    if not learned:
        raise LavraError(
            "all questions are about one document, so that none can be learned from and others asked: give those to "
            "learn from with --tuning FILE, or leave out the ways that learn."
        )
    return learned, asked


def refuse_duplicates(exam: Exam) -> None:
    """Raises LavraError where a question is both learned from and asked, naming it."""
    learned = {plain_key(item.question): item for item in exam.training}
    both = [question for question in exam.asked if plain_key(question.text) in learned]
    if both:
        named = "; ".join(f"“{question.text}” ({question.id})" for question in both[:5])
        more = f" and {len(both) - 5} more" if len(both) > 5 else ""
        raise LavraError(
            f"{len(both)} of the questions are both learned from and asked: {named}{more}; take them out of one side."
        )


def _with_unanswerable(workspace: Workspace, exam: Exam, roles: frozenset[str], seed: int) -> Exam:
    """With questions that nothing answers, made of those that are asked, where there are none among them."""
    if any(not question.answerable for question in exam.asked):
        return exam
    documents = readable_documents(workspace, roles)
    places = Places(documents)
    wanted = max(_FEWEST, round(len(exam.asked) * UNANSWERABLE / (1 - UNANSWERABLE)))
    items = [places.item(question) for question in exam.asked]
    made: list[Question] = []
    for item in swapped(items, Texts([document.text for document in documents]), seed=seed):
        if len(made) < wanted:
            made.append(question_of(item.row(), "made"))
    if not made:
        return replace(exam, notes=(*exam.notes, Note("no_unanswerable")))
    note = Note("unanswerable", {"count": len(made)})
    return replace(exam, asked=(*exam.asked, *made), notes=(*exam.notes, note))


def fair_order(questions: Sequence[Question], seed: int) -> tuple[Question, ...]:
    """Shuffled by the seed, and then in turn: of the topics, and of what nothing answers, every beginning has about the
    share that the whole has."""
    drawn = list(questions)
    random.Random(seed).shuffle(drawn)
    of_kind = Counter(_kind(question) for question in drawn)
    seen: Counter[tuple[bool, str]] = Counter()
    placed = []
    for number, question in enumerate(drawn):
        kind = _kind(question)
        placed.append(((seen[kind] + 0.5) / of_kind[kind], number, question))
        seen[kind] += 1
    return tuple(question for _, _, question in sorted(placed, key=lambda entry: entry[:2]))


def _kind(question: Question) -> tuple[bool, str]:
    return (question.answerable, question.topic if question.answerable else "")


def _documents_of(question: Question) -> tuple[str, ...]:
    return tuple(sorted({source.document for source in question.sources}))


def readable_documents(workspace: Workspace, roles: frozenset[str]) -> list[Any]:
    """The corpus, as somebody with ``roles`` reads it. Raises LavraError where there is none."""
    from lavra.corpus.ingest import load_documents

    corpus = workspace.corpus()
    if corpus is None:
        raise LavraError("there are no documents yet: run `lavra ingest FOLDER`, then `lavra index`.")
    return [document for document in load_documents(corpus.path) if (roles | {"public"}) & set(document.roles)]
