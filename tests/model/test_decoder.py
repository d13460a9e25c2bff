"""SmolLM2 as Lavra reads it computes what transformers computes from the same file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.model.attention import Mask
from lavra.model.heads import logits
from lavra.model.transformer import Transformer
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

PROMPTS = [
    "Qual é a capital de Portugal?",
    "Explica em duas frases o que é um contrato de arrendamento.",
    "Escreve uma receita simples de pão.",
    "The three laws of thermodynamics are",
    "Write a short letter to a landlord about a broken heater.",
    "Why is the sky blue?",
    "Summarise: the committee met on Tuesday, approved the budget and adjourned at noon.",
    "def fibonacci(n):\n    ",
    "SELECT name, COUNT(*) FROM orders",
    "Translate to English: o gato dorme em cima da mesa.",
]
NEW_TOKENS = 64


@pytest.fixture(scope="module")
def tokenizer(smollm2_path: Path) -> Tokenizer:
    return load_tokenizer(smollm2_path)


def greedy(model: Transformer, prompts: list[list[int]], count: int) -> list[list[int]]:
    """Greedy continuations of several prompts at once: left padding, a cache, one token a step."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    pads = torch.tensor([longest - len(prompt) for prompt in prompts])[:, None]
    places = torch.arange(longest + count)[None]
    valid, positions = places >= pads, (places - pads).clamp(min=0)
    cache = model.make_cache(longest + count, batch=len(prompts))
    chosen: list[Tensor] = []
    with torch.inference_mode():
        while len(chosen) < count:
            end = cache.length + ids.shape[1]
            hidden = model(
                ids,
                mask=Mask(causal=True, valid_BS=valid[:, :end]),
                cache=cache,
                positions_BT=positions[:, cache.length : end],
            )
            ids = logits(model, hidden[:, -1]).argmax(-1, keepdim=True)
            chosen.append(ids)
    return torch.cat(chosen, 1).tolist()


def test_logits_are_those_of_transformers(smollm2: Transformer, smollm2_reference: Any, tokenizer: Tokenizer) -> None:
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer.encode(prompt)])
        with torch.inference_mode():
            difference = (logits(smollm2, smollm2(ids)) - smollm2_reference(ids).logits).abs().max()
        assert difference <= 1e-3


def test_greedy_tokens_are_those_of_transformers(
    smollm2: Transformer, smollm2_reference: Any, tokenizer: Tokenizer
) -> None:
    """Transformers reads each continuation once and would have chosen every token of it: by induction its own greedy
    decoding gives the same."""
    prompts = [tokenizer.encode_chat([{"role": "user", "content": text}]) for text in PROMPTS]
    continuations = greedy(smollm2, prompts, NEW_TOKENS)
    for prompt, continuation in zip(prompts, continuations, strict=True):
        with torch.inference_mode():
            scores = smollm2_reference(torch.tensor([prompt + continuation])).logits[0]
        assert scores[len(prompt) - 1 : -1].argmax(-1).tolist() == continuation
    # A batch with padding is a convenience: one request alone, which the engine serves, says the same.
    assert greedy(smollm2, prompts[:1], NEW_TOKENS) == continuations[:1]


def test_prefill_then_decode_equals_the_full_forward(smollm2: Transformer) -> None:
    ids = torch.randint(17, 49_000, (2, 40), generator=torch.Generator().manual_seed(1))
    cache = smollm2.make_cache(40, batch=2)
    with torch.inference_mode():
        whole = smollm2(ids)
        parts = [smollm2(ids[:, :20], cache=cache), smollm2(ids[:, 20:31], cache=cache)]  # a chunk in the middle too
        parts += [smollm2(ids[:, i : i + 1], cache=cache) for i in range(31, 40)]
    assert cache.length == 40
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-3, rtol=1e-3)


def test_a_truncated_cache_continues_as_if_the_rest_had_never_been(smollm2: Transformer) -> None:
    ids = torch.randint(17, 49_000, (1, 24), generator=torch.Generator().manual_seed(2))
    cache = smollm2.make_cache(32)
    with torch.inference_mode():
        smollm2(ids, cache=cache)
        cache.truncate(10)
        again = smollm2(ids[:, 10:], cache=cache)
        torch.testing.assert_close(again, smollm2(ids)[:, 10:], atol=1e-3, rtol=1e-3)


def test_more_tokens_than_the_cache_holds_are_refused(smollm2: Transformer) -> None:
    with pytest.raises(LavraError, match="9 tokens do not fit into a context of 8"):
        smollm2(torch.zeros(1, 9, dtype=torch.long), cache=smollm2.make_cache(8))


def test_bfloat16_agrees_on_what_comes_next(smollm2: Transformer, smollm2_path: Path, tokenizer: Tokenizer) -> None:
    from lavra.model.weights import load_model

    half = load_model(smollm2_path, dtype=torch.bfloat16)
    ids = torch.tensor([tokenizer.encode(" ".join(PROMPTS))])
    with torch.inference_mode():
        exact = logits(smollm2, smollm2(ids))[0].log_softmax(-1)
        rounded = logits(half, half(ids))[0].float().log_softmax(-1)
    divergence = (exact.exp() * (exact - rounded)).sum(-1).mean()
    assert divergence < 0.02  # nats a token; text like this costs the model three or four


def test_loading_needs_little_more_memory_than_the_model(smollm2_path: Path) -> None:
    script = """
import resource, sys, torch
from pathlib import Path
import lavra.model.weights as weights
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
model = weights.load_model(Path(sys.argv[1]), dtype=torch.bfloat16)
print(peak() - before, sum(p.numel() * p.element_size() for p in model.parameters()))
"""
    result = subprocess.run(
        [sys.executable, "-c", script, str(smollm2_path)], capture_output=True, text=True, check=True
    )
    grown, size = map(int, result.stdout.split())
    # Pages of the mapped file count as resident although the system may drop them at any time.
    assert grown <= size + smollm2_path.stat().st_size + 100e6
