"""What ``tune`` can be asked for, checked where it comes in."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lavra.errors import LavraError

Method = Literal["full", "lora", "rslora", "dora", "ia3", "qlora", "longlora", "prompt", "prefix"]
METHODS: tuple[Method, ...] = get_args(Method)
VIRTUAL: tuple[Method, ...] = ("prompt", "prefix")
"""Those that train virtual tokens before a text, and change no weights."""

RATES: dict[Method, float] = {
    "full": 2e-5,
    "lora": 2e-4,
    "rslora": 1e-4,  # its scale grows with the root of the rank
    "dora": 2e-4,
    "ia3": 3e-3,  # Liu et al. 2022, section 4
    "qlora": 2e-4,  # Dettmers et al. 2023, appendix B
    "longlora": 2e-5,  # Chen et al. 2024, section 4.1; embeddings and norms are trained whole
    "prompt": 1e-2,  # few numbers, each of which must go far: Lester et al. 2021, section 3.3, go farther still
    "prefix": 5e-3,
}
"""The rate of each where none is given: ten times that of full tuning for low ranks (Schulman et al. 2025)."""


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """Defaults suit an instruction set of some hundreds to some ten thousands of examples.

    ``alpha``: twice the rank by default. ``storage``: what QLoRA keeps the base in. ``virtual_tokens``: of prompt and
    prefix. ``batch_tokens``: of a step; by
    default a fiftieth of the data, 512 to 8,192. ``context``: the longest example in tokens; by default what the model
    takes, at most 2,048. ``cut``: longer ones are cut instead of left out. ``validation``: the share of documents held
    out, 0 for none; of a file where one is given apart. ``group``: LongLoRA's, a quarter of the context by default.

    Against forgetting: ``kl``, ``ewc`` and ``l2_sp`` are weights of what holds a model (``objectives/retention.py``);
    ``interpolate`` goes back towards the base afterwards: "curve" measures the mixes and recommends one, "auto" takes
    it, a number from 0 to 1 is taken itself; ``forget_at_most``: what the recommended one may lose of general text.

    ``teacher``: a model to learn from, by "logits" or by the "answers" it writes, of ``answer_tokens`` at most;
    ``hard``: of the logits' loss, the share that the examples' own answers have; at ``temperature``.
    """

    method: Method = "lora"
    rank: int = 16
    alpha: float | None = None
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    storage: Literal["nf4", "int8"] = "nf4"
    virtual_tokens: int = 20
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
    ewc: float = 0.0
    l2_sp: float = 0.0
    interpolate: Literal["curve", "auto"] | float | None = None
    forget_at_most: float = 0.01
    teacher: str | None = None
    teach: Literal["logits", "answers"] = "logits"
    hard: float = 0.5
    temperature: float = 1.0
    answer_tokens: int = 256
    checkpointing: bool = False
    seed: int = 0
    share: float = 1.0

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_numbers()
        self._check_together()

    def _check_choices(self) -> None:
        for name, allowed in (
            ("method", METHODS),
            ("storage", ("nf4", "int8")),
            ("learn", ("answers", "all", "last")),
            ("schedule", ("cosine", "wsd", "linear", "constant")),
            ("teach", ("logits", "answers")),
        ):
            if getattr(self, name) not in allowed:
                raise LavraError(f"{name} is {getattr(self, name)!r}: it is one of {', '.join(allowed)}.")
        share = self.interpolate
        if not (share in (None, "curve", "auto") or (isinstance(share, (int, float)) and 0 <= share <= 1)):
            raise LavraError(f"interpolate is {share!r}: it is curve, auto, or a number from 0 (the base) to 1.")

    def _check_numbers(self) -> None:
        counts = (
            "epochs",
            "steps",
            "batch_tokens",
            "micro_tokens",
            "context",
            "group",
            "answer_tokens",
            "virtual_tokens",
        )
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise LavraError(f"{name} is {value}: it must be at least 1.")
        shares = (("validation", 0.9), ("share", 1.0), ("dropout", 0.99), ("hard", 0.99), ("forget_at_most", 1.0))
        for name, most in shares:
            if not 0 <= getattr(self, name) <= most:
                raise LavraError(f"{name} is {getattr(self, name)}: it is a share, from 0 to {most:g}.")
        if not self.share:
            raise LavraError("share is 0: give the share of the examples to learn from.")
        for name in ("patience", "evaluations", "seed", "kl", "ewc", "l2_sp"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise LavraError(f"{name} is {getattr(self, name)}: it must not be negative, nor infinite.")
        for name in ("learning_rate", "temperature"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise LavraError(f"{name} is {getattr(self, name)}: it must be positive.")

    def _check_together(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise LavraError("epochs and steps are both given: give one of them.")
        if self.group is not None and (self.method != "longlora" or self.group % 2):
            raise LavraError("group is a number of places for longlora alone, and even: leave it out, or change it.")
        if self.interpolate is not None and self.method in VIRTUAL:
            raise LavraError(f"{self.method} changes no weights, so that there is no way back to go: leave it out.")
        if self.kl and self.method == "longlora":
            raise LavraError("kl needs the base as it was, and longlora stretches it: hold it with l2_sp, or replay.")
        if self.teacher and self.method == "longlora":
            raise LavraError("a teacher cannot read what longlora stretches a model for: leave one of the two out.")

    @property
    def rate(self) -> float:
        return RATES[self.method] if self.learning_rate is None else self.learning_rate

    @property
    def recipe(self) -> dict[str, Any]:
        """As plain JSON, all that determines the result; what only speed depends on is left out."""
        values = asdict(self)
        del values["micro_tokens"], values["checkpointing"]
        if self.method == "full" or self.method in VIRTUAL:
            for name in ("rank", "alpha", "dropout", "targets"):
                del values[name]
        if self.method not in VIRTUAL:
            del values["virtual_tokens"]
        if self.method != "qlora":
            del values["storage"]
        if self.teacher is None:
            for name in ("teacher", "teach", "hard", "temperature", "answer_tokens"):
                del values[name]
        if self.interpolate is None:
            del values["forget_at_most"]
        return values | {"learning_rate": self.rate} | ({"targets": list(self.targets)} if "targets" in values else {})


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What is learned from. ``data``: files of examples; ``texts``: documents, files and folders or the workspace's
    corpus (``corpus``), as far as one of ``roles`` may read them; ``replay``: files of examples with their weight, in
    tokens for each token of the rest; ``old``: files of examples or texts of what is not to be forgotten, for EWC, by
    default those of ``replay``; ``validation``: a file held out; ``general`` and ``tasks``: a text file, and a file of
    tasks, on which forgetting is measured, Lavra's own by default; ``mixture``: documents of a cleaned corpus are drawn
    by its weights, where it has any."""

    data: tuple[Path, ...] = ()
    texts: tuple[Path, ...] = ()
    corpus: bool = False
    roles: tuple[str, ...] = ("public",)
    replay: tuple[tuple[Path, float], ...] = ()
    old: tuple[Path, ...] = ()
    validation: Path | None = None
    general: Path | None = None
    tasks: Path | None = None
    mixture: bool = True

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


def parse_interpolate(text: str | None) -> Literal["curve", "auto"] | float | None:
    """``curve``, ``auto``, or a number."""
    if text is None or text == "curve" or text == "auto":
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError as error:
        raise LavraError(f"--interpolate {text} is not curve, auto, or a number from 0 to 1.") from error
