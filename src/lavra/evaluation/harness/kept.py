"""What was asked already, in a file, so that an evaluation that was stopped goes on where it was.

A line an answer, under a hash of what was asked; written as batches are finished. A line that a kill cut short is
passed over. Only what asks for no chance is kept: scores, and greedy answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any


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

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> Any:
        return self._found[key]

    def put(self, answers: Sequence[tuple[str, Any]]) -> None:
        """Kept from now on."""
        self._found.update(answers)
        if self.path is None:
            return
        lines = "".join(json.dumps(answer) + "\n" for answer in answers)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(lines)
