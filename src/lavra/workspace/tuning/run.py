"""``tune``: one run from files of examples to an adapter or a model in the store, with its figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lavra.errors import LavraError
from lavra.model.longer import RULE
from lavra.objectives.language import LanguageModel
from lavra.objectives.objective import Objective
from lavra.store import Artifact, Draft, Store
from lavra.store.files import digest
from lavra.training.callbacks import Callback
from lavra.training.evaluation import HeldOut
from lavra.training.loader import Mixed, ShuffledLoader
from lavra.training.loop import Trainer
from lavra.training.ranks import Ranks
from lavra.training.run import RunDirectory
from lavra.training.settings import TrainSettings
from lavra.workspace.examples.naming import inputs_of, sets_of, settle_sources
from lavra.workspace.generators import Generator, find_generator
from lavra.workspace.runs import Tuned, ended, gathered, make, measure_once, reference_of, run_path
from lavra.workspace.tuning.base import Base, Prepared, find_base, load_base
from lavra.workspace.tuning.checks import Check, When, require_distinct, run_checks
from lavra.workspace.tuning.data import TuneData, as_facts, prepare
from lavra.workspace.tuning.general import general_text
from lavra.workspace.tuning.interpolating import go_back
from lavra.workspace.tuning.measure import Measure, Measured
from lavra.workspace.tuning.mixing import WeightedRows, parts_of
from lavra.workspace.tuning.objective import make_objective
from lavra.workspace.tuning.publishing import CHECKS, Outcome, publish
from lavra.workspace.tuning.settings import VIRTUAL, Sources, TuneSettings
from lavra.workspace.tuning.tasks import load_tasks
from lavra.workspace.tuning.teaching import TeachersAnswers, find_teacher, identity
from lavra.workspace.workspace import Progress, Workspace, silent

EPOCHS = 3
_STEPS_AN_EPOCH = 50
_GENERAL_TOKENS = 2_000  # about, of the text that comes with Lavra
Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """A run, all of it decided and nothing of it done."""

    workspace: Workspace
    base: Base
    data: TuneData
    sources: Sources
    settings: TuneSettings
    training: TrainSettings
    merge: bool
    measured: Measured = field(default_factory=Measured)
    teacher: Generator | None = None
    checks: tuple[Check, ...] = ()

    @property
    def store(self) -> Store:
        return self.workspace.store

    @property
    def kind(self) -> str:
        return "model" if self.merge or self.settings.method == "full" else "adapter"

    @property
    def inputs(self) -> dict[str, str]:
        found = {"base": self.base.artifact.id} | self.data.loaded.inputs | inputs_of(self.sets)
        if self.teacher is not None and self.teacher.artifact is not None:
            found["teacher"] = self.teacher.artifact.id
        return found

    @property
    def sets(self) -> list[Artifact]:
        """Sets of examples of the store that are learned from, or held out."""
        sources = self.sources
        beside = [path for path, _ in sources.replay]
        return sets_of(self.workspace, [*sources.data, *beside, *sources.old, sources.validation])

    @property
    def recipe(self) -> dict[str, Any]:
        """All that determines the result, and the base as one asks for it."""
        return {
            "made by": "tune",
            "base": self.base.generator.artifact.id
            if self.base.generator.artifact
            else reference_of(self.base.generator.model),
            "base_sha256": self.base.generator.model.sha256,
            "data": sorted([Path(name).name, sha] for name, sha in self.data.loaded.hashes.items()),
            "replay": [[path.name, weight] for path, weight in self.sources.replay],
            "roles": sorted(self.sources.roles) if self.sources.corpus or self.sources.texts else [],
            "old": sorted(path.name for path in self.sources.old),
            "tune": self.settings.recipe,
            "teacher": identity(self.teacher) if self.teacher is not None else None,
            "measured": self.measured.fingerprint,
            "checks": [[check.name, check.version] for check in self.checks],
            "training": self.training.recipe | {"micro_tokens": None, "checkpointing": False},
            "context": self.base.context,
            "merge": self.merge,
        } | self._added

    @property
    def _added(self) -> dict[str, Any]:
        """What only some runs have: a context made longer, and parts that are not all drawn alike."""
        times = sorted([part.name, part.times] for part in parts_of(self.data.training))
        return ({"stretched": RULE} if self.base.stretched else {}) | ({"mixture": times} if times else {})

    @property
    def run(self) -> Path:
        """Where it trains."""
        return run_path(self)


def plan_job(
    workspace: Workspace,
    sources: Sources,
    settings: TuneSettings,
    *,
    model: str | None = None,
    merge: bool = False,
    checks: Sequence[Check] = (),
    progress: Progress = silent,
) -> Job:
    """Read everything and decide everything; train nothing. Where a teacher is to write answers, it writes them."""
    require_distinct(checks)
    sources = settle_sources(workspace, sources)
    measured = Measured(tuple(general_text(sources.general)), tuple(load_tasks(sources.tasks)))
    generator = find_generator(workspace, model or workspace.settings.models.generator)
    artifact = generator.artifact or workspace._model_artifact(generator.model)
    base = find_base(generator, artifact, settings)
    teacher = find_teacher(workspace, settings, base)
    teach = None
    if teacher is not None and settings.teach == "answers":
        teach = TeachersAnswers(workspace, teacher, settings, base.tokenizer, base.context, progress=progress)
    data = prepare(workspace, sources, settings, base.tokenizer, base.context, teach=teach, progress=progress)
    if settings.interpolate is not None and data.held is None:
        raise LavraError("interpolate needs held-out examples: give --validation FILE, or more examples.")
    if merge and settings.method in VIRTUAL:
        raise LavraError(f"{settings.method} changes no weights, so that nothing can be merged: leave --merge out.")
    return Job(
        workspace,
        base,
        data,
        sources,
        settings,
        train_settings(settings, data),
        merge and settings.method != "full",
        measured,
        teacher,
        tuple(checks),
    )


def train_settings(settings: TuneSettings, data: TuneData) -> TrainSettings:
    """The loop's settings. A step is a fiftieth of an epoch where nobody says, as a power of two."""
    tokens = data.rows.tokens
    if settings.batch_tokens is None:
        wanted = 1 << max(9, min(13, round(math.log2(max(2, tokens / _STEPS_AN_EPOCH)))))
        batch = max(wanted, data.length)
    else:
        batch = settings.batch_tokens  # a row that is longer is a step by itself
    epochs = settings.epochs if settings.epochs is not None or settings.steps is not None else EPOCHS
    steps = settings.steps or (epochs or 1) * max(1, math.ceil(len(data.rows) * data.length / batch))
    return TrainSettings(
        steps=settings.steps,
        epochs=epochs if settings.steps is None else None,
        batch_tokens=batch,
        micro_tokens=settings.micro_tokens,
        learning_rate=settings.rate,
        schedule=settings.schedule,
        weight_decay=0.01 if settings.method == "full" else 0.0,
        betas=(0.9, 0.95) if settings.method == "full" else (0.9, 0.999),
        seed=settings.seed,
        checkpointing=settings.checkpointing or settings.method == "qlora",  # who quantises wants memory
        evaluate_every=_evaluate_every(settings, data, steps, batch),
        patience=settings.patience,
    )


