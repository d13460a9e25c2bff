"""GRPO's loss is TRL's; batches of answers are what a model says alone; a tiny model learns a rule that is checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from trl_judge import both, padded, stub, texts

from lavra.errors import LavraError
from lavra.inference.batch_sampling import draw, sample_batch
from lavra.inference.sampling import Sampling
from lavra.model.base import Model
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.model.heads import logits
from lavra.objectives.grpo import GRPO, Rollout, advantages, k3, token_scores
from lavra.training.loop import Trainer
from lavra.training.rollouts import Prompt, Rollouts
from lavra.training.run import RunDirectory
from lavra.training.settings import TrainSettings

NEAR = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Model]:
    return both(tmp_path_factory.mktemp("tiny"))


def rollouts(model: Model, other: Model) -> list[Rollout]:
    """With log-probabilities of an older model that is near, so that some ratios are clipped and some are not."""
    given, random = texts(6), np.random.default_rng(0)
    old = [values + random.normal(0, 0.3, len(values)).astype(np.float32) for values in token_scores(model, given)]
    reference = token_scores(other, given)
    rewards = [0.0, 1.0, 1.0, 0.0, 0.5, 2.0]
    return [Rollout(*row) for row in zip(given, rewards, advantages(rewards), old, reference, strict=True)]


@pytest.mark.parametrize(("average", "theirs_kind"), [("token", "bnpo"), ("answer", "grpo")])
@pytest.mark.parametrize(("clip_high", "fresh"), [(None, False), (0.28, False), (None, True)])
def test_the_loss_is_trls_with_its_gradient(models, tmp_path, average, theirs_kind, clip_high, fresh):
    from trl import GRPOTrainer

    theirs, ours = models
    _, other = both(tmp_path, seed=1)
    given = rollouts(ours, other)
    if fresh:
        given = [Rollout(one.text, one.reward, one.advantage, None, one.reference) for one in given]
    batch = padded([one.text for one in given])
    answers = batch["completion_mask"][:, 1:]

    def spread(name: str) -> Tensor:
        values = torch.zeros(answers.shape)
        values[answers.bool()] = torch.from_numpy(np.concatenate([getattr(one, name) for one in given]))
        return values

    inputs = {
        "prompt_ids": batch["input_ids"][:, :1], "prompt_mask": batch["attention_mask"][:, :1],
        "completion_ids": batch["input_ids"][:, 1:], "completion_mask": answers,
        "advantages": torch.tensor([one.advantage for one in given]), "ref_per_token_logps": spread("reference"),
    } | ({} if fresh else {"old_per_token_logps": spread("old")})  # fmt: skip

    def scored(model: Any, ids: Tensor, mask: Tensor, keep: int, **_: Any) -> tuple[Tensor, Tensor, None]:
        log = model(ids, attention_mask=batch["attention_mask"]).logits.log_softmax(-1)[:, :-1]
        return log.gather(2, ids[:, 1:, None])[..., 0], torch.zeros(ids.shape[0], keep), None

    high = 0.2 if clip_high is None else clip_high
    trainer = stub(
        model=theirs, beta=0.07, epsilon_low=0.2, epsilon_high=high, loss_type=theirs_kind, top_entropy_quantile=1.0,
        off_policy_mask_threshold=None, importance_sampling_level="token", use_vllm=False,
        vllm_importance_sampling_correction=False, _entropy_bonus_enabled=False, current_gradient_accumulation_steps=1,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False), _get_per_token_logps_and_entropies=scored,
        max_completion_length=12,
    )  # fmt: skip
    expected = GRPOTrainer._compute_loss(trainer, theirs, inputs)
    objective = GRPO(beta=0.07, clip=0.2, clip_high=clip_high, average=average)
    grpo_batch = objective.collate(given)
    total, count = objective.loss(ours, grpo_batch)
    torch.testing.assert_close(total / count, expected, **NEAR)
    kl, tokens = objective.metrics(ours, grpo_batch)["kl"]
    assert float(kl / tokens) == pytest.approx(trainer._metrics["eval"]["kl"][-1], abs=1e-4)
    if not fresh:
        assert 0 < float(objective.metrics(ours, grpo_batch)["clipped"][0]) < float(tokens)
    for model in models:
        model.zero_grad()
    expected.backward()
    (total / count).backward()
    assert ours.embedding is not None
    torch.testing.assert_close(ours.embedding.weight.grad, theirs.get_input_embeddings().weight.grad, **NEAR)


def test_advantages_are_of_the_group():
    found = advantages([1.0, 0.0, 0.0, 3.0])
    rewards = torch.tensor([1.0, 0.0, 0.0, 3.0])
    assert found == pytest.approx(((rewards - rewards.mean()) / (rewards.std() + 1e-4)).tolist(), abs=1e-6)
    assert advantages([2.0, 2.0]) == [0.0, 0.0]
    assert advantages([3.0, 1.0], scaled=False) == [1.0, -1.0]
    with pytest.raises(LavraError, match="at least two"):
        advantages([1.0])
    with pytest.raises(LavraError, match="not a number"):
        advantages([1.0, float("nan")])


def test_k3_is_the_kl_in_the_mean_and_never_below_nothing():
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(50, generator=generator, dtype=torch.float64).log_softmax(0) for _ in range(2))
    estimate = k3(p, q)
    assert (estimate >= 0).all()
    torch.testing.assert_close((p.exp() * estimate).sum(), (p.exp() * (p - q)).sum())


def test_a_batch_of_answers_is_what_the_model_says_to_each_prompt_alone(models):
    _, ours = models
    prompts = [text.ids[: text.answer].tolist() for text in texts(8, seed=4)]
    sampling = Sampling(max_tokens=9)
    for prompt, given in zip(prompts, sample_batch(ours, prompts, sampling, at_once=5, ends=(7, 60)), strict=True):
        ids, alone = list(prompt), []
        with torch.no_grad():
            while len(alone) < 9 and (not alone or alone[-1] not in (7, 60)):
                alone.append(int(logits(ours, ours(torch.tensor([ids]))[0, -1]).argmax()))
                ids.append(alone[-1])
        assert given == [alone]


def test_answers_to_one_prompt_differ_and_the_seed_brings_them_again(models):
    _, ours = models
    prompts, sampling = [[3, 4, 5], [6]], Sampling(temperature=1.0, max_tokens=6, seed=11)
    first = sample_batch(ours, prompts, sampling, copies=4)
    assert [len(group) for group in first] == [4, 4]
    assert len({tuple(answer) for answer in first[0]}) > 1
    assert sample_batch(ours, prompts, sampling, copies=4) == first


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.7), Sampling(temperature=1.0, top_k=5, top_p=0.9)])
def test_tokens_are_drawn_as_often_as_they_are_probable(sampling):
    from lavra.inference.sampler import probabilities

    row = torch.randn(20, generator=torch.Generator().manual_seed(2)) * 2
    generator = torch.Generator().manual_seed(0)
    counts = draw(row.repeat(4000, 1), sampling, generator).bincount(minlength=20) / 4000
    ids, chances = probabilities(row, sampling)
    expected = torch.zeros(20, dtype=torch.float64).scatter(0, ids, chances)
    assert (counts - expected).abs().max() < 0.03


def tiny(seed: int = 0) -> Model:
    model = build(
        ModelConfig(
            vocabulary_size=12, context_length=32, layers=2, width=32, heads=4, kv_heads=2, head_width=8,
            hidden_width=64, causal=True, norm="rms", norm_epsilon=1e-5, norm_bias=False, positions="rotary",
            activation="silu", gated=True,
        )
    )  # fmt: skip
    initialise(model, seed)
    return model.requires_grad_()


def rule(prompt: Prompt, answers: Sequence[Sequence[int]]) -> list[float]:
    """The first token is the number three after the prompt's, of eight in a ring: verified by counting."""
    return [float(answer[0] == 4 + (prompt.row["number"] - 1) % 8) for answer in answers]


