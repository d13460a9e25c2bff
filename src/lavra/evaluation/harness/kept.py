"""What was asked already, in a file, so that an evaluation that was stopped goes on where it was.

A line an answer, under a hash of what was asked; written as batches are finished. A line that a kill cut short is
passed over. Only what asks for no chance is kept: scores, and greedy answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

Heard = Callable[[list[tuple[int, Any]]], None]
"""Told of a batch of answers, each with its number among those that were asked."""


class Kept:
    """Answers by key, in ``path``; without one, in memory."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._found: dict[str, Any] = {}
        if path is not None and path.is_file():
            for line in path.read_text(encoding="utf-8").split("\n"):
                try:
                    key, value = json.loads(line)
                except ValueError:  # the line that was being written
                    continue
                self._found[key] = value

    def keys(self, kind: str, asked: Iterable[Any]) -> list[str]:
        """Of what is asked, plain JSON; ``kind`` and everything in it decide the answer, besides the model."""
        return [sha256(json.dumps([kind, one]).encode()).hexdigest()[:24] for one in asked]

    def once(
        self,
        kind: str,
        asked: Sequence[Any],
        ask: Callable[[list[Any], Heard], object],
        told: Callable[[int], None] = lambda count: None,
    ) -> list[Any]:
        """The answer to each. ``ask`` is given those that have none yet, and whom to tell of each batch of answers.

        ``told``: how many have one, after each batch.
        """
        keys = self.keys(kind, asked)
        new = [number for number, key in enumerate(keys) if key not in self]
        count = len(keys) - len(new)

        def heard(batch: list[tuple[int, Any]]) -> None:
            nonlocal count
            self.put([(keys[new[place]], answer) for place, answer in batch])
            count += len(batch)
            told(count)

        ask([asked[number] for number in new], heard)
        return [self[key] for key in keys]

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> Any:
        return self._found[key]

    def put(self, answers: Sequence[tuple[str, Any]]) -> None:
        """Kept from now on."""
        self._found.update(answers)
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(answer) + "\n" for answer in answers)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(lines)
