"""Losses over embeddings equal sentence-transformers' on the same vectors; cached gradients equal plain ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.building import build, initialise
from lavra.model.families.encoders import encoder_config
from lavra.objectives.embeddings import (
    Contrastive,
    CoSENT,
    CosineSimilarity,
    Embedding,
    Matryoshka,
    MeanSquaredError,
    MultipleNegativesRanking,
    OnlineContrastive,
    TextTuple,
    Triplet,
    VectorLoss,
)

losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")

BATCH, WIDTH = 24, 48


class Given(nn.Module):
    """What sentence-transformers takes for a model: the "features" are the vectors already."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**features, "sentence_embedding": features["vectors"]}

    def get_embedding_dimension(self) -> int:
        return WIDTH


def columns(count: int, seed: int = 0) -> list[Tensor]:
    """Unit vectors that are alike within an example, so that no loss is trivially small or large."""
    random = torch.Generator().manual_seed(seed)
    centre = torch.randn(BATCH, WIDTH, generator=random)
    found = [centre + 0.8 * torch.randn(BATCH, WIDTH, generator=random) for _ in range(count)]
    return [nn.functional.normalize(vectors, dim=-1).requires_grad_() for vectors in found]


grades = torch.linspace(0, 1, BATCH)[torch.randperm(BATCH, generator=torch.Generator().manual_seed(1))].round(
    decimals=1
)
binary = (grades > 0.5).float()
teacher = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(2))


def symmetric(model: nn.Module) -> Any:
    return losses.MultipleNegativesRankingLoss(
        model, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
    )


def cosine_triplet(model: nn.Module) -> Any:
    return losses.TripletLoss(model, losses.TripletDistanceMetric.COSINE, 0.5)


def euclidean_triplet(model: nn.Module) -> Any:
    return losses.TripletLoss(model, losses.TripletDistanceMetric.EUCLIDEAN, 1.0)


CASES: dict[str, tuple[VectorLoss, Callable[[nn.Module], Any], int, Tensor | None]] = {
    "cosine similarity": (CosineSimilarity(), losses.CosineSimilarityLoss, 2, grades),
    "mean squared error": (MeanSquaredError(), losses.MSELoss, 1, teacher),
    "multiple negatives": (MultipleNegativesRanking(), losses.MultipleNegativesRankingLoss, 2, None),
    "multiple negatives, hard ones too": (MultipleNegativesRanking(), losses.MultipleNegativesRankingLoss, 4, None),
    "multiple negatives, both ways": (MultipleNegativesRanking(symmetric=True), symmetric, 3, None),
    "triplet, cosine": (Triplet(), cosine_triplet, 3, None),
    "triplet, Euclidean": (Triplet(1.0, "euclidean"), euclidean_triplet, 3, None),
    "contrastive": (Contrastive(), losses.ContrastiveLoss, 2, binary),
    "CoSENT": (CoSENT(), losses.CoSENTLoss, 2, grades),
}


