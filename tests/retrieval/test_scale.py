"""Cosines of any embedder are read on the scale on which the fusion was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lavra.inference.embedder import Embedder
from lavra.retrieval.scale import SAME, SENTENCES, UNRELATED, CosineScale, measure


def test_the_two_points_lie_on_those_of_the_reference() -> None:
    scale = CosineScale(unrelated=0.1, same=0.9)
    assert scale.as_reference(np.array([0.1, 0.9])) == pytest.approx([UNRELATED, SAME])
    assert CosineScale().as_reference(np.array([0.8])) == pytest.approx([0.8])


def test_the_reference_s_figures_are_those_of_e5(pulled: Callable[[str], Path]) -> None:
    pulled("e5-small-enpt")
    embedder = Embedder.load("e5-small-enpt")
    cosines = embedder.queries(SENTENCES) @ embedder.documents(SENTENCES).T
    assert cosines.diagonal().mean() == pytest.approx(SAME, abs=0.002)
    assert cosines[~np.eye(len(SENTENCES), dtype=bool)].mean() == pytest.approx(UNRELATED, abs=0.002)


def test_another_embedder_s_scale_is_measured(pulled: Callable[[str], Path]) -> None:
    pulled("minilm-l6")
    scale = measure(Embedder.load("minilm-l6"))
    assert scale.same == pytest.approx(1.0, abs=0.01)
    assert abs(scale.unrelated) < 0.2
