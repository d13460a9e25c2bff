"""Text from ids that come one at a time, never half a character."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_REPLACEMENT = "\ufffd"
_WINDOW, _KEPT = 24, 6  # ids decoded again at each push, and how many stay as context when the window is cut


class StreamDecoder:
    """Concatenating every :meth:`push` and the :meth:`flush` gives what decoding all ids at once gives.

    A byte-level token may end inside a UTF-8 character. Decoding then ends in U+FFFD (one, for the longest valid
    beginning of a character), which is held back until the rest has come. Only a short window of ids is decoded
    again at each step: some decoders (a leading space, joined word pieces) need the ids before.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._given = 0  # characters of the window's text that were returned already

    def push(self, token_id: int) -> str:
        """The new characters that are certain now; often all of the token's, sometimes none."""
        self._ids.append(token_id)
        text = self._decode(self._ids)
        unfinished = text.endswith(_REPLACEMENT)
        new = self._give(text[:-1] if unfinished else text)
        if not unfinished and len(self._ids) >= _WINDOW:
            self._ids = self._ids[-_KEPT:]
            self._given = len(self._decode(self._ids))
        return new

    def flush(self) -> str:
        """What was held back: U+FFFD when the ids ended inside a character. The decoder is then as new."""
        new = self._give(self._decode(self._ids))
        self._ids, self._given = [], 0
        return new

    def _give(self, text: str) -> str:
        new, self._given = text[self._given :], max(self._given, len(text))
        return new
