"""The real decoder and the implementation that judges it, loaded once for all tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lavra.model.transformer import Transformer
from lavra.model.weights import load_model


@pytest.fixture(scope="session")
def smollm2_path(pulled: Callable[[str], Path]) -> Path:
    return pulled("smollm2-135m")


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> Transformer:
    return load_model(smollm2_path, dtype=torch.float32)


@pytest.fixture(scope="session")
def smollm2_reference(smollm2_path: Path) -> Any:
    """transformers' model of the same GGUF, in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        smollm2_path.parent, gguf_file=smollm2_path.name, dtype=torch.float32
    ).eval()


@pytest.fixture(scope="session")
def record() -> Callable[[str, str, float], None]:
    """``record(family, check, difference)``: the largest difference to the reference that a test has seen."""
    seen: dict[tuple[str, str], float] = {}

    def note(family: str, check: str, difference: float) -> None:
        seen[family, check] = max(difference, seen.get((family, check), 0.0))

    return note
