"""What a model costs, from its config alone: parameters by part, operations, cache, memory to train and to serve.

Parameters are the model's own: it is built without memory (PyTorch's ``meta`` device) and asked. Operations are
counted as in Kaplan et al. 2020 (Scaling Laws, section 2.1) and Hoffmann et al. 2022 (Chinchilla, appendix F), multiply
and add as two: 2 a weight of every matrix a token passes, 4 · keys · H · D a layer for attention. Norms, activations
and the softmax are left out. A causal token is counted with all ``context`` keys before it, as a square of scores is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from lavra.model.activations import count_activations
from lavra.model.attention import Mask
from lavra.model.cache import kept_positions
from lavra.model.config import ModelConfig
from lavra.model.placing import empty_model

PARTS = (
    "embedding",
    "positions",
    "attention",
    "cross-attention",
    "MLP",
    "experts",
    "recurrence",
    "memory",
    "norms",
    "head",
)
WEIGHT_BITS: Mapping[str, float] = {"fp32": 32, "bf16": 16, "int8": 8.5, "4-bit": 4.5}
"""Bits a weight of a matrix. The last two are GGUF's Q8_0 and Q4_0: blocks of 32 weights share a 16-bit scale."""
ADAPTER_RANK = 16
LOGITS_BYTES = 1 << 28
"""Logits that exist at once while training, at most: losses go through the vocabulary in chunks (``chunked.py``)."""


@dataclass
class Parameters:
    """Counts by part; ``active``: those that a token passes, which differ where there are experts."""

    total: dict[str, int] = field(default_factory=dict)
    active: dict[str, int] = field(default_factory=dict)
    matrices: int = 0
    """Weights of matrices, which is what is quantised, embeddings included."""
    multiplied: dict[str, int] = field(default_factory=dict)
    """Weights that each token is multiplied by, by stack: ``""``, ``encoder``, ``vision``, and ``source`` for what a
    decoder does once to each state of its encoder. Looked-up tables are not, but for an embedding that is also the
    unembedding."""

    @property
    def all(self) -> int:
        return sum(self.total.values())

    @property
    def all_active(self) -> int:
        return sum(self.active.values())


def count_parameters(config: ModelConfig) -> Parameters:
    """Every parameter of the model once, tied ones too."""
    counts = Parameters(multiplied={name: 0 for name, _ in stacks(config)})
    if config.encoder is not None:
        counts.multiplied["source"] = 0
    inside = dict(stacks(config))
    for name, parameter in empty_model(config).named_parameters():
        stack, local = _split(name)
        part, size = _part(local), parameter.numel()
        per_token = size
        if part == "experts" and parameter.dim() == 3:
            experts = inside[stack].experts
            assert experts is not None
            per_token = size // experts.count * experts.chosen
        counts.total[part] = counts.total.get(part, 0) + size
        counts.active[part] = counts.active.get(part, 0) + per_token
        if parameter.dim() >= 2:
            counts.matrices += size
            if ".cross.key_value." in local:
                counts.multiplied["source"] += size
            elif _is_passed(local):
                counts.multiplied[stack] += per_token
    if config.head in ("language", "masked") and config.tied_embeddings:
        counts.multiplied[""] += config.vocabulary_size * config.width
    return counts


def stacks(config: ModelConfig) -> Iterator[tuple[str, ModelConfig]]:
    """The model's own stack, named ``""``, and the others, by the name of the attribute that holds them."""
    yield "", config
    if config.encoder is not None:
        yield "encoder", config.encoder
    if config.vision is not None:
        yield "vision", config.vision


def _split(name: str) -> tuple[str, str]:
    for stack in ("encoder", "vision"):
        if name.startswith(stack + "."):
            return stack, name.removeprefix(stack + ".")
    return "", name


def _part(name: str) -> str:
    pieces = name.split(".")
    if pieces[0] == "head":
        return "head"
    if any(piece.endswith("norm") for piece in pieces[:-1]):
        return "norms"
    if pieces[0] in ("embedding", "type_embedding", "patches"):
        return "embedding"
    if pieces[0] in ("position_embedding", "relative_bias") or "shaw" in pieces:
        return "positions"
    if "compression" in pieces:
        return "memory"
    inner = pieces[2] if pieces[0] == "blocks" and len(pieces) > 2 else pieces[0]
    known = {"attention": "attention", "cross": "cross-attention", "mlp": "MLP", "memory": "memory"}
    if inner == "mlp" and pieces[3] not in ("up", "down"):  # a router, shared experts
        return "experts"
    if inner == "mlp" and pieces[-1] in ("up", "down"):  # stacked: parameters themselves, not modules
        return "experts"
    return known.get(inner, "recurrence")


