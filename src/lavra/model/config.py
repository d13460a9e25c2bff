"""The shape of a transformer: every choice a family makes is a field here, and code reads fields, never names.

Checked once, where a file or a person hands it in; after that it is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lavra.errors import LavraError

# No dimension of a real model comes near; a hostile file's does.
_CEILING = 1 << 24
_MOST_LAYERS = 4096


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One transformer stack.

    ``width`` C, ``heads`` H, ``kv_heads`` K (K == H: multi-head, K == 1: multi-query), ``head_width`` D,
    ``hidden_width`` of the MLP, ``vocabulary_size`` V, ``context_length`` the longest sequence it was made for.
    ``gated``: activation(gate) × up (Shazeer 2020) instead of one projection. ``norm_position``: "pre" normalises
    what a sublayer reads, "post" what the residual sum gives (Vaswani 2017). ``token_types``: segment embeddings of
    BERT, 0 for none. Raises LavraError, naming field and reason, when the fields contradict each other.
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
    norm: Literal["rms", "layer"]
    norm_epsilon: float
    norm_position: Literal["pre", "post"]
    positions: Literal["rotary", "learned"]
    rope_theta: float = 10_000.0
    activation: Literal["silu", "gelu", "gelu_tanh", "relu"]
    gated: bool
    attention_bias: bool = False  # of the query, key and value projections
    output_bias: bool = False  # of the attention's output projection
    mlp_bias: bool = False
    embedding_norm: bool = False
    final_norm: bool = True
    token_types: int = 0
    tied_embeddings: bool = True
    language_head: bool = True  # false: the file holds an encoder without a head over the vocabulary

    def __post_init__(self) -> None:
        for field in _SIZES:
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < _CEILING:
                raise LavraError(f"model config: {field} is {value!r}; it must be a positive whole number of sane size")
        if self.layers > _MOST_LAYERS:
            raise LavraError(f"model config: layers is {self.layers}; no model has more than {_MOST_LAYERS}")
        if self.heads % self.kv_heads:
            raise LavraError(
                f"model config: kv_heads {self.kv_heads} does not divide heads {self.heads}; "
                "every key/value head serves the same number of query heads"
            )
        if self.positions == "rotary" and self.head_width % 2:
            raise LavraError(f"model config: head_width {self.head_width} is odd; rotary positions turn pairs")
        for field in ("norm_epsilon", "rope_theta"):
            if not isinstance(getattr(self, field), (int, float)):
                raise LavraError(f"model config: {field} is {getattr(self, field)!r}; it must be a number")
        if not 0 <= self.norm_epsilon < 1:
            raise LavraError(f"model config: norm_epsilon is {self.norm_epsilon!r}; it must lie in [0, 1)")
        if self.positions == "rotary" and not 1 <= self.rope_theta < float("inf"):
            raise LavraError(f"model config: rope_theta is {self.rope_theta!r}; it must be at least 1")
        if not isinstance(self.token_types, int) or not 0 <= self.token_types < _CEILING:
            raise LavraError(
                f"model config: token_types is {self.token_types!r}; it must be a whole number, 0 for none"
            )
        choices = {
            "norm": ("rms", "layer"),
            "norm_position": ("pre", "post"),
            "positions": ("rotary", "learned"),
            "activation": ("silu", "gelu", "gelu_tanh", "relu"),
        }
        for field, allowed in choices.items():
            if getattr(self, field) not in allowed:
                raise LavraError(f"model config: {field} is {getattr(self, field)!r}; Lavra knows {', '.join(allowed)}")

    @property
    def group(self) -> int:
        """Query heads per key/value head."""
        return self.heads // self.kv_heads


_SIZES = (
    "vocabulary_size",
    "context_length",
    "layers",
    "width",
    "heads",
    "kv_heads",
    "head_width",
    "hidden_width",
)
