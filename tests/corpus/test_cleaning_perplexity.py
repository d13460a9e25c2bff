"""Documents that surprise a model are dropped: by limits in bits per byte, or by percentiles of their language."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

pytest.importorskip("daft")
pytest.importorskip("numba")
from lavra.corpus.cleaning.perplexity import limits
from lavra.corpus.cleaning.run import clean_corpus
from lavra.corpus.cleaning.settings import Cleaning
from lavra.corpus.document import Document
from lavra.corpus.ingest import load_documents
from lavra.corpus.storage import FILE_NAME, CorpusWriter
from lavra.errors import LavraError
from lavra.workspace.cleaning import clean, cleaning_settings
from lavra.workspace.explaining import explain
from lavra.workspace.workspace import Workspace


def zipped(texts: Sequence[str]) -> np.ndarray:
    """A model of a kind: bits per byte of zlib. It knows neither words nor languages, and is the same everywhere."""
    sizes = [(len(zlib.compress(text.encode())), len(text.encode())) for text in texts]
    return np.array([8 * packed / size if size else np.nan for packed, size in sizes])


def texts(count: int, seed: int = 0) -> list[str]:
    """Of letters drawn by lot, more of them the higher the number: bits per byte rise with it."""
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz"[: 2 + n * 24 // count], k=2_000)) for n in range(count)]


def corpus(place: Path, languages: dict[str, int]) -> Path:
    with CorpusWriter(place / FILE_NAME) as writer:
        for language, count in languages.items():
            for number, text in enumerate(texts(count, ord(language[0]))):
                writer.add(Document(source=f"{language}/{number:02}.txt", text=text, language=language), "docs")
    return place


def kept(out: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for document in load_documents(out):
        found[document.language] = found.get(document.language, 0) + 1
    return found


SETTINGS = {"stages": ("perplexity",), "perplexity_model": "zlib"}


def test_percentiles_are_of_a_language_and_need_enough_of_it(tmp_path: Path) -> None:
    source = corpus(tmp_path / "source", {"pt": 100, "en": 40, "es": 5})
    settings = Cleaning(**SETTINGS, perplexity_percentiles=(10, 67))
    report = clean_corpus(source, tmp_path / "out", settings, tmp_path / "work", score=zipped)
    assert kept(tmp_path / "out") == {"pt": 57, "en": 23, "es": 5}
    reasons = {stage.name: stage.reasons for stage in report.stages}["perplexity"]
    assert reasons == {
        "pt: too surprising": 33,
        "pt: too predictable": 10,
        "en: too surprising": 13,
        "en: too predictable": 4,
    }
    dropped = parquet.read_table(tmp_path / "out" / "dropped.parquet").to_pylist()
    assert {row["source"] for row in dropped} >= {"pt/00.txt", "pt/99.txt", "en/39.txt"}
    low, high = report.perplexity["limits"]["pt"]
    assert next(row["reason"] for row in dropped if row["source"] == "pt/99.txt").endswith(f"more than {high:.2f}")
    assert report.perplexity["limits"]["es"] == [None, None]
    assert sum(report.perplexity["histogram"].values()) == report.perplexity["read"] == 145
    assert report.perplexity["percentiles"]["pt"]["67"] == high
    assert f"to {high:.2f} stays" in report.markdown()
    assert "zlib" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert low < report.perplexity["percentiles"]["pt"]["33"]


def test_limits_in_bits_hold_for_every_language(tmp_path: Path) -> None:
    source = corpus(tmp_path / "source", {"pt": 30, "es": 5})
    settings = Cleaning(**SETTINGS, perplexity_least=2.0, perplexity_most=4.0)
    clean_corpus(source, tmp_path / "out", settings, tmp_path / "work", score=zipped)
    bits = {document.source: float(zipped([document.text])[0]) for document in load_documents(source)}
    staying = {document.source for document in load_documents(tmp_path / "out")}
    assert staying == {name for name, value in bits.items() if 2.0 <= value <= 4.0}
    assert 0 < len(staying) < len(bits)


def test_what_was_read_is_not_read_again_and_nothing_else_is_asked(tmp_path: Path) -> None:
    source = corpus(tmp_path / "source", {"pt": 60})
    asked: list[int] = []

    def counted(some: Sequence[str]) -> np.ndarray:
        asked.append(len(some))
        return zipped(some)

    settings = Cleaning(**{**SETTINGS, "stages": ("licence", "perplexity"), "unlicensed": "keep"})
    clean_corpus(source, tmp_path / "one", settings, tmp_path / "work", score=counted)
    clean_corpus(source, tmp_path / "two", settings, tmp_path / "work", score=counted)
    assert asked == [60]
    assert (tmp_path / "one" / FILE_NAME).read_bytes() == (tmp_path / "two" / FILE_NAME).read_bytes()
    with pytest.raises(LavraError, match="nobody brings what reads"):
        clean_corpus(source, tmp_path / "three", settings, tmp_path / "work")


def test_a_text_of_nothing_is_never_judged() -> None:
    bits = np.array([np.nan, *np.linspace(1, 2, 40)])
    assert limits(bits, ["pt"] * 41, Cleaning(perplexity_percentiles=(0, 50)))["pt"] == (1.0, 1.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"perplexity_percentiles": (67.0, 0.0)}, "the lower first"),
        ({"perplexity_least": 3.0, "perplexity_most": 1.0}, "less than perplexity_most"),
        ({"perplexity_tokens": 0}, "perplexity_tokens is 1 or more"),
    ],
)
def test_mistakes_are_told(changes: dict[str, object], said: str) -> None:
    with pytest.raises(LavraError, match=said):
        Cleaning(**changes)  # type: ignore[arg-type]


def shuffled(text: str, by: str, draw: random.Random) -> str:
    pieces = text.split() if by == "words" else list(text)
    draw.shuffle(pieces)
    return (" " if by == "words" else "").join(pieces)


def test_shuffled_text_surprises_a_language_model_and_is_dropped(
    tmp_path: Path, shared: Path, pulled: Callable[[str], Path]
) -> None:
    """Paragraphs of Wikipedia (XQuAD), and the same with their words or their letters shuffled."""
    import json

    pulled("smollm2-135m")
    lines = (shared / "retrieval" / "xquad-en" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    real = [json.loads(line)["text"] for line in lines[:6]]
    draw = random.Random(0)
    here = Workspace.init(tmp_path)
    (tmp_path / "docs").mkdir()
    for number, text in enumerate(real):
        for name, written in (
            ("real", text),
            ("words", shuffled(text, "words", draw)),
            ("letters", shuffled(text, "letters", draw)),
        ):
            (tmp_path / "docs" / f"{name}-{number}.txt").write_text(written, encoding="utf-8")
    here.ingest([tmp_path / "docs"], licence="CC-BY-SA-4.0")
    settings = cleaning_settings(
        here, stages=("perplexity",), perplexity_model="smollm2-135m", perplexity_tokens=64, perplexity_most=1.9
    )
    made = clean(here, settings)
    staying = {Path(document.source).stem for document in load_documents(made.artifact.path)}
    assert staying == {f"real-{number}" for number in range(6)}
    assert made.report.perplexity["read"] == 18
    assert any(key.startswith("perplexity") for key in made.artifact.manifest.inputs)
    assert clean(here, settings).found
    ((_, said),) = explain(here, tmp_path / "docs" / "letters-0.txt", settings).documents
    assert dict(said)["perplexity"].endswith("more than 1.90: dropped")
