"""Fixtures that more than one room's tests use: the shared data sets and the real models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("LAVRA_SHARED", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The public data sets beside the checkout; tests that need them skip, saying so, where they are absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared data sets are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def pulled() -> Callable[[str], Path]:
    """``pulled("smollm2-135m")``: the local path of a known model, pulled once into the user's cache."""
    from lavra.errors import LavraError
    from lavra.model.hub import resolve

    def path(name: str) -> Path:
        try:
            return resolve(name, pull=True).path
        except LavraError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"{name} is not here and could not be pulled: {error}")

    return path
