"""What every model is to those who run one: token ids to hidden states, a cache, a head. See ``transformer.py`` and
``recurrent.py`` for the two kinds; ``building.py`` picks one by the config."""

from __future__ import annotations

import torch
from torch import nn

from lavra.model.cache import Cache
from lavra.model.config import ModelConfig
from lavra.model.heads import Head


class Model(nn.Module):
    """``model(ids_BT, inputs_BTC=None, mask=None, cache=None)`` gives hidden states after the last norm, (B, T, C), of
    token ids or of embedded inputs; never logits: functions of ``heads.py`` go on from there."""

    config: ModelConfig
    embedding: nn.Embedding | None
    blocks: nn.ModuleList
    final_norm: nn.Module | None
    head: Head

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def make_cache(self, capacity: int, batch: int = 1) -> Cache:
        """An empty cache for :meth:`forward`, with room for ``capacity`` tokens of ``batch`` texts."""
        raise NotImplementedError
