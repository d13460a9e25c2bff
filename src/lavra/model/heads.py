"""What is read off hidden states. Kept outside the model's pass, so that nobody computes logits that nobody looks at.

:class:`Head` only holds parameters; the functions apply them. Logits of a whole sequence are never made: pass the
positions that are wanted, or ask for losses and log-probabilities, which go through the vocabulary in chunks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.model.blocks import ACTIVATIONS, make_norm
from lavra.model.chunked import chunked_cross_entropy, chunked_log_probabilities
from lavra.model.config import ModelConfig, Pooling

if TYPE_CHECKING:
    from lavra.model.base import Model


POOLERS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": F.relu}


class Transform(nn.Module):
    """Dense, activation, norm: what BERT puts before its words (Devlin et al. 2019, reference implementation)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.width, bias=config.mlp_bias)
        self.activation = ACTIVATIONS[config.activation]
        self.norm = make_norm(config)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(self.activation(self.dense(hidden)))


class Head(nn.Module):
    """The parameters after the last hidden state, as the config's ``head`` says; none for most decoders, whose
    unembedding is the embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        words = config.head in ("language", "masked")
        width, vocabulary = config.width, config.vocabulary_size
        untied = words and not config.tied_embeddings
        self.transform = Transform(config) if config.head_transform else None
        self.unembedding = nn.Linear(width, vocabulary, bias=False) if untied else None
        self.bias = nn.Parameter(torch.zeros(vocabulary)) if words and config.head_bias else None
        self.pooler = nn.Linear(width, width) if config.pooler != "none" else None
        classes = 1 if config.head == "reward" else len(config.labels)
        self.classifier = nn.Linear(width, classes, bias=config.head_bias) if classes else None
        self.projection = nn.Linear(width, config.projection_width, bias=False) if config.projection_width else None
        # The temperature of a dual encoder, as a logarithm (Radford et al. 2021, section 2.3).
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07))) if config.vision is not None else None
        self.packed: nn.Module | None = None  # the unembedding as packing.py lays it out


def unembedding_weight(model: Model) -> Tensor:
    """The (V, C) matrix from hidden states to logits: the model's own, or its input embedding where they are tied.

    Raises LavraError for a model without a head over its vocabulary.
    """
    if model.config.head not in ("language", "masked"):
        raise LavraError("this model is an encoder without a language head; pick a decoder to generate text")
    if model.head.unembedding is not None:
        return model.head.unembedding.weight
    assert model.embedding is not None
    return model.embedding.weight


def logits(model: Model, hidden: Tensor) -> Tensor:
    """Unnormalised log probabilities of a token, (…, V) for ``hidden`` of (…, C), in the model's dtype.

    Pass only the positions that are wanted: at V = 49,152 one position costs as much as two blocks.
    """
    head, cap = model.head, model.config.logit_soft_cap
    hidden = before_words(model, hidden)
    out = head.packed(hidden) if head.packed is not None else F.linear(hidden, unembedding_weight(model))
    if head.bias is not None:
        out = out + head.bias
    return out if cap is None else cap * torch.tanh(out / cap)


def before_words(model: Model, hidden: Tensor) -> Tensor:
    """What the unembedding multiplies."""
    if model.head.transform is not None:
        hidden = model.head.transform(hidden)
    scale = model.config.logit_scale
    return hidden if scale == 1.0 else hidden * scale


def cross_entropy(
    model: Model,
    hidden: Tensor,
    targets: Tensor,
    *,
    ignore: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The sum over positions of -log p(target), and how many positions there are: (), float32, and (), int64.

    ``hidden`` (…, C) and ``targets`` (…) as given by the caller, already shifted by one for a language model; where a
    target is ``ignore``, nothing is computed. ``label_smoothing`` ε: the target is 1 - ε of the word and ε of all
    (Szegedy et al. 2016, section 7). ``z_loss`` λ: plus λ · (log Σ exp)² (Chowdhery et al. 2022, section 5). Logits
    exist for ``chunk`` positions at a time, by default 256 MB of them; see ``chunked.py``.
    """
    hidden_NC, targets_N = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    kept = targets_N != ignore
    count = kept.sum()
    if int(count) < len(targets_N):
        hidden_NC, targets_N = hidden_NC[kept], targets_N[kept]
    total = chunked_cross_entropy(
        before_words(model, hidden_NC),
        unembedding_weight(model),
        model.head.bias,
        targets_N,
        soft_cap=model.config.logit_soft_cap,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        chunk=chunk,
    )
    return total, count


