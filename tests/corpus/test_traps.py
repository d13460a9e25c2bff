"""Traps: the secret decides, the seal notices, documents keep what their spans name."""

from __future__ import annotations

import json
import stat
from collections import Counter
from pathlib import Path

import pytest

from lavra.corpus.document import Document, Span
from lavra.corpus.traps import grammar
from lavra.corpus.traps.injecting import Places, draw_documents, inject, insert, places
from lavra.corpus.traps.making import TrapSettings, make_register, new_secret, sentences, stream
from lavra.corpus.traps.register import Register, open_to_others, read_register, write_register
from lavra.errors import LavraError

SMALL = TrapSettings((1, 10), pairs=8, canaries=3, words=20)


def make(secret: str = "s", settings: TrapSettings = SMALL, language: str = "pt") -> Register:
    return make_register(settings, language, sentences(settings, language, secret), secret=secret)


def documents(count: int = 30) -> list[Document]:
    text = "\n\n".join(f"Parágrafo {number} de um texto comum." for number in range(5))
    found = [Document(f"a/{number}.txt", f"{number} {text}", language="pt") for number in range(count)]
    return [*found, Document("a/english.txt", text, language="en")]


@pytest.mark.parametrize("language", grammar.languages())
def test_a_grammar_writes_sentences_of_the_length_asked_for_that_nobody_has_written(language: str) -> None:
    draw = stream("x", language)
    found = [grammar.sentence(language, 30, draw) for _ in range(500)]
    assert len(set(found)) == 500
    assert {len(text.split()) for text in found} == {30}
    assert all(text[0].isupper() or text[0].isdigit() for text in found)
    assert not any("{" in text or "  " in text for text in found)


def test_of_each_pair_one_is_put_in_and_the_coin_is_fair_and_secret() -> None:
    settings = TrapSettings((1,), pairs=400, canaries=0, words=12)
    first = make("one", settings)
    assert [a.pair for a, _ in first.pairs("trap")] == [b.pair for _, b in first.pairs("trap")] == list(range(400))
    heads = [entry.inserted for entry in first.entries[::2]]
    assert 150 < sum(heads) < 250
    assert heads != [entry.inserted for entry in make("two", settings).entries[::2]]
    assert first == make("one", settings)
    assert new_secret() != new_secret()


def test_a_canary_has_a_secret_of_a_known_space_in_a_formula() -> None:
    register = make()
    canaries = [entry for entry in register.entries if entry.kind == "canary"]
    assert len(canaries) == 2 * 3 * 2
    for entry in canaries:
        assert entry.text == entry.format.replace("{secret}", entry.secret)
        assert entry.space == 10_000
    assert Counter(entry.level for entry in register.inserted) == {1: 11, 10: 11}


def test_the_register_is_its_owners_alone_and_a_change_breaks_its_seal(tmp_path: Path) -> None:
    path, register = tmp_path / "register.json", make()
    write_register(register, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not open_to_others(path)
    assert read_register(path) == register
    values = json.loads(path.read_text("utf-8"))
    assert values["entries"][0]["hash"] == register.entries[0].hash
    values["entries"][0]["inserted"] = not values["entries"][0]["inserted"]
    path.write_text(json.dumps(values), "utf-8")
    with pytest.raises(LavraError, match="seal"):
        read_register(path)
    with pytest.raises(LavraError, match="never overwritten"):
        write_register(register, path)


def test_a_file_that_is_no_register_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(LavraError, match=r"other\.json is no register"):
        read_register(tmp_path / "other.json")
    with pytest.raises(LavraError, match="there is no register"):
        read_register(tmp_path / "none.json")


def test_each_trap_stands_in_the_corpus_as_often_as_its_level_says_and_its_twin_never() -> None:
    register, corpus = make(), documents()
    placed = draw_documents(register, Places.of(corpus, "pt"))
    register = register.injected("corpus-0", placed)
    text = "\n".join(document.text for document in inject(corpus, register))
    for entry in register.entries:
        assert text.count(entry.text) == (entry.level if entry.inserted else 0) == entry.copies
    assert not any(corpus[-1].id in entry.documents for entry in register.entries)  # it is in English
    assert len({document for entry in register.entries for document in entry.documents}) > 20


def test_what_is_put_in_moves_no_span_off_what_it_names() -> None:
    text = "# One\n\nfirst paragraph\n\n| a |\n\n| b |\n\n# Two\n\nlast"
    table = (text.index("| a |"), text.index("# Two") - 2)
    spans = (
        Span("heading", 0, 5, "One", 1), Span("page", 0, text.index("# Two"), "1"), Span("table", *table),
        Span("heading", text.index("# Two"), text.index("# Two") + 5, "Two", 1),
        Span("page", text.index("# Two"), len(text), "2"),
    )  # fmt: skip
    document = Document("a/b.md", text, spans=spans)
    assert not any(table[0] < at < table[1] for at in places(document))
    for seed in range(50):
        changed = insert(document, ["TRAP one.", "TRAP two."], stream("s", seed))
        assert changed.text.replace("TRAP one.\n\n", "").replace("TRAP two.\n\n", "").startswith("# One")
        assert changed.text.count("TRAP") == 2
        for before, after in zip(spans, changed.spans, strict=True):
            if before.kind != "page":
                assert changed.text[after.start : after.end] == text[before.start : before.end]
        second = changed.text.index("# Two")
        assert changed.place(second)[0] == "2"
        assert changed.place(second - 1)[0] in ("1", None)
        assert changed.place(0)[0] == "1"


def test_settings_and_languages_that_make_no_sense_are_refused() -> None:
    for bad in ({"repetitions": (1, 1)}, {"words": 3}, {"pairs": 0, "canaries": 0}, {"digits": 1}):
        with pytest.raises(LavraError):
            TrapSettings(**bad)
    with pytest.raises(LavraError, match="no grammar for 'xx'"):
        sentences(SMALL, "xx", "s")
    with pytest.raises(LavraError, match="no document of the corpus is in 'es'"):
        Places.of(documents(), "es")
