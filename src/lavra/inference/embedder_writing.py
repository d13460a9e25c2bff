"""A tuned embedder as a directory that sentence-transformers loads as it is, prompts included, and Lavra too.

Written beside its place, read again, and compared: the same vectors, or nothing is kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavra.errors import LavraError
from lavra.inference.embedder import Embedder, Recipe, read_recipe
from lavra.model.base import Model
from lavra.model.hub import resolve
from lavra.model.weights import load_model
from lavra.model.writing import replacing, save_model
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

_PROBES = (
    "Qual é o prazo para pedir férias?",
    "The daily allowance is paid within five working days after the trip.",
    "Um texto mais longo, para que o enchimento de um lote também seja provado: " + "palavra após palavra, " * 12,
)
_LEAST_COSINE = {torch.float32: 0.99999, torch.bfloat16: 0.999, torch.float16: 0.9999}


def save_embedder(
    model: Model,
    tokenizer: Tokenizer,
    recipe: Recipe,
    directory: Path,
    *,
    dtype: torch.dtype | None = None,
    licence: str | None = None,
    card: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write ``directory``: weights, tokenizer, and sentence-transformers' files (transformer, pooling, normalisation).

    Raises LavraError when the family cannot be written, or when what was written embeds otherwise.
    """
    dtype = dtype or model.dtype
    with replacing(Path(directory), overwrite) as made:
        save_model(model, made, tokenizer=tokenizer, dtype=dtype, licence=licence, card=card)
        for name, value in sentence_files(recipe, model.config.width).items():
            (made / name).parent.mkdir(exist_ok=True)
            (made / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (made / "2_Normalize").mkdir(exist_ok=True)
        _prove(model, tokenizer, recipe, made, _LEAST_COSINE[dtype])


def sentence_files(recipe: Recipe, width: int) -> dict[str, Any]:
    """The files that sentence-transformers reads, by name: the inverse of ``embedder.read_recipe``."""
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize")]
    return {
        "modules.json": [
            {"idx": int(index), "name": index, "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, path, kind in modules
        ],
        "sentence_bert_config.json": {"max_seq_length": recipe.window, "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": recipe.pooling == "cls",
            "pooling_mode_mean_tokens": recipe.pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
            "pooling_mode_weightedmean_tokens": False,
            "pooling_mode_lasttoken": False,
            "include_prompt": True,
        },
        "config_sentence_transformers.json": {
            "prompts": dict(recipe.prompts),
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }


def _prove(model: Model, tokenizer: Tokenizer, recipe: Recipe, made: Path, least: float) -> None:
    again = read_recipe(resolve(str(made)), model.config.context_length)
    if again != recipe:
        raise LavraError(f"the embedder that was written says {again} of itself where the tuned one says {recipe}")
    written = Embedder(load_model(made, dtype=model.dtype), load_tokenizer(made), again)
    tuned = Embedder(model, tokenizer, recipe)
    mode = model.training
    model.eval()
    try:
        for embed in ("queries", "documents"):
            ours, theirs = getattr(tuned, embed)(_PROBES), getattr(written, embed)(_PROBES)
            cosine = float(np.sum(ours * theirs, axis=1).min())
            if not cosine >= least:
                raise LavraError(f"the embedder that was written gives other vectors (cosine {cosine:.6f}); none kept")
    finally:
        model.train(mode)
