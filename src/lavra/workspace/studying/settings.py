"""What ``study`` can be asked for, checked where it comes in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavra.errors import LavraError
from lavra.workspace.studying.scoring import QUALITY, check_measure
from lavra.workspace.studying.ways import USUAL


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """``ways``: by name, with settings perhaps (``rag:read=4``), functions (``file.py:function``) and TOML files;
    ``models``: references, by default the workspace's generator; ``questions`` and ``tuning``: files of questions to
    ask and to learn from, made by rules without them (``count`` at most); ``limit``: asked at most; ``budget``:
    ``15 min``, ``0.5 kWh``, ``3 EUR``; ``measure``: what ways are compared by; ``max_tokens``: of an answer, the same
    for all; ``samples``: times that every way is asked again, to see whether it says the same; ``endpoint``,
    ``endpoint_model``, ``key_env``: of the way ``external``; ``judge``: a model that grades replies, by its reference,
    or a server's address with ``judge_model`` and ``judge_key_env``; ``general``: measure what tuning left
    of general ability, bias, and what was learned by heart; ``data``: the directory of ``lavra evaluate``, for more on
    bias; ``entailment``: a model that says whether a passage says what a sentence says, in place of words."""

    ways: tuple[str, ...] = USUAL
    models: tuple[str, ...] = ()
    questions: Path | None = None
    tuning: Path | None = None
    limit: int | None = None
    count: int = 200
    budget: str | None = None
    measure: str = QUALITY
    max_tokens: int = 128
    roles: tuple[str, ...] = ("public",)
    endpoint: str | None = None
    endpoint_model: str | None = None
    key_env: str | None = None
    judge: str | None = None
    judge_model: str | None = None
    judge_key_env: str | None = None
    samples: int = 0
    general: bool = True
    data: Path | None = None
    entailment: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.ways:
            raise LavraError("no way was given: name some, as in --ways prompt,rag.")
        for name, least in (("limit", 2), ("count", 10), ("max_tokens", 1), ("samples", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise LavraError(f"{name} is {value}: it must be at least {least}.")
        check_measure(self.measure)
        if self.measure == "judge" and self.judge is None:
            raise LavraError("ways are to be compared by a judge, and there is none: name a model with --judge.")
        if self.judge is not None and self.judge.startswith("http") and not self.judge_model:
            raise LavraError("the judge's model was not named: add --judge-model NAME.")

    @property
    def external(self) -> dict[str, Any]:
        """Settings of the way ``external``."""
        return {"url": self.endpoint, "model": self.endpoint_model, "key_env": self.key_env}

    @property
    def recipe(self) -> dict[str, Any]:
        """As plain JSON, all that determines what is asked of whom."""
        return {
            "models": list(self.models), "limit": self.limit, "count": self.count, "budget": self.budget,
            "measure": self.measure, "max_tokens": self.max_tokens, "roles": sorted(self.roles), "seed": self.seed,
            "samples": self.samples, "judge": [self.judge, self.judge_model] if self.judge else None,
            "general": self.general, "crows_pairs": self.data is not None, "entailment": self.entailment,
        }  # fmt: skip
