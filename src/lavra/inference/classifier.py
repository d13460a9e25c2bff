"""Classifiers and rerankers at work: texts in, probabilities of labels or scores of passages out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.inference.embedder import BATCH_TOKENS, batches
from lavra.inference.lone_threads import lone_threads
from lavra.model.attention import Mask
from lavra.model.base import Model
from lavra.model.heads import classify
from lavra.model.hub import ResolvedModel, resolve
from lavra.model.known import KIND_WORDS
from lavra.model.packing import pack
from lavra.model.precision import compute_dtype
from lavra.model.weights import load_model, read_json
from lavra.tokens.pairs import PairEncoder
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

MANY = "multi_label_classification"
"""What ``problem_type`` in a ``config.json`` says where a text may have any number of labels, as transformers does."""
Row = tuple[Sequence[int], Sequence[int] | None]
"""Token ids of a text, and BERT's segments where it is two."""


class Classifier:
    """A model that gives each text its ``labels``' probabilities. Safe to use from several threads."""

    def __init__(self, model: Model, tokenizer: Tokenizer, *, many: bool = False, name: str = "model") -> None:
        if model.config.head != "sequence":
            raise LavraError(f"the model {name} has no head that classifies texts; tune one with --task classify")
        self.labels, self.many, self.name = model.config.labels, many, name
        self.window = model.config.context_length
        self._model, self._tokenizer = model, tokenizer

    @classmethod
    def load(cls, reference: str | ResolvedModel, *, dtype: torch.dtype | None = None) -> Classifier:
        """Raises LavraError where the model is absent, damaged, or no classifier."""
        found, model = _load(reference, dtype)
        many = found.path.is_dir() and read_json(found.path / "config.json").get("problem_type") == MANY
        return cls(model, load_tokenizer(found.path), many=many, name=found.name)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """(N, labels) float32: of one label a text they sum to 1, of many each is for itself. What lies beyond the
        model's window is not read."""
        if isinstance(texts, str):
            raise TypeError("classify a list of texts, not one string")
        rows: list[Row] = [(within(ids, self.window), None) for ids in self._tokenizer.encode_batch(texts)]
        logits_NL = compute_logits(self._model, rows, self._tokenizer.pad_id or 0)
        found = logits_NL.sigmoid() if self.many else logits_NL.softmax(-1)
        return found.numpy()

    def __call__(self, texts: Sequence[str], threshold: float = 0.5) -> list[tuple[str, ...]]:
        """The likeliest label of each text; of many, those at least as likely as ``threshold``, likeliest first."""
        found = []
        for row in self.probabilities(texts):
            order = np.argsort(-row, kind="stable")
            chosen = order[row[order] >= threshold] if self.many else order[:1]
            found.append(tuple(self.labels[index] for index in chosen))
        return found


class Reranker:
    """A cross-encoder: how well each passage fits a question, in one number from 0 to 1."""

    def __init__(self, model: Model, tokenizer: Tokenizer, *, window: int | None = None, name: str = "model") -> None:
        if model.config.head != "sequence" or len(model.config.labels) != 1:
            raise LavraError(f"the model {name} gives no score of relevance; tune one with --task rerank")
        self.name, self._model = name, model
        self._pad_id = tokenizer.pad_id or 0
        self._pairs = PairEncoder(tokenizer, min(window or 512, model.config.context_length))

    @classmethod
    def load(cls, reference: str | ResolvedModel, *, dtype: torch.dtype | None = None) -> Reranker:
        """Raises LavraError where the model is absent, damaged, or no cross-encoder with one label."""
        found, model = _load(reference, dtype)
        return cls(model, load_tokenizer(found.path), name=found.name)

    def scores(self, question: str, passages: Sequence[str]) -> np.ndarray:
        """(N,) float32."""
        rows: list[Row] = list(self._pairs.encode([(question, passage) for passage in passages]))
        return compute_logits(self._model, rows, self._pad_id)[:, 0].sigmoid().numpy()


def compute_logits(model: Model, rows: Sequence[Row], pad_id: int) -> Tensor:
    """(N, labels), float32, of texts as token ids; texts of like length together, a core each."""
    found = torch.empty(len(rows), len(model.config.labels))
    groups = list(batches([len(ids) for ids, _ in rows], BATCH_TOKENS))
    computed = lone_threads().map(lambda group: _logits(model, [rows[index] for index in group], pad_id), groups)
    for group, logits_BL in zip(groups, computed, strict=True):
        found[torch.tensor(group)] = logits_BL
    return found


@torch.inference_mode()
def _logits(model: Model, rows: Sequence[Row], pad_id: int) -> Tensor:
    lengths_B = torch.tensor([len(ids) for ids, _ in rows])
    longest = int(lengths_B.max())
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    types = np.zeros((len(rows), longest), dtype=np.int64)
    for number, (row, kinds) in enumerate(rows):
        ids[number, : len(row)] = row
        types[number, : len(row)] = 0 if kinds is None else kinds
    valid_BT = torch.arange(longest) < lengths_B[:, None]
    mask = Mask(causal=model.config.causal, valid_BS=None if bool(valid_BT.all()) else valid_BT)
    given = {"types_BT": torch.from_numpy(types)} if types.any() and model.config.token_types else {}
    hidden_BTC = model(torch.from_numpy(ids), mask=mask, **given)
    return classify(model, hidden_BTC, valid_BT).float()


def within(ids: Sequence[int], window: int) -> list[int]:
    """The first tokens and the last one: a cut text still ends in the model's separator."""
    return list(ids) if len(ids) <= window else [*ids[: window - 1], ids[-1]]


def _load(reference: str | ResolvedModel, dtype: torch.dtype | None) -> tuple[ResolvedModel, Model]:
    found = reference if isinstance(reference, ResolvedModel) else resolve(reference)
    if found.kind != "classifier":
        raise LavraError(f"the model {found.name} is {KIND_WORDS[found.kind]}; choose a classifier")
    return found, pack(load_model(Path(found.path), dtype=dtype or compute_dtype()))
