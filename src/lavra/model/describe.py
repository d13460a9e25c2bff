"""A model in words and a drawing: what it is made of and what it costs, without loading a weight.

``counts.py`` has the numbers and their sources, ``drawing.py`` draws; this file lays out the page that
``lavra models describe`` prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lavra.errors import LavraError
from lavra.model.cache import SPARE
from lavra.model.config import ModelConfig
from lavra.model.counts import (
    ADAPTER_RANK,
    PARTS,
    WEIGHT_BITS,
    CacheSize,
    Operations,
    Parameters,
    Training,
    count_cache,
    count_operations,
    count_parameters,
    serving_bytes,
    training_bytes,
)
from lavra.model.drawing import ARCHITECTURES, NORMS, activation_words, draw
from lavra.model.weights import open_model

_LONGEST = 1 << 20
_LARGEST_BATCH = 4096


@dataclass(frozen=True)
class Description:
    """Everything that ``lavra models describe`` prints. Numbers are counts, operations and bytes."""

    name: str
    config: ModelConfig
    context: int
    batch: int
    parameters: Parameters
    operations: Operations
    cache: CacheSize
    training: dict[str, Training]
    serving: dict[str, tuple[int, int]]
    """By weight format: bytes of the weights, and of the cache of ``context`` tokens."""

    def as_json(self) -> dict[str, Any]:
        """Plain values, for programs."""
        p, o = self.parameters, self.operations
        return {
            "name": self.name,
            "context": self.context,
            "batch": self.batch,
            "parameters": {"total": p.all, "active": p.all_active, "by_part": p.total, "active_by_part": p.active},
            "flops_per_token": {
                "forward": o.forward,
                "training": o.training,
                "weights": o.weights,
                "attention": o.attention,
                "source_token": o.encoder,
                "image": o.image,
            },
            "cache_numbers": asdict(self.cache),
            "cache_bytes_per_token": {"fp32": 4 * self.cache.per_token, "bf16": 2 * self.cache.per_token},
            "training_bytes": {way: {**asdict(held), "all": held.all} for way, held in self.training.items()},
            "serving_bytes": {way: {"weights": w, "cache": c, "all": w + c} for way, (w, c) in self.serving.items()},
            "config": _plain(asdict(self.config)),
        }

    def as_text(self) -> str:
        """The page, without a line break at its end."""
        sections = [
            f"{self.name}: {kind_of(self.config)}, {human_count(self.parameters.all)} parameters",
            draw(self.config),
            _parameters(self.parameters),
            _operations(self),
        ]
        if self.cache.at_context or self.cache.state:
            sections.append(_cache(self))
        sections += [_training(self), _serving(self)]
        return "\n\n".join(sections)


def describe(path: Path, *, name: str | None = None, context: int | None = None, batch: int = 1) -> Description:
    """The model at ``path``, headers read only, for ``batch`` texts of ``context`` tokens.

    ``context``: by default the model's own, at most 4,096. Raises LavraError as ``load_model`` does, and for a context
    that learned positions do not reach.
    """
    _, config, _ = open_model(path)
    return describe_config(config, name=name or path.name, context=context, batch=batch)


def describe_config(config: ModelConfig, *, name: str, context: int | None = None, batch: int = 1) -> Description:
    """As :func:`describe`, of a config that no file may have yet."""
    reach = config.image.tokens if config.image is not None else config.context_length
    if context is None:
        context = min(reach, 4096)
    if not 1 <= context <= _LONGEST:
        raise LavraError(f"context is {context}; give 1 to {_LONGEST:,} tokens")
    if not 1 <= batch <= _LARGEST_BATCH:
        raise LavraError(f"batch is {batch}; give 1 to {_LARGEST_BATCH:,} texts")
    if config.positions == "learned" and context > reach:
        raise LavraError(f"context is {context}, but {name} has learned positions for {reach} tokens; give fewer")
    parameters = count_parameters(config)
    return Description(
        name,
        config,
        context,
        batch,
        parameters,
        count_operations(config, context, parameters),
        count_cache(config, context),
        training_bytes(config, batch, context, parameters=parameters),
        serving_bytes(config, context, parameters),
    )


def kind_of(config: ModelConfig) -> str:
    """What the model is, in a few words."""
    if config.vision is not None:
        return "dual encoder of texts and images"
    if config.image is not None:
        return "encoder of images"
    if config.encoder is not None:
        return "encoder-decoder"
    if config.architecture != "transformer":
        return f"{ARCHITECTURES[config.architecture]} language model"
    if not config.causal:
        return "encoder"
    return "causal encoder" if config.head == "none" else "decoder"


def summary(config: ModelConfig) -> str:
    """The model's choices in one line, without its sizes."""
    if config.vision is not None:
        return f"{kind_of(config)}: {_choices(config)}; images: {_choices(config.vision)}"
    return f"{kind_of(config)}: {_choices(config)}"


