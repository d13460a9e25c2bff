"""A model in words and a drawing: what it is made of and what it costs, without loading a weight.

``counts.py`` has the numbers and their sources; this file only lays them out. ``lavra models describe`` prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lavra.errors import LavraError
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
        return f"{_ARCHITECTURES[config.architecture]} language model"
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
        + _NORMS[config.norm],
        {"none": "", "sinusoidal": "sinusoidal", "learned": "learned positions", "rotary": "rotary"}[config.positions]
        + (" in some layers" if config.unrotated_layers else ""),
        {"none": "", "shaw": "Shaw", "buckets": "T5 buckets", "alibi": "ALiBi"}[config.relative],
        f"{grouped} attention",
        _reach_of(config),
        "QK-norm" if config.qk_norm != "none" else "",
        "soft cap" if config.attention_soft_cap is not None else "",
        "attention and MLP in parallel" if config.parallel else "",
        _activation(config) + (" experts" if config.experts is not None else ""),
    ]
    return ", ".join(word for word in found if word)


def _reach_of(config: ModelConfig) -> str:
    if config.window is None and config.radius is None:
        return ""
    reach = "sliding window" if config.window is not None else "window on either side"
    return reach if config.local_layers is None else f"{reach} in some layers"


def _activation(config: ModelConfig) -> str:
    names = _GATED_NAMES if config.gated else _ACTIVATION_NAMES
    return names.get(config.activation) or f"gated {_ACTIVATION_NAMES[config.activation]}"


_ARCHITECTURES = {"lstm": "LSTM", "gru": "GRU", "convolution": "convolutional"}


# ── the numbers, in tables ──────────────────────────────────────────────────────────────────────────────────────


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
        beyond = layer * (config.layers - cache.local_layers)
        lines.append(
            f"  {cache.local_layers} layers need no more than their window of {config.window:,}; beyond it a token "
            f"adds {human(2 * beyond)} (if all were kept: {human(2 * cache.unbounded)})"
        )
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


# ── the drawing ─────────────────────────────────────────────────────────────────────────────────────────────────


def draw(config: ModelConfig) -> str:
    """The architecture from its input, above, to what is read off it; towers and the encoder on the left."""
    if config.vision is not None:
        left, right = _column(config.vision, "images"), _column(config, "text")
        return "\n".join(_beside(left, right, arrow=None))
    if config.encoder is not None:
        left = _column(config.encoder, "source", vocabulary=config.vocabulary_size)
        right = _column(config, "target so far")
        target = next(index for index, line in enumerate(right) if "cross-attention" in line)
        return "\n".join(_beside(left, right, arrow=target))
    return "\n".join(_column(config, "image" if config.image is not None else "text"))


def _column(config: ModelConfig, source: str, vocabulary: int | None = None) -> list[str]:
    """One stack from top to bottom."""
    outer = _input_lines(config, vocabulary)
    block = _block_lines(config)
    after = _output_lines(config)
    width = max(len(line) for line in (*outer, *block, *after)) + 2
    middle = width // 2
    down = " " * (middle + 1) + "│"
    lines = [source.center(width + 2).rstrip(), down, *_box(outer, width), down]
    lines += _box(block, width, f" × {config.layers}")
    if after:
        lines += [down, *_box(after, width)]
    lines += [down, _result(config).center(width + 2).rstrip()]
    return lines


def _box(lines: Sequence[str], width: int, note: str = "") -> list[str]:
    inside = [f"│ {line.ljust(width - 1)}│" if line else f"├{'╌' * width}┤" for line in lines]
    return [f"┌{'─' * width}┐", *inside, f"└{'─' * width}┘{note}"]


def _beside(left: list[str], right: list[str], arrow: int | None) -> list[str]:
    """Two columns; with an ``arrow`` from the end of the left one to that line of the right one."""
    width = max(map(len, left))
    if arrow is None:
        height = max(len(left), len(right))
        rows = [(column + [""] * (height - len(column))) for column in (left, right)]
        return [f"{a.ljust(width)}    {b}".rstrip() for a, b in zip(*rows, strict=True)]
    # The arrow leaves below the encoder, so the decoder is moved down until its cross-attention is level with that.
    end = len(left) - 1
    if arrow < end:
        right = [""] * (end - arrow) + right
    else:
        left = left[:-2] + [left[-2]] * (arrow - end) + left[-2:]
    row = max(arrow, end)
    height = max(len(left), len(right))
    lines = []
    for index in range(height):
        a = left[index] if index < len(left) else ""
        b = right[index] if index < len(right) else ""
        if index == row:
            lines.append(f"{a} ".ljust(width + 3, "─") + "▶" + b)
        else:
            lines.append(f"{a.ljust(width)}    {b}".rstrip())
    return lines


_NORMS = {"rms": "RMSNorm", "layer": "LayerNorm"}
_ACTIVATION_NAMES = {
    "silu": "SiLU",
    "gelu": "GELU",
    "gelu_tanh": "GELU (tanh)",
    "gelu_quick": "GELU (quick)",
    "relu": "ReLU",
    "relu2": "ReLU²",
}
_GATED_NAMES = {"silu": "SwiGLU", "gelu": "GeGLU", "gelu_tanh": "GeGLU (tanh)", "relu": "ReGLU"}


def _input_lines(config: ModelConfig, vocabulary: int | None) -> list[str]:
    if config.image is not None:
        image = config.image
        lines = [
            f"patches of {image.patch} × {image.patch} from {image.size} × {image.size} × {image.channels}",
            f"{image.tokens - 1} patches + 1 class token, {config.width} wide",
        ]
    else:
        shared = ", shared with the decoder" if vocabulary else ""
        lines = [f"embedding {vocabulary or config.vocabulary_size:,} × {config.width:,}{shared}"]
        if config.embedding_scale != 1.0:
            lines[0] += f" · {config.embedding_scale:.4g}"
    if config.token_types:
        lines.append(f"+ {config.token_types} segment types")
    if config.positions == "learned":
        rows = config.image.tokens if config.image is not None else config.context_length
        lines.append(f"+ learned positions, {rows:,}")
    elif config.positions == "sinusoidal":
        lines.append("+ sinusoidal positions")
    if config.embedding_norm:
        lines.append(_NORMS[config.norm])
    return lines


def _block_lines(config: ModelConfig) -> list[str]:
    if config.architecture != "transformer":
        return _recurrent_lines(config)
    norm = _NORMS[config.norm]
    attention, mlp = attention_lines(config), _mlp_lines(config)
    cross = ["cross-attention, as many heads"] if config.encoder is not None else []
    if config.parallel:
        return [f"{norm}, {norm}", *attention, *mlp, "both + residual"]
    groups = [attention, *([cross] if cross else []), mlp]
    lines: list[str] = []
    for index, group in enumerate(groups):
        before = config.norm_position in ("pre", "both")
        name = norm if index or config.first_norm else f"{norm} (not in block 0)"
        if index:
            lines.append("")
        lines += [name] if before else []
        lines += group
        if config.norm_position == "post":
            lines += ["+ residual", norm]
        elif config.norm_position in ("both", "after"):
            lines += [norm, "+ residual"]
        else:
            lines.append("+ residual")
    if config.residual_scale != 1.0:
        lines = [line.replace("+ residual", f"× {config.residual_scale:.4g} + residual") for line in lines]
    return lines


def _recurrent_lines(config: ModelConfig) -> list[str]:
    if config.architecture == "convolution":
        convolution = f"gated causal convolution over {config.kernel_width} tokens, {config.hidden_width:,} wide"
        return [_NORMS[config.norm], convolution, "projection", "+ residual"]
    recurrence = f"{_ARCHITECTURES[config.architecture]}, state {config.hidden_width:,}"
    return [_NORMS[config.norm], recurrence, "projection", "+ residual"]


def heads_line(config: ModelConfig) -> str:
    """``9 heads × 64 over 3 key/value heads``."""
    heads = f"{config.heads} heads × {config.head_width}"
    if config.kv_heads == config.heads:
        return heads
    return f"{heads} over {config.kv_heads} key/value head{'s' if config.kv_heads > 1 else ''}"


def attention_lines(config: ModelConfig) -> list[str]:
    """What attention is in this model, a choice a line."""
    seen = "causal" if config.causal else "bidirectional"
    lines = [f"attention, {seen}", f"  {heads_line(config)}"]
    if config.positions == "rotary":
        lines.append("  " + _rotary(config))
    if config.relative != "none":
        name = {"shaw": "Shaw's", "buckets": "T5's buckets of", "alibi": "ALiBi's"}[config.relative]
        size = f", {config.relative_buckets} up to {config.relative_distance}" if config.relative == "buckets" else ""
        size = f" up to {config.relative_distance}" if config.relative == "shaw" else size
        lines.append(f"  {name} relative positions{size}")
    if config.window is not None or config.radius is not None:
        reach = f"window {config.window:,}" if config.window is not None else f"{config.radius:,} on either side"
        lines.append(f"  {reach}: {_which(config)}")
        if config.sinks:
            lines.append(f"  the first {config.sinks} tokens seen from everywhere")
    if config.sparse is not None:
        s = config.sparse
        lines.append(f"  {s.kind} blocks of {s.block}, {s.local} local, stride {s.stride}")
    extras = []
    if config.qk_norm != "none":
        extras.append(f"QK-norm {'a head' if config.qk_norm == 'head' else 'over all heads'}")
    if config.attention_soft_cap is not None:
        extras.append(f"soft cap {config.attention_soft_cap:g}")
    if config.sink_logits:
        extras.append("sink logits")
    if config.attention_scale is not None:
        extras.append(f"scale {config.attention_scale:.4g}")
    if extras:
        lines.append("  " + ", ".join(extras))
    if config.memory is not None:
        m = config.memory
        lines.append(f"  memory: {m.recent} recent, {m.compressed} compressed {m.rate} : 1 by {m.function}")
    return lines


def _rotary(config: ModelConfig) -> str:
    text = f"rotary positions, base {config.rope_theta:,.0f}"
    if config.rotary_width is not None and config.rotary_width != config.head_width:
        text += f", {config.rotary_width} of {config.head_width} dimensions"
    if config.local_rope_theta is not None:
        text += f" ({config.local_rope_theta:,.0f} in local layers)"
    if config.rope_scaling is not None:
        text += f", {config.rope_scaling.kind} × {config.rope_scaling.factor:g}"
    if config.unrotated_layers:
        text += f", none in {len(config.unrotated_layers)} layers"
    return text


def _which(config: ModelConfig) -> str:
    """Which layers are local: all, or a pattern of L and G that repeats, or a count."""
    if config.local_layers is None:
        return "all layers"
    pattern = "".join("L" if config.is_local(layer) else "G" for layer in range(config.layers))
    for period in range(1, min(len(pattern), 12) + 1):
        if (pattern[:period] * len(pattern))[: len(pattern)] == pattern:
            return f"layers {pattern[:period]}… (L local, G global)"
    return f"{pattern.count('L')} of {config.layers} layers"


def _mlp_lines(config: ModelConfig) -> list[str]:
    activation = _activation(config)
    dense = f"MLP, {activation}, {config.width:,} → {config.hidden_width:,} → {config.width:,}"
    experts = config.experts
    if experts is None:
        return [dense]
    lines = [
        f"router: {experts.chosen} of {experts.count} experts",
        f"expert, {activation}, {config.width:,} → {experts.width:,} → {config.width:,}",
    ]
    if experts.shared_width:
        lines.append(f"shared expert, {experts.shared_width:,} wide")
    dense_layers = [layer for layer in range(config.layers) if not config.has_experts(layer)]
    if dense_layers:
        lines.append(f"{len(dense_layers)} layers without experts: {dense}")
    return lines


def _output_lines(config: ModelConfig) -> list[str]:
    lines = [_NORMS[config.norm]] if config.final_norm else []
    if config.pooler != "none":
        lines.append(f"pooler: dense, {config.pooler}")
    if config.head_transform:
        lines.append(f"dense, {_ACTIVATION_NAMES[config.activation]}, {_NORMS[config.norm]}")
    if config.head in ("language", "masked"):
        tied = " (the embedding)" if config.tied_embeddings else ""
        lines.append(f"head {config.width:,} × {config.vocabulary_size:,}{tied}")
        if config.logit_soft_cap is not None:
            lines.append(f"soft cap {config.logit_soft_cap:g}")
    elif config.head in ("sequence", "token"):
        lines.append(f"classifier, {len(config.labels)} labels")
    elif config.head == "reward":
        lines.append("reward")
    if config.projection_width:
        lines.append(f"projection to {config.projection_width:,}")
    return lines


def _result(config: ModelConfig) -> str:
    names = {
        "language": "logits of the next token",
        "masked": "logits of the masked tokens",
        "sequence": "logits of a text",
        "token": "logits of each token",
        "reward": "a number a text",
    }
    if config.projection_width:
        return "vector"
    return names.get(config.head, f"states, {config.width} wide")
