"""A smaller model learns a larger one's words: not only which token came next, but what else could have (Hinton et al.
2015).

The teacher runs beside the student (:class:`Distillation`), or ran before and left the most probable words of each
place (:func:`top_words`). To learn from a teacher's *answers* is supervised tuning on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.divergence import Divergence, Teacher, divergence, stored_words, words_of
from lavra.model.heads import cross_entropy, logits
from lavra.objectives.answers import Metrics, Remembered
from lavra.objectives.language import LanguageModel
from lavra.objectives.objective import IGNORE, Batch, hidden_states
from lavra.objectives.packing import Row
from lavra.store.files import write_atomically

_AT_ONCE = 512  # positions whose logits exist while they are sorted


@dataclass
class Distillation:
    """(1 - h) · divergence from the teacher + h · -log p(target), over targets that are learned.

    ``teacher``: a model with the same vocabulary, which is not trained; None: rows come as :class:`TaughtRow`.
    ``measure``: which divergence, and at what temperature. ``hard``: h.
    """

    teacher: Model | None = None
    measure: Divergence = field(default_factory=Divergence)
    hard: float = 0.0
    _language: LanguageModel = field(default_factory=LanguageModel, init=False, repr=False, compare=False)
    _remembered: Remembered = field(default_factory=Remembered, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.hard < 1:
            raise LavraError(f"distillation: hard is {self.hard!r}; it is a share from 0 to below 1")
        if self.teacher is None and self.measure.kind != "forward":
            raise LavraError("of a teacher's most probable words only the forward divergence can be told")
        if self.teacher is not None:
            self.teacher.eval().requires_grad_(False)

    def collate(self, examples: Sequence[Row | TaughtRow]) -> Batch:
        rows = [example.row if isinstance(example, TaughtRow) else example for example in examples]
        batch = self._language.collate(rows)
        if self.teacher is not None:
            return batch
        assert batch.targets_BT is not None
        taught = [example for example in examples if isinstance(example, TaughtRow)]
        if len(taught) < len(examples):
            raise LavraError("no teacher is given, and rows come without its words")
        extra = {
            "ids_NK": torch.from_numpy(np.concatenate([row.ids_NK for row in taught])),
            "log_p_NK": torch.from_numpy(np.concatenate([row.log_p_NK for row in taught])),
        }
        return Batch(batch.ids_BT, batch.targets_BT, batch.segments_BT, batch.weights_BT, extra)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        assert isinstance(model, Model)
        assert batch.targets_BT is not None
        kept_BT = batch.targets_BT != IGNORE
        hidden_NC = hidden_states(model, batch)[kept_BT]
        total = divergence(model, hidden_NC, self._teacher(model, batch, kept_BT), self.measure)
        count = kept_BT.sum()
        found: Metrics = {"divergence": (total, count)}
        if self.hard:
            entropy, _ = cross_entropy(model, hidden_NC, batch.targets_BT[kept_BT], ignore=IGNORE)
            found["cross_entropy"] = (entropy, count)
            total = (1 - self.hard) * total + self.hard * entropy
        self._remembered.keep(batch, found)
        return total, count

    def metrics(self, model: nn.Module, batch: Batch) -> Metrics:
        """``divergence`` a target, and ``cross_entropy`` where it counts."""
        if self._remembered.of(batch) is None:
            with torch.no_grad():
                self.loss(model, batch)
        return self._remembered.of(batch) or {}

    def _teacher(self, model: Model, batch: Batch, kept_BT: Tensor) -> Teacher:
        words = model.config.vocabulary_size
        if self.teacher is None:
            return stored_words(batch.extra["ids_NK"], batch.extra["log_p_NK"], words)
        if self.teacher.config.vocabulary_size != words:
            raise LavraError(
                f"the teacher knows {self.teacher.config.vocabulary_size} words and the student {words}; take a "
                "teacher with the same tokenizer, or learn from its answers instead"
            )
        with torch.no_grad():
            return words_of(self.teacher, hidden_states(self.teacher, batch)[kept_BT])


@dataclass(frozen=True)
class TaughtRow:
    """A row and, for each of its N learned targets in their order, the teacher's K most probable words."""

    row: Row
    ids_NK: npt.NDArray[np.int32]
    log_p_NK: npt.NDArray[np.float32]


@torch.no_grad()
def top_words(teacher: Model, rows: Sequence[Row], *, count: int = 64, stored: Path | None = None) -> list[TaughtRow]:
    """``rows`` with the ``count`` most probable words of ``teacher``; 64 words a place take 512 bytes.

    ``stored``: a safetensors file that is read if it is there (it must be of these rows), else written.
    """
    if stored is not None and stored.exists():
        return _read(stored, rows)
    teacher.eval()
    found = []
    for row in rows:
        batch = LanguageModel().collate([row]).to(teacher.device)
        assert batch.targets_BT is not None
        hidden_NC = hidden_states(teacher, batch)[batch.targets_BT != IGNORE]
        pieces = [
            torch.log_softmax(logits(teacher, part).float(), 1).topk(min(count, teacher.config.vocabulary_size), 1)
            for part in hidden_NC.split(_AT_ONCE)
        ]
        ids = torch.cat([piece.indices for piece in pieces]).int().cpu().numpy()
        found.append(TaughtRow(row, ids, torch.cat([piece.values for piece in pieces]).cpu().numpy()))
    if stored is not None:
        tensors: Mapping[str, Tensor] = {
            "ids": torch.from_numpy(np.concatenate([row.ids_NK for row in found])),
            "log_p": torch.from_numpy(np.concatenate([row.log_p_NK for row in found])),
        }
        write_atomically(stored, save(dict(tensors), metadata={"of": _key(rows)}))
    return found


def _read(path: Path, rows: Sequence[Row]) -> list[TaughtRow]:
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("of") != _key(rows):
                raise LavraError(f"{path} holds a teacher's words of other texts; delete it, or name another file")
            ids, log_p = file.get_tensor("ids").numpy(), file.get_tensor("log_p").numpy()
    except (OSError, SafetensorError) as error:
        raise LavraError(f"{path} is not a whole safetensors file ({error}); delete it") from error
    cuts = np.cumsum([int((row.targets != IGNORE).sum()) for row in rows])[:-1]
    return [TaughtRow(*given) for given in zip(rows, np.split(ids, cuts), np.split(log_p, cuts), strict=True)]


def _key(rows: Sequence[Row]) -> str:
    state = hashlib.sha256()
    for row in rows:
        state.update(row.ids.tobytes() + row.targets.tobytes() + row.segments.tobytes())
    return state.hexdigest()