def _choices(config: ModelConfig) -> str:
    grouped = "grouped-query" if config.kv_heads < config.heads else "multi-head"
    found = [
        {"pre": "pre-", "post": "post-", "both": "pre- and post-", "after": "after-"}[config.norm_position]
        + NORMS[config.norm],
        {"none": "", "sinusoidal": "sinusoidal", "learned": "learned positions", "rotary": "rotary"}[config.positions]
        + (" in some layers" if config.unrotated_layers else ""),
        {"none": "", "shaw": "Shaw", "buckets": "T5 buckets", "alibi": "ALiBi"}[config.relative],
        f"{grouped} attention",
        _reach_of(config),
        "QK-norm" if config.qk_norm != "none" else "",
        "soft cap" if config.attention_soft_cap is not None else "",
        "attention and MLP in parallel" if config.parallel else "",
        activation_words(config) + (" experts" if config.experts is not None else ""),
    ]
    return ", ".join(word for word in found if word)


def _reach_of(config: ModelConfig) -> str:
    if config.window is None and config.radius is None:
        return ""
    reach = "sliding window" if config.window is not None else "window on either side"
    return reach if config.local_layers is None else f"{reach} in some layers"


def _parameters(counts: Parameters) -> str:
    rows = []
    for part in PARTS:
        if size := counts.total.get(part, 0):
            active = counts.active[part]
            note = f"{human_count(active)} active a token" if active != size else ""
            rows.append((part, f"{size:,}", f"{size / counts.all:.1%}", note))
    note = f"{human_count(counts.all_active)} active a token" if counts.all_active != counts.all else ""
    rows.append(("all", f"{counts.all:,}", "", note))
    return "Parameters (a tied matrix counts once)\n" + table(rows, right=(1, 2))


def _operations(it: Description) -> str:
    o, config = it.operations, it.config
    token = "target token" if config.encoder is not None else "image token" if config.image else "token"
    rows = [
        (f"forward, a {token}", _flops(o.forward), f"weights {_flops(o.weights)}, attention {_flops(o.attention)}"),
        (f"training, a {token}", _flops(o.training), "three times the forward pass"),
    ]
    if o.encoder:
        rows.append(("encoder, a source token", _flops(o.encoder), "once a text"))
    if o.image:
        rows.append(("image tower, an image", _flops(o.image), ""))
    title = f"Operations (FLOPs) with {_reach(config, it.context):,} tokens in view"
    return (
        f"{title}\n{table(rows, right=(1,))}\n"
        "  2 a weight + 4 · keys · H · D a layer: Kaplan et al. 2020, section 2.1; Hoffmann et al. 2022, appendix F"
    )


def _cache(it: Description) -> str:
    cache, config = it.cache, it.config
    layer = 2 * config.kv_heads * config.head_width
    lines = []
    if cache.per_token:
        lines.append(
            f"  a token: {human(2 * cache.per_token)} in bf16, {human(4 * cache.per_token)} in fp32 "
            f"({config.layers} layers × 2 × {config.kv_heads} key/value heads × {config.head_width})"
        )
        lines.append(f"  {it.context:,} tokens: {human(2 * cache.at_context)} in bf16")
    if cache.local_layers:
        assert config.window is not None
        beyond = layer * (config.layers - cache.local_layers)
        lines.append(
            f"  {cache.local_layers} layers keep {config.window - 1 + SPARE:,} tokens at most: their window of "
            f"{config.window:,}, and what can be taken back"
        )
        lines.append(f"  beyond it a token adds {human(2 * beyond)} (if all were kept: {human(2 * cache.unbounded)})")
    if cache.cross:
        lines.append(f"  of the source, {it.context:,} tokens: {human(2 * cache.cross)} in bf16, made once")
    if cache.state:
        lines.append(f"  state: {human(2 * cache.state)} in bf16, whatever the length of the text")
    return "\n".join(["Cache, for one text", *lines])


def _training(it: Description) -> str:
    header = ("", "weights", "gradients", "moments", "activations", "loss", "all")
    rows: list[tuple[str, ...]] = [header]
    for way, held in it.training.items():
        numbers = (held.weights, held.gradients, held.moments, held.activations, held.loss, held.all)
        rows.append((way, *(human(number) for number in numbers)))
    at_once = f"{it.batch} × {_reach(it.config, it.context):,} tokens"
    title = f"Memory to train with AdamW on {at_once} at once (LoRA {ADAPTER_RANK}: low-rank factors of that rank)"
    return f"{title}\n" + table(rows, right=range(1, 7))


def _reach(config: ModelConfig, context: int) -> int:
    return config.image.tokens if config.image is not None else context


def _serving(it: Description) -> str:
    rows = [("", "weights", "cache", "all")]
    for way in WEIGHT_BITS:
        weights, cache = it.serving[way]
        rows.append((way, human(weights), human(cache) if cache else "-", human(weights + cache)))
    title = f"Memory to serve one text of {_reach(it.config, it.context):,} tokens, without a step's working memory"
    return f"{title}\n" + table(rows, right=(1, 2, 3))


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    """Columns as wide as their widest cell, two spaces apart."""
    right = set(right)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def human(size: float) -> str:
    """Bytes, in powers of a thousand."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def human_count(count: float) -> str:
    """``134.5M``."""
    for unit in ("", "k", "M", "B"):
        if count < 999.5:
            return f"{count:.0f}{unit}" if not unit or (count >= 99.95 and unit == "k") else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f}T"


def _flops(count: float) -> str:
    for unit in ("", " k", " M", " G", " T"):
        if count < 999.5:
            return f"{count:.3g}{unit}FLOP" if unit else f"{count:.0f} FLOP"
        count /= 1000
    return f"{count:.3g} PFLOP"


def _plain(value: Any) -> Any:
    """Without what a config leaves at None: most families use few of its fields."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    return value