def log_probabilities(
    model: Model, hidden: Tensor, targets: Tensor, *, ignore: int = -100, chunk: int | None = None
) -> Tensor:
    """log p(target) at each position, (…) float32, for ``hidden`` (…, C) and ``targets`` (…); 0 where a target is
    ``ignore``. Differentiable, with logits for ``chunk`` positions at a time (made again on the way back)."""
    hidden_NC, targets_N = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    kept = targets_N != ignore
    found = chunked_log_probabilities(
        before_words(model, hidden_NC[kept]),
        unembedding_weight(model),
        model.head.bias,
        targets_N[kept],
        soft_cap=model.config.logit_soft_cap,
        chunk=chunk,
    )
    return found.new_zeros(len(targets_N)).masked_scatter(kept, found).view(targets.shape)


def classify(model: Model, hidden_BTC: Tensor, valid_BT: Tensor | None = None, ends_B: Tensor | None = None) -> Tensor:
    """Scores of the config's ``labels`` before any softmax: (B, labels) of a text; of a token head (B, T, labels).

    ``valid_BT``, ``ends_B``: as :func:`pool` takes them. Raises LavraError for a model without a classifier.
    """
    config, head = model.config, model.head
    if head.classifier is None:
        raise LavraError("this model has no classifier; pick one that was trained to classify")
    state = hidden_BTC
    if config.head != "token":
        state = pooled(model, hidden_BTC, valid_BT, ends_B)
    if head.transform is not None and config.head != "masked":
        state = head.transform(state)
    return head.classifier(_drop(model, state))


def pooled(model: Model, hidden_BTC: Tensor, valid_BT: Tensor | None = None, ends_B: Tensor | None = None) -> Tensor:
    """The state that the config says stands for a text, through the pooler where there is one: (B, C)."""
    state = pool(hidden_BTC, valid_BT, model.config.pooling, ends_B).to(hidden_BTC.dtype)
    if model.head.pooler is None:
        return state
    return POOLERS[model.config.pooler](model.head.pooler(_drop(model, state)))


def reward(model: Model, hidden_BTC: Tensor, valid_BT: Tensor | None = None) -> Tensor:
    """How good a reward model finds each text, (B,), read off its last token. Raises LavraError for other models."""
    if model.config.head != "reward":
        raise LavraError("this model judges no texts; pick a reward model")
    return classify(model, hidden_BTC, valid_BT)[:, 0]


def embed(
    hidden_BTC: Tensor, valid_BT: Tensor | None = None, pooling: Pooling = "mean", ends_B: Tensor | None = None
) -> Tensor:
    """Sentence embeddings (Reimers and Gurevych 2019, section 3): float32 of length 1, (B, C), so that a dot product
    is the cosine. See :func:`pool`."""
    return F.normalize(pool(hidden_BTC, valid_BT, pooling, ends_B).float(), dim=-1)


def _drop(model: Model, state: Tensor) -> Tensor:
    return F.dropout(state, model.config.dropout) if model.training and model.config.dropout else state


def pool(hidden_BTC: Tensor, valid_BT: Tensor | None, pooling: Pooling, ends_B: Tensor | None = None) -> Tensor:
    """One vector a text, (B, C): the mean of its tokens in float32, the first one, the last one, or that at ``ends_B``.

    ``valid_BT``: true where a token is real; padding may stand on either side.
    """
    rows = torch.arange(len(hidden_BTC), device=hidden_BTC.device)
    if pooling == "end":
        assert ends_B is not None
        return hidden_BTC[rows, ends_B]
    if valid_BT is None:
        if pooling == "mean":
            return hidden_BTC.mean(1, dtype=torch.float32)
        return hidden_BTC[:, 0 if pooling == "cls" else -1]
    if pooling == "mean":
        real = hidden_BTC.masked_fill(~valid_BT[:, :, None], 0)
        return real.sum(1, dtype=torch.float32) / valid_BT.sum(1, keepdim=True)
    if pooling == "cls":
        return hidden_BTC[rows, valid_BT.int().argmax(1)]
    last = valid_BT.shape[1] - 1 - valid_BT.int().flip(1).argmax(1)
    return hidden_BTC[rows, last]
