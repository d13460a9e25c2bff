"""What is read off hidden states. Kept outside the model's pass, so that nobody computes logits that nobody looks at.

:class:`Head` only holds parameters; the functions apply them. Logits of a whole sequence are never made: pass the
positions that are wanted, or ask for losses and log-probabilities, which go through the vocabulary in chunks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.model.blocks import ACTIVATIONS, make_norm
from lavra.model.config import ModelConfig, Pooling

if TYPE_CHECKING:
    from lavra.model.transformer import Transformer


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
        self.pooler = nn.Linear(width, width) if config.pooler else None
        classes = {"sequence": len(config.labels), "token": len(config.labels), "reward": 1}.get(config.head, 0)
        self.classifier = nn.Linear(width, classes, bias=config.head_bias) if classes else None
        self.projection = nn.Linear(width, config.projection_width, bias=False) if config.projection_width else None
        # The temperature of a dual encoder, as a logarithm (Radford et al. 2021, section 2.3).
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07))) if config.vision is not None else None
        self.packed: nn.Module | None = None  # the unembedding as packing.py lays it out


def unembedding_weight(model: Transformer) -> Tensor:
    """The (V, C) matrix from hidden states to logits: the model's own, or its input embedding where they are tied.

    Raises LavraError for a model without a head over its vocabulary.
    """
    if model.config.head not in ("language", "masked"):
        raise LavraError("this model is an encoder without a language head; pick a decoder to generate text")
    if model.head.unembedding is not None:
        return model.head.unembedding.weight
    assert model.embedding is not None
    return model.embedding.weight


def logits(model: Transformer, hidden: Tensor) -> Tensor:
    """Unnormalised log probabilities of a token, (…, V) for ``hidden`` of (…, C), in the model's dtype.

    Pass only the positions that are wanted: at V = 49,152 one position costs as much as two blocks.
    """
    config, head = model.config, model.head
    if head.transform is not None:
        hidden = head.transform(hidden)
    if config.logit_scale != 1.0:
        hidden = hidden * config.logit_scale
    out = head.packed(hidden) if head.packed is not None else F.linear(hidden, unembedding_weight(model))
    if head.bias is not None:
        out = out + head.bias
    cap = config.logit_soft_cap
    return out if cap is None else cap * torch.tanh(out / cap)


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
