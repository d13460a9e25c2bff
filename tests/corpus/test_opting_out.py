"""Who opted out of training is not trained on, by whichever signal, unless the policy says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from lavra.corpus.cleaning.run import clean_corpus
from lavra.corpus.cleaning.settings import Cleaning
from lavra.corpus.document import Document
from lavra.corpus.ingest import build_corpus
from lavra.corpus.opting_out import opted_out
from lavra.corpus.reading import read_paths
from lavra.corpus.settings import ReadSettings
from lavra.corpus.storage import load_documents


@pytest.mark.parametrize(
    ("metadata", "signal"),
    [
        ({}, None),
        ({"tdm_reservation": "1"}, "TDM reservation"),
        ({"tdm_reservation": "True"}, "TDM reservation"),
        ({"x_robots_tag": "noindex, noai"}, "noai"),
        ({"x_robots_tag": "otherbot: NOAI"}, "noai"),
        ({"robots": "noimageai"}, None),
        ({"robots": "index,follow"}, None),
        ({"robots": "noml"}, "noml"),
        ({"robots": "noai", "tdm_reservation": "0"}, None),
    ],
)
def test_signals_are_read_as_their_texts_define_them(metadata: dict[str, str], signal: str | None) -> None:
    assert opted_out(metadata) == signal


RESERVED = '<html><head><meta name="tdm-reservation" content="1"></head><body><p>{}</p></body></html>'
FILES = {
    "free.md": "Um texto livre sobre o prazo do pedido de férias.",
    "meta.html": RESERVED.format("Página reservada."),
    "robots.html": '<html><head><meta name="robots" content="noai"></head><body><p>Página sem robôs.</p></body></html>',
    "rows.jsonl": '{"id": "a", "text": "Linha reservada.", "tdm_reservation": true}\n'
    '{"id": "b", "text": "Linha livre."}\n',
    "closed/a.md": "Um texto da pasta fechada.",
    "open/meta.html": RESERVED.format("Com acordo."),
    "lavra-sources.toml": '[[source]]\nlicence = "CC-BY-4.0"\n[[source]]\npath = "closed/**"\ntdm_reservation = true\n'
    '[[source]]\npath = "open/**"\ntdm_reservation = false\n',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return tmp_path / "docs"


def test_files_records_and_sources_files_can_opt_out(folder: Path) -> None:
    found = {d.source: opted_out(d.metadata) for d in read_paths([folder], ReadSettings()) if isinstance(d, Document)}
    assert found == {
        "docs/free.md": None,
        "docs/meta.html": "TDM reservation",
        "docs/robots.html": "noai",
        "docs/rows.jsonl#a": "TDM reservation",
        "docs/rows.jsonl#b": None,
        "docs/closed/a.md": "TDM reservation",
        "docs/open/meta.html": None,
    }


@pytest.mark.parametrize("policy", ["drop", "keep"])
def test_a_cleaning_drops_who_opted_out_and_says_so(folder: Path, tmp_path: Path, policy: str) -> None:
    build_corpus([folder], ReadSettings(), tmp_path / "corpus")
    settings = Cleaning(stages=("licence",), opt_outs=policy)  # type: ignore[arg-type]
    report = clean_corpus(tmp_path / "corpus", tmp_path / "clean", settings, tmp_path / "work")
    kept = {document.source for document in load_documents(tmp_path / "clean")}
    if policy == "keep":
        assert len(kept) == 7
        return
    assert kept == {"docs/free.md", "docs/rows.jsonl#b", "docs/open/meta.html"}
    assert report.stages[0].reasons == {"opted out": 4}