def _is_passed(name: str) -> bool:
    """Whether each token of a text is multiplied by this matrix."""
    looked_up = ("embedding.", "position_embedding.", "type_embedding.", "relative_bias.")
    # A pooler, classifier of texts or projection reads one state a text.
    once = ("head.pooler.", "head.projection.", "head.classifier.")
    return not name.startswith(looked_up + once) and ".shaw." not in name


# ── operations ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Operations:
    """Floating-point operations for one token of a stack, when ``context`` tokens are in view. For an encoder-decoder
    the first two are a target token's."""

    weights: int
    attention: int
    encoder: int = 0
    """For one source token, the decoder's keys and values of it included."""
    image: int = 0
    """For one image, in a dual encoder."""

    @property
    def forward(self) -> int:
        return self.weights + self.attention

    @property
    def training(self) -> int:
        """Forward and backward: the backward pass costs twice the forward pass (Kaplan et al. 2020, section 2.1)."""
        return 3 * self.forward


def count_operations(config: ModelConfig, context: int, parameters: Parameters | None = None) -> Operations:
    """For a token that sees ``context`` tokens, itself included; windows and sparse patterns see less."""
    passed = (parameters or count_parameters(config)).multiplied
    weights = 2 * passed[""]
    attention = _attention_operations(config, context)
    encoder = image = 0
    if config.encoder is not None:
        encoder = 2 * (passed["encoder"] + passed["source"]) + _attention_operations(config.encoder, context)
        attention += 4 * config.layers * context * config.heads * config.head_width
    if config.image is not None:
        weights -= _class_token_share(config)
        attention = _attention_operations(config, config.image.tokens)
    if config.vision is not None:
        tower = count_operations(config.vision, context)
        assert config.vision.image is not None
        image = tower.forward * config.vision.image.tokens
    return Operations(weights, attention, encoder, image)


def _class_token_share(config: ModelConfig) -> int:
    """The class token is no patch: what the projection does not cost, spread over all tokens of an image."""
    assert config.image is not None
    projection = config.width * config.image.channels * config.image.patch**2
    return 2 * projection // config.image.tokens


def _attention_operations(config: ModelConfig, context: int) -> int:
    if config.architecture != "transformer":
        return 0
    width = config.heads * config.head_width
    keys = sum(keys_seen(config, layer, context) for layer in range(config.layers))
    found = 4 * keys * width
    if config.relative == "shaw":
        found += 4 * config.layers * width * (2 * config.relative_distance + 1)
    return found


def keys_seen(config: ModelConfig, layer: int, context: int) -> int:
    """How many keys the last of ``context`` tokens sees in ``layer``; in an encoder with a radius, a middle one."""
    local = config.is_local(layer)
    if config.sparse is not None:
        i, j = torch.tensor([context - 1]), torch.arange(context)
        return int(Mask(config.causal, sparse=config.sparse).part(i, j, config.heads, 0).sum())
    if config.memory is not None:  # read a token at a time; in segments, those before it in its own come on top
        memory, before = config.memory, context - 1
        compressed = max(before - memory.recent, 0) // memory.rate if memory.compressed else 0
        waiting = before - memory.recent - compressed * memory.rate if memory.compressed else 0
        return min(memory.recent, before) + max(waiting, 0) + min(compressed, memory.compressed) + 1
    if not local:
        return context
    reach = config.window if config.window is not None else 2 * (config.radius or 0) + 1
    return min(context, reach + config.sinks)


# ── what a decoder remembers ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class CacheSize:
    """Numbers, not bytes: multiply by the bytes of the cache's precision."""

    per_token: int
    """That one more token of a short text adds."""
    local_layers: int
    """Layers that keep only the keys in their window, and some before it (``cache.kept_positions``)."""
    at_context: int
    """Held for a text of ``context`` tokens."""
    unbounded: int
    """The same if layers with a window kept everything too."""
    cross: int = 0
    """Of an encoder's states, for a source of ``context`` tokens."""
    state: int = 0
    """Fixed, whatever the text's length: of a recurrent model, a convolution or a compressive memory."""


