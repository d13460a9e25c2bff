"""One scale for the cosines of all embedders: the fusion's coefficients were learned on those of E5.

E5 puts unrelated texts at .72 and a text beside itself (as question and as passage) at .92; MiniLM at .04 and 1. Two
points make a line: what an embedder gives for twenty sentences of everyday life, each beside itself and beside the
others, is laid over what E5 gives. Costs twenty short texts, once for an open index, and only for other embedders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lavra.retrieval.updating import TextEmbedder

UNRELATED, SAME = 0.7205, 0.9244
"""Mean cosines of the multilingual E5 small models (both, to four digits), on these sentences."""
REFERENCES = ("e5-small-enpt", "e5-small")

SENTENCES = (
    "The library opens at nine in the morning.",
    "Water boils at one hundred degrees.",
    "She bought a red bicycle yesterday.",
    "The contract ends in December.",
    "Wolves hunt in packs at night.",
    "The committee approved the budget.",
    "Mix flour, eggs and sugar.",
    "The train to Lisbon was late.",
    "His grandfather built wooden ships.",
    "Vaccines protect against many diseases.",
    "The server restarts after an update.",
    "Rain is expected in the south.",
    "The painting was sold at an auction.",
    "Employees receive thirty days of leave.",
    "A triangle has three sides.",
    "The goalkeeper saved the penalty.",
    "Coffee grows in tropical highlands.",
    "The password must have ten characters.",
    "The judge dismissed the appeal.",
    "Stars are born in clouds of gas.",
)


@dataclass(frozen=True, slots=True)
class CosineScale:
    """``unrelated`` and ``same`` of an embedder."""

    unrelated: float = UNRELATED
    same: float = SAME

    def as_reference(self, cosine: np.ndarray) -> np.ndarray:
        """Cosines of this embedder on the scale of the reference."""
        if self.same - self.unrelated < 1e-6:
            return cosine
        return UNRELATED + (cosine - self.unrelated) * (SAME - UNRELATED) / (self.same - self.unrelated)


def measure(embedder: TextEmbedder) -> CosineScale:
    """The scale of an embedder."""
    if embedder.name in REFERENCES:
        return CosineScale()
    cosines = embedder.queries(SENTENCES) @ embedder.documents(SENTENCES).T
    others = ~np.eye(len(SENTENCES), dtype=bool)
    return CosineScale(float(cosines[others].mean()), float(cosines.diagonal().mean()))