def _evaluate_every(settings: TuneSettings, data: TuneData, steps: int, batch: int) -> int:
    """So many times a run, but never so often that a fifth of the time goes into it: reading costs a third of
    learning. 0, at the end only, where nothing is held out."""
    if data.held is None or not settings.evaluations:
        return 0
    read = data.held.tokens + _GENERAL_TOKENS
    return max(1, steps // settings.evaluations, math.ceil(read / 3 / (0.2 * batch)))


def tune(
    job: Job,
    *,
    name: str | None = None,
    callbacks: Sequence[Callback] = (),
    say: Say = lambda text: None,
    ranks: Ranks | None = None,
) -> Tuned:
    """Train, or continue, or find what the same command made before. ``ranks``: the processes that do it together.

    Raises LavraError for whatever the user can repair, and Interrupted when somebody stopped it.
    """
    ranks = ranks if ranks is not None else Ranks()
    return make(job, lambda draft: _build(job, draft, callbacks, say, ranks), name=name, ranks=ranks)


def make_loader(job: Job) -> ShuffledLoader:
    """The rows in an order of the seed's, replay among them."""
    micro = job.training.micro_tokens or min(job.training.batch_tokens, max(2048, job.data.length))
    beside = [Mixed(rows, rows.sizes, weight) for rows, weight in job.data.replay]
    return ShuffledLoader(
        job.data.rows,
        job.data.rows.sizes,
        batch_tokens=job.training.batch_tokens,
        micro_tokens=micro,
        seed=job.settings.seed,
        beside=beside,
        times=job.data.rows.times if isinstance(job.data.rows, WeightedRows) else None,
    )


def make_measure(job: Job) -> Measure:
    """Of what is held out, of general text, of general tasks."""
    held = job.data.held
    micro = job.training.micro_tokens or 2048
    return Measure(
        job.base.tokenizer,
        None if held is None else HeldOut(held, held.sizes.tolist(), micro_tokens=micro, objective=LanguageModel()),
        job.measured,
    )


def _build(job: Job, draft: Draft | None, callbacks: Sequence[Callback], say: Say, ranks: Ranks) -> None:
    """Measure, train, go back as far as is asked for, measure again, and fill ``draft``, which the first rank has."""
    prepared = load_base(job.base, job.settings, job.training)
    objective, measure = make_objective(job, prepared), make_measure(job)
    run = RunDirectory(job.run)
    before = measure_once(run, ranks, lambda: _examine(job, run, prepared, measure, "before", say))
    trainer = _trainer(job, prepared, objective, measure, run, callbacks, ranks)
    trainer.plan.require_room()
    result = trainer.train()
    ended(result, say)
    whole = gathered(trainer, prepared, lambda: load_base(job.base, job.settings, job.training))
    if draft is None:
        return
    mixed = go_back(job, whole, measure) if job.settings.interpolate is not None else None
    whole.model.requires_grad_(False)
    after = _examine(job, run, whole, measure, "after", say)
    publish(job, whole, draft, run, Outcome(result, before, after, mixed))


def _trainer(
    job: Job,
    prepared: Prepared,
    objective: Objective,
    measure: Measure,
    run: RunDirectory,
    callbacks: Sequence[Callback],
    ranks: Ranks,
) -> Trainer:
    facts = {"base": job.base.name, "method": job.settings.method, **as_facts(job.data.loaded, job.data)}
    return Trainer(
        prepared.model,
        objective,
        make_loader(job),
        job.training,
        run,
        evaluate=measure if job.data.held is not None else None,
        callbacks=callbacks,
        ranks=ranks,
        context=job.data.rows.mean_context,
        longest=job.data.length,
        about=facts | {"recipe": digest(job.recipe)},
    )


def _examine(
    job: Job, run: RunDirectory, prepared: Prepared, measure: Measure, when: When, say: Say
) -> dict[str, float]:
    """All that is measured of the model as it is now; the user's checks first, for they may fail."""
    directory = run.path / CHECKS
    own = run_checks(
        job.checks, prepared.model, job.base.tokenizer, base=job.base.name, when=when, directory=directory, say=say
    )  # fmt: skip
    return measure.thoroughly(prepared.model) | own