def theirs_of(loss: nn.Module, vectors: list[Tensor], labels: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Their loss, and its gradient of each column."""
    given = [column.detach().clone().requires_grad_() for column in vectors]
    value = loss([{"vectors": column} for column in given], labels)
    value.backward()
    return value.detach(), [column.grad for column in given]


def gradients(value: Tensor, vectors: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(value, vectors))


@pytest.mark.parametrize("name", CASES)
def test_a_loss_and_its_gradient_are_those_of_sentence_transformers(name: str):
    ours, make, count, labels = CASES[name]
    vectors = columns(count)
    given = labels[None].expand(count, -1, -1) if labels is not None and labels.dim() == 2 else labels
    total, number = ours(vectors, given)
    value, wanted = theirs_of(make(Given()), vectors, labels)
    assert value > 1e-3
    torch.testing.assert_close(total / number, value, rtol=1e-5, atol=1e-6)
    for found, theirs in zip(gradients(total / number, vectors), wanted, strict=True):
        torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("labels", [binary, torch.ones(BATCH), torch.zeros(BATCH)], ids=["both", "like", "unlike"])
def test_online_contrastive_is_theirs_also_where_a_batch_has_one_kind(labels: Tensor):
    vectors = columns(2)
    total, number = OnlineContrastive()(vectors, labels)
    value, wanted = theirs_of(losses.OnlineContrastiveLoss(Given()), vectors, labels)
    assert int(number) == BATCH
    torch.testing.assert_close(total, value, rtol=1e-5, atol=1e-6)  # theirs is the sum
    for found, theirs in zip(gradients(total, vectors), wanted, strict=True):
        torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["multiple negatives", "CoSENT", "mean squared error"])
def test_matryoshka_is_theirs_around_any_loss(name: str):
    inner, make, count, labels = CASES[name]
    dimensions, weights = (WIDTH, 16, 8), (1.0, 0.5, 0.25)
    vectors = columns(count)
    given = labels[None].expand(count, -1, -1) if labels is not None and labels.dim() == 2 else labels
    total, number = Matryoshka(inner, dimensions, weights)(vectors, given)
    model = Given()
    value, _ = theirs_of(losses.MatryoshkaLoss(model, make(model), list(dimensions), list(weights)), vectors, labels)
    torch.testing.assert_close(total / number, value, rtol=1e-5, atol=1e-6)


def encoder(dropout: float = 0.0) -> Model:
    config = encoder_config(
        vocabulary_size=101, context_length=64, layers=3, width=WIDTH, heads=4, hidden_width=96, norm_epsilon=1e-6,
        activation="gelu", token_types=2, dropout=dropout,
    )  # fmt: skip
    model = build(config)
    initialise(model, 0)
    return model.requires_grad_()


def tuples(count: int = 16, texts: int = 3) -> list[TextTuple]:
    random = np.random.default_rng(0)
    return [
        TextTuple(tuple(tuple(random.integers(3, 101, random.integers(3, 40)).tolist()) for _ in range(texts)))
        for _ in range(count)
    ]


def parameter_gradients(model: Model, objective: Embedding, examples: list[TextTuple]) -> tuple[Tensor, list[Tensor]]:
    model.zero_grad()
    torch.manual_seed(7)
    total, count = objective.loss(model, objective.collate(examples))
    (total / count).backward()
    return total.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_cached_gradients_are_the_plain_ones():
    model, examples = encoder().train(), tuples()
    plain, wanted = parameter_gradients(model, Embedding(MultipleNegativesRanking()), examples)
    cached, found = parameter_gradients(model, Embedding(MultipleNegativesRanking(), cached=True), examples)
    small = Embedding(MultipleNegativesRanking(), cached=True, group_tokens=64)
    other, grouped = parameter_gradients(model, small, examples)
    torch.testing.assert_close(cached, plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other, plain, rtol=1e-5, atol=1e-6)
    assert len(wanted) == len(found) == len(grouped) > 20
    for a, b, c in zip(wanted, found, grouped, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(c, a, rtol=1e-4, atol=1e-6)


def test_cached_dropout_falls_alike_in_both_passes():
    """With the same groups, plain and cached draw the same numbers: equal gradients only if the second pass repeats."""
    model, examples = encoder(dropout=0.2).train(), tuples()
    plain = parameter_gradients(model, Embedding(MultipleNegativesRanking(), group_tokens=128), examples)
    objective = Embedding(MultipleNegativesRanking(), group_tokens=128, cached=True)
    cached = parameter_gradients(model, objective, examples)
    torch.testing.assert_close(plain[0], cached[0], rtol=1e-5, atol=1e-6)
    for a, b in zip(plain[1], cached[1], strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6)


def test_cached_keeps_the_activations_of_one_group():
    model, examples = encoder().train(), tuples(64)

    def kept(objective: Embedding) -> int:
        size = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal size
            size += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            objective.loss(model, objective.collate(examples))
        return size

    plain = kept(Embedding(MultipleNegativesRanking(), group_tokens=256))
    assert kept(Embedding(MultipleNegativesRanking(), group_tokens=256, cached=True)) < plain / 20


def test_vectors_do_not_depend_on_who_stands_beside_them():
    model, examples = encoder().eval(), tuples(6)
    objective = Embedding(MultipleNegativesRanking())
    with torch.no_grad():
        together = objective.vectors(model, objective.collate(examples))
        alone = torch.cat([objective.vectors(model, objective.collate([one])) for one in examples])
    by_column = alone.view(6, 3, -1).transpose(0, 1).reshape(18, -1)
    torch.testing.assert_close(together, by_column, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(18))


def test_a_teachers_vectors_go_to_their_texts():
    random = np.random.default_rng(3)
    examples = [
        TextTuple(example.texts[:2], vectors=random.normal(size=(2, WIDTH)).astype(np.float32)) for example in tuples(5)
    ]
    batch = Embedding(MeanSquaredError()).collate(examples)
    for number, example in enumerate(examples):
        np.testing.assert_array_equal(batch.extra["vectors"][:, number].numpy(), example.vectors)
    one = [TextTuple(example.texts, vectors=example.vectors[0]) for example in examples]
    shared = Embedding(MeanSquaredError()).collate(one).extra["vectors"]
    assert torch.equal(shared[0], shared[1])


@pytest.mark.parametrize(
    ("loss", "example", "words"),
    [
        (Triplet(), TextTuple(((1, 2), (3, 4))), "example 1 has 2 texts; Triplet takes 3"),
        (Contrastive(), TextTuple(((1,), (2,), (3,)), 1), "takes 2"),
        (MeanSquaredError(), TextTuple(((1,), (2,), (3,))), "no vector of a teacher"),
    ],
)
def test_an_example_that_a_loss_cannot_use_is_named(loss: VectorLoss, example: TextTuple, words: str):
    first = TextTuple(((1,), (2,), (3,)), vectors=np.zeros(WIDTH, np.float32))
    with pytest.raises(LavraError, match=words):
        Embedding(loss).check([first, example] if "1 has" in words else [example])
