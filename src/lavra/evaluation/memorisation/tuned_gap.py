"""Was this document in the training data? Digger's way (Li et al. 2024): a copy of the model is tuned on it, and on
texts of which one knows; what the copy had read before gains less by reading it again.

The *gap* of a text is its loss before the tuning less its loss after, in nats a token. Texts that were in the training
data (members) and texts that were not (others) are learned by the same copy in the same run, so that their gaps show
what a gap means here: a logistic law fitted to them turns the document's gap into a confidence, and leaving each text
out in turn shows what that confidence is worth.

Where nobody knows a member, half of the others are made into ones first, as the paper does to find its threshold: the
copy learns them in a run before. Such members were read last of all and are fresher than anything from pre-training, so
that the confidence is then an upper bound. Neither way is a proof: the document may differ from the others by itself.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lavra.errors import LavraError
from lavra.evaluation.memorisation.curves import auc, auc_interval
from lavra.evaluation.memorisation.reading import opening, read_texts
from lavra.model.adapters import AdapterConfig, attach
from lavra.model.base import Model
from lavra.model.families.family import Family
from lavra.objectives.language import LanguageModel
from lavra.objectives.packing import Example, PackedRows
from lavra.retrieval.logistic import newton, sigmoid
from lavra.tokens.tokenizer import Tokenizer
from lavra.training.loader import make_loader
from lavra.training.loop import Trainer
from lavra.training.run import RunDirectory
from lavra.training.settings import TrainSettings

LEAST = 8
"""Texts of a kind below which a law fitted to them would be made up."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class GapSettings:
    """``length``: tokens of a piece; ``pieces``: of a text at most, evenly spread over it; the rest is how the copy is
    tuned, by LoRA: harder than for use, for a gap must be wide to be told. Of 32 sentences given to SmolLM2-135M, half
    of them made members, the gap told them apart with an AUC of .72, with 2 epochs at 2e-4 not at all (.40)."""

    length: int = 256
    pieces: int = 24
    epochs: int = 4
    learning_rate: float = 1e-3
    rank: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Gap:
    """``gap`` and ``before`` of the document, ``members`` and ``others``: gaps of the texts that are known;
    ``confidence``: that the document was a member, if that is as likely as not beforehand; ``accuracy`` and ``brier``
    (0 perfect, 0.25 a coin): of that confidence on known texts, each left out in turn. ``p``: the share of others, the
    document among them, with as small a gap; of the weaker kind, see ``testing.py``. ``made``: members were made."""

    gap: float
    before: float
    members: np.ndarray
    others: np.ndarray
    confidence: float
    accuracy: float
    brier: float
    p: float
    made: bool
    pieces: int

    @property
    def auc(self) -> float:
        """How often a member's gap is smaller than another text's: the method's own power here."""
        return auc(-self.members, -self.others)

    @property
    def auc_interval(self) -> tuple[float, float]:
        return auc_interval(-self.members, -self.others)

    @property
    def told(self) -> bool:
        """Whether the method tells anything here: the interval of its AUC lies above chance."""
        return self.auc_interval[0] > 0.5


