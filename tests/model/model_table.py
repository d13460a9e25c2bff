"""The table of ``docs/models.md``: what each family is, as its config says, and how near to the reference it came.

A run of all tests of this room compares the table that it saw with the one that is written; ``--write-docs`` rewrites
it. Differences are powers of ten, and one power more or less is no news: machines round differently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zoo

from lavra.model.config import ModelConfig
from lavra.model.describe import summary
from lavra.model.families import BY_GGUF_ARCHITECTURE, BY_MODEL_TYPE

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- written by pytest tests/model --write-docs -->", "<!-- end -->"
CHECKS = (
    "logits",
    "states",
    "left padding",
    "right padding",
    "packed",
    "window",
    "cache",
    "rotary scaling",
    "round trip",
)
UNMADE = {"gemma3": "gemma3_text"}
"""Families that are another one inside a larger file."""

TELLING: dict[str, dict[str, Any]] = {
    "gemma3": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "gemma3_text": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "smollm3": {"no_rope_layer_interval": 2},
}
"""What shows a pattern of layers in three of them."""

Seen = Mapping[tuple[str, str], float]


def config_of(kind: str) -> ModelConfig:
    """As the family reads its tiny model."""
    reference, family = zoo.make(UNMADE.get(kind, kind), **TELLING.get(kind, {})), BY_MODEL_TYPE[kind]
    shapes = {name.removeprefix(family.prefix): tuple(t.shape) for name, t in reference.state_dict().items()}
    fields = reference.config.to_dict()
    return BY_MODEL_TYPE[UNMADE.get(kind, kind)].read({**fields, "architectures": [type(reference).__name__]}, shapes)


def render(seen: Seen) -> str:
    """The table, from its first line to its last."""
    lines = ["| family | architecture | largest difference to the reference | formats |", "| --- | --- | --- | --- |"]
    for kind in sorted(BY_MODEL_TYPE):
        if kind == "lavra":
            continue
        found = [f"{check} {power(seen[kind, check])}" for check in CHECKS if (kind, check) in seen]
        lines.append(f"| `{kind}` | {summary(config_of(kind))} | {', '.join(found)} | {formats(kind)} |")
    lines += ["", "| GGUF architecture | largest difference to the reference |", "| --- | --- |"]
    for name in sorted(BY_GGUF_ARCHITECTURE):
        found = [f"{check} {power(seen[f'gguf {name}', check])}" for check in CHECKS if (f"gguf {name}", check) in seen]
        lines.append(f"| `{name}` | {', '.join(found)} |")
    return "\n".join(lines)


def formats(kind: str) -> str:
    """Which files are read, and which are written too."""
    written = BY_MODEL_TYPE[kind].write is not None
    return "safetensors " + ("in and out" if written else "in")


def power(difference: float) -> str:
    """``≤ 1e-5``: rounded up to a power of ten, nothing below a millionth."""
    if difference == 0.0:
        return "0"
    return f"≤ 1e{max(math.ceil(math.log10(difference)), -6)}"


def whole(seen: Seen) -> bool:
    """Whether every family was compared."""
    return {kind for kind in BY_MODEL_TYPE if kind != "lavra"} <= {family for family, _ in seen}


def stale(seen: Seen) -> bool:
    """Whether the page's table and this one differ by more than one power of ten here and there."""
    return _differ(_page()[1].strip(), render(seen))


def write(seen: Seen) -> None:
    """Put the table into the page, if it is news."""
    before, written, after = _page()
    if _differ(written.strip(), table := render(seen)):
        PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", "utf-8")


def _page() -> tuple[str, str, str]:
    before, rest = PAGE.read_text("utf-8").split(BEGIN, 1)
    written, after = rest.split(END, 1)
    return before, written, after


def _differ(written: str, table: str) -> bool:
    pattern = r"≤ 1e(-?\d+)|(?<= )0(?=[,| ])"
    if re.sub(pattern, "#", written) != re.sub(pattern, "#", table):
        return True
    pairs = zip(re.finditer(pattern, written), re.finditer(pattern, table), strict=True)
    return any(abs(int(a[1] or -6) - int(b[1] or -6)) > 1 for a, b in pairs)
