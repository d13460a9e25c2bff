"""Weights out: a model becomes a directory that transformers loads as it is. ``gguf_writing.py`` is the other way out.

Which tensor goes where is the plan that reading uses (``placing.py``), so one table serves both. What was written is
read again and compared before it gets its name (``proof.py``): a model that does not come back the same is never seen.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.config import ModelConfig
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.families.family import Family
from lavra.model.families.hf_fields import plain
from lavra.model.families.layouts import out, stored_shape
from lavra.model.placing import Place, empty_model, places
from lavra.model.proof import Precision, prove
from lavra.model.safetensors_writing import DTYPES, Stored, write_safetensors
from lavra.store.files import sync_directory

_SENTENCE_FILES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json")


class Companion(Protocol):
    """The tokenizer, as far as the writing of weights must know it: ``lavra.tokens.tokenizer.Tokenizer`` is one."""

    def token_ids(self) -> dict[str, Any]:
        """``bos_token_id``, ``eos_token_id`` (one or a list) and ``pad_token_id``, where there are."""

    def save(self, directory: Path) -> None:
        """Write the files that transformers reads."""

    def gguf_fields(self, rows: int) -> dict[str, Any]:
        """Metadata of a GGUF whose embedding has ``rows`` rows."""

    def check(self, path: Path) -> None:
        """Raises LavraError when the tokenizer at ``path`` is another one."""


def save_model(
    model: Model,
    directory: Path,
    *,
    family: str | None = None,
    tokenizer: Companion | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = 5_000_000_000,
    licence: str | None = None,
    card: str | None = None,
    beside: Path | None = None,
    overwrite: bool = False,
) -> str:
    """Write ``model`` as a Hugging Face directory; the ``model_type`` it is written as.

    ``family``: that type, where more than one could hold the model; by default the first that can. ``dtype``: the
    model's own by default. ``card``: the text of a README.md, under ``licence``. ``beside``: a directory whose
    sentence-transformers files (pooling, prompts) come along. Nothing is half written: an existing ``directory`` is
    refused, or with ``overwrite`` replaced at the end. Raises LavraError when no family can say what the model is,
    or when what was written does not come back the same.
    """
    dtype = dtype or model.dtype
    if dtype not in DTYPES:
        raise LavraError(f"weights are not written as {dtype}; choose {', '.join(map(str, DTYPES))}")
    kind, chosen, fields = choose(model, BY_MODEL_TYPE, family, same=same_config)
    ids = tokenizer.token_ids() if tokenizer is not None else {}
    config = {"model_type": kind, **fields, **ids, "dtype": str(dtype).removeprefix("torch.")}
    with replacing(directory, overwrite) as made:
        made.mkdir()
        _dump(made / "config.json", config)
        write_safetensors(made, stored(model, chosen), dtype, max_shard_bytes)
        if tokenizer is not None:
            tokenizer.save(made)
        if licence or card:
            front = f"---\nlicense: {licence.lower()}\n---\n" if licence else ""
            (made / "README.md").write_text(front + (card or ""), "utf-8")
        if beside is not None:
            _copy_sentence_files(beside, made)
        exact = Precision.of_dtype(dtype)
        prove(model, made, lambda _: exact, same=same_config)
        if tokenizer is not None:
            tokenizer.check(made)
    return kind


def choose(
    model: Model, families: Mapping[str, Family], wanted: str | None, *, same: Callable[..., str | None]
) -> tuple[str, Family, dict[str, Any]]:
    """The family to write as: its name, itself, and the config as it spells it.

    A family fits when it has a name for every parameter and its spelling of the config reads back as the same config;
    no model's name is asked. Raises LavraError when none does, saying what the nearest one cannot say.
    """
    writable = {name: family for name, family in families.items() if family.write is not None}
    if wanted is not None and wanted not in writable:
        raise LavraError(f"Lavra does not write models of type {wanted!r}; it writes {', '.join(sorted(writable))}")
    if any("packed" in name or name.endswith("._weight") for name, _ in model.named_parameters()) or _packed(model):
        raise LavraError("a model packed for inference cannot be written; load it again without packing")
    reasons: dict[str, str] = {}
    for name, family in writable.items() if wanted is None else [(wanted, writable[wanted])]:
        try:
            return name, family, _fit(model, family, same)
        except LavraError as error:
            reasons[name] = str(error)
    if wanted is not None:
        raise LavraError(f"a model of type {wanted} cannot be this one: {reasons[wanted]}")
    raise LavraError(
        f"none of the formats that Lavra writes can hold this model ({', '.join(reasons)}); "
        f"name one with family= to see what it lacks"
    )


def _packed(model: Model) -> bool:
    return set(dict(empty_model(model.config).named_parameters())) != set(dict(model.named_parameters()))


def _fit(model: Model, family: Family, same: Callable[..., str | None]) -> dict[str, Any]:
    assert family.write is not None
    try:
        shapes = {tensor.name.removeprefix(family.prefix): tensor.shape for tensor in stored(model, family)}
    except KeyError as error:
        raise LavraError(f"it has no name for {error.args[0]}") from error
    fields = family.write(model.config)
    try:
        again = family.read(fields, shapes)
    except KeyError as error:
        raise LavraError(f"it does not write {error.args[0]}") from error
    if difference := same(model.config, again):
        raise LavraError(f"it has no place for {difference}")
    return fields


def same_config(given: ModelConfig, again: ModelConfig) -> str | None:
    """The first field that differs, as a phrase; None when both say the same."""
    left, right = _comparable(given), _comparable(again)
    for field in dataclasses.fields(ModelConfig):
        ours, theirs = getattr(left, field.name), getattr(right, field.name)
        if ours != theirs:
            return f"{field.name} {ours!r}, which becomes {theirs!r}"
    return None


def _comparable(config: ModelConfig) -> ModelConfig:
    """Without what changes no answer: dropout, and the weight of a loss."""
    config = plain(config)
    if config.experts is not None:
        experts = dataclasses.replace(config.experts, balance=0.0)
        config = dataclasses.replace(config, experts=experts)
    return config


def stored(model: Model, family: Family) -> Iterator[Stored]:
    """The tensors of the family's files in order; each is made when it is asked for."""
    prefix = family.prefix if model.config.head != "none" else ""
    for name, parameter, parts in places(model, family):
        for place in parts:
            full = place.name if place.name.startswith(family.heads) else prefix + place.name
            shape = stored_shape(tuple(place.view(parameter).shape), place.layout)
            yield Stored(full, shape, _maker(model, parameter, place, name))


