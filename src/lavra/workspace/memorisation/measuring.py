"""``memorisation``: a model asked what it shows of texts that it may have been trained on; the answer is an artifact.

What the artifact holds names texts by hash or number: neither traps nor the user's texts are copied into the store.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from lavra.corpus.traps.register import Register, read_register
from lavra.errors import LavraError
from lavra.evaluation.harness.kept import Heard, Kept
from lavra.evaluation.memorisation.exposure import MOST_TRIED, Exposure, expose
from lavra.evaluation.memorisation.extraction import Extracted, extract
from lavra.evaluation.memorisation.reading import Reading, read_texts
from lavra.evaluation.memorisation.scores import all_scores
from lavra.evaluation.memorisation.tuned_gap import GapSettings, measure_gap, require_known
from lavra.model.adapted import load_adapted, named_as
from lavra.model.base import Model
from lavra.model.known import KIND_WORDS
from lavra.model.precision import compute_dtype
from lavra.store import Draft
from lavra.store.files import hash_file
from lavra.store.manifest import recipe_hash
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer
from lavra.workspace.evaluated import Evaluated, ask_once
from lavra.workspace.generators import Generator, find_generator
from lavra.workspace.memorisation.figures import of_register, of_texts
from lavra.workspace.memorisation.given import document_of, sources_of, sources_read, texts_of
from lavra.workspace.memorisation.pages import report, roc_picture
from lavra.workspace.memorisation.traps import corpora_with
from lavra.workspace.runs import RUNS
from lavra.workspace.tokenizing import token_files
from lavra.workspace.workspace import Progress, Workspace, silent

KIND = "evaluation"
VERSION = 2
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
_ALIKE = 0.9
"""The similarity of what was written to what stands there from which its sources are looked for."""


@dataclass(frozen=True)
class Settings:
    """``prefix``: tokens given to a model that is to continue; ``tried``: secrets of a canary, at most; ``gap``: how a
    copy is tuned on the document."""

    prefix: int = 50
    tried: int = MOST_TRIED
    gap: GapSettings = field(default_factory=GapSettings)


@dataclass(frozen=True)
class Plan:
    """What is asked, all of it read, and nothing asked yet."""

    workspace: Workspace
    generator: Generator
    reference: Generator | None
    register: Register | None
    members: tuple[str, ...]
    others: tuple[str, ...]
    document: str
    hashes: Mapping[str, str]
    settings: Settings
    dtype: torch.dtype

    @property
    def inputs(self) -> dict[str, str]:
        found = {"model": _artifact(self.workspace, self.generator)}
        if self.reference is not None:
            found["reference"] = _artifact(self.workspace, self.reference)
        return found

    @property
    def recipe(self) -> dict[str, Any]:
        """All that determines the result, besides the models."""
        return {
            "made by": "memorisation",
            "version": VERSION,
            "model": self.generator.name,
            "sha256": self.generator.model.sha256,
            "seal": self.register.seal if self.register else None,
            "files": dict(self.hashes),
            "prefix": self.settings.prefix,
            "tried": self.settings.tried if self.register else None,
            "gap": asdict(self.settings.gap) if self.document else None,
            "dtype": str(self.dtype).removeprefix("torch."),
        }


def plan(
    workspace: Workspace,
    model: str | None,
    *,
    register: Path | None = None,
    texts: Path | None = None,
    controls: Path | None = None,
    document: Path | None = None,
    reference: str | None = None,
    precision: Literal["bf16", "fp32"] | None = None,
    settings: Settings | None = None,
) -> Plan:
    """Read everything. Raises LavraError where something is absent, or cannot be compared with anything."""
    if register is None and texts is None and document is None:
        raise LavraError(
            "say what is asked for: --register REGISTER, --texts FILE with --controls FILE, or --document FILE."
        )
    if controls is None and (texts is not None or document is not None):
        raise LavraError(
            "give --controls FILE, texts that the model certainly never read: without them no score means anything."
        )
    members, others = texts_of(texts), texts_of(controls)
    if document is not None:
        require_known(members, others)
    files = {"texts": texts, "controls": controls, "document": document}
    return Plan(
        workspace,
        _decoder(workspace, model or workspace.settings.models.generator),
        _decoder(workspace, reference) if reference else None,
        read_register(register) if register else None,
        members,
        others,
        document_of(workspace, document) if document else "",
        {name: hash_file(path) for name, path in files.items() if path is not None},
        settings or Settings(),
        _DTYPES[precision] if precision else compute_dtype(),
    )


def run(job: Plan, *, progress: Progress = silent) -> Evaluated:
    """Ask, and keep what came of it: ``memorisation.json``, a report, and the ROC. What was stopped asks about no
    canary twice, for these take longest."""
    half_done = job.workspace.store.root / RUNS / recipe_hash(KIND, job.inputs, job.recipe)[:16]

    def ask(draft: Draft) -> Mapping[str, Any]:
        results = _asked(job, Kept(half_done / "exposures.jsonl"), progress)
        (draft.path / "report.md").write_text(report(results), "utf-8")
        for part in ("register", "texts"):
            if part in results and (picture := roc_picture(results[part]["roc"])):
                (draft.path / f"roc-{part}.svg").write_text(picture, "utf-8")
        draft.metrics.update(_metrics(results))
        return results

    done = ask_once(job.workspace.store, KIND, job.inputs, job.recipe, "memorisation.json", ask)
    shutil.rmtree(half_done, ignore_errors=True)
    return done


def _asked(job: Plan, kept: Kept, progress: Progress) -> dict[str, Any]:
    entries = list(job.register.entries) if job.register else []
    asked = [entry.text for entry in entries]
    compared = [*job.members, *job.others] if job.members else []
    results: dict[str, Any] = {
        "model": job.generator.name,
        "reference": job.reference.name if job.reference else None,
        "dtype": str(job.dtype).removeprefix("torch."),
    }
    readings, extracted, exposures = (
        _read(job, [*asked, *compared], kept, progress) if asked or compared else ([], [], {})
    )
    if job.document:
        results["document"] = _gap(job, *_load(job, job.generator), progress)
    references = None
    if job.reference is not None and readings:
        model, tokenizer = _load(job, job.reference)
        references = read_texts(
            model, tokenizer, [*asked, *compared], heard=lambda *at: progress("Reading with the reference", *at)
        )
        del model
    scores = all_scores(readings, references)
    if job.register is not None:
        first = {name: values[: len(asked)] for name, values in scores.items()}
        found = of_register(job.register, first, extracted[: len(asked)], exposures)
        holders = corpora_with(job.workspace, job.register)
        found["sealed"] = [{"corpus": one.id, "made": one.manifest.made} for one in holders]
        found["cut"] = sum(reading.was_cut for reading in readings[: len(asked)])
        results["register"] = found
    if compared:
        rest = {name: values[len(asked) :] for name, values in scores.items()}
        results["texts"] = of_texts(job.members, job.others, rest, extracted[len(asked) :])
        results["texts"]["cut"] = sum(reading.was_cut for reading in readings[len(asked) :])
        results["texts"]["sources"] = _sources(job, [one.similarity >= _ALIKE for one in extracted[len(asked) :]])
    return results


def _read(
    job: Plan, texts: Sequence[str], kept: Kept, progress: Progress
) -> tuple[list[Reading], list[Extracted], dict[int, Exposure]]:
    """All that the model says of ``texts``, whose first are the register's; exposures by number of the entry."""
    model, tokenizer = _load(job, job.generator)
    readings = read_texts(model, tokenizer, texts, heard=lambda *at: progress("Reading", *at))
    extracted = extract(model, tokenizer, texts, prefix=job.settings.prefix)
    entries = job.register.entries if job.register else ()
    canaries = [number for number, entry in enumerate(entries) if entry.kind == "canary"]

    def ask(numbers: Sequence[int], heard: Heard) -> None:
        for place, number in enumerate(numbers):
            heard([(place, asdict(expose(model, tokenizer, entries[number], most=job.settings.tried)))])

    found = kept.once("canary", canaries, ask, lambda count: progress("Trying secrets", count, len(canaries)))
    return readings, extracted, {number: Exposure(**of) for number, of in zip(canaries, found, strict=True)}