def count_cache(config: ModelConfig, context: int) -> CacheSize:
    """What the model holds between two tokens of one text; nothing for an encoder."""
    if not config.causal:
        return CacheSize(0, 0, 0, 0)
    if config.architecture != "transformer":
        state = {"lstm": 2 * config.hidden_width, "gru": config.hidden_width}.get(config.architecture)
        if state is None:  # a convolution's last inputs
            state = (config.kernel_width - 1) * config.width
        return CacheSize(0, 0, 0, 0, state=config.layers * state)
    layer = 2 * config.kv_heads * config.head_width
    kept = [kept_positions(config, number, context) for number in range(config.layers)]
    local = 0 if config.sinks else sum(config.is_local(number) for number in range(config.layers))
    cross = layer * config.layers * context if config.encoder is not None else 0
    if config.memory is not None:  # states, and their keys and values; some wait to be compressed
        waiting = config.memory.rate - 1 if config.memory.compressed else 0
        held = config.memory.recent + waiting + config.memory.compressed
        return CacheSize(0, 0, 0, 0, state=config.layers * held * (config.width + layer))
    return CacheSize(layer * config.layers, local, layer * sum(kept), layer * config.layers * context, cross)


# ── memory ──────────────────────────────────────────────────────────────────────────────────────────────────────


def serving_bytes(
    config: ModelConfig, context: int, parameters: Parameters | None = None
) -> dict[str, tuple[int, int]]:
    """By weight format: bytes of the weights, and of the cache of one text of ``context`` tokens (bf16, or fp32 beside
    fp32 weights). Working memory of a step is not in it."""
    counts, cache = parameters or count_parameters(config), count_cache(config, context)
    held = cache.at_context + cache.cross + cache.state
    found = {}
    for name, bits in WEIGHT_BITS.items():
        others = 4 if name == "fp32" else 2
        weights = math.ceil(counts.matrices * bits / 8) + (counts.all - counts.matrices) * others
        found[name] = weights, held * others
    return found


@dataclass(frozen=True)
class Training:
    """Bytes while training, by what holds them."""

    weights: int
    gradients: int
    moments: int
    activations: int
    loss: int

    @property
    def all(self) -> int:
        return self.weights + self.gradients + self.moments + self.activations + self.loss


def training_bytes(
    config: ModelConfig, batch: int, context: int, *, rank: int = ADAPTER_RANK, parameters: Parameters | None = None
) -> dict[str, Training]:
    """Memory by way of training, for ``batch`` texts of ``context`` tokens at once.

    ``fp32``: weights, gradients and AdamW's two moments, 16 bytes a parameter. ``bf16``: the same 16, as a bf16 copy of
    fp32 weights with bf16 gradients (Rajbhandari et al. 2020, ZeRO, section 3.1), and activations of half the size.
    ``LoRA``: bf16 weights that do not change, and fp32 factors of ``rank`` beside every matrix of the blocks (Hu et
    al. 2021). Each also with checkpointed activations.
    """
    count = (parameters or count_parameters(config)).all
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        kept = count_activations(config, batch, context, dtype)
        loss = _loss_bytes(config, batch * context, dtype.itemsize)
        small = dtype == torch.bfloat16
        weights, gradients = count * (6 if small else 4), count * (2 if small else 4)
        for label, activations in ((name, kept.all), (f"{name}, checkpointed", kept.checkpointed)):
            found[label] = Training(weights, gradients, 8 * count, activations, loss)
    factors = adapter_parameters(config, rank)
    for label, activations in ((f"LoRA {rank}", kept.all), (f"LoRA {rank}, checkpointed", kept.checkpointed)):
        found[label] = Training(2 * count + 4 * factors, 4 * factors, 8 * factors, activations, loss)
    return found


def adapter_parameters(config: ModelConfig, rank: int) -> int:
    """Of low-rank factors beside every matrix of the blocks: rank · (rows + columns) each (Hu et al. 2021)."""
    matrices = (
        module
        for name, module in empty_model(config).named_modules()
        if isinstance(module, nn.Linear) and "blocks." in name
    )
    return sum(rank * (matrix.in_features + matrix.out_features) for matrix in matrices)


def _loss_bytes(config: ModelConfig, tokens: int, width: int) -> int:
    """Logits of a chunk, ``width`` bytes each, and the gradient of the unembedding, summed while chunks go by."""
    if config.head not in ("language", "masked"):
        return 0
    return min(width * tokens * config.vocabulary_size, LOGITS_BYTES) + 4 * config.vocabulary_size * config.width
