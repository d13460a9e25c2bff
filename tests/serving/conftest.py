"""Servers for the tests of this room."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from house import House
from live import serving


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """``serve(house, settings)``: an address, served until the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda services, settings=None: stack.enter_context(serving(services, settings))


@pytest.fixture(scope="module")
def house() -> House:
    return House()


@pytest.fixture(scope="module")
def address(house: House) -> Iterator[str]:
    """One server for all tests of a module that change nothing."""
    with serving(house) as address:
        yield address
