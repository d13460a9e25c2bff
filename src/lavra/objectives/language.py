"""The next token: supervised tuning and continued pre-training are the same loss over different weights.

Rows come packed (``packing.py``); which tokens are learned is in their weights. Logits of a batch are never made at
once (``model/chunked.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from lavra.model.base import Model
from lavra.model.experts import balance_loss
from lavra.model.heads import cross_entropy, log_probabilities
from lavra.objectives.objective import IGNORE, Batch
from lavra.objectives.packing import Row


@dataclass(frozen=True)
class LanguageModel:
    """Σ w · -log p(target), and Σ w, over targets that are not ignored.

    ``label_smoothing`` and ``z_loss``: as ``heads.cross_entropy`` takes them, where all weights are 1. A model with
    experts adds its balance loss, weighted by its config, once a target. ``shift``: while training, attention is in
    groups of so many places, shifted by half a group in half of the heads (LongLoRA, Chen et al. 2024, section 3.2); in
    use it is full.
    """

    label_smoothing: float = 0.0
    z_loss: float = 0.0
    shift: int | None = None

    def collate(self, examples: Sequence[Row]) -> Batch:
        """Rows of one length, as they are; what is padding in all of them is cut off."""
        segments = np.stack([row.segments for row in examples])
        end = int(np.flatnonzero((segments > 0).any(0)).max(initial=0)) + 1
        ids, targets = (np.stack([getattr(row, name) for row in examples])[:, :end] for name in ("ids", "targets"))
        weights = np.stack([row.weights for row in examples])[:, :end]
        segments = segments[:, :end]
        alone = bool((segments == 1).all())
        even = bool((weights[targets != IGNORE] == 1).all())
        return Batch(
            ids_BT=torch.from_numpy(np.ascontiguousarray(ids)),
            targets_BT=torch.from_numpy(np.ascontiguousarray(targets)),
            segments_BT=None if alone else torch.from_numpy(np.ascontiguousarray(segments)),
            weights_BT=None if even else torch.from_numpy(np.ascontiguousarray(weights)),
        )

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        assert isinstance(model, Model)
        assert batch.targets_BT is not None
        mask = batch.mask(causal=model.config.causal)
        if self.shift is not None and model.training:
            mask = replace(mask, shift=self.shift)
        hidden_BTC = model(batch.ids_BT, mask=mask)
        if batch.weights_BT is None:
            total, count = cross_entropy(
                model,
                hidden_BTC,
                batch.targets_BT,
                ignore=IGNORE,
                label_smoothing=self.label_smoothing,
                z_loss=self.z_loss,
            )
        else:
            kept = batch.targets_BT != IGNORE
            weights_N = batch.weights_BT[kept]
            found_N = log_probabilities(model, hidden_BTC[kept], batch.targets_BT[kept])
            total, count = -(found_N * weights_N).sum(), weights_N.sum()
        experts = model.config.experts
        if experts is not None and model.training and (balance := balance_loss(model)) is not None:
            total = total + experts.balance * balance * count
        return total, count
