"""Texts and images in one space (CLIP; Radford et al. 2021): a tower for each, and how near what they say lies.

Towers are Transformers; this is what is read off them. The contrastive loss over :func:`similarity` is an objective.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.model.attention import Mask
from lavra.model.config import ModelConfig
from lavra.model.heads import pool
from lavra.model.transformer import Transformer


def end_places(ids_BT: Tensor, config: ModelConfig) -> Tensor:
    """(B,): where each text ends: at its first end token, or at its highest id where the config names none."""
    if config.end_token is None:
        return ids_BT.argmax(1)
    return (ids_BT == config.end_token).int().argmax(1)


def embed_text(model: Transformer, ids_BT: Tensor, valid_BT: Tensor | None = None) -> Tensor:
    """Vectors of texts in the space of both towers: (B, P) float32, each of length 1.

    ``valid_BT``: true where a token is real. Raises LavraError for a model without a text tower that projects.
    """
    projection = model.head.projection
    if projection is None or model.embedding is None:
        raise LavraError("this model does not embed texts beside images; pick a CLIP, or its text tower")
    mask = None if valid_BT is None else Mask(causal=model.config.causal, valid_BS=valid_BT)
    ends_B = end_places(ids_BT if valid_BT is None else ids_BT.masked_fill(~valid_BT, -1), model.config)
    state = pool(model(ids_BT, mask=mask), valid_BT, model.config.pooling, ends_B)
    return F.normalize(projection(state.to(model.dtype)).float(), dim=-1)


def embed_image(model: Transformer, pixels_BIHW: Tensor) -> Tensor:
    """Vectors of images, as :func:`embed_text`'s; ``pixels_BIHW`` as ``images.py`` prepares them.

    ``model``: a dual encoder, or an image tower. Raises LavraError where it has no projection.
    """
    tower = model if model.vision is None else model.vision
    projection = tower.head.projection
    if projection is None or tower.patches is None:
        raise LavraError("this model does not embed images beside texts; pick a CLIP, or its image tower")
    state = pool(tower(pixels_BIHW=pixels_BIHW), None, tower.config.pooling)
    return F.normalize(projection(state.to(tower.dtype)).float(), dim=-1)


def similarity(model: Transformer, texts_NP: Tensor, images_MP: Tensor) -> Tensor:
    """(N, M) float32: cosines over the learned temperature; a row's softmax is which image a text is about, a
    column's which text an image (their Figure 3). Raises LavraError for a model of one tower."""
    scale = model.head.log_scale
    if scale is None:
        raise LavraError("this model has no temperature to compare texts and images with; pick a whole CLIP")
    return scale.float().exp() * texts_NP @ images_MP.T
