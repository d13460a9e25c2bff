"""Pairs and labelled texts: what is refused and why, what documents give, and that nothing held out is trained on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lavra.corpus.document import Document, Span
from lavra.corpus.labelled import Labelled, read_labelled, split_examples
from lavra.corpus.pairs import (
    Pair,
    document_pairs,
    headed_pairs,
    neighbouring_pairs,
    question_pairs,
    read_pairs,
    shorten,
    unit_scores,
)
from lavra.errors import LavraError
from lavra.retrieval.mining import Mining, mine, near_texts
from lavra.training.distinct_loader import DistinctLoader
from lavra.workspace.encoders.pairs import hold_out


def lines(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_a_row_that_cannot_be_used_is_refused_by_its_line_and_the_others_stay(tmp_path: Path):
    rows: list[object] = [
        {"question": "q1", "passage": "p1"},
        {"question": "q2"},
        {"question": " ", "passage": "p"},
        "{broken",
        {"anchor": "same", "positive": "same"},
        {"anchor": "a", "positive": "b", "negatives": ["c", "d"]},
        {"anchor": "a2", "positive": "b", "negative": "b"},
        {"question": "q1", "passage": "p1"},
        ["no", "object"],
    ]
    found = read_pairs(lines(tmp_path / "pairs.jsonl", rows))
    assert found.pairs == [Pair("q1", "p1"), Pair("a", "b", ("c", "d"))]
    assert [one.line for one in found.refused] == [2, 3, 4, 5, 7, 8, 9]
    assert "no positive" in found.refused[0].reason
    assert "a negative is its positive" in found.refused[4].reason


def test_scores_are_numbers_in_all_rows_and_contradictions_are_refused(tmp_path: Path):
    path = tmp_path / "graded.csv"
    path.write_text("sentence1;sentence2;score\na;b;4,5\nc;d;1\ne;f;high\na;b;2\ng;h\n", encoding="utf-8")
    found = read_pairs(path)
    assert [pair.score for pair in found.pairs] == [4.5, 1.0]
    reasons = {one.line: one.reason for one in found.refused}
    assert "not a number" in reasons[4]
    assert "another score" in reasons[5]
    assert "2 cells" in reasons[6]
    assert [pair.score for pair in unit_scores(found.pairs)] == [0.875, 0.0]
    mixed = lines(
        tmp_path / "m.jsonl", [{"anchor": "a", "positive": "b", "score": 1}, {"anchor": "c", "positive": "d"}]
    )
    with pytest.raises(LavraError, match="all or none"):
        read_pairs(mixed)


def test_assins_xml_is_read(shared: Path):
    found = read_pairs(shared / "eval" / "pt" / "assin2" / "assin2-test.xml")
    assert len(found.pairs) > 2400
    assert {1.0, 5.0} <= {pair.score for pair in found.pairs}


def test_an_entity_in_xml_is_not_followed(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    path = tmp_path / "bad.xml"
    path.write_text(
        f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]><x><pair similarity="1"><t>a&e;</t><h>b</h></pair></x>'
    )
    assert "secret" not in repr(read_pairs(path).pairs)


@pytest.mark.parametrize(("name", "text"), [("x.csv", ""), ("x.jsonl", ""), ("x.txt", "a"), ("x.csv", "a,b\n1,2\n")])
def test_a_file_without_pairs_ends_in_one_sentence(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(LavraError):
        read_pairs(tmp_path / name)


PARAGRAPH = "O servidor tem direito a trinta dias de férias por ano de exercício, divididos em até três períodos."


def document(name: str = "a.md", headings: tuple[str, ...] = ("Duração", "Pedido")) -> Document:
    text, spans = "", []
    for heading in headings:
        spans.append(Span("heading", len(text), len(text) + len(heading), heading, 2))
        text += f"{heading}\n\n{PARAGRAPH} {heading} {name}.\n\nOutro: {PARAGRAPH} {name} {heading}\n\n"
    return Document(source=name, text=text, title="Férias", spans=tuple(spans))


def test_documents_give_headings_with_their_sections_and_neighbouring_paragraphs():
    headed = list(headed_pairs(document()))
    assert [pair.anchor for pair in headed] == ["Férias: Duração", "Férias: Pedido"]
    assert all("Outro" in pair.positive and pair.source == "a.md" for pair in headed)
    assert "Pedido a.md" not in headed[0].positive
    beside = list(neighbouring_pairs(document()))
    assert len(beside) == 2
    assert beside[0].positive.startswith("Outro")


def test_a_heading_that_many_documents_have_is_left_out():
    found = document_pairs([document("a.md"), document("b.md", ("Pedido", "Valores"))])
    anchors = [pair.anchor for pair in found if pair.anchor.startswith("Férias")]
    assert sorted(anchors) == ["Férias: Duração", "Férias: Valores"]


def test_a_question_gets_the_paragraph_that_holds_its_answer(tmp_path: Path):
    rows: list[object] = [
        {"question": "Quantos dias?", "source": "a.md", "answer": "trinta dias de férias"},
        {"question": "Quem?", "source": "a.md", "answer": "o papa"},
        {"question": "Onde?", "source": "z.md", "answer": "x"},
        {"question": "Como?", "passage": "Assim."},
    ]
    found = question_pairs(lines(tmp_path / "q.jsonl", rows), [document()])
    assert [pair.anchor for pair in found.pairs] == ["Quantos dias?", "Como?"]
    assert found.pairs[0].positive == f"{PARAGRAPH} Duração a.md."
    assert [one.line for one in found.refused] == [2, 3]


def test_a_long_passage_ends_with_a_sentence():
    assert shorten("Uma frase. " * 300).endswith("frase.")
    assert 700 < len(shorten("Uma frase. " * 300)) <= 1500


def test_nothing_held_out_shares_a_text_or_a_document_with_what_is_trained_on():
    random = np.random.default_rng(0)
    pairs = [Pair(f"q{n}", f"p{random.integers(150)}", source=f"d{random.integers(120)}") for n in range(300)]
    lone = [Pair(f"a{n}", f"b{n // 2}") for n in range(100)]
    train, held = hold_out([*pairs, *lone], 0)
    assert len(train) + len(held) == 400
    assert 4 <= len(held) <= 60
    for name in ("anchor", "positive", "source"):
        assert not {getattr(p, name) for p in train} & {getattr(p, name) for p in held} - {""}


def test_no_text_stands_twice_in_a_batch_and_none_is_lost():
    random = np.random.default_rng(0)
    keys = [frozenset({f"q{n}", f"p{random.integers(60)}"}) for n in range(200)]
    loader = DistinctLoader(list(range(200)), batch=16, keys=keys, seed=3)
    seen: Counter[int] = Counter()
    for _ in range(loader.steps(1)):
        (micro,) = loader.next_step()
        texts = [key for index in micro.examples for key in keys[index]]
        assert len(texts) == len(set(texts))
        seen.update(micro.examples)
    assert max(seen.values()) == 1
    assert len(seen) >= 198
    again = DistinctLoader(list(range(200)), batch=16, keys=keys, seed=3)
    again.load_state_dict(loader.state_dict())
    assert again.next_step() == loader.next_step()
    halves = (
        DistinctLoader(list(range(200)), batch=16, keys=keys, seed=3),
        DistinctLoader(list(range(200)), batch=16, keys=keys, seed=3),
    )
    whole = DistinctLoader(list(range(200)), batch=16, keys=keys, seed=3).next_step()[0].examples
    assert sorted(halves[0].next_step(0, 2)[0].examples + halves[1].next_step(1, 2)[0].examples) == sorted(whole)


class Letters:
    """An embedder of letter counts: near texts share letters."""

    name, sha256, dimension = "letters", "0" * 64, 26

    def documents(self, texts: list[str]) -> np.ndarray:
        rows = np.array([[text.count(chr(97 + k)) for k in range(26)] for text in texts], dtype=np.float32) + 1e-3
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    queries = documents

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]


def test_a_mined_negative_is_near_and_no_positive_and_below_the_ceiling():
    texts = ["aaab", "aaacc", "aabb", "abcd", "wxyz"]
    pairs = [Pair("aaa", "aaab"), Pair("aaa", "aabb")]
    embedder = Letters()
    found, left = mine(pairs, embedder, near_texts(embedder, texts), Mining(share=1.0))
    cosine = {text: float((embedder.queries(["aaa"]) @ embedder.documents([text]).T)[0, 0]) for text in texts}
    assert left == 0
    assert found[0].negatives == ("aaacc",)  # "aabb" is a positive of the same anchor
    strict, _ = mine(pairs[:1], embedder, near_texts(embedder, texts), Mining(share=0.6))
    assert strict[0].negatives == ("abcd",)
    assert cosine["abcd"] <= 0.6 * cosine["aaab"] < cosine["aabb"]
    none, left = mine(pairs[:1], embedder, near_texts(embedder, texts[:1]))
    assert (none, left) == ([], 1)


def test_labels_are_read_and_contradictions_refused(tmp_path: Path):
    rows = [("bom", "sim"), ("ruim", "não"), ("dúbio", "sim"), ("dúbio", "não"), ("bom", "sim"), ("", "sim")]
    rows += [(f"b{n}", "sim") for n in range(5)] + [(f"r{n}", "não") for n in range(5)]
    path = tmp_path / "x.csv"
    path.write_text("texto,classe\n" + "".join(f"{a},{b}\n" for a, b in rows), encoding="utf-8")
    found = read_labelled(path)
    assert found.labels == ("não", "sim")
    assert len(found.examples) == 12
    assert [one.line for one in found.refused] == [4, 5, 6, 7]
    path.write_text("texto,classe\n" + "".join(f"t{n},sim\n" for n in range(9)), encoding="utf-8")
    with pytest.raises(LavraError, match="at least two"):
        read_labelled(path)


def test_a_split_keeps_documents_whole_and_labels_in_proportion():
    random = np.random.default_rng(0)
    examples = [
        Labelled(f"t{n}", ("rare" if random.random() < 0.1 else "common",), f"d{random.integers(200)}")
        for n in range(2000)
    ]
    parts = split_examples(examples)
    assert sum(map(len, parts)) == 2000
    documents = [{example.source for example in part} for part in parts]
    assert not documents[0] & documents[1]
    assert not (documents[0] | documents[1]) & documents[2]
    whole = sum(e.labels == ("rare",) for e in examples) / 2000
    for part, share in zip(parts, (0.8, 0.1, 0.1), strict=True):
        assert abs(len(part) / 2000 - share) < 0.03
        assert abs(sum(e.labels == ("rare",) for e in part) / len(part) - whole) < 0.04
    assert parts == split_examples(examples)
