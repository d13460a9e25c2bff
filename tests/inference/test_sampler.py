"""The sampler against transformers' own processors, on the same logits."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavra.errors import LavraError
from lavra.inference.sampler import Sampler, penalise, probabilities, validate
from lavra.inference.sampling import Sampling

VOCABULARY = 49_152


def realistic_logits(seed: int, vocabulary: int = VOCABULARY) -> torch.Tensor:
    """Peaked, like a language model's: a few tokens far above a wide bulk."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(vocabulary, generator=generator) * 2
    peaks = torch.randperm(vocabulary, generator=generator)[:20]
    logits[peaks] += torch.rand(20, generator=generator) * 12
    return logits


def judged_by_transformers(logits: torch.Tensor, sampling: Sampling, seen: list[int]) -> torch.Tensor:
    """Probabilities over the vocabulary, as ``generate`` computes them, but in float64.

    In float32 its running sum over 49,152 ascending terms is off by up to 1e-5, which moves the top-p line past a
    token now and then; the definition is the judge, not that rounding.
    """
    from transformers.generation import logits_process as judge

    chain = []
    if sampling.repetition_penalty != 1:
        chain.append(judge.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    chain.append(judge.TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        chain.append(judge.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        chain.append(judge.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        chain.append(judge.MinPLogitsWarper(sampling.min_p))
    scores = logits[None].double()
    for step in chain:
        scores = step(torch.tensor([seen]), scores)
    return scores.softmax(-1)[0]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.3),
        Sampling(temperature=1.7, top_k=1),
        Sampling(temperature=0.7, top_k=40),
        Sampling(temperature=1.0, top_p=0.9),
        Sampling(temperature=2.5, top_p=0.99),
        Sampling(temperature=1.0, top_p=0.01),
        Sampling(temperature=1.0, min_p=0.05),
        Sampling(temperature=3.0, min_p=0.0001),
        Sampling(temperature=0.9, top_k=100, top_p=0.8, min_p=0.02),
        Sampling(temperature=0.9, repetition_penalty=1.3, top_p=0.95),
        Sampling(temperature=1.1, repetition_penalty=0.8, top_k=50),
        Sampling(temperature=1.0, top_k=VOCABULARY * 2, top_p=0.5),
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_kept_tokens_and_probabilities_are_those_of_transformers(sampling: Sampling, seed: int) -> None:
    logits = realistic_logits(seed)
    seen = [*torch.topk(logits, 30).indices[::2].tolist(), 7, 7, 7]
    expected = judged_by_transformers(logits, sampling, seen)
    ids, found = probabilities(logits, sampling, torch.tensor(seen))
    ours = torch.zeros(VOCABULARY, dtype=torch.float64)
    ours[ids] = found
    assert set(ids[found > 0].tolist()) == set(expected.nonzero().squeeze(1).tolist())
    assert (ours - expected).abs().max() <= 1e-6


def test_equal_logits_at_the_top_k_line_stay_together_as_in_transformers() -> None:
    logits = torch.tensor([3.0, 2.0, 2.0, 2.0, 1.0])
    ids, chances = probabilities(logits, Sampling(temperature=1.0, top_k=2))
    assert sorted(ids.tolist()) == [0, 1, 2, 3]
    expected = judged_by_transformers(logits, Sampling(temperature=1.0, top_k=2), [0])
    assert torch.allclose(chances.sort().values, expected[expected > 0].sort().values)


def test_a_tiny_temperature_is_greedy_and_not_nan() -> None:
    ids, chances = probabilities(realistic_logits(3), Sampling(temperature=1e-6, top_p=0.9))
    assert ids.tolist() == [int(realistic_logits(3).argmax())]
    assert chances.tolist() == [1.0]


def test_draws_follow_the_distribution() -> None:
    """Chi-squared of 20,000 draws over five tokens: below the 0.999 quantile of 4 degrees of freedom, 18.47."""
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0])
    sampler = Sampler(Sampling(temperature=1.0, seed=5))
    drawn = torch.bincount(torch.tensor([sampler.draw(logits) for _ in range(20_000)]), minlength=5)
    expected = logits.softmax(0) * 20_000
    assert float(((drawn - expected) ** 2 / expected).sum()) < 18.47


def test_the_same_seed_draws_the_same_tokens_whatever_else_is_drawn() -> None:
    settings_ = Sampling(temperature=1.0, top_p=0.95, seed=11)
    first, second = Sampler(settings_), Sampler(settings_)
    tokens = []
    for step in range(50):
        tokens.append(first.draw(realistic_logits(step)))
        torch.rand(3)  # the process's own generator moves on
    assert tokens == [second.draw(realistic_logits(step)) for step in range(50)]
    other = Sampler(dataclasses.replace(settings_, seed=12))
    assert tokens != [other.draw(realistic_logits(step)) for step in range(50)]


def test_greedy_takes_the_largest_logit_and_the_penalty_applies_to_it_too() -> None:
    logits = torch.tensor([1.0, 3.0, 2.9], dtype=torch.bfloat16)
    assert Sampler(Sampling()).draw(logits) == 1
    assert Sampler(Sampling(repetition_penalty=1.5), prompt=[1]).draw(logits) == 2


def test_a_drawn_token_is_penalised_from_then_on() -> None:
    sampler = Sampler(Sampling(repetition_penalty=2.0))
    assert [sampler.draw(torch.tensor([3.0, 2.0, 1.9])) for _ in range(3)] == [0, 1, 2]


def test_the_penalty_leaves_the_callers_logits_alone() -> None:
    logits = torch.tensor([1.0, -1.0])
    assert penalise(logits, 2.0, torch.tensor([0, 1])).tolist() == [0.5, -2.0]
    assert logits.tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.01}, "top_p"),
        ({"min_p": -0.5}, "min_p"),
        ({"min_p": 2.0}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ("",)}, "stop"),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_range(wrong: dict, named: str) -> None:
    with pytest.raises(LavraError, match=f"^{named} is .*; it must be "):
        validate(Sampling(**wrong))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.05, 5),
    st.integers(0, 60),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
def test_something_may_always_come_next_and_the_best_always_may(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    logits = realistic_logits(seed, 2000)
    ids, chances = probabilities(logits, Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p))
    assert int(logits.argmax()) in ids.tolist()
    assert float(chances.sum()) == pytest.approx(1, abs=1e-4)