def _maker(model: Model, parameter: torch.Tensor, place: Place, name: str) -> Callable[[], torch.Tensor]:
    return lambda: out(place.view(parameter.detach()), place.layout, model.config)


@contextmanager
def replacing(target: Path, overwrite: bool) -> Iterator[Path]:
    """A path beside ``target`` to write to, which becomes ``target`` when the block ends well and else vanishes.

    Raises LavraError at once when there is something at ``target`` and ``overwrite`` is false.
    """
    target = Path(target)
    occupied = target.exists() and not (target.is_dir() and not any(target.iterdir()))
    if occupied and not overwrite:
        raise LavraError(f"{target} exists already; choose another name or allow overwriting it")
    beside = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        if beside.is_dir():
            _sync_all(beside)
        old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old") if target.exists() else None
        if old is not None:
            os.replace(target, old)
        try:
            os.replace(beside, target)
        except OSError:
            if old is not None:  # what was there stays there
                os.replace(old, target)
            raise
        sync_directory(target.parent)
        if old is not None:
            _delete(old)
    except OSError as error:
        raise LavraError(f"{target} could not be written ({error.strerror or error}); nothing was kept") from error
    finally:
        _delete(beside)


def _sync_all(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_directory(directory)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _dump(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _copy_sentence_files(source: Path, target: Path) -> None:
    for file in [*(source / name for name in _SENTENCE_FILES), *source.glob("*_Pooling/config.json")]:
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, copy)
