"""Documents to ids, many at once and of any length.

``tokenizers`` keeps some 350 bytes a token while it works, so that a book of 60 MB would take 7 GB. A long text is
therefore read through windows that overlap. Two windows are joined where they have ``_AGREE`` tokens in common, at the
same places of the text: what a token is depends on its neighbourhood alone, so that from there on they agree. Where
they never do, the text is encoded whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from lavra.tokens.tokenizer import Tokenizer

WINDOW = 1 << 20
"""Characters of a long text that are encoded at once."""
OVERLAP = 1 << 12
_AGREE = 16
_AT_ONCE = 4
Encoded = npt.NDArray[np.int32]


class DocumentEncoder:
    """Ids of documents as :func:`lavra.tokens.conversation.encode_text` gives them: between the tokens that the model
    expects around a text, and with its end token; control tokens that are spelled out are characters."""

    def __init__(self, tokenizer: Tokenizer, *, window: int = WINDOW, overlap: int = OVERLAP) -> None:
        self.tokenizer, self.window, self.overlap = tokenizer, window, overlap
        inner = tokenizer.encode("a", False, parse_special=False)
        whole = tokenizer.encode("a", parse_special=False)
        at = next(at for at in range(len(whole)) if whole[at : at + len(inner)] == inner)
        self._before, self._after = whole[:at], whole[at + len(inner) :]
        if tokenizer.eos_id is not None and self._after[-1:] != [tokenizer.eos_id]:
            self._after.append(tokenizer.eos_id)

    @property
    def largest(self) -> int:
        """The highest id that there is."""
        return max(self.tokenizer.backend.get_vocab(with_added_tokens=True).values())

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """The ids of each text, (tokens,), on all cores."""
        short = [number for number, text in enumerate(texts) if len(text) <= self.window + self.overlap]
        found: dict[int, Sequence[int] | Encoded] = dict(
            zip(short, self.tokenizer.encode_batch([texts[number] for number in short], False), strict=True)
        )
        for number, text in enumerate(texts):
            if number not in found:
                found[number] = self._long(text)
        return [self._around(found[number]) for number in range(len(texts))]

    def _around(self, ids: Sequence[int] | Encoded) -> Encoded:
        parts = [np.asarray(part, np.int32) for part in (self._before, ids, self._after)]
        return np.concatenate(parts)

    def _long(self, text: str) -> Encoded:
        parts: list[Encoded] = []
        windows = self._windows(text)
        ids, offsets = next(windows)
        for number, (next_ids, next_offsets) in enumerate(windows, 1):
            cut = _meeting(ids, offsets, next_ids, next_offsets, number * self.window + self.overlap // 2)
            if cut is None:
                return np.asarray(self.tokenizer.encode(text, False, parse_special=False), np.int32)
            parts.append(ids[: cut[0]])
            ids, offsets = next_ids[cut[1] :], next_offsets[cut[1] :]
        return np.concatenate([*parts, ids])

    def _windows(self, text: str) -> Iterator[tuple[Encoded, npt.NDArray[np.int64]]]:
        """Of each window the ids, (tokens,), and where each begins and ends in the text, (tokens, 2). A few windows
        are encoded at once, each on a core."""
        starts = range(0, len(text) - self.overlap, self.window)
        for group in (starts[at : at + _AT_ONCE] for at in range(0, len(starts), _AT_ONCE)):
            pieces = [text[start : start + self.window + self.overlap] for start in group]
            found = self.tokenizer._literal.encode_batch(pieces, add_special_tokens=False)
            for start, encoding in zip(group, found, strict=True):
                places = np.asarray(encoding.offsets, np.int64).reshape(-1, 2)
                yield np.asarray(encoding.ids, np.int32), places + start


def _meeting(
    ids: Encoded, offsets: npt.NDArray[np.int64], next_ids: Encoded, next_offsets: npt.NDArray[np.int64], least: int
) -> tuple[int, int] | None:
    """Where both have the same tokens at the same places, ``least`` characters into the text or later: the place in
    each, or None."""
    here, there = (int(np.searchsorted(place[:, 0], least)) for place in (offsets, next_offsets))
    while here < len(ids) - _AGREE and there < len(next_ids) - _AGREE:
        ours, theirs = offsets[here, 0], next_offsets[there, 0]
        if ours == theirs:
            both = slice(here, here + _AGREE), slice(there, there + _AGREE)
            same = (ids[both[0]] == next_ids[both[1]]).all() and (offsets[both[0]] == next_offsets[both[1]]).all()
            if same:
                return here, there
            here, there = here + 1, there + 1
        elif ours < theirs:
            here += 1
        else:
            there += 1
    return None
