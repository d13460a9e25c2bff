"""Documents drawn by the weights of the corpus they are of: small parts more often, large ones less.

Only texts that are drawn equally often share a row, so that the loader can draw rows. N examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lavra.objectives.packing import Example, PackedRows, Row, Rows

if TYPE_CHECKING:
    from lavra.workspace.tuning.data import Encoded


class WeightedRows(Rows):
    """Rows of ``length`` places, as :class:`PackedRows`, with how many ``times`` each is drawn in an epoch.

    ``tokens``, ``padding`` and ``mean_context`` are of an epoch as it is drawn.
    """

    def __init__(self, examples: Sequence[Example], times: Sequence[float], length: int) -> None:
        self.length = length
        drawn = np.asarray(times, dtype=np.float64)
        self._groups: list[PackedRows] = []
        each: list[np.ndarray] = []
        for value in np.unique(drawn):
            rows = PackedRows([examples[i] for i in np.flatnonzero(drawn == value).tolist()], length)
            self._groups.append(rows)
            each.append(np.full(len(rows), value))
        self.times = np.concatenate(each)
        self.sizes = np.full(len(self.times), length, dtype=np.int64)
        self._ends = np.cumsum([len(rows) for rows in self._groups])
        tokens = [float(value[0]) * rows.tokens for value, rows in zip(each, self._groups, strict=True)]
        self.tokens = round(sum(tokens))
        contexts = (count * rows.mean_context for count, rows in zip(tokens, self._groups, strict=True))
        self.mean_context = sum(contexts) / max(1.0, sum(tokens))

    @property
    def padding(self) -> float:
        return 1 - self.tokens / max(1.0, float(self.times.sum()) * self.length)

    def __len__(self) -> int:
        return len(self.times)

    def row(self, number: int) -> Row:
        group = int(np.searchsorted(self._ends, number, side="right"))
        return self._groups[group][number - int(self._ends[group - 1] if group else 0)]


@dataclass(frozen=True)
class Part:
    """``times``: how often its texts are drawn for once that they are there; the shares of all tokens that are theirs,
    as the texts are and as they are drawn."""

    name: str
    times: float
    tokens: int
    share: float
    drawn: float


def parts_of(training: Sequence[Encoded]) -> list[Part]:
    """The parts of what is trained on, the largest first; none where everything is drawn as it is."""
    if all(example.times == 1 for example in training):
        return []
    tokens: dict[tuple[str, float], int] = {}
    for example in training:
        key = example.part or "the rest", example.times
        tokens[key] = tokens.get(key, 0) + example.tokens
    whole, drawn = sum(tokens.values()), sum(times * count for (_, times), count in tokens.items())
    found = [Part(name, times, count, count / whole, times * count / drawn) for (name, times), count in tokens.items()]
    return sorted(found, key=lambda part: (-part.tokens, part.name))


def as_figures(parts: Sequence[Part]) -> dict[str, Any]:
    """For the manifest."""
    return {
        part.name: {
            "weight": part.times, "tokens": part.tokens, "share": round(part.share, 4), "drawn": round(part.drawn, 4)
        }
        for part in parts
    }  # fmt: skip
