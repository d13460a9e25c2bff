"""What a rule found, and where."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""``error``: the prompt does not do what it says. ``warning``: it very likely does worse or is less safe than it could
be. ``note``: worth a look."""


@dataclass(frozen=True)
class Finding:
    """``part``: the text of the prompt, such as ``[en] user``; ``line`` and ``column`` count from 1, in the file where
    there is one."""

    rule: str
    severity: Severity
    part: str
    line: int
    column: int
    excerpt: str
    what: str
    why: str
    do: str
    reference: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
