"""What stays of a run: weights that other programs read, every figure, and a report, in one artifact."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lavra.model.adapter_files import save_adapter
from lavra.model.adapters import prove_merge
from lavra.model.base import Model
from lavra.model.writing import save_model
from lavra.store import Draft
from lavra.training.callbacks import Result
from lavra.training.report import Section
from lavra.training.run import RunDirectory
from lavra.workspace.generators import ADAPTER, MODEL
from lavra.workspace.runs import keep, licence_of, reference_of
from lavra.workspace.tuning.base import Base, Prepared
from lavra.workspace.tuning.interpolating import FILE, PICTURE, Mixed
from lavra.workspace.tuning.measure import GENERAL, LOSS, MEASURES, TASKS_LOSS, TASKS_RIGHT
from lavra.workspace.tuning.mixing import as_figures, parts_of

if TYPE_CHECKING:
    from lavra.workspace.tuning.run import Job

CHECKS = "checks"
"""The directory of what the user's checks wrote."""
_PROOF = "The quick brown fox jumps over the lazy dog, and nobody minds."
_READ = (
    "Of losses and bits per byte less is better. The general tasks that come with Lavra are few: three or four right "
    "ones more or fewer are chance."
)
_WORDS = {
    LOSS: "held-out loss",
    GENERAL: "general text, bits per byte",
    TASKS_RIGHT: "general tasks, right ones",
    TASKS_LOSS: "general tasks, loss",
}


@dataclass(frozen=True)
class Outcome:
    """``before`` and ``after``: what was measured of the base and of what is kept; ``mixed``: if something between
    base and tuned model was looked for."""

    result: Result
    before: Mapping[str, float]
    after: Mapping[str, float]
    mixed: Mixed | None = None


def publish(job: Job, prepared: Prepared, draft: Draft, run: RunDirectory, outcome: Outcome) -> None:
    """Everything that stays, into the artifact."""
    _save_weights(job, prepared, draft)
    draft.licences += [job.base.generator.model.licence, *job.data.loaded.licences]
    draft.licences += [licence for artifact in job.sets for licence in artifact.manifest.licences]
    if job.teacher is not None:
        draft.licences.append(job.teacher.model.licence)
    keep(
        draft,
        run,
        outcome.result,
        title=f"Tuning {job.base.name}",
        figures=figures(job, outcome),
        problems=job.data.loaded.problems,
        sections=sections(outcome),
    )
    if outcome.mixed is not None:
        text = json.dumps(outcome.mixed.to_json(), indent=2, ensure_ascii=False) + "\n"
        (draft.path / FILE).write_text(text, "utf-8")
    if (run.path / CHECKS).is_dir():
        shutil.copytree(run.path / CHECKS, draft.path / CHECKS)


def _save_weights(job: Job, prepared: Prepared, draft: Draft) -> None:
    base, adapters, model = job.base, prepared.adapters, prepared.model
    if adapters is not None:
        save_over(base, prepared, draft)
        if job.merge:
            ids = base.tokenizer.encode(_PROOF, parse_special=False)
            model = prove_merge(adapters, torch.tensor([ids], device=model.device))
    if job.kind == "model":
        _save_model(job, prepared, model, draft)


def save_over(base: Base, prepared: Prepared, draft: Draft) -> None:
    """The adapter alone, which knows what it lies over."""
    assert prepared.adapters is not None
    save_adapter(
        prepared.adapters,
        prepared.family,
        draft.path / ADAPTER,
        base=reference_of(base.generator.model),
        base_sha256=base.generator.model.sha256,
        context=base.stretched,
    )


def _save_model(job: Job, prepared: Prepared, model: Model, draft: Draft) -> None:
    save_model(
        model,
        draft.path / MODEL,
        family=prepared.kind,
        tokenizer=job.base.tokenizer,
        licence=licence_of(job.base.generator.model),
        dtype=model.dtype,
    )


def figures(job: Job, outcome: Outcome) -> dict[str, Any]:
    """What the manifest has beside what every run has."""
    found: dict[str, Any] = {
        "examples": len(job.data.training),
        "held_out_examples": len(job.data.validation),
        "tasks_count": len(job.measured.tasks),
    }
    if parts := parts_of(job.data.training):
        found["mixture"] = as_figures(parts)
    for when, measured in (("before", outcome.before), ("after", outcome.after)):
        for name, value in measured.items():
            if name != "perplexity":  # the loss says it
                found[f"{MEASURES.get(name, name)}_{when}"] = value
    if outcome.mixed is not None:
        found["interpolated"] = outcome.mixed.taken
        found["recommended"] = outcome.mixed.curve.recommended.alpha
        found["interpolation"] = outcome.mixed.to_json()["points"]
    return found


def sections(outcome: Outcome) -> list[Section]:
    """For the report: what was gained and forgotten, and the way between."""
    found = [Section("Gained and forgotten", _READ, ["", "before", "after", "change"], _compared(outcome))]
    if outcome.mixed is not None:
        mixed = outcome.mixed
        columns, table = mixed.table()
        best = f"{mixed.rule} It is {mixed.curve.recommended.alpha:g}: {mixed.curve.reason}."
        found.append(Section("Between the base and the tuned model", best, columns, table, (PICTURE, mixed.picture())))
    return found


def _compared(outcome: Outcome) -> list[list[str]]:
    """A measure a row: losses first, then whatever else was measured."""
    names = [*_WORDS, *(name for name in outcome.before if name not in _WORDS and name != "perplexity")]
    rows = []
    for name in names:
        if name not in outcome.before and name not in outcome.after:
            continue
        before, after = (side.get(name, math.nan) for side in (outcome.before, outcome.after))
        change = f"{after / before - 1:+.1%}" if before and math.isfinite(after / before) else ""
        language = name.removeprefix(TASKS_RIGHT + "_")
        if language != name:
            shown, change = [f"{before:.0%}", f"{after:.0%}"], ""
            called = f"general tasks in {language}, right ones"
        else:
            shown, called = [f"{before:.4g}", f"{after:.4g}"], _WORDS.get(name, name)
        rows.append([called, *shown, change])
    return rows
