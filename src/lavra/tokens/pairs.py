"""Two texts as one sequence, the way a model's own tokenizer joins them: [CLS] a [SEP] b [SEP] and its like."""

from __future__ import annotations

from collections.abc import Sequence

import tokenizers

from lavra.errors import LavraError
from lavra.tokens.tokenizer import Tokenizer


class PairEncoder:
    """``encode(pairs)``: (ids, types) of each, at most ``window`` tokens: of a longer pair the second text is cut, and
    the first too where it alone leaves the second no half. Control tokens spelled out in a text are characters.

    Raises LavraError for a tokenizer that says nothing of two texts.
    """

    def __init__(self, tokenizer: Tokenizer, window: int) -> None:
        self.window = window
        self._backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
        self._backend.encode_special_tokens = True
        self._backend.enable_truncation(window, strategy="longest_first")
        one, two = (len(self._backend.encode(*texts).ids) for texts in (("a",), ("a", "a")))
        plain = len(self._backend.encode("a", add_special_tokens=False).ids)
        if two - one <= plain and one > plain:
            raise LavraError("this model's tokenizer puts nothing between two texts; pick another model for reranking")

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        return [(row.ids, row.type_ids) for row in self._backend.encode_batch(list(pairs))]
