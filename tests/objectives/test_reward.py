"""A reward model is TRL's on the same texts, reads each answer's last token, and learns what is preferred."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaForSequenceClassification
from trl_judge import both, padded, stub, texts

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.objectives.answers import Text
from lavra.objectives.preferences import Pair
from lavra.objectives.reward import BradleyTerry, reward_model, rewards

NEAR = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Model]:
    """transformers' classifier with one label, over the same weights as Lavra's reward model."""
    directory = tmp_path_factory.mktemp("tiny")
    _, decoder = both(directory)
    ours = reward_model(decoder)
    theirs = LlamaForSequenceClassification.from_pretrained(directory, num_labels=1).eval()
    assert ours.head.classifier is not None
    with torch.no_grad():
        ours.head.classifier.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(3))
        theirs.score.weight.copy_(ours.head.classifier.weight)
    return theirs, ours


def pairs(count: int = 5, seed: int = 0) -> list[Pair]:
    given = texts(2 * count, seed)
    return [Pair(given[2 * n], given[2 * n + 1], margin=0.25 * n) for n in range(count)]


def sides(given: list[Pair]) -> list[Text]:
    return [pair.chosen for pair in given] + [pair.rejected for pair in given]


@pytest.mark.parametrize(("margins", "centre"), [(False, 0.0), (True, 0.0), (True, 0.05)])
def test_the_loss_is_trls_with_its_gradient(models, margins, centre):
    from types import SimpleNamespace

    from trl import RewardTrainer

    theirs, ours = models
    given = pairs()
    batch = padded(sides(given))
    inputs: dict[str, Tensor] = {name: batch[name] for name in ("input_ids", "attention_mask")}

    def scored(**values: Any) -> Any:
        return theirs(**{name: tensor for name, tensor in values.items() if name not in ("margin", "use_cache")})

    scored.training = False  # type: ignore[attr-defined]
    if margins:
        inputs["margin"] = torch.tensor([pair.margin for pair in given])
    trainer = stub(model=theirs, args=SimpleNamespace(center_rewards_coefficient=centre or None))
    expected = RewardTrainer.compute_loss(trainer, scored, inputs)
    objective = BradleyTerry(margins=margins, centre=centre)
    total, count = objective.loss(ours, objective.collate(given))
    torch.testing.assert_close(total / count, expected, **NEAR)
    found = objective.metrics(ours, objective.collate(given))
    assert float(found["accuracy"][0] / count) == pytest.approx(trainer._metrics["eval"]["accuracy"][-1])
    assert float(found["margin"][0] / count) == pytest.approx(trainer._metrics["eval"]["margin"][-1], abs=1e-5)
    for model in models:
        model.zero_grad()
    expected.backward()
    (total / count).backward()
    assert ours.head.classifier is not None
    torch.testing.assert_close(ours.head.classifier.weight.grad, theirs.score.weight.grad, **NEAR)
    torch.testing.assert_close(ours.embedding.weight.grad, theirs.get_input_embeddings().weight.grad, **NEAR)


def test_a_reward_is_of_the_text_and_not_of_its_neighbours(models):
    given = texts(6)
    together = rewards(models[1], given)
    assert [rewards(models[1], [text])[0] for text in given] == pytest.approx(together, abs=1e-5)
    assert rewards(models[1], given[::-1]) == pytest.approx(together[::-1], abs=1e-5)


def test_a_reward_model_shares_the_decoders_blocks_and_only_its_score_is_new(tmp_path: Path):
    _, decoder = both(tmp_path)
    made = reward_model(decoder)
    new = {name for name, _ in made.named_parameters()} - {name for name, _ in decoder.named_parameters()}
    assert new == {"head.classifier.weight"}
    assert made.get_parameter("blocks.0.mlp.down.weight") is decoder.get_parameter("blocks.0.mlp.down.weight")


def test_it_learns_a_preference_it_has_not_seen(tmp_path: Path):
    """Answers with the token 5 are preferred; held-out pairs are told apart after a few steps."""
    _, decoder = both(tmp_path)
    model, objective = reward_model(decoder).train(), BradleyTerry()

    def marked(pair: Pair) -> Pair:
        ids = pair.chosen.ids.copy()
        ids[-1] = 5
        return replace(pair, chosen=Text(ids, pair.chosen.answer))

    def accuracy(given: list[Pair]) -> float:
        total, count = objective.metrics(model, objective.collate(given))["accuracy"]
        return float(total / count)

    learned, held_out = ([marked(pair) for pair in pairs(32, seed)] for seed in (1, 2))
    before = accuracy(held_out)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(30):
        optimiser.zero_grad()
        total, count = objective.loss(model, objective.collate(learned))
        (total / count).backward()
        optimiser.step()
    assert accuracy(held_out) >= 0.95 > before


def test_only_a_decoder_becomes_a_reward_model(models):
    with pytest.raises(LavraError, match="made of a decoder"):
        reward_model(models[1])
