"""A study before it begins: which ways, which questions, what it may spend. Whatever is wrong is said here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavra.errors import LavraError
from lavra.evaluation.costs import Energy, carbon
from lavra.evaluation.items import read_questions
from lavra.store.manifest import recipe_hash
from lavra.workspace.generators import find_generator
from lavra.workspace.runs import RUNS
from lavra.workspace.studying.abilities import crows_pairs
from lavra.workspace.studying.budget import Budget, parse_budget
from lavra.workspace.studying.exam import Exam, make_exam
from lavra.workspace.studying.grid import Candidate, candidates
from lavra.workspace.studying.pricing import pricing_of
from lavra.workspace.studying.settings import StudySettings
from lavra.workspace.workspace import Progress, Workspace, silent


@dataclass(frozen=True)
class Plan:
    """A study, all of it decided and nothing of it done."""

    workspace: Workspace
    settings: StudySettings
    exam: Exam
    candidates: Sequence[Candidate]
    budget: Budget | None

    @property
    def models(self) -> tuple[str, ...]:
        """By default the workspace's own."""
        return self.settings.models or (self.workspace.settings.models.generator,)

    @property
    def inputs(self) -> dict[str, str]:
        """What it is about; the artifacts of the ways join them in the end."""
        found = {name: id for name in ("corpus", "index") if (id := self.workspace.store.ref(name))}
        return found | ({"questions": self.exam.artifact} if self.exam.artifact else {})

    @property
    def recipe(self) -> dict[str, Any]:
        return {
            **self.settings.recipe,
            "ways": [candidate.recipe for candidate in self.candidates],
            "exam": self.exam.digest,
            "weights": [find_generator(self.workspace, model).model.sha256 for model in self.models],
            "answer": self.workspace.settings.answer.model_dump(),
            "prices": self.workspace.settings.prices.model_dump(),
        }

    @property
    def folder(self) -> Path:
        """Where the study keeps what it needs to continue."""
        return self.workspace.store.root / RUNS / f"study-{recipe_hash('study', self.inputs, self.recipe)[:16]}"


def plan_study(workspace: Workspace, settings: StudySettings, *, progress: Progress = silent) -> Plan:
    """Settle the ways and the questions.

    Raises:
        LavraError: for whatever is wrong with what was asked for, before anything is built.
    """
    found, budget = settle(workspace, settings)
    if any(candidate.way.reads for candidate in found):
        workspace.ready()
    exam = make_exam(
        workspace,
        questions=settings.questions,
        tuning=settings.tuning,
        learns=any(candidate.way.learns for candidate in found),
        limit=settings.limit,
        count=settings.count,
        roles=frozenset({"public", *settings.roles}),
        seed=settings.seed,
        progress=progress,
    )
    return Plan(workspace, settings, exam, found, budget)


def settle(workspace: Workspace, settings: StudySettings) -> tuple[list[Candidate], Budget | None]:
    """The ways and the budget: all that can be said of a study before there are documents.

    Raises:
        LavraError: for a way, model, setting, budget, country, or file of questions that is wrong in itself.
    """
    found = candidates(
        workspace, settings.ways, settings.models or (workspace.settings.models.generator,), settings.external
    )
    budget = _budget(workspace, settings)
    if settings.data is not None:
        crows_pairs(settings.data)
    carbon(Energy(0.0, "estimated"), workspace.settings.prices.country)
    if settings.tuning is not None and settings.questions is None:
        raise LavraError("questions to learn from were given, and none to ask: add --questions FILE.")
    for file in (settings.questions, settings.tuning):
        if file is not None:
            read_questions(file)
    return found, budget


def _budget(workspace: Workspace, settings: StudySettings) -> Budget | None:
    """Raises LavraError for one that cannot be counted."""
    if settings.budget is None:
        return None
    budget = parse_budget(settings.budget, workspace.settings.prices.currency)
    if budget.unit == "money" and not pricing_of(workspace).priced:
        raise LavraError("a budget of money needs prices: say them under [prices] of lavra.toml, or give minutes.")
    return budget
