"""Ways that learn: tuning on questions and answers, RAFT, reading on in the documents, and a model from scratch.

All of them go through ``lavra tune``'s own code, so that what a study recommends is what that command makes; and all
of it lies in the store, so that another study with the same questions finds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.store.files import write_atomically
from lavra.workspace.studying.asking import answer_of, asked, model_artifact, training_digest
from lavra.workspace.studying.retrieving import over_index
from lavra.workspace.studying.way import Built, Given

if TYPE_CHECKING:
    from lavra.store import Artifact, Draft
    from lavra.workspace.tuning.settings import Sources

TUNING: dict[str, Any] = {
    "method": "lora", "rank": 16, "epochs": None, "steps": None, "learning_rate": None, "batch_tokens": None,
    "context": None, "kl": 0.0, "seed": 0,
}  # fmt: skip
"""Settings of ``lavra tune`` that a study may vary; None is that command's own default."""
READING_ON: dict[str, Any] = {"read_epochs": 1, "read_rank": 32, "read_rate": 1e-4}
"""Of ``continue``: a rate and a rank at which documents leave a mark (Biderman et al. 2024: LoRA learns less than full
tuning, and forgets less)."""
SCRATCH: dict[str, Any] = {"layers": 4, "width": 256, "read_epochs": 8, "read_rate": 1e-3}
"""Of ``pretrain``: what a few megabytes of text can fill, and a laptop can train."""


def tune(given: Given) -> Built:
    """LoRA on questions and answers, asked by the prompt that it was trained with."""
    artifact = trained(given, pairs(given), given.settings)
    return prompted_by(given.over(artifact.id), "tune", [artifact])


def tune_rag(given: Given) -> Built:
    """RAFT (Zhang et al. 2024): LoRA on questions with passages, the right one among others, then asked with those
    that the search finds."""
    from lavra.assistants.questions.items import Item
    from lavra.workspace.questioning import write_raft

    require_training(given, "tune+rag")
    path = given.folder / "raft.jsonl"
    workspace = given.desk.lend_index(given.workspace)
    kept_back = [Item("?", document=source, split="test", answerable=False) for source in sorted(given.held)]
    write_raft(
        workspace, [*given.training, *kept_back], path, roles=sorted(given.roles), progress=given.progress
    )  # fmt: skip
    artifact = trained(given, path, given.settings)
    built = over_index(given.over(artifact.id), "tune+rag")
    return replace(built, artifacts=[artifact])


def continued(given: Given) -> Built:
    """The model reads the documents, then is tuned on questions and answers."""
    require_training(given, "continue")
    settings = given.settings
    reading = {
        "method": "lora", "rank": settings["read_rank"], "epochs": settings["read_epochs"],
        "learning_rate": settings["read_rate"], "context": settings["context"], "seed": settings["seed"],
    }  # fmt: skip
    read = trained(given, None, reading, merge=True)
    over = given.over(read.id)
    artifact = trained(over, pairs(given), settings)
    return prompted_by(over.over(artifact.id), "continue", [read, artifact])


def pretrain(given: Given) -> Built:
    """A small model from scratch, with the tokenizer of the model it is given in place of: it reads the documents, then
    is tuned on questions and answers."""
    require_training(given, "pretrain")
    settings = given.settings
    begun = from_scratch(given)
    reading = {
        "method": "full", "epochs": settings["read_epochs"], "learning_rate": settings["read_rate"],
        "context": settings["context"], "seed": settings["seed"],
    }  # fmt: skip
    read = trained(given.over(begun.id), None, reading)
    artifact = trained(given.over(read.id), pairs(given), {**settings, "method": "full"})
    return prompted_by(given.over(artifact.id), "pretrain", [begun, read, artifact])


def require_training(given: Given, way: str) -> None:
    if not given.training:
        raise LavraError(f"{way} needs questions to learn from: give some that are not tested, or let them be made.")


