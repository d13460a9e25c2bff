"""Heads: losses without logits against the plain ones, pooling against its definition, classifiers of decoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from judge import PADS, Record, assert_near, perturb, random_ids, reference_output
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from lavra.errors import LavraError
from lavra.model import vocabulary_chunks
from lavra.model.attention import Mask
from lavra.model.chunked import chunked_cross_entropy, chunked_log_probabilities
from lavra.model.config import ModelConfig
from lavra.model.heads import classify, cross_entropy, embed, log_probabilities, logits, pool, reward
from lavra.model.transformer import Transformer
from lavra.model.weights import load_model

TINY = ModelConfig(
    vocabulary_size=97,
    context_length=32,
    layers=1,
    width=16,
    heads=2,
    kv_heads=1,
    head_width=8,
    hidden_width=24,
    causal=True,
    norm="rms",
    norm_epsilon=1e-6,
    positions="rotary",
    activation="silu",
    gated=True,
)
MASKED = replace(
    TINY, causal=False, head="masked", head_bias=True, head_transform=True, mlp_bias=True, norm="layer", kv_heads=2
)
SHAPES = {
    "tied": TINY,
    "untied": replace(TINY, tied_embeddings=False),
    "scaled and capped": replace(TINY, logit_scale=0.7, logit_soft_cap=2.0),
    "bias": replace(TINY, head_bias=True),
    "masked": MASKED,
    "masked, untied": replace(MASKED, tied_embeddings=False),
}


def tiny(config: ModelConfig, dtype: torch.dtype = torch.float32) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(config)
    if model.head.bias is not None:
        torch.nn.init.normal_(model.head.bias)
    return model.to(dtype)


def positions(dtype: torch.dtype = torch.float32, count: int = 23, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = (torch.randn(count, 16, generator=generator) * 2).to(dtype).requires_grad_()
    targets = torch.randint(0, 97, (count,), generator=generator)
    return hidden, targets


def gradients(loss: Tensor, model: Transformer, hidden: Tensor) -> dict[str, Tensor]:
    """Of the hidden states and of all parameters that the loss reached."""
    hidden.grad = None
    model.zero_grad(set_to_none=True)
    loss.backward()
    assert hidden.grad is not None
    return {"hidden": hidden.grad} | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(got: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(
            got[name], gradient, atol=tolerance, rtol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chunk", [1, 7, 23, None])
def test_the_chunked_loss_and_its_gradients_are_those_of_the_plain_one(shape: str, chunk: int | None) -> None:
    model, (hidden, targets) = tiny(SHAPES[shape]), positions()
    targets[[2, 11]] = -100
    total, count = cross_entropy(model, hidden, targets, chunk=chunk)
    got = gradients(total / count, model, hidden)
    plain = F.cross_entropy(logits(model, hidden), targets)
    wanted = gradients(plain, model, hidden)
    assert count == 21
    torch.testing.assert_close(total / count, plain, atol=1e-5, rtol=1e-5)
    assert_same_gradients(got, wanted, 1e-5)


@pytest.mark.parametrize("shape", ["tied", "scaled and capped"])
@pytest.mark.parametrize("block", [100, 1 << 20])
def test_smoothing_and_the_z_loss_are_their_formulas(shape: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_chunks, "_BLOCK", block)
    model, (hidden, targets) = tiny(SHAPES[shape]), positions()
    total, _ = cross_entropy(model, hidden, targets, label_smoothing=0.1, z_loss=0.01, chunk=9)
    z = logits(model, hidden)
    plain = F.cross_entropy(z, targets, reduction="sum", label_smoothing=0.1) + 0.01 * z.logsumexp(1).square().sum()
    torch.testing.assert_close(total, plain, atol=1e-4, rtol=1e-5)
    assert_same_gradients(gradients(total, model, hidden), gradients(plain, model, hidden), 2e-5)


@pytest.mark.parametrize("soft_cap", [None, 1.5])
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_are_what_finite_differences_say(soft_cap: float | None, bias: bool) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 4, dtype=torch.float64, requires_grad=True)
    offset = torch.randn(11, dtype=torch.float64, requires_grad=True) if bias else None
    targets = torch.tensor([0, 10, 3, 3, 7])

    def loss(hidden: Tensor, weight: Tensor, offset: Tensor | None) -> Tensor:
        terms: dict[str, Any] = {"soft_cap": soft_cap, "label_smoothing": 0.2, "z_loss": 0.05, "chunk": 2}
        return chunked_cross_entropy(hidden, weight, offset, targets, **terms)

    def log_probability(hidden: Tensor, weight: Tensor, offset: Tensor | None) -> Tensor:
        return chunked_log_probabilities(hidden, weight, offset, targets, soft_cap=soft_cap, chunk=2)

    assert torch.autograd.gradcheck(loss, (hidden, weight, offset))
    assert torch.autograd.gradcheck(log_probability, (hidden, weight, offset))


@pytest.mark.parametrize("shape", SHAPES)
def test_log_probabilities_of_words_and_their_gradients_are_the_plain_ones(shape: str) -> None:
    model, (hidden, targets) = tiny(SHAPES[shape]), positions()
    above = torch.randn(23, generator=torch.Generator().manual_seed(3))
    found = log_probabilities(model, hidden, targets, chunk=6)
    plain = logits(model, hidden).log_softmax(1).gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    got, wanted = (gradients((each * above).sum(), model, hidden) for each in (found, plain))
    assert_same_gradients(got, wanted, 1e-5)


def test_positions_that_are_ignored_have_no_log_probability_and_teach_nothing() -> None:
    model, (hidden, targets) = tiny(TINY), positions()
    whole = log_probabilities(model, hidden.view(1, 23, 16), targets.view(1, 23))
    assert whole.shape == (1, 23)
    targets[[0, 5]] = -100
    found = log_probabilities(model, hidden, targets)
    assert torch.equal(found[[0, 5]], torch.zeros(2))
    torch.testing.assert_close(found[1:5], whole[0, 1:5])
    got = gradients(found.sum(), model, hidden)["hidden"]
    assert not got[[0, 5]].any()
    assert got[1:5].abs().sum(1).all()


def test_in_bf16_sums_are_in_float32_and_gradients_as_near_as_the_format_allows() -> None:
    count = 3000
    exact, (hidden, targets) = tiny(SHAPES["untied"]), positions(count=count)
    model, rounded = tiny(SHAPES["untied"], torch.bfloat16), hidden.detach().bfloat16().requires_grad_()
    plain = F.cross_entropy(logits(exact, hidden), targets, reduction="sum")
    wanted = gradients(plain, exact, hidden)
    for chunk in (100, count):
        total, _ = cross_entropy(model, rounded, targets, chunk=chunk)
        assert total.dtype == torch.float32
        torch.testing.assert_close(total, plain, rtol=1e-3, atol=0)
        got = gradients(total, model, rounded)
        for name, gradient in wanted.items():
            error = (got[name].float() - gradient).norm() / gradient.norm()
            assert error < 0.02, (name, chunk, error)


@pytest.mark.parametrize("loss", [cross_entropy, log_probabilities])
def test_under_autocast_products_are_in_bf16_and_gradients_in_the_weights_type(loss: Callable[..., Any]) -> None:
    model, (hidden, targets) = tiny(SHAPES["untied"]), positions()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(model, hidden, targets, chunk=8)
    got = gradients(found[0] if isinstance(found, tuple) else -found.sum(), model, hidden)
    wanted = gradients(F.cross_entropy(logits(model, hidden), targets, reduction="sum"), model, hidden)
    for name, gradient in wanted.items():
        assert got[name].dtype == torch.float32
        assert (got[name] - gradient).norm() < 0.02 * gradient.norm()


@pytest.mark.parametrize("wanted", ["hidden", "weight"])
def test_only_what_is_learned_gets_a_gradient(wanted: str) -> None:
    model, (hidden, targets) = tiny(SHAPES["untied"]), positions()
    assert model.head.unembedding is not None
    hidden.requires_grad_(wanted == "hidden")
    model.requires_grad_(wanted == "weight")
    cross_entropy(model, hidden, targets)[0].backward()
    assert (hidden.grad is not None) == (wanted == "hidden")
    assert (model.head.unembedding.weight.grad is not None) == (wanted == "weight")


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_loss_that_nobody_learns_from_makes_no_gradients(off: Callable[[], Any]) -> None:
    model, (hidden, targets) = tiny(replace(TINY, vocabulary_size=500)), positions()
    with off(), Largest() as seen:
        total, _ = cross_entropy(model, hidden, targets, chunk=4)
    assert seen.elements == 4 * 500  # a gradient of the weight would have 16 · 500
    assert not total.requires_grad
    torch.testing.assert_close(total, cross_entropy(model, hidden, targets)[0].detach())


def test_nothing_to_predict_is_a_loss_of_zero_that_teaches_nothing() -> None:
    model, (hidden, targets) = tiny(TINY), positions()
    total, count = cross_entropy(model, hidden, torch.full_like(targets, -100))
    assert (total.item(), count.item()) == (0.0, 0)
    assert all(not gradient.any() for gradient in gradients(total, model, hidden).values())


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor made meanwhile; views are not made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {each.data_ptr() for each in args if isinstance(each, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor) and tensor.data_ptr() not in given:
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize("loss", [cross_entropy, log_probabilities])
def test_neither_logits_nor_their_gradient_ever_exist_whole(loss: Callable[..., Any]) -> None:
    model, (hidden, targets) = tiny(TINY), positions(count=600)
    with Largest() as seen:
        found = loss(model, hidden, targets, chunk=30)
        (found[0] if isinstance(found, tuple) else found.sum()).backward()
    assert seen.elements <= max(30 * 97, 600 * 16)
    with Largest() as plainly:
        logits(model, hidden)
    assert plainly.elements == 600 * 97


def test_pooling_takes_the_mean_the_first_the_last_or_the_end_of_each_text() -> None:
    hidden = torch.arange(24.0).view(2, 4, 3)
    left = torch.tensor([[False, True, True, True], [True, True, True, True]])
    right = left.flip(1)
    assert torch.equal(pool(hidden, left, "mean"), torch.stack([hidden[0, 1:].mean(0), hidden[1].mean(0)]))
    assert torch.equal(pool(hidden, left, "cls"), torch.stack([hidden[0, 1], hidden[1, 0]]))
    assert torch.equal(pool(hidden, right, "last"), torch.stack([hidden[0, 2], hidden[1, 3]]))
    assert torch.equal(pool(hidden, None, "last"), hidden[:, 3])
    assert torch.equal(pool(hidden, None, "end", torch.tensor([2, 0])), torch.stack([hidden[0, 2], hidden[1, 0]]))
    vectors = embed(hidden.bfloat16(), right, "mean")
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


IDS = random_ids(90, time=19)
LLAMA = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize(
    ("kind", "settings"), [(LlamaForSequenceClassification, LlamaConfig), (Qwen2ForSequenceClassification, Qwen2Config)]
)
def test_a_decoder_classifies_by_its_last_token_and_with_one_label_rewards(
    kind: type[Any], settings: type[Any], labels: int, tmp_path: Path, record: Record
) -> None:
    torch.manual_seed(0)
    reference = perturb(kind(settings(**LLAMA, num_labels=labels)))
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    valid = torch.arange(19)[None] < 19 - torch.tensor(PADS)[:, None]
    with torch.inference_mode():
        hidden = model(IDS, mask=Mask(causal=True, valid_BS=valid))
        got = classify(model, hidden, valid)
        wanted = reference_output(reference, IDS.where(valid, 0), attention_mask=valid.long())
        assert_near(got, wanted, record, settings.model_type, "sequence labels")
        if labels == 1:
            assert torch.equal(reward(model, hidden, valid), got[:, 0])
        else:
            with pytest.raises(LavraError, match="judges no texts"):
                reward(model, hidden, valid)


def test_a_decoder_labels_tokens(tmp_path: Path, record: Record) -> None:
    torch.manual_seed(0)
    reference = perturb(LlamaForTokenClassification(LlamaConfig(**LLAMA, num_labels=5)))
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    with torch.inference_mode():
        assert_near(classify(model, model(IDS)), reference_output(reference, IDS), record, "llama", "token labels")


def test_a_model_without_a_classifier_says_so() -> None:
    with pytest.raises(LavraError, match="has no classifier"):
        classify(tiny(TINY), torch.zeros(1, 2, 16))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"head": "sequence"}, "labels is .*needs at least one"),
        ({"labels": ("a",)}, "labels is .*a language head does not classify"),
        ({"pooler": "gelu"}, "pooler is 'gelu'"),
        ({"pooler": True}, "pooler is True"),
    ],
    ids=str,
)
def test_a_head_that_contradicts_itself_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LavraError, match=sentence):
        replace(TINY, **changes)
