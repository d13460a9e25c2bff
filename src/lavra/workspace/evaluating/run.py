"""``evaluate``: tasks asked of a model, one artifact of results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from lavra.errors import LavraError
from lavra.evaluation.harness.extra import harness_version
from lavra.evaluation.harness.kept import Kept
from lavra.evaluation.harness.pages import report
from lavra.evaluation.harness.running import Selection, Settings, consent, evaluate, select, to_lines
from lavra.inference.self_debias import Debiasing
from lavra.model.adapted import load_adapted
from lavra.model.known import KIND_WORDS
from lavra.model.packing import pack
from lavra.model.precision import compute_dtype
from lavra.store import Draft
from lavra.store.files import digest
from lavra.store.manifest import recipe_hash
from lavra.tokens.tokenizer import load_tokenizer
from lavra.workspace.evaluated import Evaluated, ask_once
from lavra.workspace.generators import Generator, find_generator
from lavra.workspace.runs import RUNS
from lavra.workspace.workspace import Progress, Workspace, silent

KIND = "evaluation"
VERSION = 1
"""Raised when the same recipe would give other figures."""
Precision = Literal["bf16", "fp32"]
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Plan:
    """An evaluation that is decided: data read, nothing asked."""

    workspace: Workspace
    generator: Generator
    selection: Selection
    settings: Settings = field(default_factory=Settings)
    dtype: torch.dtype = torch.float32
    debiasing: Debiasing | None = None

    @property
    def recipe(self) -> dict[str, Any]:
        """All that determines the results besides the model."""
        return {
            "made by": "evaluate",
            "version": VERSION,
            "lm_eval": harness_version(),
            "model": self.generator.name,
            "sha256": self.generator.model.sha256,
            "tasks": {
                task.name: digest([_plain(task.file.config), dict(task.hashes)]) for task in self.selection.tasks
            },
            "averages": [average.name for average in self.selection.averages],
            "absent": list(self.selection.absent),
            "limit": self.settings.limit,
            "shots": self.settings.shots,
            "chat": self.settings.chat,
            "seed": self.settings.seed,
            "dtype": str(self.dtype).removeprefix("torch."),
        } | ({"self_debias": asdict(self.debiasing)} if self.debiasing is not None else {})


def plan(
    workspace: Workspace,
    model: str | None,
    tasks: Sequence[str],
    data: Path | None,
    *,
    include: Sequence[Path] = (),
    settings: Settings | None = None,
    precision: Precision | None = None,
    debiasing: Debiasing | None = None,
) -> Plan:
    """Find the model and read the tasks' data. Raises LavraError where one of them is absent or is something else."""
    if data is not None and not data.is_dir():
        raise LavraError(f"there is no directory {data}: give the one with the evaluation data as --data.")
    generator = find_generator(workspace, model or workspace.settings.models.generator)
    if generator.model.kind != "decoder":
        raise LavraError(f"the model {generator.name} is {KIND_WORDS[generator.model.kind]}; evaluate a decoder.")
    dtype = _DTYPES[precision] if precision else compute_dtype()
    job = Plan(workspace, generator, select(tasks, data, include), settings or Settings(), dtype, debiasing)
    consent(job.selection, job.settings)
    return job


def run(job: Plan, *, progress: Progress = silent) -> Evaluated:
    """Ask, and keep what came of it: ``results.json`` as the harness has it, the items, and a report. One that was
    stopped goes on where it was."""
    model = job.generator.artifact or job.workspace._model_artifact(job.generator.model)
    half_done = job.workspace.store.root / RUNS / recipe_hash(KIND, {"model": model.id}, job.recipe)[:16]

    def ask(draft: Draft) -> Mapping[str, Any]:
        half_done.mkdir(parents=True, exist_ok=True)
        results, samples = _asked(job, Kept(half_done / "answers.jsonl"), progress)
        for task, lines in samples.items():
            (draft.path / f"samples_{task}.jsonl").write_bytes(to_lines(lines))
        markdown, html, picture = report(results)
        write(draft, "report.md", markdown)
        write(draft, "report.html", html)
        write(draft, "radar.svg", picture)
        draft.metrics.update({name: score["value"] for name, score in results["lavra"]["scores"].items()})
        return results

    done = ask_once(job.workspace.store, KIND, {"model": model.id}, job.recipe, "results.json", ask)
    shutil.rmtree(half_done, ignore_errors=True)
    return done


def write(draft: Draft, name: str, text: str) -> None:
    if text:
        (draft.path / name).write_text(text, encoding="utf-8")


def _asked(job: Plan, kept: Kept, progress: Progress) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    from lavra.evaluation.harness.model import HarnessModel, count_parameters

    found = job.generator
    path = Path(found.model.path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_adapted(path, found.adapters, dtype=job.dtype, device=device, base_sha256=found.model.sha256)
    parameters = count_parameters(model)
    asked = HarnessModel(
        pack(model), load_tokenizer(path), name=found.name, parameters=parameters, seed=job.settings.seed,
        progress=progress, kept=kept, debiasing=job.debiasing,
    )  # fmt: skip
    return evaluate(asked, job.selection, job.settings)


def _plain(config: Mapping[str, Any]) -> Any:
    """A user's functions are known by their names."""
    return json.loads(json.dumps(dict(config), default=lambda value: getattr(value, "__name__", str(value))))
