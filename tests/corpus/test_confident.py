"""Confident learning is what its paper says, on a matrix that can be followed by hand; and what is planted is found."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from lavra.corpus.labels import confident
from lavra.corpus.labels.checking import check
from lavra.corpus.labels.entry import Entry
from lavra.corpus.labels.signals import SIGNALS
from lavra.corpus.labels.suggestions import Suggestion, apply_decisions, id_of, read_decisions, write_suggestions
from lavra.errors import LavraError

GIVEN = np.array([0, 0, 0, 0, 1, 1, 1, 1])
BELIEVED = np.array(
    [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.5, 0.5], [0.1, 0.9], [0.3, 0.7], [0.7, 0.3], [0.5, 0.5]]
)  # fmt: skip
"""Row 2 says class 1 and is labelled 0, row 6 the other way round; rows 3 and 7 say nothing."""


def test_the_formulas_by_hand() -> None:
    limits = confident.thresholds(GIVEN, BELIEVED)
    np.testing.assert_allclose(limits, [(0.9 + 0.8 + 0.2 + 0.5) / 4, (0.9 + 0.7 + 0.3 + 0.5) / 4])  # .6 and .6
    counts = confident.confident_joint(GIVEN, BELIEVED, limits)
    np.testing.assert_array_equal(counts, [[2, 1], [1, 2]])  # rows 3 and 7 are at neither threshold
    joint = confident.estimate_joint(counts, GIVEN)
    np.testing.assert_allclose(joint, [[2 / 6, 1 / 6], [1 / 6, 2 / 6]])
    # 8 * 1/6 = 1.33 rows of each class are wrong: one
    wrong = np.isin(np.arange(8), [2, 6])
    np.testing.assert_array_equal(confident.by_class(GIVEN, BELIEVED, joint), wrong)
    np.testing.assert_array_equal(confident.by_rate(GIVEN, BELIEVED, joint), wrong)
    np.testing.assert_allclose(confident.normalised_margin(GIVEN, BELIEVED)[[0, 2, 3, 6]], [0.8, -0.6, 0.0, -0.4])
    found = confident.find_wrong(GIVEN, BELIEVED)
    np.testing.assert_array_equal(found.wrong, wrong)
    np.testing.assert_array_equal(found.suggested[wrong], [1, 0])
    assert found.noise == pytest.approx(1 / 3)


def test_rows_of_the_joint_are_as_many_as_labels_and_it_sums_to_one() -> None:
    random = np.random.default_rng(0)
    given = random.integers(0, 4, 500)
    believed = random.dirichlet(np.ones(4), 500)
    joint = confident.find_wrong(given, believed).joint
    np.testing.assert_allclose(joint.sum(1), np.bincount(given) / 500)
    assert joint.sum() == pytest.approx(1)
    # a class of which nothing is confident is taken to be right
    joint = confident.estimate_joint(np.array([[0, 0], [1, 3]]), np.array([0, 1, 1, 1]))
    np.testing.assert_allclose(joint, [[0.25, 0], [0.1875, 0.5625]])


def test_a_wide_gap_between_classes_is_not_taken_for_noise() -> None:
    """What thresholds are for: class 1 is rarely believed, and its rows are right all the same."""
    given = np.array([0] * 6 + [1] * 3)
    believed = np.array([[0.95, 0.05]] * 6 + [[0.6, 0.4]] * 3)
    assert not confident.find_wrong(given, believed).wrong.any()
    assert (believed.argmax(1) != given).any()


def test_planted_flips_of_real_labels_are_found(shared: Path) -> None:
    """Questions of three subjects, a tenth of them under another: nine of ten flips, and few besides."""
    entries, true = [], []
    for subject in ("professional_law", "high_school_macroeconomics", "high_school_biology"):
        with (shared / "eval" / "mmlu" / "test" / f"{subject}_test.csv").open(encoding="utf-8") as file:
            for row in list(csv.DictReader(file))[:300]:
                text = " ".join([row["question"], *(row[f"choice{number}"] for number in range(4))])
                entries.append(Entry({"text": text, "label": subject}, subject))
                true.append(subject)
    names = sorted(set(true))
    flipped = np.random.default_rng(0).permutation(len(entries))[:90]
    for row in flipped:
        other = names[(names.index(true[row]) + 1) % 3]
        entries[row] = Entry({"text": entries[row].asked, "label": other}, true[row])
    checked = check(entries)
    labels = [one for one in checked.suggestions if one.signal == "label"]
    hits = [one for one in labels if one.suggested == true[one.row - 1] != one.given]
    assert len(hits) >= 80
    assert len(hits) / len(labels) >= 0.9
    assert checked.noise == pytest.approx(0.1, abs=0.03)
    assert [one.margin for one in labels] == sorted(one.margin for one in labels)  # the surest first
    assert checked.suggestions == check(entries).suggestions


def several() -> list[Entry]:
    """Texts with any of two labels; in row 3 ``doce`` is missing, in row 13 ``frio`` is too much."""
    texts = [("mel açúcar bolo", ["doce"]), ("gelo neve inverno", ["frio"]), ("sorvete mel neve", ["doce", "frio"])]
    entries = [
        Entry({"text": f"{text} {text} número {number}", "labels": labels}, f"a:{number}")
        for number in range(12)
        for text, labels in texts
    ]
    entries[3] = Entry({**entries[3].row, "labels": []}, "a:3")
    entries[12] = Entry({**entries[12].row, "labels": ["doce", "frio"]}, "a:12")
    return entries


def test_of_several_labels_each_is_judged_for_itself() -> None:
    found = {(one.row, one.suggested) for one in check(several()).suggestions if one.signal == "label"}
    assert found == {(4, "+doce"), (13, "-frio")}


def test_a_label_that_nothing_tells_is_not_judged() -> None:
    random = np.random.default_rng(0)
    entries = several()
    for row in random.permutation(len(entries))[:12].tolist():
        entries[row] = Entry({**entries[row].row, "labels": [*entries[row].labels, "acaso"]}, "x")
    checked = check(entries)
    assert len(checked.notes) == 1
    assert checked.notes[0].startswith("not judged, because models that have not seen a text hardly tell it: acaso")
    assert not any("acaso" in one.suggested for one in checked.suggestions)


def test_meaning_finds_what_words_do_not_tell() -> None:
    """Every word stands once; the vectors know the labels."""
    random = np.random.default_rng(0)
    true = np.arange(120) % 2
    entries = [Entry({"text": f"palavra{n}", "label": "ab"[kind]}, "x") for n, kind in enumerate(true.tolist())]
    entries[7] = Entry({"text": "palavra7", "label": "a"}, "x")
    vectors = random.normal(size=(120, 16))
    vectors[:, 0] += 6 * true
    assert {one.row for one in check(entries, vectors=vectors).suggestions} == {8}
    assert len(check(entries).suggestions) > 10  # words alone only guess


def test_texts_of_one_document_never_judge_each_other() -> None:
    """A document's texts share words that nothing else has: with it on both sides, its wrong labels look right."""
    entries = []
    for number in range(40):
        kind = "a" if number % 2 else "b"
        label = kind if number else "a"  # the first document is wrong
        for turn in range(3):
            text = f"{kind}palavra {kind}outra nome{number} lugar{number} {turn}"
            entries.append(Entry({"text": text, "label": label}, f"x:{number}", document=f"d{number}"))
    assert {one.row for one in check(entries).suggestions} == {1, 2, 3}


