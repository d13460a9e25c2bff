"""One tiny random model of every family, made by transformers: what tests that hold for all families run on."""

from __future__ import annotations

from typing import Any

import torch
import transformers

_DECODER = {
    "vocab_size": 99,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ENCODER = {
    "vocab_size": 99,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_BART = {
    "vocab_size": 99,
    "d_model": 48,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 80,
    "decoder_ffn_dim": 80,
    "max_position_embeddings": 64,
}
_T5 = {"vocab_size": 99, "d_model": 48, "d_kv": 8, "d_ff": 80, "num_layers": 3, "num_heads": 6}
_VIT = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
_TEXT = {**_ENCODER, "bos_token_id": 1, "eos_token_id": 98, "projection_dim": 24}
_CAUSAL, _BASE, _SEQ2SEQ = "AutoModelForCausalLM", "AutoModel", "AutoModelForSeq2SeqLM"

ZOO: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": (_CAUSAL, _DECODER),
    "smollm3": (_CAUSAL, _DECODER),
    "mistral": (_CAUSAL, {**_DECODER, "sliding_window": 8}),
    "mixtral": (_CAUSAL, {**_DECODER, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": (_CAUSAL, _DECODER),
    "qwen3": (_CAUSAL, _DECODER),
    "qwen2_moe": (_CAUSAL, {**_DECODER, **_EXPERTS, "shared_expert_intermediate_size": 40}),
    "qwen3_moe": (_CAUSAL, {**_DECODER, **_EXPERTS}),
    "gemma": (_CAUSAL, _DECODER),
    "gemma2": (_CAUSAL, {**_DECODER, "sliding_window": 8, "query_pre_attn_scalar": 8}),
    "gemma3_text": (_CAUSAL, {**_DECODER, "sliding_window": 8, "query_pre_attn_scalar": 8}),
    "phi3": (_CAUSAL, _DECODER),
    "olmo2": (_CAUSAL, _DECODER),
    "gpt_neox": (_CAUSAL, {**_DECODER, "num_key_value_heads": 6}),
    "gpt2": (_CAUSAL, {"vocab_size": 99, "n_embd": 48, "n_layer": 3, "n_head": 6, "n_positions": 64}),
    "bert": (_BASE, _ENCODER),
    "roberta": (_BASE, {**_ENCODER, "max_position_embeddings": 66, "pad_token_id": 1}),
    "xlm-roberta": (_BASE, {**_ENCODER, "max_position_embeddings": 66, "pad_token_id": 1}),
    "distilbert": (_BASE, {"vocab_size": 99, "dim": 48, "hidden_dim": 80, "n_layers": 3, "n_heads": 4}),
    "modernbert": (_BASE, {**_ENCODER, "local_attention": 8, "global_attn_every_n_layers": 2}),
    "mpnet": (_BASE, {**_ENCODER, "max_position_embeddings": 66, "pad_token_id": 1}),
    "t5": (_SEQ2SEQ, _T5),
    "mt5": (_SEQ2SEQ, _T5),
    "bart": (_SEQ2SEQ, _BART),
    "mbart": (_SEQ2SEQ, _BART),
    "clip": (_BASE, {"text_config": _TEXT, "vision_config": {**_VIT, "projection_dim": 24}, "projection_dim": 24}),
    "clip_text_model": ("CLIPTextModel", _TEXT),
    "clip_vision_model": ("CLIPVisionModel", _VIT),
    "vit": (_BASE, _VIT),
}
"""By ``model_type``: the transformers class to make, and the fields of its config."""


def make(kind: str, **changes: Any) -> Any:
    """The family's tiny model with random weights, in evaluation mode."""
    torch.manual_seed(0)
    name, fields = ZOO[kind]
    config = transformers.AutoConfig.for_model(kind, **(fields | changes))
    maker = getattr(transformers, name)
    return (maker.from_config(config) if name.startswith("Auto") else maker(config)).float().eval()
