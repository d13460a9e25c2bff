"""Fields of a model's config that contradict each other: refused by field and reason, never half obeyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lavra.model.field_checks import refuse, whole

if TYPE_CHECKING:
    from lavra.model.config import ModelConfig


def check_contradictions(config: ModelConfig) -> None:
    """Of fields that are each as they should be. Raises LavraError for the first that does not go with the others."""
    _check_blocks(config)
    _check_positions(config)
    _check_attention(config)
    _check_parts(config)
    _check_head(config)


def _check_blocks(config: ModelConfig) -> None:
    if config.parallel and config.norm_position != "pre":
        refuse(config, "norm_position", "attention and MLP in parallel read what is normalised before them")
    if config.parallel and config.encoder is not None:
        refuse(config, "parallel", "cross-attention stands between attention and MLP, which must then be in sequence")
    if not config.first_norm and config.norm_position in ("post", "after"):
        refuse(config, "first_norm", f"with norm_position {config.norm_position} nothing is normalised before anyway")
    if config.norm_plus_one and config.norm == "layer" and config.qk_norm == "none":
        refuse(config, "norm_plus_one", "it is for RMS norms, and this model has none")
    if config.experts is not None and config.experts.shared_gate and not config.experts.shared_width:
        refuse(config, "experts", "shared_gate is the gate of a shared expert, and shared_width says there is none")


def _check_positions(config: ModelConfig) -> None:
    if config.positions == "sinusoidal" and config.width % 2:
        refuse(config, "width", "sinusoidal positions are pairs of a sine and a cosine")
    if config.positions == "rotary":
        if config.turning % 2:
            refuse(config, "rotary_width" if config.rotary_width else "head_width", "rotary positions turn pairs")
        if config.turning > config.head_width:
            refuse(config, "rotary_width", f"a head is only {config.head_width} wide")
        scaling = config.rope_scaling
        if scaling is not None and scaling.kind == "longrope" and len(scaling.short) != config.turning // 2:
            refuse(config, "rope_scaling", f"longrope needs {config.turning // 2} factors, one a frequency")
    elif config.rope_scaling is not None or config.unrotated_layers or config.rotary_width is not None:
        refuse(config, "positions", "rope_scaling, rotary_width and unrotated_layers are for rotary positions")
    if config.relative == "buckets":
        buckets = config.relative_buckets // (1 if config.causal else 2)
        if buckets < 2 or config.relative_distance <= buckets // 2:
            refuse(config, "relative_buckets", "with relative_distance it must leave room for near and far buckets")
    if config.relative == "shaw" and config.relative_distance < 1:
        refuse(config, "relative_distance", "Shaw's relative positions are clipped at a distance of at least 1")


def _check_attention(config: ModelConfig) -> None:
    if config.window is not None and not config.causal:
        refuse(config, "window", "a sliding window looks back, which an encoder does not; give a radius")
    if config.radius is not None and config.causal:
        refuse(config, "radius", "a decoder sees nothing ahead; give a window")
    local = config.window is not None or config.radius is not None
    if config.local_layers is not None and not local:
        refuse(config, "local_layers", "there is neither a window nor a radius for them")
    if config.sinks and not local:
        refuse(config, "sinks", "they are what is seen beside a window, and there is none")
    if config.sparse is not None and local:
        refuse(config, "sparse", "a layer is sparse or has a window, not both")
    if config.local_rope_theta is not None and (not local or config.positions != "rotary"):
        refuse(config, "local_rope_theta", "it is for rotary layers with a window")
    if config.memory is not None and (not config.causal or config.positions not in ("none", "rotary")):
        refuse(config, "memory", "a compressive memory is for decoders with rotary positions or none")
    if config.memory is not None and (local or config.sparse is not None or config.relative != "none"):
        refuse(config, "memory", "it takes the place of windows and patterns, and knows no relative positions")
    if config.memory is not None and config.encoder is not None:
        refuse(config, "memory", "it is for decoders without an encoder")


def _check_parts(config: ModelConfig) -> None:
    encoder = config.encoder
    if encoder is not None and (not config.causal or encoder.causal):
        refuse(config, "encoder", "an encoder-decoder is a causal stack over one that is not")
    if encoder is not None and encoder.image is not None:
        refuse(config, "encoder", "it must read text; an image tower stands beside a stack, as vision")
    if encoder is not None and config.norm_position == "both":
        refuse(config, "norm_position", "cross-attention has one norm")
    if encoder is not None and encoder.width != config.width:
        refuse(config, "width", f"the encoder, which reads the same embedding, is {encoder.width} wide")
    if config.vision is not None and config.vision.image is None:
        refuse(config, "vision", "the image tower must say which images it reads")
    if config.image is not None and config.vision is not None:
        refuse(config, "vision", "an image tower stands beside a text tower")
    if config.image is not None and (config.causal or config.head in ("language", "masked")):
        refuse(config, "image", "an image tower is an encoder without a vocabulary")
    if config.architecture == "convolution":
        whole(config, "kernel_width", 2)
    if config.architecture != "transformer":
        _check_earlier(config)


def _check_head(config: ModelConfig) -> None:
    if config.head == "masked" and config.causal:
        refuse(config, "head", "a causal model cannot be asked for masked words; use language")
    if config.head in ("sequence", "token") and not config.labels:
        refuse(config, "labels", f"a {config.head} head needs at least one")
    if config.labels and config.head not in ("sequence", "token", "masked"):
        refuse(config, "labels", f"a {config.head} head does not classify")
    if not (isinstance(config.labels, tuple) and all(isinstance(label, str) for label in config.labels)):
        refuse(config, "labels", "it must be a tuple of names")


def _check_earlier(config: ModelConfig) -> None:
    """Of the architectures before the transformer: what they have no part for is refused, never ignored."""
    if not config.causal:
        refuse(config, "causal", f"a {config.architecture} language model reads from left to right")
    if config.norm_position != "pre":
        refuse(config, "norm_position", f"the norms of a {config.architecture} stand before its layers")
    for name in (
        "positions",
        "relative",
        "window",
        "sparse",
        "memory",
        "experts",
        "encoder",
        "vision",
        "image",
        "residual_scale",
        "qk_norm",
        "token_types",
    ):
        if getattr(config, name) not in (None, "none", 0, 1.0):
            refuse(config, name, f"a {config.architecture} has none")
