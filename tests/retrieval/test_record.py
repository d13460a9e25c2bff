"""What a search reads of a chunk is what was written of it, whatever its texts hold."""

from __future__ import annotations

import pytest

from lavra.retrieval.passage import Passage
from lavra.retrieval.record import Record, pack


@pytest.mark.parametrize("page", [None, "", "iv", "12"])
@pytest.mark.parametrize("headings", [(), ("",), ("Título I", "", "§ 2º\nlinha"), ("役員", "🔒", "\x00\x01\x7f")])
@pytest.mark.parametrize("text", ["O prazo é de 30 dias.", "", "nul\0, ÿþ and \ufffd \U0010ffff stay"])
def test_a_record_gives_back_the_passage(page: str | None, headings: tuple[str, ...], text: str) -> None:
    passage = Passage(
        chunk_id="a1b2",
        document_id="d-9",
        source="pasta/arquivo, de: 2024.pdf",
        title="Título ÿ",
        text=text,
        start=3,
        end=2**40,
        headings=headings,
        page=page,
        language="pt",
    )
    vector, sentences = bytes(range(255, -1, -1)), bytes(range(256)) * 3  # every byte, those between two texts too
    record = Record(pack(passage, "praz 30 dia", vector, sentences))
    assert record.passage() == passage
    assert (record.chunk_id, record.document_id, record.analysed) == ("a1b2", "d-9", "praz 30 dia")
    assert (record.vector, record.sentences) == (vector, sentences)
    scored = record.passage(0.5, {"cosine": 0.9})
    assert (scored.score, scored.features) == (0.5, {"cosine": 0.9})


def test_an_erased_sentence_is_found_in_it_by_its_bytes() -> None:
    text = "A inscrição “será” feita até o dia 8."
    assert text.encode() in pack(Passage("c", "d", "s", "t", text, 0, len(text)), "inscr", b"", b"")
