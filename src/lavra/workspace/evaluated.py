"""What asking a model came to, kept as an artifact: its answers to standard tasks, or what it shows of its training
data. The same is asked once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lavra.store import Artifact, Draft, Store


@dataclass(frozen=True)
class Evaluated:
    """``results``: all figures, as the artifact's JSON has them; ``found``: the same had been asked before."""

    artifact: Artifact
    results: Mapping[str, Any]
    found: bool


def ask_once(
    store: Store,
    kind: str,
    inputs: Mapping[str, str],
    recipe: Mapping[str, Any],
    file: str,
    ask: Callable[[Draft], Mapping[str, Any]],
) -> Evaluated:
    """Ask, unless it was asked before. ``ask`` writes into the draft what people read, and returns the results, which
    are kept as ``file``."""
    made: list[Mapping[str, Any]] = []

    def build(draft: Draft) -> None:
        results = ask(draft)
        made.append(results)
        (draft.path / file).write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    artifact = store.make(kind, inputs, recipe, build)
    if made:
        return Evaluated(artifact, made[0], found=False)
    return Evaluated(artifact, json.loads((artifact.path / file).read_text(encoding="utf-8")), found=True)