def pairs(given: Given) -> Path:
    """The training questions and answers, in the conversation in which they will be asked."""
    from lavra.assistants.prompted import direct

    require_training(given, "tune")
    template = direct()

    def rows() -> Iterable[Mapping[str, Any]]:
        for item in given.training:
            turns = template.turns(item.question, (), language=template.language(item.language))
            answer = {"role": "assistant", "content": answer_of(item, given)}
            yield {"messages": [*turns, answer], "document": item.document}

    path = given.folder / "pairs.jsonl"
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows()).encode())
    return path


def trained(given: Given, data: Path | None, settings: Mapping[str, Any], *, merge: bool = False) -> Artifact:
    """The model of ``given``, tuned on a file of examples; without one, on the documents."""
    from lavra.workspace.tuning.run import plan_job
    from lavra.workspace.tuning.run import tune as train
    from lavra.workspace.tuning.settings import TuneSettings

    given.desk.leave_models()
    asked_for = {name: settings[name] for name in TUNING if settings.get(name) is not None}
    try:
        tuning = TuneSettings(**asked_for)
    except TypeError as error:
        raise LavraError(f"a setting of the way is of the wrong kind ({error}).") from error
    job = plan_job(given.desk.workspace, _sources(given, data), tuning, model=given.model, merge=merge)
    made = train(job, callbacks=given.callbacks, say=given.say).artifact
    given.desk.leave_models()
    return made


def _sources(given: Given, data: Path | None) -> Sources:
    from lavra.workspace.tuning.settings import Sources

    roles = tuple(sorted(given.roles))
    return Sources(data=(data,), roles=roles) if data is not None else Sources(corpus=True, roles=roles)


def prompted_by(given: Given, way: str, artifacts: Sequence[Artifact]) -> Built:
    """What was tuned, asked without documents."""
    from lavra.assistants.voices import Local

    recipe = {"way": way, "training": training_digest(given.training), **asked(given)}
    uses = {"model": model_artifact(given)}
    return Built(lambda: given.prompted(Local(given.engine)), recipe, artifacts, uses)


def from_scratch(given: Given) -> Artifact:
    """A model of random weights, in the store."""
    from lavra.tokens.tokenizer import load_tokenizer
    from lavra.workspace.generators import MODEL

    settings, base = given.settings, given.workspace.generator
    recipe = {
        "made by": "study", "tokenizer": base.model.sha256, "layers": settings["layers"], "width": settings["width"],
        "seed": settings["seed"],
    }  # fmt: skip

    def build(draft: Draft) -> None:
        from lavra.model.building import build as make
        from lavra.model.building import initialise
        from lavra.model.writing import save_model

        tokenizer = load_tokenizer(base.model.path)
        model = make(_shape(settings["layers"], settings["width"], tokenizer.vocabulary_size))
        initialise(model, settings["seed"])
        save_model(model, draft.path / MODEL, family="llama", tokenizer=tokenizer)
        draft.metrics["parameters"] = sum(parameter.numel() for parameter in model.parameters())

    return given.desk.workspace.store.make("model", {}, recipe, build)


def _shape(layers: int, width: int, vocabulary: int) -> Any:
    """A Llama of this depth and width: heads of 64, an MLP of 8/3 of the width (Touvron et al. 2023, section 2.2)."""
    from lavra.model.config import ModelConfig

    if layers < 1 or width < 64 or width % 64:
        raise LavraError(f"pretrain cannot make {layers} layers of width {width}: give one or more, of 64, 128, 192 …")
    heads = width // 64
    return ModelConfig(
        vocabulary_size=vocabulary, layers=layers, width=width, heads=heads, kv_heads=heads, head_width=64,
        hidden_width=-(-width * 8 // 3 // 64) * 64, causal=True, norm="rms", norm_epsilon=1e-5, positions="rotary",
        activation="silu", gated=True, context_length=1024, tied_embeddings=True,
    )  # fmt: skip
