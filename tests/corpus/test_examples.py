"""Instruction data in the formats that people have it in; and every mistake in it is named by file and line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from lavra.corpus.examples import Conversation, Pair, Text, read_examples
from lavra.errors import LavraError

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Recife"}}}


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def turns(*said: tuple[str, str]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def test_each_format_is_told_from_its_fields(tmp_path: Path):
    openai = {
        "tools": [{"name": "weather", "parameters": {}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Chove "}, {"type": "text", "text": "hoje?"}]},
            {"role": "assistant", "content": None, "tool_calls": [{
                "id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Recife"}'}}]},
            {"role": "tool", "tool_call_id": "1", "content": "rain"},
            {"role": "assistant", "content": "Sim."},
        ],
    }  # fmt: skip
    file = jsonl(
        tmp_path / "all.jsonl",
        openai,
        {"system": "Be brief.", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"instruction": "Translate.", "input": "dog", "output": "cachorro"},
        {"prompt": "2+2", "completion": "4"},
        {"question": "Capital?", "answer": "Lisbon"},
        {"prompt": [{"role": "user", "content": "A"}], "completion": [{"role": "assistant", "content": "B"}]},
        {"instruction": "Add.", "instances": [{"input": "1 1", "output": "2"}, {"input": "2 2", "output": "4"}]},
        {"text": "A whole text."},
    )
    found = read_examples([file])
    assert not found.problems
    assert found.formats == {
        "messages": 2, "ShareGPT": 1, "Alpaca": 1, "pairs (prompt, completion)": 1, "pairs (question, answer)": 1,
        "Self-Instruct": 2, "text": 1,
    }  # fmt: skip
    tools, share, alpaca, *_ = found.examples
    assert isinstance(tools, Conversation)
    assert tools.messages[0]["content"] == "Chove hoje?"
    assert tools.messages[1] == {"role": "assistant", "content": "", "tool_calls": [{**CALL, "id": "1"}]}
    assert tools.tools == ({"type": "function", "function": {"name": "weather", "parameters": {}}},)
    assert isinstance(share, Conversation)
    assert [(m["role"], m["content"]) for m in share.messages] == [
        ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello")
    ]  # fmt: skip
    assert alpaca == Pair("Translate.\n\ndog", "cachorro", f"{file}:3")
    assert found.examples[-1] == Text("A whole text.", f"{file}:8")


@pytest.mark.parametrize("suffix", ["json", "csv", "tsv", "parquet", "jsonl"])
def test_each_kind_of_file_gives_the_same(tmp_path: Path, suffix: str):
    rows = [
        {"instruction": 'Say "a, b"', "input": "", "output": "a, b\nc"},
        {"instruction": "É?", "input": "x", "output": "sim"},
    ]
    path = tmp_path / f"data.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps(rows, indent=2, ensure_ascii=False), "utf-8")
    elif suffix == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif suffix == "jsonl":
        jsonl(path, *rows)
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if suffix == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    found = read_examples([path])
    assert [(e.prompt, e.answer) for e in found.examples if isinstance(e, Pair)] == [
        ('Say "a, b"', "a, b\nc"), ("É?\n\nx", "sim")
    ]  # fmt: skip
    line = {"json": 7, "csv": 4, "tsv": 4}.get(suffix, 2)
    assert found.examples[1].source == f"{path}:{line}"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (turns(("assistant", "Hello"), ("user", "Hi")), "roles are swapped"),
        (turns(("user", "Hi"), ("user", "Hi?"), ("assistant", "Yes")), "turns 1 and 2 are both the user's"),
        (turns(("user", "Hi")), "there is no assistant message"),
        (turns(("user", "Hi"), ("assistant", "Yes"), ("user", "And?")), "nobody answers it"),
        (turns(("user", "Hi"), ("assistant", " ")), "the answer in turn 2 is empty"),
        (turns(("user", "Hi"), ("system", "Be"), ("assistant", "x")), "put it first"),
        (turns(("user", "Hi"), ("tool", "x"), ("assistant", "y")), "nothing called one"),
        ({"messages": [{"content": "Hi"}]}, "has no role"),
        ({"messages": [{"role": "narrator", "content": "Hi"}]}, "the role 'narrator' is unknown"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "not text"),
        ({"prompt": "Hi", "completion": ""}, "the answer is empty"),
        ({"prompt": "Hi", "completion": 7}, "the answer is of type int"),
        ({"prompt": "Hi", "completion": "a\x00b"}, "bytes that are not text"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "these are preferences"),
        ({"a": 1, "b": 2}, "the fields a, b are of no format"),
        ("{", "this line is not JSON"),
        ([1], "not an object"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]},
         "every answer has weight 0"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_and_the_rest_goes_on(tmp_path: Path, row: object, said: str):
    file = jsonl(tmp_path / "data.jsonl", {"prompt": "good", "completion": "one"}, row, {"text": "another"})
    found = read_examples([file])
    assert len(found) == 2
    assert [(p.source, said in p.what) for p in found.problems] == [(f"{file}:2", True)], found.problems


def test_what_stands_twice_is_left_out_and_a_contradiction_is_named(tmp_path: Path):
    first = jsonl(tmp_path / "a.jsonl", {"prompt": "Capital of France?", "completion": "Paris"})
    second = jsonl(
        tmp_path / "b.jsonl",
        turns(("user", "capital  of france?"), ("assistant", "paris")),
        {"prompt": "Capital of France?", "completion": "Lyon"},
        {"prompt": "Capital of Spain?", "completion": "Madrid"},
    )
    found = read_examples([first, second])
    assert len(found) == 2
    assert str(found.problems[0]) == f"{second}:1: the same stands in {first}:1; left out"
    assert str(found.problems[1]).startswith(f"{second}:2: asks what {first}:1 asks and answers otherwise")


def test_a_file_without_anything_usable_is_refused(tmp_path: Path):
    empty = jsonl(tmp_path / "empty.jsonl")
    bad = jsonl(tmp_path / "bad.jsonl", {"prompt": "a", "completion": ""})
    latin = tmp_path / "latin.csv"
    latin.write_bytes("prompt,completion\né,ção\n".encode("latin-1"))
    reasons = {
        empty: "it is empty",
        bad: f"{bad}:1: the answer is empty",
        latin: "not UTF-8",
        tmp_path / "none.jsonl": "does not exist",
        tmp_path / "a.docx": "no file of examples",
    }
    for path, said in reasons.items():
        with pytest.raises(LavraError, match=said):
            read_examples([path])


def test_a_broken_json_list_keeps_what_came_before(tmp_path: Path):
    path = tmp_path / "data.json"
    path.write_text('{"version": 1, "data": [\n{"prompt": "a", "completion": "b"},\n{"prompt": "c", ', "utf-8")
    found = read_examples([path])
    assert len(found) == 1
    assert found.problems[0].source == f"{path}:3"