def trainer(path: Path, model: Model, *, iterations: int = 1, beta: float = 0.0, steps: int = 50) -> Trainer:
    def sample(prompts: Sequence[Sequence[int]], copies: int, seed: int) -> list[list[list[int]]]:
        return sample_batch(model, prompts, Sampling(temperature=1.0, max_tokens=2, seed=seed), copies=copies)

    start = tiny()
    loader = Rollouts(
        [Prompt((2, number), {"number": number}) for number in range(4, 12)],
        sample,
        rule,
        at_once=8,
        group=16,
        iterations=iterations,
        old=lambda given: token_scores(model, given),
        reference=(lambda given: token_scores(start, given)) if beta else None,
    )
    settings = TrainSettings(
        steps=steps, batch_tokens=1024, micro_tokens=1024, learning_rate=1e-2, schedule="constant", warmup=2,
        weight_decay=0.0, save_every=10, spike=0.0,
    )  # fmt: skip
    return Trainer(model, GRPO(beta=beta), loader, settings, RunDirectory(path))


def reward_of(model: Model) -> float:
    prompts = [Prompt((2, number), {"number": number}) for number in range(4, 12)]
    answers = sample_batch(model, [prompt.ids for prompt in prompts], Sampling(max_tokens=1))
    return float(np.mean([rule(prompt, given)[0] for prompt, given in zip(prompts, answers, strict=True)]))


