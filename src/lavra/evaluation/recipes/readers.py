"""Data of the recipes, in the form in which it is published."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lavra.evaluation.recipes.limits import LIMITS

Row = dict[str, Any]


def _lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def read_mt_bench(path: Path, limits: bool = False) -> list[Row]:
    """MT-Bench's questions (Zheng et al. 2023), first turns, with a reference where ``reference_answer/gpt-4.jsonl``
    has one; with ``limits`` a limit of form behind each, in turn."""
    beside = path.parent / "reference_answer" / "gpt-4.jsonl"
    known = {row["question_id"]: row["choices"][0]["turns"][0] for row in (_lines(beside) if beside.is_file() else [])}
    found = []
    for number, row in enumerate(_lines(path)):
        limit = LIMITS[number % len(LIMITS)]
        text = row["turns"][0].strip()
        found.append(
            {
                "question": f"{text}\n\n{limit.asked}" if limits else text,
                "category": row["category"],
                "reference": known.get(row["question_id"], ""),
                "limit": limit.name if limits else "",
            }
        )
    return found


def read_parallel(path: Path, to: str) -> list[Row]:
    """Sentences a line; their translations stand beside, in the file whose name ends in ``to`` instead."""
    other = path.with_suffix(f".{to}")
    texts = [each.read_text(encoding="utf-8").rstrip("\n").split("\n") for each in (path, other)]
    if len(texts[0]) != len(texts[1]):
        raise ValueError(f"{len(texts[0])} lines, and {len(texts[1])} in {other.name}")
    return [{"source": one.strip(), "target": two.strip()} for one, two in zip(*texts, strict=True) if one and two]


_PUBMED = re.compile(r"Context: (.*)\nQuestion: (.*?)\nA\. ", re.DOTALL)


def read_pubmed_titles(path: Path) -> list[Row]:
    """Abstracts of PubMedQA (Jin et al. 2019), without their conclusions, whose questions are the articles' titles or
    made of them; as the Gauntlet has them."""
    found = []
    for row in _lines(path):
        match = _PUBMED.match(row["context"])
        if match:
            found.append({"abstract": match[1].strip(), "title": match[2].strip()})
    return found


def read_hatebr(path: Path) -> list[Row]:
    """HateBR (Vargas et al. 2022): the comment in the first column, in the second whether it is offensive: 1 is, 0 (in
    older copies 2) is not."""
    import csv

    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        rows = list(csv.reader(file, delimiter=";" if head.count(";") > head.count(",") else ","))
    if {row[1].strip() for row in rows if len(row) > 1} - {"0", "1", "2"}:
        raise ValueError("its second column is not 0, 1 or 2")
    return [{"text": row[0].strip(), "offensive": int(row[1].strip() == "1")} for row in rows if len(row) > 1]


READERS: dict[str, Callable[..., list[Row]]] = {
    "mt_bench": read_mt_bench,
    "parallel": read_parallel,
    "pubmed_titles": read_pubmed_titles,
    "hatebr": read_hatebr,
}
