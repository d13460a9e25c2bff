"""Text is normalised once, offsets are right afterwards, encodings and languages are told apart."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lavra.corpus.encoding import decode
from lavra.corpus.language import detect_language
from lavra.corpus.parts import TextBuilder, Unreadable, markdown_table, normalise, one_line
from lavra.corpus.readers.markdown import locate
from lavra.errors import LavraError

ANY_TEXT = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=["Cs"]),
        st.sampled_from("\r\n\t \x00\x0c\x85\u2028\u00ad\ufeffe\u0301a\u0303́#|`*_[]()~-=>"),
    )
)


@given(ANY_TEXT)
def test_normalised_text_is_valid_composed_and_stays_as_it_is(text: str) -> None:
    normal = normalise(text)
    assert normalise(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
    normal.encode("utf-8")
    assert not [c for c in normal if unicodedata.category(c) == "Cc" and c not in "\n\t"]


def test_normalising_is_what_it_says() -> None:
    assert normalise("a\r\nb\rc\u2028d\x0ce") == "a\nb\nc\nd\ne"
    assert normalise("adminis\u00adtrac\u0327a\u0303o\x00\ufeff") == "administração"
    assert normalise("\ud83d") == "\ufffd"


@given(st.lists(st.tuples(st.sampled_from(["heading", "write", "code", "table", "page"]), ANY_TEXT), max_size=12))
def test_what_the_builder_remembers_is_where_it_says(pieces: list[tuple[str, str]]) -> None:
    builder = TextBuilder()
    for kind, text in pieces:
        if kind == "heading":
            builder.heading(text, 2)
        elif kind == "code":
            builder.block("code", text)
        elif kind == "table":
            builder.table([[text, "b"], ["c", text]])
        elif kind == "page":
            with builder.within("page", "1"):
                builder.write(text)
                builder.write(text)
        else:
            builder.write(text)
    parts = builder.parts()
    assert normalise(parts.text) == parts.text
    assert builder.length == len(parts.text)
    for span in parts.spans:
        assert 0 <= span.start < span.end <= len(parts.text)
        if span.kind == "heading":
            assert parts.text[span.start : span.end] == span.label == one_line(span.label)


@given(ANY_TEXT)
def test_markdown_of_any_text_has_its_spans_inside_it(text: str) -> None:
    text = normalise(text)
    for span in locate(text):
        assert 0 <= span.start < span.end <= len(text)
        if span.kind == "heading":
            assert span.label
            assert 1 <= span.level <= 6


@given(st.lists(st.lists(ANY_TEXT, max_size=4), max_size=5))
def test_a_table_is_always_a_table_that_markdown_finds_again(rows: list[list[str]]) -> None:
    text = normalise(markdown_table(rows))
    lines = text.split("\n") if text else []
    assert len({line.replace("\\|", "").count("|") for line in lines}) <= 1
    assert len(lines) == 0 or len(lines) >= 2


PORTUGUESE = [
    "São Paulo, Goiânia e Maceió",
    "Art. 5º É livre a manifestação do pensamento, sendo vedado o anonimato;",
    "Não.",
    "LICITAÇÃO PÚBLICA Nº 12/2026 — AQUISIÇÃO DE MÓVEIS “EXCLUSIVO ME/EPP” R$ 1.000,00",
    "¿Cuántos días de vacaciones? Años, niños y corazón. ¡Qué bien!",
    "À côté du café, l’élève déçu relit son œuvre à 5 €",
    "Größe, Übung, Maß",
]


@pytest.mark.parametrize("text", PORTUGUESE)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_is_read_in_the_encoding_it_has(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding))[0] == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Документы должны быть поданы в течение тридцати дней со дня получения уведомления. " * 3, "cp1251"),
        ("Zażółć gęślą jaźń; wniosek należy złożyć w ciągu trzydziestu dni od otrzymania. " * 3, "cp1250"),
        ("所有文件必须在收到通知之日起三十天内提交给主管部门。" * 5, "gb18030"),
    ],
)
def test_other_alphabets_are_not_taken_for_western_text(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding))[0] == text


def test_real_portuguese_text_survives_latin_1(shared: Path) -> None:
    path = next((shared / "retrieval").glob("faquad*/corpus.jsonl"))
    wrong = total = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["text"]
        for sample in (text, text[:60]):
            try:
                data = sample.encode("cp1252")
            except UnicodeEncodeError:
                continue
            total += 1
            wrong += decode(data)[0] != sample
    assert total > 300
    assert wrong == 0


def test_a_damaged_character_does_not_change_the_encoding_of_the_rest() -> None:
    text = "A administração não poderá contratar sem licitação. " * 5
    assert decode(text.encode()[:-40] + b"\xc3")[0].startswith(text[:150])


@pytest.mark.parametrize("data", [bytes(range(256)) * 4, b"\x00" * 100, b"MZ\x90\x00\x03\x00\x00\x00\x04"])
def test_binary_data_is_refused_not_guessed(data: bytes) -> None:
    with pytest.raises(Unreadable) as error:
        decode(data)
    assert error.value.kind == "unsupported"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("O servidor tem direito a trinta dias de férias por ano.", "pt"),
        ("El trabajador tiene derecho a treinta días de vacaciones al año.", "es"),
        ("Every employee is entitled to thirty days of leave a year.", "en"),
        ("Olá", "und"),
        ("12.345,67 — 89/10", "und"),
        ("", "und"),
    ],
)
def test_languages_are_told_apart(text: str, language: str) -> None:
    assert detect_language(text) == language


def test_a_text_in_no_configured_language_is_not_forced_into_one() -> None:
    german = (
        "Die Unterlagen sind innerhalb von dreißig Tagen nach Zugang der Mitteilung bei der zuständigen Behörde "
        "einzureichen. Über den Antrag entscheidet die Behörde durch schriftlichen Bescheid, gegen den innerhalb eines "
        "Monats Widerspruch erhoben werden kann."
    )
    assert detect_language(german) == "und"
    assert detect_language(german, ("de", "pt")) == "de"
    with pytest.raises(LavraError, match="klingon"):
        detect_language(german, ("klingon",))


def test_languages_of_real_passages(shared: Path) -> None:
    right = total = 0
    for path in sorted((shared / "retrieval").glob("*/corpus.jsonl")):
        language = next(code for code in ("pt", "es", "en") if path.parent.name.endswith(code))
        for line in path.read_text(encoding="utf-8").splitlines()[:200]:
            right += detect_language(json.loads(line)["text"]) == language
            total += 1
    assert total >= 600
    assert right / total > 0.99
