"""The index holds what the documents say now, and does no more work than what changed."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hashing_embedder import HashingEmbedder

from lavra.corpus.document import Document, Span
from lavra.errors import LavraError
from lavra.retrieval.index import Index


def documents(count: int = 20) -> list[Document]:
    return [
        Document(
            source=f"normas/{i}.md",
            title=f"Norma {i}",
            text=f"A norma {i} regula as licitações do órgão {i * 7}.\n\nEla vale desde o ano {1990 + i}.",
            language="pt",
            licence="CC0-1.0",
        )
        for i in range(count)
    ]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    index.update(documents())
    return index


def sources(index: Index) -> list[str]:
    return [document.source for document in index.documents(set())]


def test_a_second_update_does_nothing(index: Index) -> None:
    before = index._snapshot().version
    report = index.update(documents())
    assert (report.unchanged, report.added, report.changed, report.removed, report.embedded) == (20, 0, 0, 0, 0)
    assert index._snapshot().version == before


def test_only_what_changed_is_embedded(index: Index) -> None:
    changed = documents()
    changed[3] = replace(changed[3], text=changed[3].text + " Foi revogada.")
    del changed[5]
    changed.append(replace(changed[0], source="normas/nova.md"))
    report = index.update(changed)
    assert (report.added, report.changed, report.removed, report.unchanged) == (1, 1, 1, 18)
    assert report.embedded <= 3
    found = index.search("norma 3 foi revogada", roles=set()).passages[0]
    assert found.source == "normas/3.md"
    assert "revogada" in found.text
    assert "normas/5.md" not in sources(index)


def test_a_change_of_roles_or_licence_embeds_nothing_and_takes_effect(index: Index) -> None:
    changed = [replace(document, roles=("jurídico",), licence="CC-BY-4.0") for document in documents()]
    report = index.update(changed)
    assert (report.changed, report.embedded) == (20, 0)
    assert index.search("norma 3", roles=set()).passages == ()
    assert index.search("norma 3", roles={"jurídico"}).passages[0].source == "normas/3.md"


def test_an_upload_leaves_the_others_alone_and_replaces_its_own(index: Index) -> None:
    upload = Document(source="uploads/parecer.txt", text="Parecer sobre rescisões contratuais.", language="pt")
    assert index.add([upload]).added == 1
    assert index.add([upload]).unchanged == 1
    assert index.add([replace(upload, text="Parecer sobre garantias contratuais.")]).changed == 1
    assert len(sources(index)) == 21
    assert "garantias" in index.search("parecer rescisao", roles=set()).passages[0].text


def test_words_are_found_without_accents_and_in_the_other_number(index: Index) -> None:
    assert index.search("licitacao", roles=set()).passages[0].features["bm25"] > 0


def test_a_passage_says_exactly_where_it_stands(tmp_path: Path) -> None:
    text = "# Um\n\nPrimeiro parágrafo.\n\n## Dois\n\nSegundo parágrafo sobre multas. 😀\n"
    spans = (
        Span("heading", 0, 4, "Um", 1),
        Span("heading", text.index("## Dois"), text.index("## Dois") + 7, "Dois", 2),
        Span("page", 0, len(text), "iv"),
    )
    document = Document(source="a/b.md", text=text, spans=spans, language="pt", title="Um")
    index = Index.open(tmp_path / "index", HashingEmbedder())
    index.update([document])
    passage = index.search("multas", roles=set()).passages[0]
    assert text[passage.start : passage.end] == passage.text
    assert passage.page == "iv"
    assert passage.headings[0] == "Um"
    again = index.passage(passage.chunk_id, set())
    assert again is not None
    assert again.text == passage.text
    assert index.passage("0" * 16, set()) is None
    assert index.passage("x') OR true --", set()) is None


def test_a_change_in_one_process_is_seen_by_the_next_search_of_another(index: Index) -> None:
    other = Index.open(index.root, HashingEmbedder())
    other.search("norma", roles=set())
    index.add([Document(source="b/nova.txt", text="Zarabatana.", language="pt")])
    assert other.search("zarabatana", roles=set()).passages[0].source == "b/nova.txt"


def test_many_threads_search_at_once_and_find_the_same(index: Index) -> None:
    expected = [passage.chunk_id for passage in index.search("norma 7 licitações", roles=set()).passages]
    results: list[list[str]] = []

    def search() -> None:
        for _ in range(20):
            results.append([p.chunk_id for p in index.search("norma 7 licitações", roles=set()).passages])

    threads = [threading.Thread(target=search) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 120
    assert all(result == expected for result in results)


def test_another_embedder_is_refused_and_says_what_to_do(index: Index) -> None:
    with pytest.raises(LavraError, match="rebuild"):
        Index.open(index.root, HashingEmbedder(sha256="cd" * 32))
    with pytest.raises(LavraError, match="rebuild"):
        Index.open(index.root, HashingEmbedder(dimension=32))


def test_damaged_settings_are_named(index: Index) -> None:
    (index.root / "index.json").write_text("{")
    with pytest.raises(LavraError, match=r"index\.json is damaged"):
        Index.open(index.root, HashingEmbedder())
    (index.root / "index.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(LavraError, match="format 99"):
        Index.open(index.root, HashingEmbedder())


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    result = index.search("qualquer coisa", roles={"rh"})
    assert (result.passages, result.confidence, result.answerable) == ((), 0.0, False)
    assert index.documents(set()) == []
    assert index.update([]).chunks == 0


def test_empty_and_strange_documents_do_no_harm(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    strange = [
        Document(source="a/empty", text=""),
        Document(source="a/blank", text=" \n\t "),
        Document(source="a/lone", text="meio \ud83d par e \udc80 lixo", title="\ud800"),
        Document(source="a/nul", text="antes \0 depois"),
        Document(source="a/twice", text="primeira vez"),
        Document(source="a/twice", text="segunda vez"),
        Document(source="a/one-word", text="x" * 50_000),
    ]
    report = index.update(strange)
    assert report.empty == 2
    assert report.added == 4
    passage = index.search("lixo", roles=set()).passages[0]
    assert len(passage.text) == passage.end - passage.start
    assert index.update(strange).added == 0


def test_progress_counts_documents(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    index = Index.open(tmp_path / "index", HashingEmbedder())
    index.update(documents(50), progress=lambda *step: seen.append(step))
    assert seen[-1][:2] == (50, 50)
    assert [step[0] for step in seen] == sorted(step[0] for step in seen)
    assert any(label.startswith("embedding") for _, _, label in seen)
