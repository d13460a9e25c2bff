"""One transformer block: attention and an MLP, each beside a residual connection. Every variant is a config field.

Projections that read the same input are one matrix (query, key and value; gate and up): at one token a step each
kernel launch counts, and weights are joined once, at load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.model.attention import Mask, attend
from lavra.model.cache import KVCache
from lavra.model.config import ModelConfig
from lavra.model.experts import ExpertMLP
from lavra.model.fused import gated_silu, rms_norm, split_heads
from lavra.model.memory import Compression, CompressiveMemory
from lavra.model.positions import Shaw, rotate

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_quick": lambda x: x * torch.sigmoid(1.702 * x),  # CLIP's (Hendrycks and Gimpel 2016, section 2)
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),  # So et al. 2021 (Primer)
}

Rotary = tuple[Tensor, Tensor]  # cos and sin, as positions.rotate takes them


@dataclass(slots=True)
class Pass:
    """What all blocks share during one forward pass. ``local_…`` is for the layers with a window or radius."""

    mask: Mask
    local_mask: Mask
    rotary: Rotary | None = None
    local_rotary: Rotary | None = None
    bias: Tensor | None = None  # of relative positions, (1, H, T, S)
    cache: KVCache | None = None
    memory: CompressiveMemory | None = None
    before: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None  # sees a layer's keys and values first
    source_BSC: Tensor | None = None  # an encoder's states
    source_mask: Mask | None = None


class RMSNorm(nn.RMSNorm):
    """RMSNorm, with a backward pass of its own where one is needed."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.device.type == "cpu":
            return rms_norm(x, self.weight, self.eps or 0.0)
        return super().forward(x)


class RMSNormPlusOne(nn.Module):
    """RMSNorm whose weight is stored less one, and applied in float32 (Gemma)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.width, self.eps = width, eps
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (self.width,), 1.0 + self.weight.float(), self.eps).to(x.dtype)


def make_norm(config: ModelConfig, width: int | None = None, *, kind: str | None = None) -> nn.Module:
    """RMSNorm (Zhang and Sennrich 2019) or LayerNorm (Ba et al. 2016), by default the config's, over its width."""
    width = config.width if width is None else width
    if (kind or config.norm) == "layer":
        return nn.LayerNorm(width, eps=config.norm_epsilon, bias=config.norm_bias)
    if config.norm_plus_one:
        return RMSNormPlusOne(width, config.norm_epsilon)
    return RMSNorm(width, eps=config.norm_epsilon)


class Attention(nn.Module):
    """Self-attention of one layer."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.local = layer, config.is_local(layer)
        self.rotates = config.positions == "rotary" and layer not in config.unrotated_layers
        self.heads, self.kv_heads, self.head_width = config.heads, config.kv_heads, config.head_width
        self.scale, self.soft_cap = config.scale, config.attention_soft_cap
        self.dropout = config.attention_dropout
        joined = (config.heads + 2 * config.kv_heads) * config.head_width
        self.qkv = nn.Linear(config.width, joined, bias=config.attention_bias)
        self.output = nn.Linear(config.heads * config.head_width, config.width, bias=config.output_bias)
        self.norm_all = config.qk_norm == "all"
        if config.qk_norm != "none":
            per_head = 1 if config.qk_norm == "head" else config.heads
            self.query_norm: nn.Module | None = make_norm(config, config.head_width * per_head, kind="rms")
            per_head = 1 if config.qk_norm == "head" else config.kv_heads
            self.key_norm: nn.Module | None = make_norm(config, config.head_width * per_head, kind="rms")
        else:
            self.query_norm = self.key_norm = None
        self.shaw = Shaw(config) if config.relative == "shaw" else None
        self.sink_logits = nn.Parameter(torch.zeros(config.heads)) if config.sink_logits else None
        compresses = config.memory is not None and config.memory.compressed > 0
        self.compression = Compression(config.memory, config.width) if config.memory and compresses else None

    def forward(self, x_BTC: Tensor, at: Pass) -> Tensor:
        batch, time, _ = x_BTC.shape
        rotary = (at.local_rotary if self.local else at.rotary) if self.rotates else None
        if at.memory is None:
            q, k, v = self.project(x_BTC, rotary)
        else:
            q, k, v = at.memory.project(self, x_BTC, rotary)
        if at.before is not None:
            k, v = at.before(self.layer, k, v)
        if at.cache is not None:
            k, v = at.cache.update(self.layer, k, v)
        # A cache has forgotten what lies before a window.
        bias, relative_values = None if at.bias is None else at.bias[..., -k.shape[2] :], None
        if self.shaw is not None:
            index = self.shaw.index(time, k.shape[2], q.device)
            bias, relative_values = self.shaw.bias(q, index, self.scale), (index, self.shaw.values.weight)
        mixed = attend(
            q,
            k,
            v,
            at.local_mask if self.local else at.mask,
            scale=self.scale,
            bias=bias,
            soft_cap=self.soft_cap,
            sink_logits_H=self.sink_logits,
            relative_values=relative_values,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.output(mixed.transpose(1, 2).reshape(batch, time, -1))

    def project(self, x_BTC: Tensor, rotary: Rotary | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, heads first: normalised and turned as the config says."""
        qkv_BTND = self.qkv(x_BTC).unflatten(-1, (self.heads + 2 * self.kv_heads, self.head_width))
        plain = rotary is not None and self.query_norm is None and rotary[0].shape[-1] == self.head_width
        if rotary is not None and plain and torch.is_grad_enabled():
            return split_heads(qkv_BTND, self.heads, self.kv_heads, *rotary)
        turned = self.heads + self.kv_heads
        qk, v = qkv_BTND[:, :, :turned], qkv_BTND[:, :, turned:].transpose(1, 2)
        if self.query_norm is not None:
            qk = self._norm(qk)
        if rotary is not None:
            qk = rotate(qk, *rotary)  # queries and keys at once
        return qk[:, :, : self.heads].transpose(1, 2), qk[:, :, self.heads :].transpose(1, 2), v

    def _norm(self, qk_BTND: Tensor) -> Tensor:
        assert self.query_norm is not None
        assert self.key_norm is not None
        q, k = qk_BTND[:, :, : self.heads], qk_BTND[:, :, self.heads :]
        if self.norm_all:
            return torch.cat((self.query_norm(q.flatten(2)), self.key_norm(k.flatten(2))), -1).view(qk_BTND.shape)
        return torch.cat((self.query_norm(q), self.key_norm(k)), 2)


