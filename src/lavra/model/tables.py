"""Tables of vectors that are looked up by number."""

from __future__ import annotations

import torch
from torch import nn


def table(rows: int, width: int) -> nn.Embedding:
    """An ``nn.Embedding``; without its first values where it has no memory.

    On the meta device the normal distribution that nn.Embedding begins with is a decomposition in Python, for which
    PyTorch imports its compiler: a second or two at every start of a program that reads a model.
    """
    weight = torch.empty(rows, width)
    return nn.Embedding(rows, width, _weight=weight if weight.is_meta else None)
