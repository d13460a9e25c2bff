"""Languages of a batch are those that the texts are told one by one: py3langid itself is the judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("numba")
from lavra.corpus.cleaning.languages import identify_all
from lavra.corpus.language import identify

ODD = [
    *("", " \n", "12345 67890 +-*/ 12345", "Sim.", "O GATO ESTÁ EM CASA E NÃO QUER SAIR HOJE", "\ud800 quebrado " * 3),
    *("O relato\u0301rio na\u0303o esta\u0301 pronto para a reunia\u0303o de amanha\u0303", "Ελληνικά κείμενα " * 30),
    *(
        "Der Ausschuss hat den Bericht über die Lage des Hauses ohne Gegenstimme gebilligt. " * 4,
        "日本語の文章です。" * 40,
    ),
    *("A reunião foi adiada.", "La reunión fue aplazada por falta de quórum."),
]


def same(texts: list[str], languages: tuple[str, ...]) -> None:
    codes, confidences = identify_all(texts, languages)
    for text, code, confidence in zip(texts, codes, confidences, strict=True):
        expected, sure = identify(text, languages)
        assert code == expected, text[:80]
        assert confidence == pytest.approx(sure, abs=1e-3)


@pytest.mark.parametrize("languages", [("pt", "es", "en"), ("sr", "en", "de")])
def test_odd_texts(languages: tuple[str, ...]) -> None:
    same(ODD, languages)
    assert identify_all([], languages) == ([], [])


def test_passages_whole_and_cut(shared: Path) -> None:
    passages = []
    for name in ("faquad-pt", "xquad-es", "pira-en"):
        lines = (shared / "retrieval" / name / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
        passages += [json.loads(line)["text"] for line in lines[:60]]
    same([text[:cut] for text in passages for cut in (None, 40, 120)], ("pt", "es", "en"))
