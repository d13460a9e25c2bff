"""Texts of unequal lengths as one padded batch, and computed in groups of like length, so that padding costs nothing.

For objectives whose examples are whole texts, not rows of a packed stream: embeddings, classes, relevance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from lavra.model.attention import Mask
from lavra.objectives.objective import PADDING

GROUP_TOKENS = 2048
"""Places that a group may take, padding included: what keeps two CPU cores busy and fits their caches."""


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """``ids_BT``, filled up with ``pad_id`` at the end, and ``segments_BT``: 1 where a token is real."""
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    segments = np.full((len(rows), longest), PADDING, dtype=np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        segments[number, : len(row)] = 1
    return torch.from_numpy(ids), torch.from_numpy(segments)


def group_by_length(lengths: Sequence[int], tokens: int = GROUP_TOKENS) -> Iterator[list[int]]:
    """Indices in groups of like length, longest first, whose padded size is at most ``tokens`` (but one text alone
    may be larger)."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        if group and lengths[group[0]] * (len(group) + 1) > tokens:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def rows_of(ids_BT: Tensor, segments_BT: Tensor, rows: Sequence[int], *, causal: bool) -> tuple[Tensor, Mask, Tensor]:
    """Some rows of a padded batch cut to their own longest: their ids, the mask for the model, and ``valid_BT``."""
    chosen = torch.as_tensor(rows, device=ids_BT.device)
    valid_BT = segments_BT[chosen] != PADDING
    longest = int(valid_BT.sum(1).max())
    valid_BT = valid_BT[:, :longest]
    ragged = not bool(valid_BT.all())
    return ids_BT[chosen, :longest], Mask(causal=causal, valid_BS=valid_BT if ragged else None), valid_BT