def _gap(job: Plan, model: Model, tokenizer: Tokenizer, progress: Progress) -> dict[str, Any]:
    """The model is used up by it, and must be as it was loaded."""
    path = Path(job.generator.model.path)
    _, family = named_as(model, path)
    found = measure_gap(
        model, family, tokenizer, job.document, job.others, job.members, settings=job.settings.gap,
        say=lambda text: progress(text[0].upper() + text[1:], 0, 0),
    )  # fmt: skip
    low, high = found.auc_interval
    return {
        "gap": found.gap, "loss": found.before, "pieces": found.pieces, "members": found.members.tolist(),
        "others": found.others.tolist(), "members_made": found.made, "confidence": found.confidence,
        "accuracy": found.accuracy, "brier": found.brier, "auc": found.auc, "low": low, "high": high,
        "told": found.told, "p": found.p,
    }  # fmt: skip


def _sources(job: Plan, memorised: Sequence[bool]) -> list[dict[str, Any]]:
    """Of the members that the model wrote by itself, the documents that it read them in: those of its token files, or
    where it has none, those of this workspace that hold them."""
    numbers = [number for number in range(len(job.members)) if memorised[number]]
    passages = [job.members[number] for number in numbers]
    read = token_files(job.workspace, job.generator.artifact) if job.generator.artifact is not None else ()
    if not numbers or not (read or job.workspace.corpus()):
        return []
    found = sources_read(job.workspace, read, passages) if read else sources_of(job.workspace, passages)
    looked = [artifact.id for artifact in read]
    return [{"text": number, "sources": of, "read": looked} for number, of in zip(numbers, found, strict=True)]


def _load(job: Plan, generator: Generator) -> tuple[Model, Tokenizer]:
    path = Path(generator.model.path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_adapted(path, generator.adapters, dtype=job.dtype, device=device, base_sha256=generator.model.sha256)
    return model, load_tokenizer(path)


def _decoder(workspace: Workspace, reference: str) -> Generator:
    found = find_generator(workspace, reference)
    if found.model.kind != "decoder":
        raise LavraError(f"the model {found.model.name} is {KIND_WORDS[found.model.kind]}; give a decoder.")
    return found


def _artifact(workspace: Workspace, generator: Generator) -> str:
    return (generator.artifact or workspace._model_artifact(generator.model)).id


def _metrics(results: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in results.get("register", {}).get("measures", ()):
        found[f"auc_{row['measure']}_{row['repetitions']}"] = round(row["auc"], 4)
    for row in results.get("texts", {}).get("measures", ()):
        found[f"auc_{row['measure']}_texts"] = round(row["auc"], 4)
    if "document" in results:
        found["document_confidence"] = round(results["document"]["confidence"], 4)
    return found