def test_labels_too_few_to_be_judged_are_named() -> None:
    entries = [Entry({"text": f"palavra{i % 2} texto {i}", "label": "ab"[i % 2]}, "x") for i in range(20)]
    checked = check([*entries, Entry({"text": "z", "label": "rara"}, "x")])
    assert checked.notes == ["not judged, with fewer than 5 texts each: rara"]
    with pytest.raises(LavraError, match="fewer than two labels have 5 texts"):
        check(entries[:4])


def talk(asked: str, said: str, language: str = "pt") -> Entry:
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    return Entry({"messages": turns}, "x", language=language)


LONG = "A reunião ficou para março, porque faltavam os dados do arquivo e ninguém sabia onde estavam guardados."
ENGLISH = "The meeting was moved to March because the files were missing and nobody knew where they were."


@pytest.mark.parametrize(
    ("signal", "entries", "rows"),
    [
        ("equal sides", [talk("Oi", " oi"), talk("Oi", "Olá")], [0]),
        ("repeated", [talk(f"Pergunta {i}", "Não há nada a dizer sobre isso.") for i in range(5)], [0, 1, 2, 3, 4]),
        ("repeated", [talk(f"Pergunta {i}", "Sim.") for i in range(50)], []),
        (
            "refusal",
            [
                talk("a", "As an AI language model, I cannot have opinions."),
                talk("b", "Desculpe, mas não posso ajudar com isso."),
                talk("c", "Lo siento, no puedo responder a eso."),
                talk("d", "I'm sorry, but I can't help with that."),
                talk("e", "Desculpe a demora: a resposta é 4."),
                talk("f", "The model said: As an AI language model, I cannot."),
            ],
            [0, 1, 2, 3],
        ),
        (
            "language",
            [
                talk(LONG, ENGLISH),
                talk("Traduza para o inglês: " + LONG, ENGLISH),
                talk(LONG, "Entendi, então a reunião será em março e os dados precisam ser procurados até lá."),
            ],
            [0],
        ),
        (
            "cut",
            [
                talk("a", LONG + " Depois disso o conselho decidiu que todos os"),
                talk("b", LONG + "\n\nJane Austen"),
                talk("c", LONG + "\n- item sem ponto no fim de uma lista que é longa assim mesmo"),
                *(talk(str(number), LONG + LONG) for number in range(3)),
                talk("f", "```python\nprint(1)"),
            ],
            [0, 6],
        ),
        ("cut", [talk("a", LONG + LONG.removesuffix(".")) for _ in range(4)], []),  # they all end so
        ("loop", [talk("a", "e depois disso ele voltou " * 20), talk("b", LONG)], [0]),
        ("length", [*(talk(str(i), "palavra " * (8 + i % 5)) for i in range(30)), talk("z", "palavra " * 900)], [30]),
    ],
)  # fmt: skip
def test_each_signal_finds_its_own_and_nothing_else(signal: str, entries: list[Entry], rows: list[int]) -> None:
    assert sorted(row for row, _ in SIGNALS[signal](entries)) == rows


