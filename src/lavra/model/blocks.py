"""One transformer block: attention and an MLP, each beside a residual connection. Every variant is a config field.

Projections that read the same input are one matrix (query, key and value; gate and up): at one token a step each
kernel launch counts, and weights are joined once, at load.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from lavra.model.attention import KVCache, Mask, attend
from lavra.model.config import ModelConfig
from lavra.model.positions import rotate

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}

Rotary = tuple[Tensor, Tensor]  # cos and sin, as positions.rotate takes them


def make_norm(config: ModelConfig) -> nn.Module:
    """RMSNorm (Zhang and Sennrich 2019) or LayerNorm (Ba et al. 2016) over the width."""
    kind = {"rms": nn.RMSNorm, "layer": nn.LayerNorm}[config.norm]
    return kind(config.width, eps=config.norm_epsilon)


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width = config.heads, config.kv_heads, config.head_width
        joined = (config.heads + 2 * config.kv_heads) * config.head_width
        self.qkv = nn.Linear(config.width, joined, bias=config.attention_bias)
        self.output = nn.Linear(config.heads * config.head_width, config.width, bias=config.output_bias)

    def forward(self, x_BTC: Tensor, mask: Mask, rotary: Rotary | None, cache: KVCache | None, layer: int) -> Tensor:
        batch, time, _ = x_BTC.shape
        qkv = self.qkv(x_BTC).view(batch, time, self.heads + 2 * self.kv_heads, self.head_width)
        turned = self.heads + self.kv_heads
        qk, v = qkv[:, :, :turned], qkv[:, :, turned:].transpose(1, 2)
        if rotary is not None:
            qk = rotate(qk, *rotary)  # queries and keys at once
        q, k = qk[:, :, : self.heads].transpose(1, 2), qk[:, :, self.heads :].transpose(1, 2)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        mixed = attend(q, k, v, mask).transpose(1, 2).reshape(batch, time, -1)
        return self.output(mixed)


class MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated, self.activation = config.gated, ACTIVATIONS[config.activation]
        # Gated: the first half of the rows is the gate, the second the value it multiplies.
        self.up = nn.Linear(config.width, config.hidden_width * (2 if config.gated else 1), bias=config.mlp_bias)
        self.down = nn.Linear(config.hidden_width, config.width, bias=config.mlp_bias)

    def forward(self, x_BTC: Tensor) -> Tensor:
        up = self.up(x_BTC)
        if self.gated:
            gate, up = up.chunk(2, -1)
            return self.down(self.activation(gate) * up)
        return self.down(self.activation(up))


class Block(nn.Module):
    """Attention, then MLP. Pre-norm: x + f(norm(x)). Post-norm: norm(x + f(x))."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.pre = layer, config.norm_position == "pre"
        self.attention_norm, self.attention = make_norm(config), Attention(config)
        self.mlp_norm, self.mlp = make_norm(config), MLP(config)

    def forward(self, x_BTC: Tensor, mask: Mask, rotary: Rotary | None = None, cache: KVCache | None = None) -> Tensor:
        if self.pre:
            x_BTC = x_BTC + self.attention(self.attention_norm(x_BTC), mask, rotary, cache, self.layer)
            return x_BTC + self.mlp(self.mlp_norm(x_BTC))
        x_BTC = self.attention_norm(x_BTC + self.attention(x_BTC, mask, rotary, cache, self.layer))
        return self.mlp_norm(x_BTC + self.mlp(x_BTC))
