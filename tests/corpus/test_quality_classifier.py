"""A quality classifier of one's own tells held-out texts apart, says how well, and is plain arrays on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from lavra.corpus.quality.classifier import FILE_NAME, load_classifier, train
from lavra.errors import LavraError

GOOD = ["conselho", "aprovou", "relatório", "despesas", "orçamento", "reunião", "proposta", "município", "artigo"]
BAD = ["compre", "agora", "grátis", "clique", "oferta", "desconto", "cassino", "bônus", "promoção", "aposta"]


def texts(words: list[str], count: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    common = ["de", "a", "que", "em", "para", "com"]
    return [" ".join(draw.choice([*words, *common], 30)) for _ in range(count)]


def test_it_tells_apart_what_it_has_not_seen_and_says_how_well(tmp_path: Path) -> None:
    made = train(texts(GOOD, 40, 0), texts(BAD, 40, 1))
    assert made.auc >= 0.99
    made.save(tmp_path)
    again = load_classifier(tmp_path)
    assert (again.probabilities(texts(GOOD, 20, 2)) > 0.5).all()
    assert (again.probabilities(texts(BAD, 20, 3)) < 0.5).all()
    assert (again.auc, again.good, again.bad) == (made.auc, 40, 40)


def test_examples_that_do_not_differ_give_an_auc_near_chance() -> None:
    assert 0.3 < train(texts(GOOD, 60, 0), texts(GOOD, 60, 1)).auc < 0.7


def test_too_few_and_contradictory_examples_are_refused() -> None:
    with pytest.raises(LavraError, match="19 good examples"):
        train(texts(GOOD, 19, 0), texts(BAD, 20, 1))
    same = texts(GOOD, 20, 0)
    with pytest.raises(LavraError, match="good and of bad at once"):
        train(same, [*texts(BAD, 20, 1), same[0]])


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LavraError, match="holds no quality classifier"):
        load_classifier(tmp_path)
    np.savez(tmp_path / FILE_NAME, weights=np.array([object()], dtype=object))
    with pytest.raises(LavraError, match="holds no quality classifier"):
        load_classifier(tmp_path)
