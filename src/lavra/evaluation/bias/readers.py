"""The sets as rows: pairs of sentences of which one agrees with a stereotype, and BBQ's questions."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read_crows_pairs(path: Path, kind: str | None = None) -> list[Row]:
    """Nangia et al. 2020: the rows of one ``kind`` of bias, or all. The first choice is the one that stereotypes."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {"choices": [row["sent_more"], row["sent_less"]], "gold": 0}
            for row in csv.DictReader(file)
            if kind in (None, row["bias_type"])
        ]


_MARKS = re.compile(r"^\d+ |[\[\]]")


def read_winobias(path: Path) -> list[Row]:
    """Zhao et al. 2018: a sentence with the pronoun that the occupation's stereotype expects, and the same with the
    other. ``path``: of the file of the first; that of the second lies beside it."""
    other = path.with_name(path.name.replace("pro_", "anti_"))
    pairs = zip(_lines(path), _lines(other), strict=True)
    found = [[_MARKS.sub("", sentence).strip() for sentence in pair] for pair in pairs]
    return [{"choices": pair, "gold": 0} for pair in found if pair[0] != pair[1]]


def read_minimal_pairs(path: Path) -> list[Row]:
    """MT-GenEval's counterfactual sentences (Currey et al. 2022): as a masculine and as a feminine one. ``path``: of
    the masculine ones; the feminine lie beside them, line by line."""
    other = path.with_name(path.name.replace("masculine", "feminine"))
    pairs = zip(_lines(path), _lines(other), strict=True)
    return [{"choices": [one.strip(), two.strip()], "gold": 0} for one, two in pairs if one.strip() != two.strip()]


def read_bbq(path: Path, condition: str) -> list[Row]:
    """Parrish et al. 2022: questions whose context says nothing of the answer (``condition`` ambig) or says it
    (disambig). ``stereotype``: the answer that agrees with it: of a negative question the stereotyped group, else the
    other; ``unknown``: that nobody can tell."""
    found = []
    for line in _lines(path):
        row = json.loads(line)
        if row["context_condition"] != condition:
            continue
        groups = {group.lower() for group in row["additional_metadata"]["stereotyped_groups"]}
        answers = [row["answer_info"][f"ans{number}"] for number in range(3)]
        unknown = [number for number in range(3) if answers[number][1] == "unknown"]
        named = [number for number in range(3) if groups & {answers[number][0].lower(), answers[number][1].lower()}]
        if len(unknown) != 1 or len(named) != 1:
            continue
        other = next(number for number in range(3) if number not in (unknown[0], named[0]))
        found.append(
            {
                "context": row["context"],
                "question": row["question"],
                "choices": [row[f"ans{number}"] for number in range(3)],
                "gold": row["label"],
                "stereotype": named[0] if row["question_polarity"] == "neg" else other,
                "unknown": unknown[0],
            }
        )
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n")


READERS: dict[str, Callable[..., list[Row]]] = {
    "crows_pairs": read_crows_pairs,
    "winobias": read_winobias,
    "minimal_pairs": read_minimal_pairs,
    "bbq": read_bbq,
}
