"""The shape of a model: every choice a family makes is a field here, and code reads fields, never names.

Checked once, where a file or a person hands it in; after that it is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from lavra.errors import LavraError
from lavra.model.contradictions import check_contradictions
from lavra.model.field_checks import choice, flags, number, refuse, whole

_MOST_LAYERS = 4096
_MOST_EXPERTS = 4096

Architecture = Literal["transformer", "lstm", "gru", "convolution"]
Norm = Literal["rms", "layer"]
NormPosition = Literal["pre", "post", "both", "after"]
Positions = Literal["none", "sinusoidal", "learned", "rotary"]
Relative = Literal["none", "shaw", "buckets", "alibi"]
Activation = Literal["silu", "gelu", "gelu_tanh", "gelu_quick", "relu", "relu2"]
Head = Literal["none", "language", "masked", "sequence", "token", "reward"]
Pooling = Literal["mean", "cls", "last", "end"]
Pooler = Literal["none", "tanh", "relu"]


@dataclass(frozen=True)
class RotaryScaling:
    """How rotary frequencies are changed for contexts longer than the one a model was trained on.

    ``linear``: positions divided by ``factor`` (Chen et al. 2023). ``ntk``: the base raised so that the lowest
    frequency is stretched by ``factor`` (bloc97 2023). ``dynamic``: the same, by how far the text at hand exceeds
    ``original_context``. ``yarn``: both, by frequency, and a temperature (Peng et al. 2023). ``llama3``: by frequency
    (Llama 3). ``longrope``: a divisor a frequency, ``short`` up to ``original_context`` and ``long`` beyond (Ding et
    al. 2024). ``attention_factor`` multiplies cos and sin; None means what the method's paper says.
    """

    kind: Literal["linear", "ntk", "dynamic", "yarn", "llama3", "longrope"]
    factor: float = 1.0
    original_context: int = 0
    attention_factor: float | None = None
    beta_fast: float = 32.0  # yarn: more turns than this within the original context are left alone
    beta_slow: float = 1.0  # yarn: fewer than this are divided by the factor
    truncate: bool = True  # yarn: whole dimensions at the ends of the ramp
    low_frequency_factor: float = 1.0  # llama3
    high_frequency_factor: float = 4.0  # llama3
    short: tuple[float, ...] = ()  # longrope
    long: tuple[float, ...] = ()  # longrope

    def __post_init__(self) -> None:
        flags(self)
        choice(self, "kind", ("linear", "ntk", "dynamic", "yarn", "llama3", "longrope"))
        number(self, "factor", low=1.0, high=1e6)
        for name in ("beta_fast", "beta_slow", "low_frequency_factor", "high_frequency_factor"):
            number(self, name, low=1e-3, high=1e6)
        if self.kind in ("dynamic", "yarn", "llama3", "longrope"):
            whole(self, "original_context", 1)
        if self.attention_factor is not None:
            number(self, "attention_factor", low=1e-6, high=1e6)
        if self.kind == "llama3" and self.low_frequency_factor >= self.high_frequency_factor:
            raise LavraError("model config: low_frequency_factor must be below high_frequency_factor")
        if self.kind == "longrope":
            if len(self.short) != len(self.long) or not self.short:
                raise LavraError("model config: longrope needs as many short as long factors, one a frequency")
            if not all(isinstance(x, (int, float)) and 0 < x < 1e9 for x in self.short + self.long):
                raise LavraError("model config: longrope's short and long factors must be positive numbers")

    @property
    def by_length(self) -> bool:
        """Whether frequencies depend on how long a text is."""
        return self.kind in ("dynamic", "longrope")

    def regime(self, length: int) -> int:
        """A text length that stands for all with the same frequencies as one of ``length``; 0 where none differ."""
        if self.kind == "dynamic":
            return max(length, self.original_context)
        if self.kind == "longrope":
            return self.original_context + (length > self.original_context)
        return 0


@dataclass(frozen=True)
class Sparse:
    """A sparse pattern of Child et al. 2019 (Sparse Transformers, section 4), in blocks of ``block`` tokens.

    ``strided``: block i sees block j < i if i - j < ``local`` or (i - j) is a multiple of ``stride``.
    ``fixed``: block i sees block j if both lie in the same run of ``stride`` blocks, or if j is one of the last
    ``local`` blocks of an earlier run. ``block`` 1 is the paper's own pattern; 64 is what a chip likes.
    """

    kind: Literal["strided", "fixed"]
    local: int
    stride: int
    block: int = 64

    def __post_init__(self) -> None:
        choice(self, "kind", ("strided", "fixed"))
        for name in ("local", "stride", "block"):
            whole(self, name, 1)
        if self.kind == "fixed" and self.local > self.stride:
            raise LavraError(f"model config: sparse local {self.local} is more than the stride {self.stride}")


@dataclass(frozen=True)
class Experts:
    """A mixture of experts in place of the MLP (Shazeer et al. 2017; Fedus et al. 2021).

    ``count`` E of them, ``chosen`` for each token by the router; ``width`` the hidden width of one; ``shared_width``
    of one that every token passes (0: none). ``normalised``: the chosen probabilities are made to sum to 1.
    ``every``: layers ``every`` - 1, 2·``every`` - 1, … have experts, but those in ``dense_layers``; ``balance``: the
    weight of the load-balancing loss (Fedus et al. 2021, eq. 4).
    """

    count: int
    chosen: int
    width: int
    shared_width: int = 0
    shared_gate: bool = False  # a sigmoid gate before the shared expert (Qwen2-MoE)
    normalised: bool = True
    every: int = 1
    dense_layers: tuple[int, ...] = ()
    balance: float = 0.01

    def __post_init__(self) -> None:
        flags(self)
        for name in ("count", "chosen", "width", "every"):
            whole(self, name, 1)
        whole(self, "shared_width", 0)
        number(self, "balance", low=0.0, high=1e3)
        layers = self.dense_layers
        if not isinstance(layers, tuple) or not all(type(layer) is int and layer >= 0 for layer in layers):
            refuse(self, "dense_layers", "it must list layers")
        if self.count > _MOST_EXPERTS:
            raise LavraError(f"model config: experts count is {self.count}; no model has more than {_MOST_EXPERTS}")
        if self.chosen > self.count:
            raise LavraError(f"model config: a token cannot go to {self.chosen} of {self.count} experts")


@dataclass(frozen=True)
class Image:
    """What an image tower reads: squares of ``patch`` pixels cut from ``size`` × ``size`` × ``channels``
    (Dosovitskiy et al. 2020), with a learned class token before them."""

    size: int
    patch: int
    channels: int = 3
    bias: bool = True  # of the patch projection

    def __post_init__(self) -> None:
        flags(self)
        for name in ("size", "patch", "channels"):
            whole(self, name, 1)
        if self.size % self.patch:
            raise LavraError(f"model config: patches of {self.patch} pixels do not fill an image of {self.size}")

    @property
    def tokens(self) -> int:
        """Patches, and the class token."""
        return (self.size // self.patch) ** 2 + 1


@dataclass(frozen=True)
class Memory:
    """The compressive memory of Rae et al. 2020: ``recent`` states a layer of the last segments, and ``compressed``
    ones, each of which stands for ``rate`` older states, made by ``function``. None compressed: Transformer-XL (Dai et
    al. 2019)."""

    recent: int
    compressed: int
    rate: int = 3
    function: Literal["convolution", "mean", "max"] = "convolution"

    def __post_init__(self) -> None:
        for name in ("recent", "rate"):
            whole(self, name, 1)
        whole(self, "compressed", 0)
        choice(self, "function", ("convolution", "mean", "max"))


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One stack, and inside it the config of another where there are two.

    Sizes: ``vocabulary_size`` V (0 for an image tower), ``context_length`` the longest sequence it was made for,
    ``width`` C, ``heads`` H, ``kv_heads`` K (K == H: multi-head, K == 1: multi-query), ``head_width`` D,
    ``hidden_width`` of the MLP. Raises LavraError, naming field and reason, when fields contradict each other.
    """

    vocabulary_size: int
    context_length: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    hidden_width: int
    causal: bool
    architecture: Architecture = "transformer"  # the others: earlier language models, for comparison
    kernel_width: int = 0  # of a convolution: tokens that one layer sees

    # A second stack
    encoder: ModelConfig | None = None  # this stack is a decoder that attends to that one's states
    image: Image | None = None  # this stack reads pixels
    vision: ModelConfig | None = None  # this stack is the text tower of a dual encoder, that one the image tower
    projection_width: int = 0  # of the space that both towers project into

    # Norms. "pre": what a sublayer reads; "post": the residual sum (Vaswani 2017); "both": what a sublayer reads and
    # what it gives (Gemma 2); "after": what it gives (OLMo 2).
    norm: Norm
    norm_epsilon: float
    norm_position: NormPosition = "pre"
    norm_bias: bool = True  # of LayerNorm
    norm_plus_one: bool = False  # the weight is stored less one (Gemma)
    first_norm: bool = True  # false: nothing is normalised before the first attention (ModernBERT)
    embedding_norm: bool = False
    final_norm: bool = True
    parallel: bool = False  # attention and MLP read the same residual (GPT-J, GPT-NeoX)

    # Positions: absolute (added, or turned into queries and keys), and relative (added to scores)
    positions: Positions
    position_offset: int = 0  # rows of the learned table before position 0 (RoBERTa, BART: 2)
    rope_theta: float = 10_000.0
    rope_scaling: RotaryScaling | None = None
    rotary_width: int | None = None  # of a head's dimensions that turn; None: all
    unrotated_layers: tuple[int, ...] = ()  # layers without rotary positions (SmolLM3)
    local_rope_theta: float | None = None  # of layers with a window, which then are not scaled either (Gemma 3)
    relative: Relative = "none"
    relative_buckets: int = 0  # T5's; all layers share one table
    relative_distance: int = 0  # T5: where the last bucket begins; Shaw: where distances are clipped

    # Attention
    window: int | None = None  # a decoder's token sees itself and the window - 1 before it
    radius: int | None = None  # an encoder's token sees as many on either side
    local_layers: tuple[int, ...] | None = None  # which layers the window or radius holds for; None: all
    sinks: int = 0  # first tokens that are seen from everywhere beside a window (Xiao et al. 2023)
    sink_logits: bool = False  # a learned logit a head that takes attention and gives nothing (gpt-oss)
    sparse: Sparse | None = None
    attention_scale: float | None = None  # of scores; None: 1 / √D
    attention_soft_cap: float | None = None  # c · tanh(score / c) (Gemma 2)
    qk_norm: Literal["none", "head", "all"] = "none"  # RMS over each head (Qwen 3) or over all (OLMo 2)
    attention_bias: bool = False  # of the query, key and value projections
    output_bias: bool = False  # of the attention's output projection
    memory: Memory | None = None

    # MLP. ``gated``: activation(gate) × up (Shazeer 2020) instead of one projection
    activation: Activation
    gated: bool
    mlp_bias: bool = False
    experts: Experts | None = None

    # Embeddings and residuals
    tied_embeddings: bool = True
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    token_types: int = 0  # segment embeddings of BERT, 0 for none
    dropout: float = 0.0  # of embeddings and of what sublayers give, while training
    attention_dropout: float = 0.0

    # What is read off the hidden states; see heads.py
    head: Head = "language"
    head_bias: bool = False
    head_transform: bool = False  # dense, activation, norm before the unembedding (BERT's masked LM)
    logit_scale: float = 1.0
    logit_soft_cap: float | None = None
    pooling: Pooling = "mean"  # which state stands for a text
    end_token: int | None = None  # what "end" pooling looks for; None: the highest id of a text (CLIP before 2023)
    pooler: Pooler = "none"  # dense and an activation over it, before the classifier (BERT)
    labels: tuple[str, ...] = ()  # what a classifier chooses from; of a masked head, BERT's next sentence

    def __post_init__(self) -> None:
        _check(self)

    @property
    def group(self) -> int:
        """Query heads per key/value head."""
        return self.heads // self.kv_heads

    @property
    def scale(self) -> float:
        """What attention scores are multiplied by."""
        return self.head_width**-0.5 if self.attention_scale is None else self.attention_scale

    @property
    def turning(self) -> int:
        """Dimensions of a head that rotary positions turn."""
        return self.head_width if self.rotary_width is None else self.rotary_width

    @property
    def writes(self) -> bool:
        """Whether it generates text."""
        return self.head == "language"

    def is_local(self, layer: int) -> bool:
        """Whether the window or radius holds for ``layer``."""
        if self.window is None and self.radius is None:
            return False
        return self.local_layers is None or layer in self.local_layers

    def has_experts(self, layer: int) -> bool:
        """Whether ``layer`` has a mixture of experts in place of its MLP."""
        experts = self.experts
        return experts is not None and (layer + 1) % experts.every == 0 and layer not in experts.dense_layers