class CrossAttention(nn.Module):
    """A decoder's attention to an encoder's states; their keys and values are computed once and kept in the cache."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        assert config.encoder is not None
        self.layer, self.scale = layer, config.scale
        self.heads, self.kv_heads, self.head_width = config.heads, config.kv_heads, config.head_width
        self.dropout = config.attention_dropout
        inner = config.heads * config.head_width
        self.query = nn.Linear(config.width, inner, bias=config.attention_bias)
        joined = 2 * config.kv_heads * config.head_width
        self.key_value = nn.Linear(config.encoder.width, joined, bias=config.attention_bias)
        self.output = nn.Linear(inner, config.width, bias=config.output_bias)

    def forward(self, x_BTC: Tensor, at: Pass) -> Tensor:
        batch, time, _ = x_BTC.shape
        q = self.query(x_BTC).view(batch, time, self.heads, self.head_width).transpose(1, 2)
        held = None if at.cache is None else at.cache.cross.get(self.layer)
        if held is None:
            assert at.source_BSC is not None
            joined = self.key_value(at.source_BSC).view(batch, -1, 2 * self.kv_heads, self.head_width).transpose(1, 2)
            held = joined[:, : self.kv_heads], joined[:, self.kv_heads :]
            if at.cache is not None:
                at.cache.cross[self.layer] = held
        mask = at.source_mask if at.source_mask is not None else Mask(causal=False, cross=True)
        mixed = attend(q, *held, mask, scale=self.scale, dropout=self.dropout if self.training else 0.0)
        return self.output(mixed.transpose(1, 2).reshape(batch, time, -1))


class MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated, self.activation = config.gated, ACTIVATIONS[config.activation]
        self.silu = config.activation == "silu"
        # Gated: the first half of the rows is the gate, the second the value it multiplies.
        self.up = nn.Linear(config.width, config.hidden_width * (2 if config.gated else 1), bias=config.mlp_bias)
        self.down = nn.Linear(config.hidden_width, config.width, bias=config.mlp_bias)

    def forward(self, x_BTC: Tensor) -> Tensor:
        up = self.up(x_BTC)
        if self.gated:
            if self.silu and torch.is_grad_enabled():
                return self.down(gated_silu(up))
            gate, up = up.chunk(2, -1)
            return self.down(self.activation(gate) * up)
        return self.down(self.activation(up))


class Block(nn.Module):
    """Attention, cross-attention where there is an encoder, then the MLP; see :class:`ModelConfig` for the norms."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.position, self.parallel = config.norm_position, config.parallel
        self.dropout, self.scale = config.dropout, config.residual_scale
        both = config.norm_position == "both"
        first = layer > 0 or config.first_norm
        self.attention_norm = make_norm(config) if first else nn.Identity()
        self.attention = Attention(config, layer)
        self.attention_after_norm = make_norm(config) if both else None
        self.cross_norm = make_norm(config) if config.encoder is not None else None
        self.cross = CrossAttention(config, layer) if config.encoder is not None else None
        self.mlp_norm = make_norm(config)
        self.mlp = ExpertMLP(config, ACTIVATIONS) if config.has_experts(layer) else MLP(config)
        self.mlp_after_norm = make_norm(config) if both else None

    def forward(self, x_BTC: Tensor, at: Pass) -> Tensor:
        if self.parallel:
            given = self.attention(self.attention_norm(x_BTC), at) + self.mlp(self.mlp_norm(x_BTC))
            return x_BTC + self._weigh(given)
        x_BTC = self._beside(x_BTC, lambda x: self.attention(x, at), self.attention_norm, self.attention_after_norm)
        if self.cross is not None:
            cross = self.cross
            x_BTC = self._beside(x_BTC, lambda x: cross(x, at), self.cross_norm, None)
        return self.feed(x_BTC)

    def feed(self, x_BTC: Tensor) -> Tensor:
        """The second half: the MLP beside its residual connection."""
        return self._beside(x_BTC, self.mlp, self.mlp_norm, self.mlp_after_norm)

    def _beside(
        self, x: Tensor, sublayer: Callable[[Tensor], Tensor], norm: nn.Module | None, after: nn.Module | None
    ) -> Tensor:
        """One residual connection around ``sublayer``."""
        assert norm is not None
        if self.position == "pre":
            return x + self._weigh(sublayer(norm(x)))
        if self.position == "post":
            return norm(x + self._weigh(sublayer(x)))
        if self.position == "after":
            return x + self._weigh(norm(sublayer(x)))
        assert after is not None
        return x + self._weigh(after(sublayer(norm(x))))

    def _weigh(self, given: Tensor) -> Tensor:
        if self.dropout and self.training:
            given = F.dropout(given, self.dropout)
        return given if self.scale == 1.0 else given * self.scale
