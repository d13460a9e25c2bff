"""The ways that come with Lavra, by the names in which one asks for them."""

from __future__ import annotations

from collections.abc import Mapping

from lavra.workspace.studying import asking, learning, retrieving
from lavra.workspace.studying.way import Way

WAYS: Mapping[str, Way] = {
    way.name: way
    for way in (
        Way("prompt", asking.prompt, rank=0),
        Way("few-shot", asking.few_shot, {"examples": 4}, rank=1, learns=True),
        Way("rag", retrieving.rag, retrieving.READING, rank=2, reads=True),
        Way("external", asking.external, {"url": None, "model": None, "key_env": None}, rank=3, over_models=False),
        Way("tune", learning.tune, learning.TUNING, rank=4, learns=True),
        Way(
            "tune+rag", learning.tune_rag, {**learning.TUNING, **retrieving.READING}, rank=5, learns=True, reads=True
        ),
        Way("continue", learning.continued, {**learning.TUNING, **learning.READING_ON}, rank=6, learns=True),
        Way("pretrain", learning.pretrain, {**learning.TUNING, **learning.SCRATCH}, rank=7, learns=True),
    )
}  # fmt: skip
USUAL = ("prompt", "few-shot", "rag", "tune", "tune+rag")
"""What a study tries where nobody says."""
