"""A workspace over a few real pages in two languages, made once for all tests that only read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

LEAVE = """---
title: Férias
licence: CC-BY-4.0
---
# Férias

## Duração

O servidor tem direito a trinta dias de férias por ano de exercício. As férias podem ser divididas em até três
períodos, nenhum deles menor que dez dias.

## Pedido

O pedido de férias é feito à chefia imediata com sessenta dias de antecedência.
"""
TRAVEL = """# Travel expenses

## Daily allowance

The daily allowance for state capitals is 320 reais. The allowance is paid within five working days after the trip.

## Receipts

Receipts for taxis and hotels have to be handed in within ten days of return.
"""
SALARIES = """# Salaries of the board

The president of the board earns 41 thousand reais a month, by decision of the assembly of 2024.
"""


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``regras/``: two public pages, and one that only the role ``board`` may read."""
    root = tmp_path_factory.mktemp("documents") / "regras"
    (root / "board").mkdir(parents=True)
    (root / "ferias.md").write_text(LEAVE, encoding="utf-8")
    (root / "travel.md").write_text(TRAVEL, encoding="utf-8")
    (root / "board" / "salaries.md").write_text(SALARIES, encoding="utf-8")
    (root / "lavra-sources.toml").write_text('[[source]]\npath = "board/**"\nroles = ["board"]\nowner = "Board"\n')
    return root


@pytest.fixture(scope="session")
def models(pulled: Callable[[str], Path]) -> None:
    """The default models are on this machine."""
    pulled("smollm2-135m")
    pulled("e5-small-enpt")


@pytest.fixture(scope="session")
def tiny_writer(pulled: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a decoder of two small layers, random weights, and SmolLM2's tokenizer and chat template."""
    from lavra.model.building import build, initialise
    from lavra.model.config import ModelConfig
    from lavra.model.writing import save_model
    from lavra.tokens.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(pulled("smollm2-135m"))
    model = build(
        ModelConfig(
            vocabulary_size=tokenizer.vocabulary_size, layers=2, width=64, heads=4, kv_heads=2, head_width=16,
            hidden_width=128, causal=True, norm="rms", norm_epsilon=1e-5, positions="rotary", activation="silu",
            gated=True, context_length=256, tied_embeddings=True,
        )
    )  # fmt: skip
    initialise(model, 0)
    path = tmp_path_factory.mktemp("writers") / "tiny"
    save_model(model, path, tokenizer=tokenizer, family="llama")
    return path
