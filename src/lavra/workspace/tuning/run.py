"""``tune``: one run from files of examples to an adapter or a model in the store, with its figures.

What is being trained lies below ``.lavra/runs/<hash of the recipe>``: the same command given again finds it there and
continues. When it is whole, it becomes an artifact with everything that was measured, and the run's directory goes.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavra.errors import LavraError
from lavra.model.adapter_files import save_adapter
from lavra.model.adapters import prove_merge
from lavra.model.writing import save_model
from lavra.objectives.language import LanguageModel
from lavra.objectives.objective import Objective
from lavra.objectives.retention import KLToBase
from lavra.store import Artifact, Draft
from lavra.store.files import digest
from lavra.store.manifest import recipe_hash
from lavra.training.callbacks import Callback, Result
from lavra.training.evaluation import HeldOut, evaluate_once
from lavra.training.loader import Mixed, ShuffledLoader
from lavra.training.loop import Trainer
from lavra.training.report import write_report
from lavra.training.run import RunDirectory
from lavra.training.settings import TrainSettings
from lavra.workspace.generators import ADAPTER, MODEL, find_generator
from lavra.workspace.tuning.base import Base, Prepared, find_base, load_base
from lavra.workspace.tuning.data import TuneData, as_facts, prepare
from lavra.workspace.tuning.measure import GENERAL, Measure, general_text
from lavra.workspace.tuning.settings import Sources, TuneSettings
from lavra.workspace.workspace import Workspace

EPOCHS = 3
RUNS = "runs"
_STEPS_AN_EPOCH = 50
_GENERAL_TOKENS = 2_000  # about, of the text that comes with Lavra
_FILES = ("metrics.jsonl", "evaluations.jsonl", "events.jsonl", "run.json", "report.md", "report.html", "loss.svg")
Say = Callable[[str], None]


class Interrupted(LavraError):
    """Somebody stopped the run; it is saved, and the same command continues it."""


@dataclass(frozen=True)
class Tuned:
    """``found``: the same had been made before. ``metrics``: as the manifest has them."""

    artifact: Artifact
    metrics: Mapping[str, Any]
    found: bool

    @property
    def held_out(self) -> float:
        """The loss on what was held out; NaN where nothing was."""
        return float(self.metrics.get("held_out_after", math.nan))


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

    @property
    def kind(self) -> str:
        return "model" if self.merge or self.settings.method == "full" else "adapter"

    @property
    def inputs(self) -> dict[str, str]:
        corpus = self.workspace.corpus() if self.sources.corpus else None
        return {"base": self.base.artifact.id} | ({"corpus": corpus.id} if corpus else {})

    @property
    def recipe(self) -> dict[str, Any]:
        """All that determines the result, and the base as one asks for it."""
        return {
            "made by": "tune",
            "base": self.base.generator.artifact.id if self.base.generator.artifact else _reference(self.base),
            "base_sha256": self.base.generator.model.sha256,
            "data": sorted([Path(name).name, sha] for name, sha in self.data.loaded.hashes.items()),
            "replay": [[path.name, weight] for path, weight in self.sources.replay],
            "roles": sorted(self.sources.roles) if self.sources.corpus or self.sources.texts else [],
            "tune": self.settings.recipe,
            "training": self.training.recipe | {"micro_tokens": None, "checkpointing": False},
            "context": self.base.context,
            "merge": self.merge,
        }

    @property
    def run(self) -> Path:
        """Where it trains."""
        name = recipe_hash(self.kind, self.inputs, self.recipe)[:16]
        return self.workspace.store.root / RUNS / name


def plan_job(
    workspace: Workspace, sources: Sources, settings: TuneSettings, *, model: str | None = None, merge: bool = False
) -> Job:
    """Read everything and decide everything; train nothing."""
    generator = find_generator(workspace, model or workspace.settings.models.generator)
    artifact = generator.artifact or workspace._model_artifact(generator.model)
    base = find_base(generator, artifact, settings)
    data = prepare(workspace, sources, settings, base.tokenizer, base.context)
    training = train_settings(settings, data)
    return Job(workspace, base, data, sources, settings, training, merge and settings.method != "full")


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
        checkpointing=settings.checkpointing,
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
    job: Job, *, name: str | None = None, callbacks: Sequence[Callback] = (), say: Say = lambda text: None
) -> Tuned:
    """Train, or continue, or find what the same command made before.

    Raises LavraError for whatever the user can repair, and Interrupted when somebody stopped it.
    """
    made: list[bool] = []

    def build(draft: Draft) -> None:
        made.append(True)
        _build(job, draft, callbacks, say)

    artifact = job.workspace.store.make(job.kind, job.inputs, job.recipe, build)
    if name:
        job.workspace.store.set_ref(name, artifact.id)
    shutil.rmtree(job.run, ignore_errors=True)
    return Tuned(artifact, artifact.manifest.metrics, not made)


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
    )


def make_objective(job: Job, prepared: Prepared) -> Objective:
    """The next token; LongLoRA's groups, and KL to the base where it is asked for."""
    shift = None
    if job.settings.method == "longlora":
        shift = job.settings.group or max(2, job.base.context // 4 // 2 * 2)
    objective: Objective = LanguageModel(shift=shift)
    if job.settings.kl:
        assert prepared.adapters is not None
        objective = KLToBase(objective, job.settings.kl, without=prepared.adapters.switched_off)
    return objective


def make_measure(job: Job) -> Measure:
    held = job.data.held
    micro = job.training.micro_tokens or 2048
    return Measure(
        job.base.tokenizer,
        None if held is None else HeldOut(held, held.sizes.tolist(), micro_tokens=micro, objective=LanguageModel()),
        general_text(job.sources.general),
    )


def _build(job: Job, draft: Draft, callbacks: Sequence[Callback], say: Say) -> None:
    prepared = load_base(job.base, job.settings, job.training)
    objective, measure = make_objective(job, prepared), make_measure(job)
    run = RunDirectory(job.run)
    facts = {"base": job.base.name, "method": job.settings.method, **as_facts(job.data.loaded, job.data)}
    trainer = Trainer(
        prepared.model,
        objective,
        make_loader(job),
        job.training,
        run,
        evaluate=measure if job.data.held is not None else None,
        callbacks=callbacks,
        context=job.data.rows.mean_context,
        longest=job.data.length,
        about=facts | {"recipe": digest(job.recipe)},
    )
    trainer.plan.require_room()
    before = _before(run, prepared, objective, measure)
    result = trainer.train()
    if result.stopped == "interrupted":
        raise Interrupted(result.message)
    if result.stopped == "diverged":
        say(result.message)
    prepared.model.requires_grad_(False)
    after = evaluate_once(prepared.model, objective, measure)  # type: ignore[arg-type]
    _publish(job, prepared, draft, run, result, before, after)


def _before(run: RunDirectory, prepared: Prepared, objective: Objective, measure: Measure) -> dict[str, float]:
    """The base's figures, measured once a run."""
    path = run.path / "before.json"
    if path.is_file():
        found: dict[str, float] = json.loads(path.read_text("utf-8"))
        return found
    found = evaluate_once(prepared.model, objective, measure)  # type: ignore[arg-type]
    path.write_text(json.dumps(found), "utf-8")
    return found


def _publish(
    job: Job,
    prepared: Prepared,
    draft: Draft,
    run: RunDirectory,
    result: Result,
    before: Mapping[str, float],
    after: Mapping[str, float],
) -> None:
    """Everything that stays, into the artifact."""
    model, base = prepared.model, job.base
    if prepared.adapters is not None:
        save_adapter(
            prepared.adapters,
            prepared.family,
            draft.path / ADAPTER,
            base=_reference(base),
            base_sha256=base.generator.model.sha256,
            context=base.stretched,
        )
    if job.merge:
        assert prepared.adapters is not None
        ids = base.tokenizer.encode(
            "The quick brown fox jumps over the lazy dog, and nobody minds.", parse_special=False
        )
        import torch

        model = prove_merge(prepared.adapters, torch.tensor([ids], device=model.device))
    if job.kind == "model":
        save_model(
            model,
            draft.path / MODEL,
            family=prepared.kind,
            tokenizer=base.tokenizer,
            licence=_licence(base),
            dtype=model.dtype,
        )
    metrics = run.lines("metrics")
    seconds = sum(line["seconds"] for line in metrics)
    tokens = sum(line["tokens"] for line in metrics)
    shown = {
        "general_before": before[GENERAL],
        "general_after": after[GENERAL],
        "held_out_before": before.get("loss"),
        "held_out_after": after.get("loss"),
        "loss": result.loss,
        "steps": result.step,
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "stopped": result.stopped,
        "examples": len(job.data.training),
        "held_out_examples": len(job.data.validation),
    }
    draft.metrics.update({key: _rounded(value) for key, value in shown.items() if value is not None})
    draft.licences += [base.generator.model.licence, *job.data.loaded.licences]
    problems = "".join(f"{problem}\n" for problem in job.data.loaded.problems)
    (draft.path / "left-out.txt").write_text(problems, "utf-8")
    write_report(run, result, title=f"Tuning {base.name}")
    for file in _FILES:
        if (run.path / file).is_file():
            shutil.copyfile(run.path / file, draft.path / file)


def _reference(base: Base) -> str:
    """The base as ``find_generator`` finds it again, from wherever."""
    model = base.generator.model
    known = model.reference.startswith(("pypi:", "hf:")) or not Path(model.reference).expanduser().exists()
    return model.reference if known else str(Path(model.reference).expanduser().resolve())


def _licence(base: Base) -> str | None:
    licence = base.generator.model.licence
    return None if licence.lower() in ("", "unknown") else licence


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else str(value)
    return value
