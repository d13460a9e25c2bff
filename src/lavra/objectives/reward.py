"""A reward model: a decoder that reads a prompt with an answer and says how good the answer is (Bradley and Terry 1952;
Ouyang et al. 2022, eq. 1).

:func:`reward_model` makes one of a language model, :class:`BradleyTerry` trains it on pairs, :func:`rewards` asks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.building import STANDARD_DEVIATION
from lavra.model.heads import reward
from lavra.model.placing import empty_model
from lavra.objectives.answers import Metrics, Remembered, Text, ends, mean_of
from lavra.objectives.objective import Batch, hidden_states
from lavra.objectives.preferences import Pair


@torch.no_grad()
def reward_model(model: Model, *, seed: int = 0) -> Model:
    """A reward model that shares the blocks' weights with ``model``; its score is read off the last token by a new map.

    Raises LavraError for a model that is no decoder.
    """
    config = model.config
    if not config.writes or config.encoder is not None:
        raise LavraError("a reward model is made of a decoder; pick a model that writes")
    made = empty_model(replace(config, head="reward", pooling="last", head_bias=False, tied_embeddings=True))
    held = dict(model.named_parameters())
    state: dict[str, nn.Parameter] = {}
    for name, parameter in made.named_parameters():
        if name in held:
            state[name] = held[name]
            continue
        start = torch.empty(parameter.shape).normal_(
            0.0, STANDARD_DEVIATION, generator=torch.Generator().manual_seed(seed)
        )
        state[name] = nn.Parameter(start.to(model.device, model.dtype))
    made.load_state_dict(state, assign=True)
    return made.train(model.training)


@dataclass
class BradleyTerry:
    """-log σ(r(chosen) - r(rejected) - margin), over pairs.

    ``margins``: whether a pair's own margin counts (Touvron et al. 2023, eq. 2). ``centre``: c · (sum of both
    rewards)², which keeps rewards near 0 (Eisenstein et al. 2023, section 4).
    """

    margins: bool = False
    centre: float = 0.0
    _remembered: Remembered = field(default_factory=Remembered, init=False, repr=False, compare=False)

    def collate(self, examples: Sequence[Pair]) -> Batch:
        """Chosen answers first, then the rejected."""
        texts = [pair.chosen for pair in examples] + [pair.rejected for pair in examples]
        margins = torch.tensor([pair.margin for pair in examples], dtype=torch.float32)
        return whole_texts(texts, extra={"margins_P": margins})

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        chosen, rejected = self._rewards(model, batch)
        self._remembered.keep(batch, self._metrics(chosen, rejected))
        difference = chosen - rejected
        if self.margins:
            difference = difference - batch.extra["margins_P"]
        losses = -F.logsigmoid(difference)
        if self.centre:
            losses = losses + self.centre * (chosen + rejected).square()
        return losses.sum(), torch.tensor(len(losses), device=losses.device)

    def metrics(self, model: nn.Module, batch: Batch) -> Metrics:
        """``accuracy``: of pairs whose chosen answer is found better; ``margin``: by how much; ``reward``: of all."""
        found = self._remembered.of(batch)
        return found if found is not None else self._metrics(*self._rewards(model, batch))

    def _rewards(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        pairs = len(batch.extra["margins_P"])
        chosen, rejected = _read_off(model, batch, 2 * pairs).view(2, pairs)
        return chosen, rejected

    @torch.no_grad()
    def _metrics(self, chosen: Tensor, rejected: Tensor) -> Metrics:
        return {
            "accuracy": mean_of(chosen > rejected),
            "margin": mean_of(chosen - rejected),
            "reward": mean_of(torch.cat([chosen, rejected])),
        }


def whole_texts(texts: Sequence[Text], *, extra: dict[str, Tensor] | None = None) -> Batch:
    """``texts`` in a row as segments, the last token of each included, for it is the one that is read off."""
    ids = np.concatenate([text.ids for text in texts]).astype(np.int64)
    segments = np.repeat(np.arange(1, len(texts) + 1, dtype=np.int32), [len(text.ids) for text in texts])
    return Batch(torch.from_numpy(ids)[None], segments_BT=torch.from_numpy(segments)[None], extra=extra or {})


@torch.no_grad()
def rewards(model: Model, texts: Sequence[Text]) -> list[float]:
    """How good ``model`` finds each answer to its prompt."""
    training = model.training
    model.eval()
    try:
        return _read_off(model, whole_texts(texts).to(model.device), len(texts)).tolist()
    finally:
        model.train(training)


def _read_off(model: nn.Module, batch: Batch, texts: int) -> Tensor:
    """(texts,), float32."""
    assert isinstance(model, Model)
    hidden_BTC = hidden_states(model, batch)
    last_SC = hidden_BTC.flatten(0, 1)[ends(batch, texts)]
    return reward(model, last_SC[:, None]).float()
