"""Fields that the configs of many Hugging Face families share, both ways: rotary positions, windows, heads.

What a file leaves out means what transformers' class for it means, so a reader takes defaults from there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from lavra.errors import LavraError
from lavra.model.config import ModelConfig, RotaryScaling
from lavra.model.families.family import Shapes, refuse

Fields = Mapping[str, Any]
Read = Callable[[Fields, Shapes], ModelConfig]
Write = Callable[[ModelConfig], dict[str, Any]]

# More layers than any model has; a pattern is not spelled out for a number that will be refused.
_MOST_LAYERS = 4096


def faithful(kind: str, read: Read, write: Write) -> Write:
    """``write``, refusing what the format of ``kind`` cannot express: what it wrote is read again and compared.

    Dropout is for training and changes no answer; formats without a place for it lose it.
    """

    def checked(config: ModelConfig) -> dict[str, Any]:
        fields = write(config)
        given, again = plain(config), plain(read(fields, {}))
        for field in dataclasses.fields(ModelConfig):
            if getattr(given, field.name) != getattr(again, field.name):
                raise LavraError(
                    f"the format of {kind} has no place for {field.name} {getattr(config, field.name)!r}; "
                    "write the model as another family"
                )
        return fields

    return checked


def plain(config: ModelConfig) -> ModelConfig:
    """One spelling for configs that say the same in different ways."""
    local = tuple(layer for layer in range(config.layers) if config.is_local(layer))
    changes: dict[str, Any] = {"local_layers": None if len(local) in (0, config.layers) else local}
    if not local:
        changes |= {"window": None, "radius": None, "local_rope_theta": None, "sinks": 0}
    if config.local_rope_theta == config.rope_theta and config.rope_scaling is None:
        changes["local_rope_theta"] = None
    if config.rotary_width == config.head_width:
        changes["rotary_width"] = None
    if config.attention_scale == config.head_width**-0.5:
        changes["attention_scale"] = None
    if config.head not in ("language", "masked"):
        changes["tied_embeddings"] = True
    return dataclasses.replace(config, dropout=0.0, attention_dropout=0.0, **changes)


def read_rotary(
    hf: Fields, head_width: Any, *, theta: float = 10_000.0, part: float | None = None, original: int | None = None
) -> dict[str, Any]:
    """``rope_theta``, ``rope_scaling`` and ``rotary_width``, wherever the file's version puts them.

    transformers 5 has all in ``rope_parameters``; older files have ``rope_theta`` and ``rope_scaling`` side by side.
    ``theta``: the family's default base. ``part``: of a head's width that turns, by default; None for a family that
    turns all of it. ``original``: the context of the first training, where the family has a field of its own for it.
    """
    rope = {**(hf.get("rope_scaling") or {}), **(hf.get("rope_parameters") or {})}
    found = rope.get("partial_rotary_factor", hf.get("partial_rotary_factor", part))
    refuse(part is None and found not in (None, 1.0), "partial rotary positions")
    turning = None if found in (None, 1.0) else int(head_width * found)
    return {
        "rope_theta": rope.get("rope_theta", hf.get("rope_theta", theta)),
        "rope_scaling": read_scaling(rope, hf["max_position_embeddings"], original),
        "rotary_width": None if turning == head_width else turning,
    }


def read_scaling(rope: Fields, context: Any, original: Any = None) -> RotaryScaling | None:
    """One entry of ``rope_parameters``, as ``modeling_rope_utils`` of transformers understands it."""
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "su" or (kind == "yarn" and "short_factor" in rope):  # its first names, in the first Phi-3
        kind = "longrope"
    if kind == "default":
        return None
    refuse(kind not in ("linear", "dynamic", "yarn", "llama3", "longrope"), f"rotary positions of type {kind!r}")
    if kind == "linear":
        return RotaryScaling("linear", factor=rope["factor"])
    if kind == "dynamic":
        return RotaryScaling("dynamic", factor=rope["factor"], original_context=context)
    if original is None:
        original = rope.get("original_max_position_embeddings") or context
    factor, attention = rope.get("factor"), rope.get("attention_factor")
    if factor is None:
        factor = max(1.0, context / original)
    if kind == "llama3":
        return RotaryScaling(
            "llama3",
            factor=factor,
            original_context=original,
            low_frequency_factor=rope["low_freq_factor"],
            high_frequency_factor=rope["high_freq_factor"],
        )
    if kind == "longrope":
        return RotaryScaling(
            "longrope",
            factor=factor,
            original_context=original,
            attention_factor=attention,
            short=tuple(rope["short_factor"]),
            long=tuple(rope["long_factor"]),
        )
    if attention is None and rope.get("mscale") and rope.get("mscale_all_dim") and factor > 1:  # DeepSeek's spelling
        attention = (0.1 * rope["mscale"] * math.log(factor) + 1) / (
            0.1 * rope["mscale_all_dim"] * math.log(factor) + 1
        )
    return RotaryScaling(
        "yarn",
        factor=factor,
        original_context=original,
        attention_factor=attention,
        beta_fast=rope.get("beta_fast") or 32.0,
        beta_slow=rope.get("beta_slow") or 1.0,
        truncate=rope.get("truncate", True),
    )


def write_scaling(theta: float, scaling: RotaryScaling | None) -> dict[str, Any]:
    """The entry of ``rope_parameters`` that :func:`read_scaling` reads."""
    entry: dict[str, Any] = {"rope_theta": theta, "rope_type": "default" if scaling is None else scaling.kind}
    if scaling is None:
        return entry
    if scaling.kind == "ntk":
        raise LavraError("Hugging Face configs cannot say ntk scaling; raise rope_theta instead, which is the same")
    entry["factor"] = scaling.factor
    if scaling.kind in ("yarn", "llama3", "longrope"):
        entry["original_max_position_embeddings"] = scaling.original_context
    if scaling.attention_factor is not None:
        entry["attention_factor"] = scaling.attention_factor
    if scaling.kind == "yarn":
        entry |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow, "truncate": scaling.truncate}
    if scaling.kind == "llama3":
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        entry |= {"low_freq_factor": low, "high_freq_factor": high}
    if scaling.kind == "longrope":
        entry |= {"short_factor": list(scaling.short), "long_factor": list(scaling.long)}
    return entry


def write_rotary(config: ModelConfig) -> dict[str, Any]:
    """The fields that :func:`read_rotary` reads, in the old spelling and in the new one."""
    entry = write_scaling(config.rope_theta, config.rope_scaling)
    scaled = None if config.rope_scaling is None else {key: entry[key] for key in entry if key != "rope_theta"}
    fields: dict[str, Any] = {"rope_theta": config.rope_theta, "rope_scaling": scaled, "rope_parameters": entry}
    if config.rotary_width is not None:
        part = fraction(config.rotary_width, config.head_width)
        fields["partial_rotary_factor"] = entry["partial_rotary_factor"] = part
        if scaled is not None:
            scaled["partial_rotary_factor"] = part
    return fields


def fraction(part: int, whole: int) -> float:
    """The number for which int(whole * number) is ``part``: division alone may round below it."""
    number = part / whole
    return number if int(whole * number) == part else math.nextafter(number, 1.0)


def read_windows(
    hf: Fields, size: Any, default: Callable[[int], bool] | None = None, *, types: bool = True
) -> dict[str, Any]:
    """``window`` and ``local_layers`` from the file's ``layer_types``, or by ``default`` for a layer's number, which
    is all layers where it is None. ``types``: whether the family has that field."""
    layers, listed = hf["num_hidden_layers"], hf.get("layer_types") if types else None
    if listed is not None:
        unknown = [kind for kind in listed if kind not in ("sliding_attention", "full_attention")]
        refuse(unknown, f"layers of type {unknown[0]!r}" if unknown else "")
        if len(listed) != layers:
            raise LavraError(f"model config: {len(listed)} layer_types for {layers} layers; it contradicts itself")
        local = tuple(layer for layer, kind in enumerate(listed) if kind == "sliding_attention")
        if local and not size:
            raise LavraError("model config: layer_types names sliding_attention, but there is no sliding_window")
    else:
        count = min(layers, _MOST_LAYERS)
        local = tuple(layer for layer in range(count) if default is None or default(layer))
    if not size or not local:
        return {}
    return {"window": size, "local_layers": None if len(local) == layers else local}


def write_windows(config: ModelConfig) -> dict[str, Any]:
    """``sliding_window`` and ``layer_types``."""
    kinds = ("full_attention", "sliding_attention")
    types = [kinds[config.is_local(layer)] for layer in range(config.layers)]
    return {"sliding_window": config.window, "layer_types": types}


# A class of transformers ends in these, by our head; "{}" is the family's own name.
DECODER_CLASSES = {
    "language": "{}ForCausalLM",
    "sequence": "{}ForSequenceClassification",
    "reward": "{}ForSequenceClassification",
    "token": "{}ForTokenClassification",
    "none": "{}Model",
}


def read_decoder_head(hf: Fields, shapes: Shapes, *, tied: bool = False) -> dict[str, Any]:
    """What a decoder's ``architectures`` says is read off its states; a class named …Model has no head unless its
    embedding is one. ``tied``: the family's default of ``tie_word_embeddings``.

    One class without a name of its own is a reward (or a regression); several are labels.
    """
    kind, found = str((hf.get("architectures") or [""])[0]), bool(hf.get("tie_word_embeddings", tied))
    if kind.endswith("ForSequenceClassification"):
        labels = read_labels(hf, shapes.get("score.weight", (0,))[0])
        if labels == ("LABEL_0",):
            return {"head": "reward", "pooling": "last"}
        return {"head": "sequence", "pooling": "last", "labels": labels}
    if kind.endswith("ForTokenClassification"):
        return {"head": "token", "head_bias": True, "labels": read_labels(hf, shapes.get("score.weight", (0,))[0])}
    refuse(kind.endswith("ForQuestionAnswering"), "a head that marks spans")
    if kind.endswith("Model") and not kind.endswith("LMHeadModel") and not found:
        return {"head": "none"}
    return {"head": "language", "tied_embeddings": found}


def write_decoder_head(config: ModelConfig, name: str) -> dict[str, Any]:
    """``architectures`` and what belongs to it; ``name``: what the family's classes begin with."""
    if config.head not in DECODER_CLASSES:
        raise LavraError(f"a decoder of transformers has no {config.head} head; write the model as another family")
    fields: dict[str, Any] = {"architectures": [DECODER_CLASSES[config.head].format(name)]}
    fields["tie_word_embeddings"] = config.tied_embeddings and config.head == "language"
    if config.head in ("sequence", "token", "reward"):
        fields |= write_labels(config.labels or ("LABEL_0",))
    return fields


def read_labels(hf: Fields, found: int = 0) -> tuple[str, ...]:
    """The names of the classes in order; a file without them has ``found``, or transformers' default of two."""
    named = hf.get("id2label")
    if named:
        return tuple(str(named[index]) for index in sorted(named, key=int))
    count = min(int(hf.get("num_labels") or found or 2), 1 << 16)
    return tuple(f"LABEL_{index}" for index in range(count))


def write_labels(labels: tuple[str, ...]) -> dict[str, Any]:
    """``id2label`` and its inverse."""
    return {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
