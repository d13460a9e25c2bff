"""A model that says how surprising texts are, for the stage ``perplexity`` of a cleaning: the corpus knows no model.

The model is loaded when the first text is read, so that a cleaning that was made before is found without it. Texts of
like length are read together, in the number format that the chip multiplies fastest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lavra.workspace.decoders import Loaded
    from lavra.workspace.generators import Generator

_CHARACTERS = 12
"""Characters that are looked at for each token that is read; English has four or five, rows of blanks more."""


def reader(generator: Generator, tokens: int) -> Callable[[Sequence[str]], NDArray[np.float64]]:
    """A function from texts to their bits per byte, NaN for a text without anything to read.

    tokens: how many of each text's first ones are read. Raises LavraError, when first called, for a model that is no
    decoder.
    """
    loaded: list[Loaded] = []

    def read(texts: Sequence[str]) -> NDArray[np.float64]:
        from lavra.evaluation.likelihood import bits_per_byte
        from lavra.workspace.decoders import load_generator

        if not loaded:
            loaded.append(load_generator(generator))
        found = np.full(len(texts), np.nan)
        rows = [row for row, text in enumerate(texts) if len(text.strip()) > 1]
        if rows:
            cut = [texts[row][: tokens * _CHARACTERS] for row in rows]
            found[rows], _ = bits_per_byte(loaded[0].model, loaded[0].tokenizer, cut, most=tokens)
        return found

    return read
