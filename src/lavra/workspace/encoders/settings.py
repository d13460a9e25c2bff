"""What can be asked for of any of the three."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lavra.errors import LavraError


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """``model``: what is tuned; none: the workspace's embedder. ``batch``: examples a step. ``window``: tokens of a
    text that are read while training. ``rank``: of a LoRA adapter that is merged in the end; 0: all weights.
    ``train_embeddings``: token embeddings too; they stay as they are by default, for the words that the data lacks."""

    model: str | None = None
    epochs: int = 1
    batch: int = 64
    learning_rate: float = 2e-5
    warmup: float = 0.1
    window: int = 256
    rank: int = 0
    train_embeddings: bool = False
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 2), ("window", 8), ("rank", 0), ("patience", 0)):
            if getattr(self, name) < least:
                raise LavraError(f"{name} is {getattr(self, name)}; it must be at least {least}")

    @property
    def recipe(self) -> dict[str, Any]:
        """As plain JSON; the model is the artifact's input."""
        return {name: value for name, value in asdict(self).items() if name != "model"}


EMBEDDER = EncoderSettings()
RERANKER = EncoderSettings(batch=16)
CLASSIFIER = EncoderSettings(epochs=3, batch=32, learning_rate=5e-5, window=128, patience=3)
"""Where nobody says otherwise."""
