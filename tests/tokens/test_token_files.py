"""Token files give back what was written, whose it is, and where a run of tokens stands; a kill costs no file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavra.errors import LavraError
from lavra.tokens.conversation import encode_text
from lavra.tokens.documents import DocumentEncoder
from lavra.tokens.packed import TokenFiles, TokenWriter
from lavra.tokens.searching import find_runs
from lavra.tokens.tokenizer import load_tokenizer

DOCUMENTS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=40), min_size=1, max_size=8)


def about(number: int) -> dict[str, Any]:
    return {
        "id": f"{number:016x}", "source": f"folder/{number}.txt", "title": f"Title {number}", "hash": f"hash {number}",
        "licence": "CC0-1.0" if number % 2 else None, "language": "pt", "roles": ["public"], "characters": 3,
        "words": 1,
    }  # fmt: skip


def write(path: Path, documents: Sequence[Sequence[int]], *, shard_tokens: int = 50, largest: int = 9) -> TokenFiles:
    writer = TokenWriter(path, largest, shard_tokens=shard_tokens)
    for number, ids in enumerate(documents):
        writer.add(ids, about(number))
    writer.flush()
    return TokenFiles(path)


@settings(max_examples=100)
@given(documents=DOCUMENTS)
def test_every_place_leads_to_its_document(
    documents: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = write(tmp_path_factory.mktemp("tokens"), documents)
    assert len(files) == len(documents)
    assert [files.ids(number).tolist() for number in range(len(files))] == documents
    places = [files.at(shard, np.arange(len(ids))).tolist() for shard, ids in enumerate(files.shards)]
    assert list(chain.from_iterable(places)) == [number for number, ids in enumerate(documents) for _ in ids]
    assert [owner.source for owner in files.owners()] == [about(number)["source"] for number in range(len(documents))]
    last = files.owner(len(files) - 1)
    assert (last.number, last.id, last.licence) == (
        len(files) - 1,
        about(last.number)["id"],
        about(last.number)["licence"],
    )


def test_ids_lie_on_the_disk_in_the_narrowest_type(tmp_path: Path) -> None:
    for largest, dtype in ((65_535, np.uint16), (65_536, np.uint32)):
        files = write(tmp_path / str(largest), [[1, largest], [3]], largest=largest)
        assert files.shards[0].dtype == dtype
        assert files.ids(0).tolist() == [1, largest]
        assert isinstance(files.ids(0).base, np.memmap) or isinstance(files.ids(0).base.base, np.memmap)
    assert np.load(tmp_path / "65535" / "ids-00000.npy", mmap_mode="r").tolist() == [1, 65_535, 3]


def test_what_was_written_before_a_kill_stays_and_the_rest_gives_the_same_bytes(tmp_path: Path) -> None:
    documents = [[number % 7] * (10 + number) for number in range(40)]
    whole = write(tmp_path / "whole", documents)
    assert len(whole.shards) > 5
    writer = TokenWriter(tmp_path / "killed", 9, shard_tokens=50)
    for number, ids in enumerate(documents[:17]):
        writer.add(ids, about(number))
    (tmp_path / "killed" / "ids-00099.npy.partial").write_bytes(b"half")
    again = TokenWriter(tmp_path / "killed", 9, shard_tokens=50)
    assert 0 < again.written <= 17
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*.parquet")}
    for number in range(again.written, len(documents)):
        again.add(documents[number], about(number))
    again.flush()
    (tmp_path / "killed" / "ids-00099.npy.partial").unlink()
    contents = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "killed")]
    assert contents[0] == contents[1]
    assert all((tmp_path / "killed" / name).stat().st_mtime_ns == at for name, at in kept.items())


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", [[1, 2, 3], [4, 5]])
    np.save(tmp_path / "a" / "ids-00000.npy", np.array([1, 2, 3, 4], np.uint16))
    with pytest.raises(LavraError, match=r"ids-00000\.npy is not what its documents amount to"):
        TokenFiles(tmp_path / "a")
    (tmp_path / "a" / "ids-00000.npy").write_bytes(b"\x93NUMPY nonsense")
    with pytest.raises(LavraError, match="cannot be read"):
        TokenFiles(tmp_path / "a")
    np.save(tmp_path / "a" / "ids-00000.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(LavraError, match="cannot be read"):
        TokenFiles(tmp_path / "a")
    with pytest.raises(LavraError, match="there are no token files"):
        TokenFiles(tmp_path)


def longest(document: Sequence[int], query: Sequence[int]) -> int:
    """The longest run that both have, pair by pair."""
    best = 0
    before = [0] * (len(query) + 1)
    for token in document:
        now = [0] * (len(query) + 1)
        for at, wanted in enumerate(query):
            if token == wanted:
                now[at + 1] = before[at] + 1
                best = max(best, now[at + 1])
        before = now
    return best


@settings(max_examples=200)
@given(
    documents=DOCUMENTS,
    queries=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=12), min_size=1, max_size=4),
    least=st.integers(1, 5),
)
def test_runs_are_those_of_a_comparison_pair_by_pair(
    documents: list[list[int]], queries: list[list[int]], least: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = write(tmp_path_factory.mktemp("tokens"), documents)
    found = find_runs(files, [np.array(query) for query in queries], least=least)
    for query, runs in zip(queries, found, strict=True):
        size = min(least, len(query))
        grams = [tuple(query[at : at + size]) for at in range(len(query) - size + 1)]
        said_once = len(set(grams)) == len(grams)
        by_document = {run.source: run for run in runs}
        assert [run.length for run in runs] == sorted((run.length for run in runs), reverse=True)
        for number, document in enumerate(documents):
            true = longest(document, query)
            assert (number in by_document) == (true >= size)
            if true >= size:
                run = by_document[number]
                same = slice(run.start, run.start + run.length), slice(run.begin, run.begin + run.length)
                assert document[same[0]] == query[same[1]]
                assert size <= run.length <= true
                assert run.length == true or not said_once


@pytest.mark.parametrize("name", ["smollm2-135m", "minilm-l6", "e5-small"])
def test_windows_give_the_ids_of_the_whole_text(
    name: str, pulled: Callable[[str], Path], paragraphs: list[str]
) -> None:
    """Of BPE, WordPiece and Unigram: real texts of nine languages, through windows a thousandth of what is used."""
    tokenizer = load_tokenizer(pulled(name))
    encoder = DocumentEncoder(tokenizer, window=1000, overlap=400)
    texts = ["\n\n".join(paragraphs[at : at + 10]) for at in range(0, 600, 10)]
    assert min(map(len, texts)) > 1400
    for text, ids in zip(texts, encoder.encode([*texts, "", "short"]), strict=False):
        assert ids.tolist() == encode_text(tokenizer, text).ids.tolist()
    short = DocumentEncoder(tokenizer).encode(["", "short", *texts[:3]])
    assert [ids.tolist() for ids in short] == [
        encode_text(tokenizer, t).ids.tolist() for t in ["", "short", *texts[:3]]
    ]


def test_a_text_whose_windows_never_agree_is_encoded_whole(pulled: Callable[[str], Path]) -> None:
    """A text without an end of a word, whose every token depends on all before it."""
    tokenizer = load_tokenizer(pulled("minilm-l6"))
    text = "a" * 5000
    ids = DocumentEncoder(tokenizer, window=1000, overlap=400).encode([text])[0]
    assert ids.tolist() == encode_text(tokenizer, text).ids.tolist()
