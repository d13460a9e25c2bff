"""Files of questions are read in the forms people have; what is wrong is named with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lavra.assistants.questions.items import Item, write_items
from lavra.errors import LavraError
from lavra.evaluation.items import Evidence, Reply, Source, read_questions


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_of_lavra_questions_is_read(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    write_items(
        path,
        [
            Item("Quantos são?", "30", ("30", "trinta"), "a.md", "", "São 30 dias.", 5, 17, "pt", "date", split="test"),
            Item("Who pays for lunch?", document="a.md", answerable=False, kind="swapped"),
        ],
    )  # fmt: skip
    first, second = read_questions(path)
    assert (first.answers, first.sources) == (("30", "trinta"), (Source("a.md", "São 30 dias.", 5, 17),))
    assert (first.topic, first.language, first.split, first.answerable) == ("date", "pt", "test", True)
    assert not second.answerable


ROWS = [
    {"question": "How many days?", "answer": "30", "source": "a.md"},
    {"query": "How many days?", "answers": ["30", "thirty"], "sources": [{"document": "a.md", "text": "30 days"}]},
    {"question": "How many days?", "ground_truth": "30", "contexts": ["Leave is 30 days.", "More."]},
    {"question": "How many days?", "answer": 30, "document": "a.md"},
    {"id": 7, "question": "Who?", "answerable": False},
]


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_other_names_for_the_same_parts_are_understood(tmp_path: Path, row: dict) -> None:
    (question,) = read_questions(written(tmp_path, "q.jsonl", json.dumps(row)))
    if question.answerable:
        assert question.answers[0] == "30"
        assert question.sources[0].document == "a.md" or question.sources[0].text == "Leave is 30 days."
    else:
        assert question.id == "7"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_are_read(tmp_path: Path, delimiter: str) -> None:
    lines = [["Question", "answers", "document"], ["How, many; days?", "30 | thirty", "a.md"]]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in line) for line in lines)
    (question,) = read_questions(written(tmp_path, "q.csv", text))
    assert question.text == "How, many; days?"
    assert question.answers == ("30", "thirty")


def test_squad_2_is_read_with_what_nothing_answers(tmp_path: Path) -> None:
    asked = [
        {"id": "1", "question": "How many days?", "answers": [{"text": "30", "answer_start": 9}] * 2},
        {"id": "2", "question": "Who?", "answers": [], "is_impossible": True},
    ]
    data = {"data": [{"title": "Leave", "paragraphs": [{"context": "Leave is 30 days.", "qas": asked}]}]}
    first, second = read_questions(written(tmp_path, "q.json", json.dumps(data)))
    assert first.answers == ("30",)
    assert first.sources == (Source("Leave", "Leave is 30 days."),)
    assert not second.answerable


def test_a_folder_in_beirs_form_is_read_with_its_qrels(tmp_path: Path) -> None:
    written(tmp_path, "corpus.jsonl", '{"_id": "d1", "title": "T", "text": "Leave is 30 days."}')
    written(tmp_path, "queries.jsonl", '{"_id": "q1", "text": "How many days?", "answers": ["30"]}')
    (tmp_path / "qrels").mkdir()
    written(tmp_path / "qrels", "test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n")
    (question,) = read_questions(tmp_path)
    assert (question.id, question.topic, question.sources) == ("q1", "T", (Source("d1", "Leave is 30 days."),))


WRONG = [
    ('{"question": "A?", "answer": "b"}', "no source"),
    ('{"question": "A?", "document": "a.md"}', "no answer"),
    ('{"answer": "b", "document": "a.md"}', "no question"),
    ('{"question": "A?", "answer": "b", "document": "a.md", "answerable": false}', "said to have none"),
    ('{"question": ["A?"], "answer": "b", "document": "a.md"}', "write a text"),
    ('{"question": "A?", "answer": {"b": 1}, "sources": [3]}', "document's name"),
    ('{"question": "A?", "answer": true, "document": "a.md"}', "write texts"),
    ('{"question": "A?", "answer": "b", "document": "a.md", "quote": "b", "start": "x"}', "write a number"),
    ('{"question": "A?", "answerable": "perhaps"}', "true or false"),
    ('{"question": "A?", "answer": "b", "sources": [{"score": 1}]}', "no `document`"),
    ("[1, 2]", "not an object"),
    ('{"question": ', "not JSON"),
]


@pytest.mark.parametrize(("line", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, line: str, said: str) -> None:
    good = '{"question": "Q?", "answer": "a", "document": "a.md"}'
    path = written(tmp_path, "q.jsonl", f"{good}\n\n{line}\n")
    with pytest.raises(LavraError) as caught:
        read_questions(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_id_may_stand_once(tmp_path: Path) -> None:
    rows = '{"id": "x", "question": "A?", "answerable": false}\n{"id": "x", "question": "B?", "answerable": false}'
    with pytest.raises(LavraError, match=r":2: the id 'x' is also at .*:1: "):
        read_questions(written(tmp_path, "q.jsonl", rows))


def test_a_question_that_stands_twice_counts_once_with_all_its_answers(tmp_path: Path) -> None:
    rows = '{"question": "A?", "answer": "b", "document": "d"}\n{"question": "a", "answer": "c", "document": "d"}'
    notes: list[str] = []
    (question,) = read_questions(written(tmp_path, "q.jsonl", rows), note=notes.append)
    assert question.answers == ("b", "c")
    assert ":2: " in notes[0]
    assert ":1;" in notes[0]


@pytest.mark.parametrize(
    ("name", "content"), [("q.jsonl", b"\n"), ("q.jsonl", b"\xff\xfe"), ("q.json", b"{}"), ("q.csv", b'a,b\n"1')]
)
def test_a_file_that_holds_none_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LavraError, match=name):
        read_questions(tmp_path / name)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LavraError, match="there is no file"):
        read_questions(tmp_path / "none")
    with pytest.raises(LavraError, match=r"no queries\.jsonl"):
        read_questions(tmp_path)


@pytest.mark.parametrize("name", ["faquad-pt", "pira-pt", "pira-en", "xquad-en", "xquad-es"])
def test_public_sets_are_read_whole(shared: Path, name: str) -> None:
    notes: list[str] = []
    questions = read_questions(shared / "retrieval" / name, note=notes.append)
    lines = (shared / "retrieval" / name / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(questions) + len(notes) == len(lines)
    assert all(question.answers and question.sources[0].text for question in questions)


def test_a_reply_is_written_and_read_again() -> None:
    place = Evidence("a.md", "Leave is 30 days.", 0.5, 3, 20)
    reply = Reply("q1", "30 [2].", passages=(place,), cited=(place,), numbers=(2,), seconds=1.5)
    assert Reply.from_dict(json.loads(json.dumps({**reply.to_dict(), "new": 1}))) == reply
