"""What a student is told of its teacher is TRL's divergence, of logits that never exist whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from trl_judge import VOCABULARY, both

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.model.divergence import Divergence, divergence, words_of
from lavra.model.heads import logits
from lavra.objectives.distillation import Distillation, TaughtRow, top_words
from lavra.objectives.language import LanguageModel
from lavra.objectives.objective import IGNORE
from lavra.objectives.packing import Example, PackedRows, Row

NEAR = {"atol": 1e-5, "rtol": 1e-5}
KINDS = [("forward", 0.0), ("reverse", 1.0), ("jsd", 0.3)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Model, Any, Model]:
    """Student and teacher, each as transformers has it and as Lavra reads it."""
    return *both(tmp_path_factory.mktemp("student")), *both(tmp_path_factory.mktemp("teacher"), seed=1)


def rows(count: int = 8, seed: int = 0) -> list[Row]:
    """Packed texts; the first third of each is not learned."""
    random = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        size = int(random.integers(6, 20))
        weights = np.ones(size, np.float32)
        weights[: size // 3] = 0
        examples.append(Example(random.integers(3, VOCABULARY, size), weights))
    packed = PackedRows(examples, 24)
    return packed[:]


def trl_loss(student: Any, teacher: Any, given: list[Row], beta: float, temperature: float) -> Tensor:
    """Text by text, from full logits."""
    from trl.experimental.gkd import GKDTrainer

    total, count = torch.zeros(()), 0
    for row in given:
        for number in range(1, row.segments.max() + 1):
            place = row.segments == number
            ids, targets = (torch.from_numpy(values[place])[None] for values in (row.ids, row.targets))
            total = total + GKDTrainer.generalized_jsd_loss(
                student(ids).logits, teacher(ids).logits.detach(), targets, beta, temperature, reduction="sum"
            )
            count += int((targets != IGNORE).sum())
    return total / count


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize(("kind", "beta"), KINDS)
def test_the_loss_is_trls_with_its_gradient(models, kind, beta, temperature):
    theirs, ours, their_teacher, our_teacher = models
    given = rows()
    expected = trl_loss(theirs, their_teacher, given, beta, temperature)
    objective = Distillation(our_teacher, Divergence(kind, temperature, mixture=beta if kind == "jsd" else 0.5))
    total, count = objective.loss(ours, objective.collate(given))
    torch.testing.assert_close(total / count, expected, **NEAR)
    for model in (theirs, ours):
        model.zero_grad()
    expected.backward()
    (total / count).backward()
    assert ours.embedding is not None
    torch.testing.assert_close(ours.embedding.weight.grad, theirs.get_input_embeddings().weight.grad, **NEAR)
    torch.testing.assert_close(ours.head.unembedding.weight.grad, theirs.lm_head.weight.grad, **NEAR)


def test_hard_targets_are_mixed_in(models):
    _, ours, _, teacher = models
    given = rows()
    parts = [Distillation(teacher), LanguageModel()]
    (soft, count), (hard, _) = (one.loss(ours, one.collate(given)) for one in parts)
    mixed = Distillation(teacher, hard=0.25)
    total, same = mixed.loss(ours, mixed.collate(given))
    assert int(same) == int(count)
    torch.testing.assert_close(total, 0.75 * soft + 0.25 * hard, **NEAR)


@pytest.mark.parametrize("kind", ["forward", "reverse", "jsd"])
@pytest.mark.parametrize("capped", [None, 2.0])
def test_the_gradient_is_that_of_the_formula_whatever_the_chunk(kind, capped):
    def make(seed: int) -> Model:
        model = build(
            ModelConfig(
                vocabulary_size=37, context_length=32, layers=1, width=16, heads=2, kv_heads=1, head_width=8,
                hidden_width=16, causal=True, norm="rms", norm_epsilon=1e-5, norm_bias=False, positions="rotary",
                activation="silu", gated=True, logit_soft_cap=capped, head_bias=True,
            )
        ).double()  # fmt: skip
        initialise(model, seed)
        with torch.no_grad():
            model.embedding.weight.mul_(40)
        return model

    student, teacher = make(0), make(1)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(11, 16, dtype=torch.float64, generator=generator, requires_grad=True)
    states = torch.randn(11, 16, dtype=torch.float64, generator=generator)
    measure = Divergence(kind, 1.7, 0.3)
    q, p = (logits(model, given) for model, given in ((student, hidden), (teacher, states)))
    q_log, p_log = (z.div(1.7).log_softmax(1) for z in (q, p.detach()))
    m_log = (0.7 * q_log.exp() + 0.3 * p_log.exp()).log()
    expected = {
        "forward": (p_log.exp() * (p_log - q_log)).sum(),
        "reverse": (q_log.exp() * (q_log - p_log)).sum(),
        "jsd": 0.3 * (p_log.exp() * (p_log - m_log)).sum() + 0.7 * (q_log.exp() * (q_log - m_log)).sum(),
    }[kind]
    wanted = [hidden, student.embedding.weight, student.head.bias]
    gradients = torch.autograd.grad(expected, wanted)
    for chunk in (3, None):
        got = divergence(student, hidden, words_of(teacher, states), measure, chunk=chunk)
        torch.testing.assert_close(got, expected)
        for mine, theirs in zip(torch.autograd.grad(got, wanted), gradients, strict=True):
            torch.testing.assert_close(mine, theirs)


def test_full_logits_of_neither_model_exist(models):
    """The teacher is asked for as few positions at a time as the student."""
    _, ours, _, teacher = models
    hidden = torch.randn(50, 32, requires_grad=True)
    asked: list[int] = []
    words = words_of(teacher, torch.randn(50, 32))

    def watched(part: slice) -> Tensor:
        asked.append(part.stop - part.start)
        return words(part)

    divergence(ours, hidden, watched, Divergence(), chunk=8).backward()
    assert sum(asked) == 50
    assert max(asked) <= 8


def test_all_of_a_teachers_words_stored_are_the_teacher_itself(models, tmp_path: Path):
    _, ours, _, teacher = models
    given = rows()
    live, kept = Distillation(teacher), Distillation()
    expected, _ = live.loss(ours, live.collate(given))
    stored = tmp_path / "words.safetensors"
    taught = top_words(teacher, given, count=VOCABULARY, stored=stored)
    got, _ = kept.loss(ours, kept.collate(taught))
    torch.testing.assert_close(got, expected, **NEAR)
    again = top_words(None, given, stored=stored)  # type: ignore[arg-type] # nobody is asked
    torch.testing.assert_close(kept.loss(ours, kept.collate(again))[0], expected, **NEAR)
    with pytest.raises(LavraError, match="of other texts"):
        top_words(teacher, rows(seed=5), stored=stored)


def test_of_a_few_stored_words_the_student_learns_their_proportions(models):
    """K words made to sum to 1: the formula, from full logits."""
    _, ours, _, teacher = models
    given = rows()
    taught = top_words(teacher, given, count=4)
    objective = Distillation()
    batch = objective.collate(taught)
    hidden = ours(batch.ids_BT, mask=batch.mask(causal=True))[batch.targets_BT != IGNORE]
    q_log = logits(ours, hidden).log_softmax(1)
    ids = torch.from_numpy(np.concatenate([row.ids_NK for row in taught])).long()
    p_log = torch.from_numpy(np.concatenate([row.log_p_NK for row in taught])).log_softmax(1)
    expected = (p_log.exp() * (p_log - q_log.gather(1, ids))).sum()
    torch.testing.assert_close(objective.loss(ours, batch)[0], expected, **NEAR)


def test_a_student_comes_near_its_teacher(models, tmp_path: Path):
    _, student = both(tmp_path, seed=4)
    teacher, objective = models[3], Distillation(models[3])
    batch = objective.collate(rows(24))
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        total, count = objective.loss(student, batch)
        losses.append((total / count).item())
        (total / count).backward()
        optimiser.step()
    assert losses[-1] < losses[0] / 4
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_what_cannot_teach_is_refused(models):
    _, ours, _, teacher = models
    other = build(
        ModelConfig(
            vocabulary_size=50, context_length=32, layers=1, width=16, heads=2, kv_heads=1, head_width=8,
            hidden_width=16, causal=True, norm="rms", norm_epsilon=1e-5, positions="rotary", activation="silu",
            gated=True,
        )
    )  # fmt: skip
    objective = Distillation(other)
    with pytest.raises(LavraError, match="knows 50 words and the student 97"):
        objective.loss(ours, objective.collate(rows()))
    with pytest.raises(LavraError, match="only the forward"):
        Distillation(None, Divergence("reverse"))
    with pytest.raises(LavraError, match="without its words"):
        Distillation().collate(rows())
    assert isinstance(top_words(teacher, rows(2), count=2)[0], TaughtRow)
