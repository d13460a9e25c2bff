"""What is read off hidden states. Kept outside the model, so that nobody computes logits that nobody looks at."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.model.transformer import Transformer


def unembedding_weight(model: Transformer) -> Tensor:
    """The (V, C) matrix from hidden states to logits: the model's own, or its input embedding where they are tied.

    Raises LavraError for an encoder, which has none.
    """
    if not model.config.language_head:
        raise LavraError("this model is an encoder without a language head; pick a decoder to generate text")
    return model.embedding.weight if model.unembedding is None else model.unembedding.weight


def logits(model: Transformer, hidden: Tensor) -> Tensor:
    """Unnormalised log probabilities of the next token, (…, V) for ``hidden`` of (…, C), in the model's dtype.

    Pass only the positions that are wanted: at V = 49,152 one position costs as much as two blocks.
    """
    if model.packed_unembedding is not None:
        return model.packed_unembedding(hidden)
    return F.linear(hidden, unembedding_weight(model))
