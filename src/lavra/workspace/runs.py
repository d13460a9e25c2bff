"""From a run of the loop to an artifact of the store, by whichever verb: where it trains, and what of it stays.

What is being trained lies below ``.lavra/runs/<hash of the recipe>``: the same command given again finds it there and
continues. When it is whole, it becomes an artifact with everything that was measured, and the run's directory goes.
Several processes may make one artifact together: all of them train, the first one writes.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lavra.corpus.examples.example import Problem
from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.hub import ResolvedModel
from lavra.store import Artifact, Draft, Store
from lavra.store.manifest import recipe_hash
from lavra.training.callbacks import Result
from lavra.training.loop import Trainer
from lavra.training.ranks import Ranks
from lavra.training.report import Section, write_report
from lavra.training.run import RunDirectory

RUNS = "runs"
_FILES = ("metrics.jsonl", "evaluations.jsonl", "events.jsonl", "run.json", "report.md", "report.html", "loss.svg")


class Interrupted(LavraError):
    """Somebody stopped the run; it is saved, and the same command continues it."""


class Making(Protocol):
    """A run that is decided: an artifact's kind, what it is made from, and how."""

    @property
    def store(self) -> Store: ...

    @property
    def kind(self) -> str: ...

    @property
    def inputs(self) -> Mapping[str, str]: ...

    @property
    def recipe(self) -> Mapping[str, Any]: ...


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


def run_path(job: Making) -> Path:
    """Where it trains."""
    return job.store.root / RUNS / recipe_hash(job.kind, job.inputs, job.recipe)[:16]


def make(
    job: Making, build: Callable[[Draft | None], None], *, name: str | None = None, ranks: Ranks | None = None
) -> Tuned:
    """The artifact: found, or made by ``build``, which trains and fills the draft; and called ``name`` if one is given.

    Every one of ``ranks`` calls this; ``build`` of all but the first is given no draft, and takes part in the training
    alone.
    """
    ranks = ranks if ranks is not None else Ranks()
    made: list[bool] = []

    def build_first(draft: Draft) -> None:
        made.append(ranks.any(True))
        build(draft)

    if ranks.first:
        artifact: Artifact | None = job.store.make(job.kind, job.inputs, job.recipe, build_first)
        assert artifact is not None
        if not made:
            ranks.any(False)
        if name:
            job.store.set_ref(name, artifact.id)
        shutil.rmtree(run_path(job), ignore_errors=True)
        ranks.wait()
    else:
        if ranks.any(False):
            made.append(True)
            build(None)
        ranks.wait()
        artifact = job.store.find(job.kind, job.inputs, job.recipe)
        if artifact is None:
            raise LavraError(f"{job.store.root} is not one directory for all processes: put the workspace on one disk.")
    return Tuned(artifact, artifact.manifest.metrics, not made)


def measure_once(run: RunDirectory, ranks: Ranks, measure: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """The base's figures, measured once a run, by the first of ``ranks``: it alone has use for them."""
    if not ranks.first:
        return {}
    path = run.path / "before.json"
    if path.is_file():
        found: dict[str, float] = json.loads(path.read_text("utf-8"))
        return found
    found = dict(measure())
    path.write_text(json.dumps(found), "utf-8")
    return found


def ended(result: Result, say: Callable[[str], None]) -> None:
    """Raises Interrupted for a run that somebody stopped; says that one diverged."""
    if result.stopped == "interrupted":
        raise Interrupted(result.message)
    if result.stopped == "diverged":
        say(result.message)


class Loaded(Protocol):
    """Whatever has a model to train."""

    @property
    def model(self) -> Model: ...


SomeLoaded = TypeVar("SomeLoaded", bound=Loaded)


def gathered(trainer: Trainer, loaded: SomeLoaded, again: Callable[[], SomeLoaded]) -> SomeLoaded:
    """``loaded`` with its trained weights whole. Where they are spread over the ranks, the first one loads the base
    ``again`` and is given them, a parameter at a time; the others keep what they have."""
    ranks = trainer.ranks
    if ranks.mode != "fsdp":
        return loaded
    fresh = again() if ranks.first else None
    named = dict(fresh.model.named_parameters()) if fresh is not None else {}
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:
            tensor = ranks.whole(parameter.detach())
            if name in named:
                named[name].data.copy_(tensor)
    return loaded if fresh is None else fresh


def keep(
    draft: Draft, run: RunDirectory, result: Result, *, title: str, figures: Mapping[str, Any],
    problems: Sequence[Problem], sections: Sequence[Section] = (),
) -> None:  # fmt: skip
    """What a run says of itself, into the artifact: metrics, curves, report (with ``sections``), and what was left
    out."""
    lines = run.lines("metrics")
    seconds = sum(line["seconds"] for line in lines)
    tokens = sum(line["tokens"] for line in lines)
    shown = {
        "loss": result.loss,
        "steps": result.step,
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "stopped": result.stopped,
        **figures,
    }
    draft.metrics.update({key: _rounded(value) for key, value in shown.items() if value is not None})
    (draft.path / "left-out.txt").write_text("".join(f"{problem}\n" for problem in problems), "utf-8")
    write_report(run, result, title=title, sections=sections)
    for file in [*_FILES, *(section.picture[0] for section in sections if section.picture)]:
        if (run.path / file).is_file():
            shutil.copyfile(run.path / file, draft.path / file)


def reference_of(model: ResolvedModel) -> str:
    """The model as ``find_generator`` finds it again, from wherever."""
    known = model.reference.startswith(("pypi:", "hf:")) or not Path(model.reference).expanduser().exists()
    return model.reference if known else str(Path(model.reference).expanduser().resolve())


def licence_of(model: ResolvedModel) -> str | None:
    """None where nobody knows it."""
    return None if model.licence.lower() in ("", "unknown") else model.licence


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else str(value)
    return value
