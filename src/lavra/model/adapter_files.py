"""Adapters on disk, as peft writes and reads them: ``adapter_config.json`` and ``adapter_model.safetensors``.

Beside them Lavra puts ``lavra-adapter.json`` with the hash of the base model, so that an adapter is never laid over
another one in silence; peft ignores that file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lavra.errors import LavraError
from lavra.model.adapters import Adapted, AdapterConfig, Adapters, Method, Part, attach
from lavra.model.base import Model
from lavra.model.families.family import Family
from lavra.model.families.layouts import out, undo
from lavra.model.longer import RULE
from lavra.model.virtual import VirtualAdapters
from lavra.model.weights import read_json
from lavra.store.files import write_atomically

CONFIG, WEIGHTS, OWN = "adapter_config.json", "adapter_model.safetensors", "lavra-adapter.json"
VECTORS = "prompt_embeddings"
_PREFIX = "base_model.model."
_VIRTUAL_TYPES: dict[str, Method] = {"PROMPT_TUNING": "prompt", "PREFIX_TUNING": "prefix"}
_TASKS = {"language": "CAUSAL_LM", "sequence": "SEQ_CLS", "token": "TOKEN_CLS", "reward": "SEQ_CLS"}


def save_adapter(
    adapters: Adapters, family: Family, directory: Path, *, base: str = "", base_sha256: str = "", context: int = 0
) -> None:
    """Write ``directory``, which peft loads over the same base. ``base``: its name or path, for people; ``context``:
    what the base was stretched to, 0 where it was not (peft has no word for it)."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor]
    if isinstance(adapters, VirtualAdapters):
        tensors, fields = {VECTORS: adapters.virtual.vectors}, _virtual_fields(adapters, base)
    else:
        tensors = {_PREFIX + name: tensor for name, tensor in _tensors(adapters, family).items()}
        fields = _fields(adapters, family, base)
    half_written = directory / (WEIGHTS + ".part")
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, half_written)
    half_written.replace(directory / WEIGHTS)
    own = {"base": base, "base_sha256": base_sha256, "context": context} | ({"stretched": RULE} if context else {})
    write_atomically(directory / OWN, (json.dumps(own, indent=2) + "\n").encode())
    write_atomically(directory / CONFIG, (json.dumps(fields, indent=2) + "\n").encode())


def recorded_context(directory: Path) -> int:
    """The context that the base was stretched to while the adapter was trained; 0: its own.

    Raises LavraError where it was stretched by another rule than this version's.
    """
    own = read_json(directory / OWN) if (directory / OWN).is_file() else {}
    context = own.get("context", 0)
    if isinstance(context, bool) or not isinstance(context, int) or not 0 <= context <= 1 << 24:
        raise LavraError(f"{directory / OWN} has a context of {context!r}; copy the adapter again")
    if context and own.get("stretched") != RULE:
        raise LavraError(
            f"the adapter {directory.name} was trained on positions that another version of Lavra stretched in another "
            "way: tune it again"
        )
    return context


