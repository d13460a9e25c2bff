"""Tiny decoders of transformers' with random weights, and a tokenizer that knows a few words: for tests that need a
model but no knowledge."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

_PROSE = "the a cat dog sat ran on under mat house and then saw big small red blue tree bird sang loud night day"
WORDS = _PROSE.split()
LETTERS = "abcdefghijklmnopqrstuvwxyz .,\n?:ABCDE"


def write_tokenizer(path: Path, *, begins: bool = False) -> None:
    """Byte-level BPE, learned on the words of the tests, so that words are tokens and others are pieces. ``begins``: it
    puts a token before each text, as Llama's and Gemma's do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=12)) for _ in range(300)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|end|>", "<|begin|>"]
    bare.train_from_iterator(
        [*texts, LETTERS], trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet)
    )
    if begins:
        bare.post_processor = processors.TemplateProcessing("<|begin|> $A", special_tokens=[("<|begin|>", 1)])
    PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<|end|>", bos_token="<|begin|>").save_pretrained(path)


def tiny_decoder(kind: str, path: Path, *, seed: int = 7) -> Path:
    """Written to ``path``, once: of a family with one position scheme or another."""
    import torch
    from transformers import AutoModelForCausalLM, Gemma3TextConfig, GPT2Config, LlamaConfig, MistralConfig

    sizes: dict[str, Any] = {
        "vocab_size": 330, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 160,
        "bos_token_id": 1, "eos_token_id": 0,
    }  # fmt: skip
    configs = {
        "rotary": lambda: LlamaConfig(**sizes),
        "learned": lambda: GPT2Config(
            vocab_size=330, n_embd=64, n_layer=3, n_head=4, n_positions=160, bos_token_id=1, eos_token_id=0
        ),
        "window": lambda: MistralConfig(**sizes, sliding_window=48),
        "some windows": lambda: Gemma3TextConfig(**sizes, head_dim=16, sliding_window=40, query_pre_attn_scalar=16),
    }
    if not path.exists():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(configs[kind]())
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(0, 0.12)
            else:
                parameter.data.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(path)
        write_tokenizer(path, begins=kind == "some windows")
    return path
