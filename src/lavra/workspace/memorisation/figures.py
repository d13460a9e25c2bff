"""Figures of readings: what tells inserted texts from their twins, or members from others, and what that proves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from lavra.corpus.traps.register import Entry, Register
from lavra.evaluation.intervals import holm
from lavra.evaluation.memorisation.blind import blind_auc
from lavra.evaluation.memorisation.curves import Roc, auc, auc_interval
from lavra.evaluation.memorisation.exposure import Exposure
from lavra.evaluation.memorisation.extraction import Extracted
from lavra.evaluation.memorisation.testing import combined_p, held_out_p, least_seen, twins_p

LEVEL = 0.05
FALSE_ALARMS = 0.01
_POINTS = 200  # of a ROC that is kept
Scores = Mapping[str, np.ndarray]


def of_register(
    register: Register, scores: Scores, extracted: Sequence[Extracted], exposures: Mapping[int, Exposure]
) -> dict[str, Any]:
    """``scores`` and ``extracted``: of the register's entries, in their order; ``exposures``: of canaries, by the
    entry's number."""
    place = {id(entry): number for number, entry in enumerate(register.entries)}
    pairs = [(place[id(a)], place[id(b)]) for a, b in register.pairs("trap")]
    levels = {level: [pair for pair in pairs if register.entries[pair[0]].level == level] for level in register.levels}
    levels = {level: of for level, of in levels.items() if of}
    measures: list[dict[str, Any]] = []
    twins = [b for _, b in pairs]
    for name, values in scores.items():
        for level, of in [*levels.items(), (0, pairs)]:
            if of and (level or len(levels) > 1):
                inserted, left = [a for a, _ in of], [b for _, b in of]
                low, high = auc_interval(values[inserted], values[twins])
                measures.append(
                    {
                        "measure": name, "repetitions": level or "all", "pairs": len(of),
                        "auc": auc(values[inserted], values[twins]), "low": low, "high": high,
                        "found": Roc.of(values[inserted], values[twins]).at(FALSE_ALARMS),
                        "p": twins_p(values[inserted] - values[left]),
                    }
                )  # fmt: skip
    canaries = _canaries(register, exposures)
    rows = [*measures, *(row for row in canaries if row["inserted"])]
    for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_corrected"] = corrected
    return {
        "seal": register.seal,
        "pairs": len(pairs),
        "measures": measures,
        "canaries": canaries,
        "extraction": _extraction(register, extracted),
        "least_seen": {str(level): least_seen(len(of)) for level, of in levels.items()},
        "blind_auc": _number(
            blind_auc([register.entries[a].text for a, _ in pairs], [register.entries[b].text for _, b in pairs])
        ),
        "memorised": sorted({str(row["repetitions"]) for row in rows if row["p_corrected"] < LEVEL}, key=_as_number),
        "roc": {name: _roc(values[[a for a, _ in pairs]], values[twins]) for name, values in scores.items()}
        if pairs
        else {},
        "entries": [_entry(entry, number, scores, extracted) for number, entry in enumerate(register.entries)],
    }


def of_texts(
    members: Sequence[str], others: Sequence[str], scores: Scores, extracted: Sequence[Extracted]
) -> dict[str, Any]:
    """``scores`` and ``extracted``: of members, then of others."""
    count = len(members)
    measures: list[dict[str, Any]] = []
    for name, values in scores.items():
        low, high = auc_interval(values[:count], values[count:])
        measures.append(
            {
                "measure": name, "members": count, "others": len(others), "auc": auc(values[:count], values[count:]),
                "low": low, "high": high, "found": Roc.of(values[:count], values[count:]).at(FALSE_ALARMS),
                "p": held_out_p(values[:count], values[count:]),
            }
        )  # fmt: skip
    for row, corrected in zip(measures, holm([row["p"] for row in measures]), strict=True):
        row["p_corrected"] = corrected
    texts = [
        {
            "number": number, "member": number < count, "exact": extracted[number].exact,
            "similarity": extracted[number].similarity,
            "scores": {name: float(values[number]) for name, values in scores.items()},
            "p": {name: _rank_p(values[number], values[count:], number >= count) for name, values in scores.items()},
        }
        for number in range(len(members) + len(others))
    ]  # fmt: skip
    return {
        "measures": measures,
        "blind_auc": _number(blind_auc(members, others)),
        "extraction": [_share("members", extracted[:count]), _share("others", extracted[count:])],
        "roc": {name: _roc(values[:count], values[count:]) for name, values in scores.items()},
        "texts": texts,
    }


def _canaries(register: Register, exposures: Mapping[int, Exposure]) -> list[dict[str, Any]]:
    rows = []
    for inserted in (True, False):
        for level in register.levels if inserted else [0]:
            of = [
                found
                for number, found in exposures.items()
                if register.entries[number].inserted == inserted
                and (not inserted or register.entries[number].level == level)
            ]
            if of:
                estimated = [one.estimated for one in of if not math.isnan(one.estimated)]
                rows.append(
                    {
                        "measure": "exposure", "repetitions": level, "inserted": inserted, "canaries": len(of),
                        "bits": fmean(one.bits for one in of), "most": of[0].most, "tried": of[0].tried,
                        "first": sum(one.rank == 1 for one in of),
                        "estimated": fmean(estimated) if estimated else None, "p": combined_p([one.p for one in of]),
                    }
                )  # fmt: skip
    return rows


def _extraction(register: Register, extracted: Sequence[Extracted]) -> list[dict[str, Any]]:
    by: dict[int, list[Extracted]] = {}
    for entry, found in zip(register.entries, extracted, strict=True):
        by.setdefault(entry.level if entry.inserted else 0, []).append(found)
    return [_share(level or "twins", of) for level, of in sorted(by.items())]


def _share(name: str | int, of: Sequence[Extracted]) -> dict[str, Any]:
    return {
        "texts": name, "count": len(of), "exact": sum(one.exact for one in of),
        "run": fmean(one.run / max(1, one.wanted) for one in of) if of else math.nan,
        "similarity": fmean(one.similarity for one in of) if of else math.nan,
    }  # fmt: skip


def _entry(entry: Entry, number: int, scores: Scores, extracted: Sequence[Extracted]) -> dict[str, Any]:
    """By its hash: the sentence stands in the register alone."""
    found = extracted[number]
    return {
        "hash": entry.hash, "kind": entry.kind, "pair": entry.pair, "repetitions": entry.level,
        "inserted": entry.inserted, "exact": found.exact, "similarity": found.similarity,
        "documents": len(entry.documents), "scores": {name: float(values[number]) for name, values in scores.items()},
    }  # fmt: skip


def _rank_p(value: float, others: np.ndarray, among: bool) -> float:
    """The share of others that score as high, the text itself among them."""
    as_high = int((others >= value).sum())
    return as_high / len(others) if among else (1 + as_high) / (1 + len(others))


def _roc(members: np.ndarray, others: np.ndarray) -> list[list[float]]:
    roc = Roc.of(members, others)
    kept = np.unique(np.linspace(0, len(roc.true) - 1, min(_POINTS, len(roc.true))).astype(int))
    return [[round(float(roc.false[n]), 5), round(float(roc.true[n]), 5)] for n in kept]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _as_number(level: str) -> float:
    return math.inf if level == "all" else float(level)