def load_adapter(model: Model, family: Family, directory: Path, *, base_sha256: str = "") -> Adapters:
    """Attach the adapter in ``directory``, Lavra's or peft's, to ``model``.

    Raises LavraError when it is damaged, is of a method that Lavra does not know, was made for another base (by hash
    where both are known, else by names and shapes), or when a tensor is missing or left over.
    """
    fields = read_json(directory / CONFIG)
    own = read_json(directory / OWN) if (directory / OWN).is_file() else {}
    made_for = own.get("base_sha256") or ""
    if made_for and base_sha256 and made_for != base_sha256:
        raise LavraError(
            f"the adapter {directory.name} was made for {own.get('base') or 'another model'} ({made_for[:12]}), "
            f"not for this one ({base_sha256[:12]}); load it over its own base"
        )
    adapters = attach(model, _config(fields, directory), family)
    try:
        with safe_open(directory / WEIGHTS, framework="pt") as file:
            found = {name.removeprefix(_PREFIX): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        adapters.detach()
        raise LavraError(f"{directory / WEIGHTS} is not a whole safetensors file ({error}); copy it again") from error
    try:
        if isinstance(adapters, VirtualAdapters):
            _fill_vectors(adapters, found, directory)
        else:
            _fill(adapters, family, found, directory)
    except LavraError:
        adapters.detach()
        raise
    return adapters


def _fields(adapters: Adapters, family: Family, base: str) -> dict[str, Any]:
    """peft's config."""
    config = adapters.config
    parts = [part for adapted in adapters.by_path.values() for part in adapted.parts]
    targets = sorted({_target(part.name, adapters.others) for part in parts})
    common: dict[str, Any] = {
        "base_model_name_or_path": base or None,
        "bias": "none",
        "fan_in_fan_out": any(part.layout == "transposed" for part in parts),
        "inference_mode": True,
        "modules_to_save": sorted({_file_stem(name) for name, _ in _whole_names(adapters, family)}) or None,
        "target_modules": targets,
        "task_type": _TASKS.get(adapters.model.config.head),
    }
    if config.method == "ia3":
        del common["bias"]
        inputs = {_target(a.parts[0].name, adapters.others) for a in adapters.by_path.values() if a.inputs}
        return common | {"peft_type": "IA3", "feedforward_modules": sorted(inputs), "init_ia3_weights": True}
    return common | {
        "peft_type": "LORA",
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.rank_stabilised,
        "use_dora": config.method == "dora",
        "init_lora_weights": True,
    }


def _virtual_fields(adapters: VirtualAdapters, base: str) -> dict[str, Any]:
    """peft's config of virtual tokens."""
    shape, config = adapters.model.config, adapters.config
    common: dict[str, Any] = {
        "base_model_name_or_path": base or None,
        "inference_mode": True,
        "num_layers": shape.layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": config.tokens,
        "peft_type": next(name for name, method in _VIRTUAL_TYPES.items() if method == config.method),
        "task_type": _TASKS.get(shape.head),
    }
    if config.method == "prompt":
        own = {"num_attention_heads": shape.heads, "token_dim": shape.width, "prompt_tuning_init": "RANDOM"}
        return common | own
    width = shape.kv_heads * shape.head_width
    own = {"num_attention_heads": shape.kv_heads, "token_dim": width, "encoder_hidden_size": width}
    return common | own | {"prefix_projection": False}


def _virtual_config(fields: dict[str, Any], directory: Path) -> AdapterConfig:
    if fields.get("num_transformer_submodules") not in (None, 1):
        raise LavraError(f"the adapter {directory.name} is for an encoder-decoder, before which Lavra puts nothing")
    tokens = fields.get("num_virtual_tokens")
    if type(tokens) is not int:
        raise LavraError(f"{directory / CONFIG} does not say how many num_virtual_tokens there are; copy it again")
    return AdapterConfig(method=_VIRTUAL_TYPES[fields["peft_type"]], tokens=tokens)


def _fill_vectors(adapters: VirtualAdapters, found: dict[str, Tensor], directory: Path) -> None:
    """A prefix made by a projection is stored as what it came to."""
    vectors = adapters.virtual.vectors
    if found.keys() != {VECTORS}:
        raise LavraError(f"the adapter {directory.name} holds {', '.join(sorted(found))}, not {VECTORS}; copy it again")
    if found[VECTORS].shape != vectors.shape:
        raise LavraError(
            f"the adapter {directory.name}: {VECTORS} has shape {tuple(found[VECTORS].shape)} where the model needs "
            f"{tuple(vectors.shape)}; it is for another model"
        )
    with torch.no_grad():
        vectors.copy_(found[VECTORS].to(vectors.dtype))


def _target(name: str, others: tuple[str, ...]) -> str:
    """The shortest end of a map's name that none of the ``others`` has: what peft looks for."""
    pieces = [piece for piece in name.split(".") if not piece.isdigit()]
    for count in range(1, len(pieces)):
        end = ".".join(pieces[-count:])
        if not any(other == end or other.endswith("." + end) for other in others):
            return end
    return name


def _config(fields: dict[str, Any], directory: Path) -> AdapterConfig:
    kind = fields.get("peft_type")
    if kind in _VIRTUAL_TYPES:
        return _virtual_config(fields, directory)
    if kind not in ("LORA", "IA3"):
        known = ", ".join(("LORA", "IA3", *_VIRTUAL_TYPES))
        raise LavraError(f"the adapter {directory.name} is of type {kind!r}; Lavra reads {known}")
    for field, harmless in (("rank_pattern", {}), ("alpha_pattern", {}), ("layers_to_transform", None)):
        if fields.get(field) not in (harmless, None):
            raise LavraError(f"the adapter {directory.name} sets {field}, which Lavra does not read")
    if fields.get("bias", "none") != "none":
        raise LavraError(f"the adapter {directory.name} trains biases, which Lavra does not read")
    targets = fields.get("target_modules")
    if isinstance(targets, str) and targets != "all-linear":
        raise LavraError(f"the adapter {directory.name} names its targets by a pattern; list them one by one")
    if not isinstance(targets, (list, str)):
        raise LavraError(f"{directory / CONFIG} lists no target_modules; copy it again")
    names = () if isinstance(targets, str) else tuple(str(target) for target in targets)
    whole = tuple(str(module) for module in fields.get("modules_to_save") or ())
    try:
        if kind == "IA3":
            inputs = tuple(fields.get("feedforward_modules") or ())
            return AdapterConfig(method="ia3", targets=names, inputs=inputs, whole=whole)
        return AdapterConfig(
            method="dora" if fields.get("use_dora") else "lora",
            rank=fields["r"],
            alpha=float(fields["lora_alpha"]),
            dropout=float(fields.get("lora_dropout") or 0.0),
            rank_stabilised=bool(fields.get("use_rslora")),
            targets=names,
            whole=whole,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LavraError(f"{directory / CONFIG} is not a whole adapter config ({error}); copy it again") from error


def _tensors(adapters: Adapters, family: Family) -> dict[str, Tensor]:
    """Every tensor under peft's name less its first words, in the order of the file's rows."""
    found: dict[str, Tensor] = {}
    for adapted in adapters.by_path.values():
        for index, part in enumerate(adapted.parts):
            for leaf, tensor, rows in _of_part(adapted, index):
                stored = tensor.data
                if rows and part.layout == "by_head":
                    stored = out(stored, part.layout, adapters.model.config)
                if leaf == "ia3_l":
                    stored = stored[None, :] if adapted.inputs else stored[:, None]
                found[_full_name(family, part) + "." + leaf] = stored
    for name, parameter in _whole_names(adapters, family):
        found[name] = parameter.data
    return found


def _of_part(adapted: Adapted, index: int) -> list[tuple[str, Tensor, bool]]:
    """(peft's leaf, the parameter, whether its rows are the matrix's output rows) of one part."""
    if adapted.config.method == "ia3":
        return [("ia3_l", adapted.scales[index], not adapted.inputs)]
    mine = [("lora_A.weight", adapted.down[index], False), ("lora_B.weight", adapted.up[index], True)]
    if adapted.config.method == "dora":
        mine.append(("lora_magnitude_vector", adapted.magnitude[index], True))
    return mine


def _fill(adapters: Adapters, family: Family, found: dict[str, Tensor], directory: Path) -> None:
    wanted = _tensors(adapters, family)
    if missing := sorted(wanted.keys() - found.keys()):
        raise LavraError(f"the adapter {directory.name} lacks {missing[0]}; it is damaged or for another model")
    if extra := sorted(found.keys() - wanted.keys()):
        raise LavraError(f"the adapter {directory.name} has {extra[0]}, for which the model has no place")
    for name, tensor in wanted.items():
        if tuple(found[name].shape) != tuple(tensor.shape):
            raise LavraError(
                f"the adapter {directory.name}: {name} has shape {tuple(found[name].shape)} where the model needs "
                f"{tuple(tensor.shape)}; it is for another model"
            )
    with torch.no_grad():
        for adapted in adapters.by_path.values():
            for index, part in enumerate(adapted.parts):
                for leaf, parameter, rows in _of_part(adapted, index):
                    value = found[_full_name(family, part) + "." + leaf].to(parameter.dtype)
                    parameter.copy_(value.reshape(parameter.shape))
                    if rows and part.layout == "by_head":
                        undo(parameter.data, parameter.data, part.layout, adapters.model.config)
        for name, whole in _whole_names(adapters, family):
            whole.copy_(found[name].to(whole.dtype))


def _full_name(family: Family, part: Part) -> str:
    return _with_prefix(family, part.name)


def _with_prefix(family: Family, name: str) -> str:
    """With what transformers puts before the names of the stack, but not of the heads."""
    return name if family.heads and name.startswith(family.heads) else family.prefix + name


def _whole_names(adapters: Adapters, family: Family) -> list[tuple[str, Tensor]]:
    """The modules trained as they are, by their names in the file."""
    return [(_with_prefix(family, adapters.stored[name]), parameter) for name, parameter in adapters.whole.items()]


def _file_stem(name: str) -> str:
    return name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]
