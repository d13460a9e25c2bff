"""The architecture of a model as text: boxes from its input, above, to what is read off it."""

from __future__ import annotations

from collections.abc import Sequence

from lavra.model.config import ModelConfig

NORMS = {"rms": "RMSNorm", "layer": "LayerNorm"}
_ACTIVATION_NAMES = {
    "silu": "SiLU",
    "gelu": "GELU",
    "gelu_tanh": "GELU (tanh)",
    "gelu_quick": "GELU (quick)",
    "relu": "ReLU",
    "relu2": "ReLU²",
}
_GATED_NAMES = {"silu": "SwiGLU", "gelu": "GeGLU", "gelu_tanh": "GeGLU (tanh)", "relu": "ReGLU"}
ARCHITECTURES = {"lstm": "LSTM", "gru": "GRU", "convolution": "convolutional"}


def activation_words(config: ModelConfig) -> str:
    """``SwiGLU``."""
    names = _GATED_NAMES if config.gated else _ACTIVATION_NAMES
    return names.get(config.activation) or f"gated {_ACTIVATION_NAMES[config.activation]}"


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
        lines.append(NORMS[config.norm])
    return lines


def _block_lines(config: ModelConfig) -> list[str]:
    if config.architecture != "transformer":
        return _recurrent_lines(config)
    norm = NORMS[config.norm]
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
        return [NORMS[config.norm], convolution, "projection", "+ residual"]
    recurrence = f"{ARCHITECTURES[config.architecture]}, state {config.hidden_width:,}"
    return [NORMS[config.norm], recurrence, "projection", "+ residual"]


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
    activation = activation_words(config)
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
    lines = [NORMS[config.norm]] if config.final_norm else []
    if config.pooler != "none":
        lines.append(f"pooler: dense, {config.pooler}")
    if config.head_transform:
        lines.append(f"dense, {_ACTIVATION_NAMES[config.activation]}, {NORMS[config.norm]}")
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