def test_a_persons_decisions_are_done_and_nothing_else(tmp_path: Path) -> None:
    entries = [Entry({"text": f"=texto {i}", "label": "a"}, f"x:{i}") for i in range(4)]
    path = tmp_path / "s.csv"
    suggestions = [
        Suggestion(row + 1, id_of(entry), "label", "a", "b", 0.9, -0.8, text=f"'{entry.asked}", do=do)
        for (row, entry), do in zip(enumerate(entries), ("take", "drop", "", "keep"), strict=True)
    ]
    write_suggestions(suggestions, path)
    applied = apply_decisions(entries, read_decisions(path), "s.csv")
    assert [(entry.origin, entry.said) for entry in applied.entries] == [("x:0", "b"), ("x:2", "a"), ("x:3", "a")]
    assert (applied.changed, applied.dropped) == ([0], [1])
    with pytest.raises(LavraError, match=r"s.csv is of another set: row 2 is not what it was"):
        apply_decisions([*entries[:1], *entries[2:]], read_decisions(path), "s.csv")
    # a spreadsheet writes semicolons, and the label may be another than the one suggested
    path.write_text(path.read_text("utf-8-sig").replace(",", ";").replace(";a;b;", ";a;c;"), "cp1252")
    assert apply_decisions(entries, read_decisions(path), "s.csv").entries[0].said == "c"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "has no column 'row'"),
        ("row,id,suggested,do\n1,x,b,perhaps\n", r"s.csv:2: do is 'perhaps'; write take, drop or keep"),
        ("row,id,suggested,do\nx,x,b,take\n", r"s.csv:2: row is 'x'"),
        ("row,id,suggested,do\n1,x,,take\n", r"s.csv:2: nothing is suggested there"),
    ],
)
def test_a_decision_that_is_none_is_named_by_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(LavraError, match=said):
        read_decisions(tmp_path / "s.csv")