def measure_gap(
    model: Model,
    family: Family,
    tokenizer: Tokenizer,
    document: str,
    others: Sequence[str],
    members: Sequence[str] = (),
    *,
    settings: GapSettings | None = None,
    say: Say = lambda text: None,
) -> Gap:
    """``model`` is changed: it is the copy. ``others``: texts that it certainly never read; ``members``: texts that it
    certainly did. Raises LavraError where there are too few of them."""
    settings = settings or GapSettings()
    require_known(members, others)
    made, known = not members, sorted(set(others))
    if made:
        np.random.default_rng(settings.seed).shuffle(known)
        members, others = known[: len(known) // 2], known[len(known) // 2 :]
    texts = [_pieces(tokenizer, text, settings) for text in (document, *members, *others)]
    attach(model, AdapterConfig(rank=settings.rank, alpha=2.0 * settings.rank), family, seed=settings.seed)
    if made:
        say("a copy learns half of the other texts, to be known ones")
        _tune(model, tokenizer, [piece for text in texts[1 : 1 + len(members)] for piece in text], settings)
    before = _losses(model, tokenizer, texts)
    say("a copy learns the document and the texts that are known")
    _tune(model, tokenizer, [piece for text in texts for piece in text], settings)
    gaps = before - _losses(model, tokenizer, texts)
    return judge(
        gaps[0], gaps[1 : 1 + len(members)], gaps[1 + len(members) :], before[0], made=made, pieces=len(texts[0])
    )


def require_known(members: Sequence[str], others: Sequence[str]) -> None:
    """Raises LavraError where there are too few texts to say what a gap means."""
    if members and min(len(set(members)), len(set(others))) >= LEAST:
        return
    if not members and len(set(others)) >= 2 * LEAST:
        return
    raise LavraError(
        f"to ask about a document give at least {LEAST} known texts of the training data as --texts and {LEAST} others "
        f"as --controls, or {2 * LEAST} controls alone; here are {len(set(members))} and {len(set(others))}."
    )


def judge(gap: float, members: np.ndarray, others: np.ndarray, before: float, *, made: bool, pieces: int) -> Gap:
    """What the document's gap says, given those of known texts."""
    values = np.concatenate([members, others])
    labels = np.concatenate([np.ones(len(members)), np.zeros(len(others))])
    left_out = np.array(
        [
            _confidence(values[number], np.delete(values, number), np.delete(labels, number))
            for number in range(len(values))
        ]
    )
    return Gap(
        float(gap), float(before), members, others,
        confidence=_confidence(float(gap), values, labels),
        accuracy=float(((left_out > 0.5) == (labels > 0.5)).mean()),
        brier=float(np.square(left_out - labels).mean()),
        p=float((1 + (others <= gap).sum()) / (1 + len(others))),
        made=made, pieces=pieces,
    )  # fmt: skip


def _confidence(gap: float, values: np.ndarray, labels: np.ndarray) -> float:
    """P(member | gap) of a logistic law, both kinds as likely beforehand however many there are of each."""
    middle, deviation = float(values.mean()), float(values.std()) or 1.0
    design = (values - middle)[:, None] / deviation
    slope, bias = newton(design, labels, np.zeros(len(labels), dtype=np.int64), np.zeros(2), 1.0, 0.0)
    bias -= math.log(labels.sum() / (len(labels) - labels.sum()))
    return float(sigmoid(np.array(slope * (gap - middle) / deviation + bias)))


def _pieces(tokenizer: Tokenizer, text: str, settings: GapSettings) -> list[str]:
    ids = tokenizer.encode(text, add_special_tokens=False, parse_special=False)
    starts = list(range(0, max(1, len(ids) - settings.length // 4), settings.length))
    if len(starts) > settings.pieces:
        starts = [starts[round(number)] for number in np.linspace(0, len(starts) - 1, settings.pieces)]
    found = [tokenizer.decode(ids[start : start + settings.length]) for start in starts]
    return [piece for piece in found if len(piece.split()) > 1] or [text]


def _losses(model: Model, tokenizer: Tokenizer, texts: Sequence[Sequence[str]]) -> np.ndarray:
    """Of each text: the mean over its pieces, a token each counting the same."""
    model.eval()
    readings = iter(read_texts(model, tokenizer, [piece for text in texts for piece in text]))
    found = []
    for text in texts:
        mine = [next(readings) for _ in text]
        found.append(-sum(float(one.log_p.sum()) for one in mine) / sum(one.tokens for one in mine))
    return np.array(found)


def _tune(model: Model, tokenizer: Tokenizer, pieces: Sequence[str], settings: GapSettings) -> None:
    start = opening(tokenizer)
    encoded = [
        np.array([*start, *tokenizer.encode(piece, add_special_tokens=False, parse_special=False)], dtype=np.int64)
        for piece in pieces
    ]
    examples = [Example(ids) for ids in encoded if len(ids) > 1]
    length = max(example.places for example in examples)
    rows = PackedRows(examples, length)
    training = TrainSettings(
        epochs=settings.epochs, batch_tokens=max(4 * settings.length, length), learning_rate=settings.learning_rate,
        weight_decay=0.0, betas=(0.9, 0.999), seed=settings.seed, spike=0.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="lavra-gap-") as directory:
        loader = make_loader(rows, rows.sizes, training, device=model.device)
        Trainer(model, LanguageModel(), loader, training, RunDirectory(Path(directory))).train()
    model.eval()
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters() if p.requires_grad):
        raise LavraError("tuning the copy diverged: give a smaller learning rate.")
