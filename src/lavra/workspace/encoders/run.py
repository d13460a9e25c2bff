"""One run of any of the three: measured, trained, measured again, and kept as an artifact."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lavra.errors import LavraError
from lavra.store import Draft, Store
from lavra.workspace.encoders.settings import EncoderSettings
from lavra.workspace.generators import MODEL, Generator, find_generator
from lavra.workspace.workspace import Workspace

if TYPE_CHECKING:
    from lavra.model.base import Model
    from lavra.model.hub import ResolvedModel
    from lavra.store import Artifact
    from lavra.training.callbacks import Callback
    from lavra.training.evaluation import Evaluate
    from lavra.training.loader import Loader
    from lavra.training.settings import TrainSettings

Task = Literal["embed", "rerank", "classify"]
NAMES: Mapping[Task, str] = {"embed": "embedder", "rerank": "reranker", "classify": "classifier"}
"""What the last one that was tuned is called in the store."""
FORMAT = 1
REPORT = "classes.json"
Figures = Mapping[str, float]


@dataclass(frozen=True)
class Tuned:
    """``before`` and ``after``: measured on what was held out; ``notes``: what was refused or left out; ``report``: a
    classifier's; ``found``: the same had been made before."""

    artifact: Artifact
    found: bool = False

    @property
    def path(self) -> Path:
        return self.artifact.path / MODEL

    @property
    def before(self) -> Figures:
        return dict(self.artifact.manifest.metrics["before"])

    @property
    def after(self) -> Figures:
        return dict(self.artifact.manifest.metrics["after"])

    @property
    def notes(self) -> Sequence[str]:
        return list(self.artifact.manifest.metrics["notes"])

    @property
    def report(self) -> Mapping[str, Any]:
        page = self.artifact.path / REPORT
        return dict(json.loads(page.read_text("utf-8"))) if page.is_file() else {}


@dataclass
class Lesson:
    """What is learned, loaded. ``watch``: the held-out figure whose best step is kept; ``tokens``: of a step;
    ``longest``: tokens of the longest text; ``evaluations``: in an epoch; ``save(model, before, after, draft)`` writes
    the tuned model and gives the figures that are kept."""

    model: Model
    objective: Any
    loader: Loader
    evaluate: Evaluate
    watch: str
    tokens: int
    longest: int
    save: Callable[[Model, Figures, Figures, Draft], Figures]
    evaluations: int = 1


@dataclass(frozen=True)
class EncoderJob:
    """A run that is decided, and nothing of it done. ``own``: of the recipe what the task alone has; ``load`` makes
    the lesson and may add to ``notes``."""

    workspace: Workspace
    base: Generator
    task: Task
    settings: EncoderSettings
    own: Mapping[str, Any]
    load: Callable[[EncoderJob], Lesson]
    notes: list[str] = field(default_factory=list)
    with_corpus: bool = False
    kind: str = "model"
    sets: Mapping[str, str] = field(default_factory=dict)
    """Sets of examples of the store that are learned from: inputs, by role."""

    @property
    def store(self) -> Store:
        return self.workspace.store

    @property
    def model(self) -> ResolvedModel:
        return self.base.model

    @property
    def inputs(self) -> dict[str, str]:
        corpus = self.workspace.corpus() if self.with_corpus else None
        base = self.base.artifact or self.workspace._model_artifact(self.model)
        return {"base": base.id} | ({"corpus": corpus.id} if corpus is not None else {}) | dict(self.sets)

    @property
    def recipe(self) -> dict[str, Any]:
        return {"task": self.task, "format": FORMAT, **self.own, **self.settings.recipe}

    @property
    def run(self) -> Path:
        """Where it trains."""
        from lavra.workspace.runs import run_path

        return run_path(self)


Tell = Callable[[EncoderJob], Sequence["Callback"]]
"""Who is told how a run goes."""


def nobody(job: EncoderJob) -> Sequence[Callback]:
    return ()


def find_base(workspace: Workspace, settings: EncoderSettings, *kinds: str) -> Generator:
    """What is tuned: a model's reference or something tuned before. Raises LavraError for one of another kind."""
    from lavra.model.known import KIND_WORDS

    found = find_generator(workspace, settings.model or workspace.settings.models.embedder)
    if found.model.kind not in kinds:
        said = KIND_WORDS[found.model.kind]
        raise LavraError(f"the model {found.model.name} is {said}; choose one that can be tuned for this")
    return found


def carry_out(job: EncoderJob, tell: Tell = nobody) -> Tuned:
    """Train, or continue, or find what the same command made before. Raises Interrupted when somebody stopped it."""
    from lavra.workspace.runs import make

    made = make(job, lambda draft: _build(job, draft, tell), name=NAMES[job.task])
    return Tuned(made.artifact, made.found)


def _build(job: EncoderJob, draft: Draft | None, tell: Tell) -> None:
    from lavra.training.loop import Trainer
    from lavra.training.ranks import Ranks
    from lavra.training.run import RunDirectory
    from lavra.workspace.encoders.model import merged
    from lavra.workspace.runs import ended, keep, measure_once

    assert draft is not None, "one process makes it"
    lesson, run = job.load(job), RunDirectory(job.run)
    before = measure_once(run, Ranks(), lambda: _untrained(lesson))
    trainer = Trainer(
        lesson.model, lesson.objective, lesson.loader, _train_settings(job.settings, lesson), run,
        evaluate=lesson.evaluate, longest=lesson.longest, callbacks=tell(job),
        about={"task": job.task, "base": job.model.name},
    )  # fmt: skip
    result = trainer.train()
    ended(result, job.notes.append)
    after = lesson.save(merged(lesson.model), before, result.metrics, draft)
    corpus = job.workspace.corpus() if job.with_corpus else None
    draft.licences.append(job.model.licence)
    draft.licences.extend(corpus.manifest.licences if corpus is not None else ())
    draft.licences.extend(licence for id in job.sets.values() for licence in job.store.get(id).manifest.licences)
    figures = {"before": dict(before), "after": dict(after), "notes": list(job.notes)}
    keep(draft, run, result, title=f"Tuning {job.model.name} to {job.task}", figures=figures, problems=())


def _untrained(lesson: Lesson) -> Figures:
    import torch

    from lavra.training.forward import Forward

    with torch.no_grad():
        return lesson.evaluate(Forward(lesson.model.eval(), lesson.objective))


def _train_settings(settings: EncoderSettings, lesson: Lesson) -> TrainSettings:
    from lavra.training.settings import TrainSettings

    tokens = max(lesson.tokens, 1)
    return TrainSettings(
        epochs=settings.epochs, batch_tokens=tokens, micro_tokens=tokens, learning_rate=settings.learning_rate,
        warmup=settings.warmup, schedule="linear", seed=settings.seed, betas=(0.9, 0.999), watch=lesson.watch,
        higher_is_better=True, patience=settings.patience, spike=0.0,
        evaluate_every=max(1, lesson.loader.steps(1) // lesson.evaluations),
    )  # fmt: skip