def _check(config: ModelConfig) -> None:
    """Refuse what contradicts itself, by field and reason; what it holds may come from a stranger's file."""
    for name, kind in CONFIG_PARTS.items():
        part = getattr(config, name)
        if part is not None and not isinstance(part, kind):
            refuse(config, name, f"it must be a {kind.__name__} or None")
    for name, allowed in _CHOICES.items():
        choice(config, name, allowed)
    flags(config)
    whole(config, "vocabulary_size", 0 if config.image else 1)
    for name in ("context_length", "layers", "width", "heads", "kv_heads", "head_width", "hidden_width"):
        whole(config, name, 1)
    for name in ("token_types", "position_offset", "relative_buckets", "relative_distance", "sinks", "kernel_width"):
        whole(config, name, 0)
    whole(config, "projection_width", 1 if config.vision else 0)
    if config.end_token is not None:
        whole(config, "end_token", 0)
    for name in ("window", "radius", "rotary_width"):
        if getattr(config, name) is not None:
            whole(config, name, 1)
    if config.layers > _MOST_LAYERS:
        refuse(config, "layers", f"no model has more than {_MOST_LAYERS}")
    if config.heads % config.kv_heads:
        refuse(
            config,
            "kv_heads",
            f"it does not divide heads {config.heads}; every key/value head serves the same number of query heads",
        )
    number(config, "norm_epsilon", low=0.0, high=1.0)
    for name in ("rope_theta", "local_rope_theta"):
        if getattr(config, name) is not None:
            number(config, name, low=1.0, high=1e30)
    for name in ("embedding_scale", "residual_scale", "logit_scale", "attention_scale"):
        if getattr(config, name) is not None:
            number(config, name, low=1e-6, high=1e6)
    for name in ("attention_soft_cap", "logit_soft_cap"):
        if getattr(config, name) is not None:
            number(config, name, low=1e-3, high=1e6)
    for name in ("dropout", "attention_dropout"):
        number(config, name, low=0.0, high=0.999)
    for name in ("unrotated_layers", "local_layers"):
        layers = getattr(config, name)
        if layers is None and name == "local_layers":
            continue
        if not (
            isinstance(layers, tuple) and all(type(layer) is int and 0 <= layer < config.layers for layer in layers)
        ):
            refuse(config, name, f"it must list layers from 0 to {config.layers - 1}")
    check_contradictions(config)


CONFIG_PARTS: Mapping[str, type] = {
    "rope_scaling": RotaryScaling,
    "sparse": Sparse,
    "experts": Experts,
    "image": Image,
    "memory": Memory,
    "encoder": ModelConfig,
    "vision": ModelConfig,
}
"""Fields that are configs themselves, or None."""

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "architecture": get_args(Architecture),
    "norm": get_args(Norm),
    "norm_position": get_args(NormPosition),
    "positions": get_args(Positions),
    "relative": get_args(Relative),
    "activation": get_args(Activation),
    "head": get_args(Head),
    "pooling": get_args(Pooling),
    "pooler": get_args(Pooler),
    "qk_norm": ("none", "head", "all"),
}