def test_a_tiny_model_learns_a_rule_that_a_function_checks(tmp_path: Path):
    model = tiny()
    assert reward_of(model) < 0.5
    run = trainer(tmp_path, model)
    run.train()
    assert reward_of(model) == 1.0
    seen = [line["reward"] for line in run.run.lines("metrics")]
    assert np.mean(seen[-5:]) > 0.85 > 0.3 > np.mean(seen[:2])


def test_a_kl_holds_the_model_back(tmp_path: Path):
    drifts = []
    for beta in (1e-9, 2.0):
        run = trainer(tmp_path / str(beta), tiny(), beta=beta, steps=12)
        run.train()
        drifts.append(run.run.lines("metrics")[-1]["kl"])
    assert drifts[1] < drifts[0] / 4


def test_a_run_stopped_in_the_middle_of_its_answers_continues_with_the_same_bits(tmp_path: Path):
    whole = tiny()
    trainer(tmp_path / "whole", whole, iterations=3, steps=8).train()
    first = trainer(tmp_path / "cut", tiny(), iterations=3, steps=8)
    first.save_every = 1
    first.steps = 5  # as if it had been killed then
    first.train()
    continued = tiny(seed=9)
    second = trainer(tmp_path / "cut", continued, iterations=3, steps=8)
    second.train()
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, continued.get_parameter(name)), name


def test_the_loaders_state_is_json_that_brings_back_the_same_answers():
    model = tiny()

    def make() -> Rollouts:
        def sample(prompts: Any, copies: int, seed: int) -> Any:
            return sample_batch(model, prompts, Sampling(temperature=1.0, max_tokens=2, seed=seed), copies=copies)

        prompts = [Prompt((2, number), {"number": number}) for number in range(4, 9)]
        return Rollouts(
            prompts, sample, rule, at_once=2, group=3, iterations=2, old=lambda given: token_scores(model, given)
        )

    loader = make()
    assert loader.steps(1) == 4
    first = loader.next_step()
    again = make()
    again.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    second = again.next_step()
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one.examples, other.examples, strict=True):
            assert a.text.ids.tolist() == b.text.ids.tolist()
            assert np.array_equal(a.old, b.old)
    with pytest.raises(LavraError, match="begun with other prompts"):
        Rollouts([Prompt((2, 3), {})], lambda *_: [], rule, group=3).load_state_dict(loader.state_dict())


def test_ranks_share_the_prompts_of_a_step():
    prompts = [Prompt((2, number), {"number": number}) for number in range(4, 9)]

    def make() -> Rollouts:
        return Rollouts(prompts, lambda given, copies, _: [[[4]] * copies for _ in given], rule, at_once=3, group=2)

    shares = [make().next_step(rank, 2) for rank in range(2)]
    assert [[micro.filler for micro in share] for share in shares] == [[False, False], [False, True]]
    asked = [micro.examples[0].text.ids[1] for share in shares for micro in share if not micro.filler]
    assert len(set(asked)) == 3


def test_a_kl_needs_its_reference():
    given = [Rollout(text, 0.0, 0.0) for text in texts(2)]
    with pytest.raises(LavraError, match="without the reference"):
        GRPO(beta=0.1).collate(given)
