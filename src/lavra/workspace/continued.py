"""What a model wrote, kept as it comes, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from lavra.store.files import digest


class Continued:
    """A file of texts by what they depend on. Without a path nothing is kept.

    They are kept as they were written together, since what is drawn by lot depends on who else is drawn: so a run that
    goes on writes what an undisturbed one would have written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._kept: dict[str, list[str]] = {}
        for line in path.read_text("utf-8").splitlines() if path is not None and path.is_file() else ():
            try:
                row = json.loads(line)
                self._kept[row["key"]] = list(row["texts"])
            except (ValueError, TypeError, KeyError):  # cut short by a kill
                continue

    def texts(self, depends: Sequence[object], write: Callable[[], list[str]]) -> list[str]:
        """What ``write`` gives, asked once."""
        if self.path is None:
            return write()
        key = digest(list(depends))[:24]
        if key not in self._kept:
            self._kept[key] = write()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", errors="replace") as file:
                # The line break comes first: a kill may have cut the line before.
                file.write("\n" + json.dumps({"key": key, "texts": self._kept[key]}, ensure_ascii=False))
        return self._kept[key]
