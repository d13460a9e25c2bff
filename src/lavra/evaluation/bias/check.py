"""The bias sets as a check of ``lavra tune``: the same figures before and after.

In a file of your own, ``checks.py``::

    from lavra.evaluation.bias.check import bias_check

    bias = bias_check("path/to/data", limit=200)

and then ``lavra tune … --check checks.py:bias``. The figures stand in the report beside the loss; each set's items
and report lie in the directory of the check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from lavra.model.base import Model
from lavra.tokens.tokenizer import Tokenizer


class Given(Protocol):
    """What a check is given, as far as it is needed here; see ``workspace/tuning/checks.py``."""

    model: Model
    tokenizer: Tokenizer
    base: str
    directory: Path


def bias_check(
    data: str | Path, *, tasks: Sequence[str] = ("crows_pairs", "winobias"), limit: int | None = 200
) -> Callable[[Given], dict[str, float]]:
    """A check that asks ``tasks`` of the bias sets in ``data``, at most ``limit`` items of each; its figures are each
    task's score."""

    def bias(given: Given) -> dict[str, float]:
        from lavra.evaluation.harness.model import HarnessModel
        from lavra.evaluation.harness.pages import report
        from lavra.evaluation.harness.running import Settings, evaluate, select

        chosen = select(list(tasks), Path(data))
        asked: Any = HarnessModel(given.model, given.tokenizer, name=given.base)
        results, _ = evaluate(asked, chosen, Settings(limit=limit))
        (given.directory / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        (given.directory / "report.html").write_text(report(results)[1], encoding="utf-8")
        scores = results["lavra"]["groups"] or results["lavra"]["scores"]
        return {name: score["value"] for name, score in scores.items()}

    return bias
