"""What ``tune`` can be asked for, checked where it comes in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lavra.errors import LavraError

Method = Literal["full", "lora", "rslora", "dora", "ia3", "qlora", "longlora"]
METHODS: tuple[Method, ...] = get_args(Method)

RATES: dict[Method, float] = {
    "full": 2e-5,
    "lora": 2e-4,
    "rslora": 1e-4,  # its scale grows with the root of the rank
    "dora": 2e-4,
    "ia3": 3e-3,  # Liu et al. 2022, section 4
    "qlora": 2e-4,  # Dettmers et al. 2023, appendix B
    "longlora": 2e-5,  # Chen et al. 2024, section 4.1; embeddings and norms are trained whole
}
"""The rate of each where none is given: ten times that of full tuning for low ranks (Schulman et al. 2025)."""


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """Defaults suit an instruction set of some hundreds to some ten thousands of examples.

    ``alpha``: twice the rank by default. ``storage``: what QLoRA keeps the base in. ``batch_tokens``: of a step; by
    default a fiftieth of the data, 512 to 8,192. ``context``: the longest example in tokens; by default what the model
    takes, at most 2,048. ``cut``: longer ones are cut instead of left out. ``validation``: the share of documents held
    out, 0 for none; of a file where one is given apart. ``group``: LongLoRA's, a quarter of the context by default.
    """

    method: Method = "lora"
    rank: int = 16
    alpha: float | None = None
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    storage: Literal["nf4", "int8"] = "nf4"
    epochs: int | None = None
    steps: int | None = None
    learning_rate: float | None = None
    schedule: Literal["cosine", "wsd", "linear", "constant"] = "cosine"
    batch_tokens: int | None = None
    micro_tokens: int | None = None
    context: int | None = None
    group: int | None = None
    learn: Literal["answers", "all", "last"] = "answers"
    cut: bool = False
    validation: float = 0.05
    patience: int = 0
    evaluations: int = 10
    kl: float = 0.0
    checkpointing: bool = False
    seed: int = 0
    share: float = 1.0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("method", METHODS),
            ("storage", ("nf4", "int8")),
            ("learn", ("answers", "all", "last")),
            ("schedule", ("cosine", "wsd", "linear", "constant")),
        ):
            if getattr(self, name) not in allowed:
                raise LavraError(f"{name} is {getattr(self, name)!r}: it is one of {', '.join(allowed)}.")
        if self.epochs is not None and self.steps is not None:
            raise LavraError("epochs and steps are both given: give one of them.")
        for name in ("epochs", "steps", "batch_tokens", "micro_tokens", "context", "group"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise LavraError(f"{name} is {value}: it must be at least 1.")
        for name, most in (("validation", 0.9), ("share", 1.0), ("dropout", 0.99)):
            if not 0 <= getattr(self, name) <= most:
                raise LavraError(f"{name} is {getattr(self, name)}: it is a share, from 0 to {most:g}.")
        if not self.share:
            raise LavraError("share is 0: give the share of the examples to learn from.")
        for name in ("patience", "evaluations", "seed", "kl"):
            if getattr(self, name) < 0:
                raise LavraError(f"{name} is {getattr(self, name)}: it must not be negative.")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise LavraError(f"learning_rate is {self.learning_rate}: it must be positive.")
        if self.group is not None and (self.method != "longlora" or self.group % 2):
            raise LavraError("group is a number of places for longlora alone, and even: leave it out, or change it.")
        if self.kl and self.method in ("full", "longlora"):
            raise LavraError(f"kl needs the base under an adapter that can be switched off, not {self.method}.")

    @property
    def rate(self) -> float:
        return RATES[self.method] if self.learning_rate is None else self.learning_rate

    @property
    def recipe(self) -> dict[str, Any]:
        """As plain JSON, all that determines the result; what only speed depends on is left out."""
        values = asdict(self)
        del values["micro_tokens"], values["checkpointing"]
        if self.method == "full":
            for name in ("rank", "alpha", "dropout", "targets"):
                del values[name]
        if self.method != "qlora":
            del values["storage"]
        return values | {"learning_rate": self.rate} | ({"targets": list(self.targets)} if "targets" in values else {})


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What is learned from. ``data``: files of examples; ``texts``: documents, files and folders or the workspace's
    corpus (``corpus``), as far as one of ``roles`` may read them; ``replay``: files of examples with their weight, in
    tokens for each token of the rest; ``validation``: a file held out; ``general``: a text file on which forgetting is
    measured, Lavra's own by default."""

    data: tuple[Path, ...] = ()
    texts: tuple[Path, ...] = ()
    corpus: bool = False
    roles: tuple[str, ...] = ("public",)
    replay: tuple[tuple[Path, float], ...] = ()
    validation: Path | None = None
    general: Path | None = None

    def __post_init__(self) -> None:
        if not (self.data or self.texts or self.corpus):
            raise LavraError("there is nothing to learn from: give files of examples, or documents with --text.")
        for path, weight in self.replay:
            if not 0 < weight <= 100:
                raise LavraError(f"the weight of {path} is {weight}: give tokens of it for each token, 0.1 say.")


def parse_replay(text: str) -> tuple[Path, float]:
    """``general.jsonl=0.2``, or the file alone for a fifth."""
    name, sign, weight = text.rpartition("=")
    if not sign:
        return Path(text), 0.2
    try:
        return Path(name), float(weight)
    except ValueError as error:
        raise LavraError(f"--replay {text} is not FILE=WEIGHT, as in general.jsonl=0.2.") from error
