"""Preference sets in their usual forms are read alike, and a row that prefers nothing is named by its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavra.corpus.preferences import read_judgements, read_preferences, read_prompts
from lavra.errors import LavraError

USER = {"role": "user", "content": "What is 2 + 2?"}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def file(*given: Any) -> Path:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in given), "utf-8")
        return path

    return file


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "What is 2 + 2?", "chosen": "4.", "rejected": "5."},
        {"prompt": [USER], "chosen": [said("4.")], "rejected": [said("5.")]},
        {"prompt": "What is 2 + 2?", "chosen": [said("4.")], "rejected": [said("5.")]},
        {"chosen": [USER, said("4.")], "rejected": [USER, said("5.")]},
        {"prompt": [USER], "chosen": [USER, said("4.")], "rejected": [USER, said("5.")]},
        {
            "chosen": "\n\nHuman: What is 2 + 2?\n\nAssistant: 4.",
            "rejected": "\n\nHuman: What is 2 + 2?\n\nAssistant: 5.",
        },
        {"prompt": "\n\nHuman: What is 2 + 2?\n\nAssistant:", "chosen": "4.", "rejected": "5."},
    ],
)
def test_every_form_means_the_same(write, row):
    (found,) = read_preferences(write(row)).examples
    assert (found.prompt, found.chosen, found.rejected) == ((USER,), "4.", "5.")


def test_the_common_part_of_two_transcripts_is_the_prompt(write):
    before = "\n\nHuman: hi\n\nAssistant: Hello. Is it 3:\n\nor 4?\n\nHuman: 4"
    row = {"chosen": before + "\n\nAssistant: Right,\n\nfour.", "rejected": before + "\n\nAssistant: No."}
    (found,) = read_preferences(write(row)).examples
    assert [turn["role"] for turn in found.prompt] == ["user", "assistant", "user"]
    assert (found.chosen, found.rejected) == ("Right,\n\nfour.", "No.")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "chosen": "same", "rejected": " same "}, "both answers are the same"),
        ({"chosen": [USER, said("4.")], "rejected": [USER, said("4.")]}, "both answers are the same"),
        ({"prompt": "q", "chosen": "a", "rejected": " "}, "an answer is empty"),
        ({"prompt": "q", "chosen": "a"}, "no chosen and rejected"),
        ({"chosen": "a", "rejected": "b"}, "there is no prompt"),
        ({"prompt": "q", "chosen": "a", "rejected": [said("b")]}, "of two kinds"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": "much"}, "write a number"),
        ({"prompt": [{"role": "narrator", "content": "x"}], "chosen": [said("a")], "rejected": [said("b")]}, "none of"),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"},
            "differ before the last answer",
        ),
    ],
)
def test_what_prefers_nothing_is_named_by_its_line(write, row, reason):
    found = read_preferences(write({"prompt": "q", "chosen": "a", "rejected": "b"}, row))
    assert len(found.examples) == 1
    (problem,) = found.problems
    assert problem.source.endswith("rows.jsonl:2")
    assert reason in problem.what
    with pytest.raises(LavraError, match=r"can be aligned to: .*rows\.jsonl:1"):
        read_preferences(write(row))


def test_single_answers_are_good_or_bad(write):
    found = read_judgements(
        write(
            {"prompt": "q", "completion": "a", "label": True},
            {"prompt": [USER], "completion": [said("b")], "label": "bad"},
            {"prompt": "q", "completion": "c", "label": "perhaps"},
            {"prompt": "q", "chosen": "d", "rejected": "e"},
        )
    )
    assert [(one.answer, one.good) for one in found.examples] == [("a", True), ("b", False), ("d", True), ("e", False)]
    assert "write true or false" in found.problems[0].what


def test_prompts_bring_their_row_along(write):
    (found,) = read_prompts(write({"prompt": "What is 2 + 2?", "result": 4})).examples
    assert found.prompt == (USER,)
    assert found.row["result"] == 4


def test_a_real_set_is_read_whole(shared, tmp_path: Path):
    """hh-rlhf: nearly all rows; the few left out differ before the last answer, or answer nothing."""
    import gzip

    packed = shared / "eval" / "preference" / "hh_rlhf" / "harmless-base" / "test.jsonl.gz"
    path = tmp_path / "hh.jsonl"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    found = read_preferences(path)
    assert len(found.examples) + len(found.problems) == len(path.read_text("utf-8").splitlines())
    assert len(found.examples) > 0.98 * (len(found.examples) + len(found.problems))
    assert all(one.prompt[-1]["role"] == "user" for one in found.examples)
