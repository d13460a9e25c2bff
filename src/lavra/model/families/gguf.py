"""GGUF files: the same families under llama.cpp's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavra.model.config import ModelConfig
from lavra.model.families.family import Family, Rule, Shapes, Table, names, refuse, split_width


def _read_llama(gguf: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    def get(key: str, default: Any = None) -> Any:
        return gguf.get(f"llama.{key}", default)

    refuse(get("expert_count", 0), "a mixture of experts")
    refuse(get("rope.scaling.type", "none") != "none", f"rotary positions scaled by {get('rope.scaling.type')!r}")
    width, heads = gguf["llama.embedding_length"], gguf["llama.attention.head_count"]
    head_width = get("attention.key_length") or split_width(width, heads)
    refuse(get("rope.dimension_count", head_width) != head_width, "partial rotary positions")
    return ModelConfig(
        # Not from llama.vocab_size, which older files lack.
        vocabulary_size=shapes.get("token_embd.weight", (0,))[0],
        context_length=gguf["llama.context_length"],
        layers=gguf["llama.block_count"],
        width=width,
        heads=heads,
        kv_heads=get("attention.head_count_kv") or heads,
        head_width=head_width,
        hidden_width=gguf["llama.feed_forward_length"],
        causal=True,
        norm="rms",
        norm_epsilon=gguf["llama.attention.layer_norm_rms_epsilon"],
        norm_position="pre",
        positions="rotary",
        rope_theta=get("rope.freq_base", 10_000.0),
        activation="silu",
        gated=True,
        tied_embeddings="output.weight" not in shapes,
    )


_L = "blk.{layer}."
_B = "blocks.{layer}."
LLAMA_NAMES: Table = {
    "embedding": "token_embd",
    "final_norm": "output_norm",
    "head.unembedding": "output",
    _B + "attention_norm": _L + "attn_norm",
    _B + "attention.qkv": Rule(tuple(_L + f"attn_{x}" for x in "qkv"), layouts=("pairs", "pairs", None)),
    _B + "attention.output": _L + "attn_output",
    _B + "mlp_norm": _L + "ffn_norm",
    _B + "mlp.up": (_L + "ffn_gate", _L + "ffn_up"),
    _B + "mlp.down": _L + "ffn_down",
}

GGUF: Mapping[str, Family] = {
    "llama": Family(read=_read_llama, names=names(LLAMA_NAMES)),
}
