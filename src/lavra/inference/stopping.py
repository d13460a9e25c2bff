"""Stop strings in a stream: the text before the first one, all of it, and not a letter more.

A stop string may begin in one token and end three later, so whatever could still become one is held back until the
next tokens decide.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopFilter:
    """Feed it pieces of text; it gives back what may be shown.

    The cut is before the stop string that is complete first (the longest of them, if several end at one letter), so
    the result does not depend on how the text was cut into pieces.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(dict.fromkeys(stop for stop in stops if stop))
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """What may be shown now. After a stop string, ``stopped`` is true and nothing comes any more."""
        if self.stopped:
            return ""
        if not self._stops:
            return piece
        text = self._held + piece
        hits = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if hits:
            self.stopped, self._held = True, ""
            return text[: min(hits)[1]]
        held = self._could_begin_a_stop(text)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """What is still held back, at the end of the answer: no stop string came of it."""
        held, self._held = self._held, ""
        return "" if self.stopped else held

    def _could_begin_a_stop(self, text: str) -> int:
        """Length of the longest end of ``text`` that is the beginning of a stop string."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
