"""The real decoder and the implementation that judges it, loaded once for all tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import model_table
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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-docs", action="store_true", help="rewrite the table of docs/models.md")


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Iterator[Callable[[str, str, float], None]]:
    """``record(family, check, difference)``: the largest difference to the reference that a test has seen.

    After a run of all tests of this room, the table of docs/models.md has to say the same.
    """
    seen: dict[tuple[str, str], float] = {}

    def note(family: str, check: str, difference: float) -> None:
        seen[family, check] = max(difference, seen.get((family, check), 0.0))

    yield note
    if not model_table.whole(seen):
        return
    if request.config.getoption("--write-docs", default=False):
        model_table.write(seen)
        return
    session, here = request.session, Path(__file__).parent
    files = {item.path for item in session.items}
    complete = not request.config.option.keyword and not any("::" in argument for argument in request.config.args)
    if complete and files >= set(here.glob("test_*.py")) and not session.testsfailed and model_table.stale(seen):
        pytest.fail("docs/models.md is not what this run saw; write it anew with: pytest tests/model --write-docs")
