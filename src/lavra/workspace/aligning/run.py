"""``align``: one run from a file of preferences to an adapter, or a reward model, in the store, with its figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavra.errors import LavraError
from lavra.inference.batch_sampling import sample_batch
from lavra.inference.sampling import Sampling
from lavra.model.adapted import named_as
from lavra.model.adapters import attach
from lavra.model.weights import load_model
from lavra.model.writing import save_model
from lavra.objectives.answers import Text, places
from lavra.objectives.grpo import token_scores
from lavra.objectives.reference import with_references
from lavra.objectives.reward import reward_model
from lavra.store import Artifact, Draft, Store
from lavra.store.files import digest, hash_file
from lavra.training.callbacks import Callback
from lavra.training.evaluation import HeldOut, evaluate_once
from lavra.training.loader import ShuffledLoader
from lavra.training.loop import Trainer
from lavra.training.ranks import Ranks
from lavra.training.rollouts import Prompt, Rollouts
from lavra.training.run import RunDirectory
from lavra.training.settings import TrainSettings
from lavra.workspace.aligning.data import AlignData, read_data
from lavra.workspace.aligning.rewards import Judge, find_judge
from lavra.workspace.aligning.settings import AlignSettings
from lavra.workspace.examples.naming import inputs_of, sets_of, settle
from lavra.workspace.generators import MODEL, find_generator
from lavra.workspace.runs import (
    Tuned,
    ended,
    gathered,
    keep,
    licence_of,
    make,
    measure_once,
    reference_of,
    run_path,
)
from lavra.workspace.tuning.base import Base, Prepared, adapter_config, find_base, load_base
from lavra.workspace.tuning.measure import MEASURES, Measure
from lavra.workspace.tuning.publishing import save_over
from lavra.workspace.workspace import Workspace


@dataclass(frozen=True)
class AlignJob:
    """A run, all of it decided and nothing of it done. ``sha256``: the data's; ``judge``: GRPO's."""

    workspace: Workspace
    base: Base
    path: Path
    sha256: str
    data: AlignData
    settings: AlignSettings
    judge: Judge | None = None

    @property
    def store(self) -> Store:
        return self.workspace.store

    @property
    def kind(self) -> str:
        return "model" if self.settings.method == "reward" else "adapter"

    @property
    def inputs(self) -> dict[str, str]:
        judge = self.judge.artifact if self.judge is not None else None
        found = {"base": self.base.artifact.id} | ({"reward": judge.id} if judge is not None else {})
        return found | inputs_of(self.sets)

    @property
    def sets(self) -> list[Artifact]:
        """The set of examples of the store that is learned from, if it is one."""
        return sets_of(self.workspace, [self.path])

    @property
    def recipe(self) -> dict[str, Any]:
        """All that determines the result, and the base as one asks for it."""
        generator = self.base.generator
        return {
            "made by": "align",
            "base": generator.artifact.id if generator.artifact else reference_of(generator.model),
            "base_sha256": generator.model.sha256,
            "data": [[self.path.name, self.sha256]],
            "align": self.settings.recipe,
            "training": self.training.recipe | {"micro_tokens": None},
            "reward": self.judge.recipe if self.judge is not None else None,
        }

    @property
    def training(self) -> TrainSettings:
        return self.settings.training

    @property
    def run(self) -> Path:
        """Where it trains."""
        return run_path(self)


def plan_align(
    workspace: Workspace, data: Path, settings: AlignSettings, *, model: str | None = None, reward: str | None = None
) -> AlignJob:
    """Read everything and decide everything; train nothing. ``reward``: GRPO's, ``file.py:function`` or a reward
    model.

    Raises LavraError for data that holds nothing, a model that cannot write, or a method that lacks something.
    """
    generator = find_generator(workspace, model or workspace.settings.models.generator)
    judge = find_judge(workspace, reward) if settings.method == "grpo" else None
    data = settle(workspace, data, "preferences")
    base = find_base(generator, generator.artifact or workspace._model_artifact(generator.model), settings.adapter)
    settings = replace(settings, context=min(settings.context, base.config.context_length))
    read = read_data(data, base.tokenizer, settings)
    return AlignJob(workspace, base, data, hash_file(data), read, settings, judge)


def align(
    job: AlignJob,
    *,
    name: str | None = None,
    callbacks: Sequence[Callback] = (),
    say: Callable[[str], None] = lambda text: None,
    ranks: Ranks | None = None,
) -> Tuned:
    """Train, or continue, or find what the same command made before. ``ranks``: the processes that do it together.

    Raises LavraError for whatever the user can repair, and Interrupted when somebody stopped it.
    """
    ranks = ranks if ranks is not None else Ranks()
    return make(job, lambda draft: _build(job, draft, callbacks, say, ranks), name=name, ranks=ranks)


def _build(
    job: AlignJob, draft: Draft | None, callbacks: Sequence[Callback], say: Callable[[str], None], ranks: Ranks
) -> None:
    """Measure, train, measure again, and fill ``draft``, which the first rank has."""
    prepared, run = _load(job), RunDirectory(job.run)
    loader, measure = (_rollouts(job, prepared, ranks), None) if job.judge else _pairs(job, prepared, run, ranks)
    before = measure_once(run, ranks, lambda: _measure(job, prepared, measure))
    learned = job.data.learned
    sizes = [0] if job.judge else [places(item) for item in learned]
    squares = 0 if job.judge else sum(text.places**2 for item in learned for text in item.texts)
    about = {"base": job.base.name, "method": job.settings.method, "recipe": digest(job.recipe)}
    trainer = Trainer(
        prepared.model,
        job.settings.objective(),
        loader,
        job.training,
        run,
        evaluate=measure,
        callbacks=callbacks,
        ranks=ranks,
        context=squares / sum(sizes) if squares else None,
        longest=max(sizes) or None,
        about=about,
    )
    result = trainer.train()
    ended(result, say)
    whole = gathered(trainer, prepared, lambda: _load(job))
    if draft is None:
        return
    after = _measure(job, whole, measure)
    if job.judge:
        before, after = before | _rewards(run, first=True), after | _rewards(run, first=False)
    _save(job, whole, draft)
    draft.licences.append(job.base.generator.model.licence)
    draft.licences += [licence for artifact in job.sets for licence in artifact.manifest.licences]
    figures: dict[str, Any] = {"examples": len(learned), "held_out_examples": len(job.data.held)}
    for when, found in (("before", before), ("after", after)):
        figures |= {f"{MEASURES.get(key, key)}_{when}": value for key, value in found.items()}
    title = f"Aligning {job.base.name}"
    keep(draft, run, result, title=title, figures=figures, problems=job.data.problems)


def _load(job: AlignJob) -> Prepared:
    """The base under an adapter; of a reward model, with a head that grades, trained whole."""
    settings, path = job.settings, job.base.generator.model.path
    if settings.method != "reward":
        return load_base(job.base, settings.adapter, job.training)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = reward_model(
        load_model(path, dtype=job.training.compute_dtype(device), device=device), seed=settings.seed
    )  # fmt: skip
    kind, family = named_as(model, path)
    adapters = attach(model, adapter_config(settings.adapter), family, seed=settings.seed)
    assert model.head.classifier is not None
    model.head.classifier.requires_grad_(True)
    return Prepared(model, adapters, kind, family)


def _save(job: AlignJob, prepared: Prepared, draft: Draft) -> None:
    assert prepared.adapters is not None
    if job.kind == "adapter":
        save_over(job.base, prepared, draft)
        return
    merged = prepared.adapters.merge()
    save_model(
        merged,
        draft.path / MODEL,
        family=prepared.kind,
        tokenizer=job.base.tokenizer,
        licence=licence_of(job.base.generator.model),
        dtype=merged.dtype,
    )


def _pairs(job: AlignJob, prepared: Prepared, run: RunDirectory, ranks: Ranks) -> tuple[ShuffledLoader, HeldOut | None]:
    """What is learned from in the order of the seed, and what is held out; each with what the base makes of it, where
    the objective compares with the base."""
    training = job.training.resolved(prepared.model.device)
    micro = training.micro_tokens or training.batch_tokens
    items = [*job.data.learned, *job.data.held]
    if getattr(job.settings.objective(), "needs_reference", False):
        assert prepared.adapters is not None
        if not ranks.first:
            ranks.wait()  # for the first one, which computes them and writes them down
        items = with_references(
            prepared.model,
            items,
            stored=run.path / "reference.safetensors",
            base=job.base.generator.model.sha256,
            micro_tokens=micro,
            without=prepared.adapters.switched_off(),
        )
        if ranks.first:
            ranks.wait()
    learned, held = items[: len(job.data.learned)], items[len(job.data.learned) :]
    loader = ShuffledLoader(
        learned,
        [places(item) for item in learned],
        batch_tokens=training.batch_tokens,
        micro_tokens=micro,
        seed=job.settings.seed,
    )
    return loader, HeldOut(held, [places(item) for item in held], micro_tokens=micro) if held else None


def _measure(job: AlignJob, prepared: Prepared, held: HeldOut | None) -> dict[str, float]:
    """Of what is held out; and how well the model still reads general text, if it writes."""
    objective = job.settings.objective()
    found = dict(evaluate_once(prepared.model, objective, held)) if held is not None else {}
    if prepared.model.config.writes:
        found |= evaluate_once(prepared.model, objective, Measure(job.base.tokenizer, None))  # type: ignore[arg-type]
    return {name: value for name, value in found.items() if name != "perplexity"}  # no language model's loss


def _rollouts(job: AlignJob, prepared: Prepared, ranks: Ranks) -> Rollouts:
    """The model's own answers, judged."""
    settings, model, tokenizer, adapters = job.settings, prepared.model, job.base.tokenizer, prepared.adapters
    assert job.judge is not None
    assert adapters is not None
    if ranks.mode == "fsdp":
        raise LavraError("grpo has each process write answers, so each needs a model: use --distributed ddp.")

    def sample(asked: Sequence[Sequence[int]], copies: int, seed: int) -> list[list[list[int]]]:
        drawn = Sampling(temperature=1.0, max_tokens=settings.answer_tokens, seed=seed)
        return sample_batch(model, asked, drawn, copies=copies, ends=tokenizer.eos_ids)

    def reference(texts: Sequence[Text]) -> Any:
        with adapters.switched_off() if settings.beta else nullcontext():
            return token_scores(model, texts)

    prompts: list[Prompt] = job.data.learned
    longest = settings.answer_tokens + max(len(prompt.ids) for prompt in prompts)
    return Rollouts(
        prompts,
        sample,
        job.judge.reward(model, tokenizer, job.data.asked),
        at_once=max(1, settings.batch_tokens // (settings.group * longest)),
        group=settings.group,
        seed=settings.seed,
        reference=reference if settings.beta else None,
    )


def _rewards(run: RunDirectory, *, first: bool) -> dict[str, float]:
    """The mean reward in the first tenth of the steps, or in the last."""
    seen = [line["reward"] for line in run.lines("metrics") if "reward" in line]
    some = max(1, len(seen) // 10)
    return {"reward": float(np.mean(seen[:some] if first else seen[-some:]))} if seen else {}
