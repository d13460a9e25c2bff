"""Lavra's own directories, for what no other format can say: sparse patterns, a compressive memory, an LSTM …

``config.json`` holds :class:`ModelConfig`'s fields as they are called here, and tensors have the names of Lavra's
parameters. Nothing of it is believed: every field is checked as if a person had typed it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from lavra.errors import LavraError
from lavra.model.config import CONFIG_PARTS, ModelConfig
from lavra.model.families.family import Family, Rule, Shapes

MODEL_TYPE = "lavra"

# What every config.json says beside the model's shape; the tokenizer's files are where Lavra looks for it.
_BESIDE = (
    "model_type",
    "architectures",
    "dtype",
    "torch_dtype",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "transformers_version",
)


def _read(given: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    return _make(ModelConfig, {name: value for name, value in given.items() if name not in _BESIDE}, "")


def _make(kind: type, given: Mapping[str, Any], where: str) -> Any:
    """A dataclass from JSON's objects, lists and values; :class:`ModelConfig` and its parts then check themselves."""
    known = {field.name: field for field in fields(kind)}
    for name in given:
        if name not in known:
            raise LavraError(
                f"the config has the field {(where + name)[:60]!r}, which this version of Lavra does not know; "
                "it was written by a newer one, or is damaged"
            )
    made = {}
    for name, field in known.items():
        if name not in given:
            if field.default is MISSING:
                raise KeyError(where + name)
            continue
        value = given[name]
        part = CONFIG_PARTS.get(name) if kind is ModelConfig else None
        if part is not None and value is not None:
            if not isinstance(value, Mapping):
                raise LavraError(f"the config's {where}{name} is not an object; download the model again")
            value = _make(part, value, f"{where}{name}.")
        made[name] = tuple(value) if isinstance(value, list) else value
    return kind(**made)


def _write(config: ModelConfig) -> dict[str, Any]:
    # Other tools, and Lavra's own inspection, tell by the suffix whether a model writes.
    architecture = "LavraForCausalLM" if config.writes else "LavraModel"
    return {"architectures": [architecture], "model_type": MODEL_TYPE, **asdict(config)}


class _SameNames(Mapping[str, Rule]):
    """Every parameter is called what it is called: a table without an end, which therefore lists nothing."""

    def __getitem__(self, name: str) -> Rule:
        return Rule((name,))

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


OWN: Mapping[str, Family] = {MODEL_TYPE: Family(read=_read, write=_write, names=_SameNames())}
