"""The decision in three sentences, in each language: what to take, how sure that is, what it costs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lavra.workspace.studying.report.words import LANGUAGES, say

Json = Mapping[str, Any]


def verdict(record: Json) -> dict[str, list[str]]:
    """By language, the three sentences."""
    decision = record["decision"]
    if decision is None:
        why = "no_decision_judge" if (record.get("judge") or {}).get("undecided") else "no_decision"
        return {language: re.split(r"(?<=\.) ", text) for language, text in say(why).items()}
    ways = {way["name"]: way for way in record["ways"]}
    sentences = [_take(decision, ways), _sure(decision), _cost(record, ways)]
    return {language: [sentence[language] for sentence in sentences] for language in LANGUAGES}


def _take(decision: Json, ways: Mapping[str, Json]) -> dict[str, str]:
    way = ways[decision["chosen"]]
    given = {
        "way": way["name"],
        "quality": interval(way["measures"]["quality"]),
        "count": way["answered"],
        "seconds": f"{way['latency']['whole_p50']:.2g}" if way["latency"] else "–",
    }
    if decision["chosen"] == decision["best"]:
        return say("take", **given)
    most = next(other["high"] for other in decision["against"] if other["name"] == decision["chosen"])
    return say("take_cheaper", best=decision["best"], most=f"{max(0.0, most):.3f}", **given)


def _sure(decision: Json) -> dict[str, str]:
    against = [other for other in decision["against"] if other["questions"]]
    if not against:
        return say("alone")
    tied = [other for other in against if other["tied"]]
    nearest = (tied or against)[0]
    given = {
        "other": nearest["name"],
        "difference": f"{nearest['difference']:.3f}",
        "low": f"{nearest['low']:.3f}",
        "high": f"{nearest['high']:.3f}",
    }
    if not tied:
        return say("beats_all", count=len(against), **given)
    needed = say("needed", count=f"{nearest['needed']:,}") if nearest["needed"] else dict.fromkeys(LANGUAGES, "")
    others = ", ".join(other["name"] for other in tied)
    return say("tied", best=decision["best"], others=others, p=f"{nearest['p']:.2g}", needed=needed, **given)


def _cost(record: Json, ways: Mapping[str, Json]) -> dict[str, str]:
    decision, currency = record["decision"], record["currency"]
    costs = {name: cost for name, cost in decision["cost"].items() if cost is not None}
    own, least = costs[decision["chosen"]], min(costs, key=lambda name: costs[name])
    money = decision["by"] == "money"
    if costs[least] == own:
        return say("cheapest", own=f"{own:.3g}", currency=currency) if money else say("quickest")
    quality = interval(ways[least]["measures"]["quality"])
    given = {"other": least, "least": f"{costs[least]:.2g}", "quality": quality}
    return say("dearer", own=f"{own:.2g}", currency=currency, **given) if money else say("slower", **given)


def interval(values: Json) -> str:
    """``0.412 [0.361, 0.466]``"""
    return f"{values['mean']:.3f} [{values['low']:.3f}, {values['high']:.3f}]"


def judge_verdict(judge: Json) -> dict[str, str]:
    """Whether to believe a judge, and if not, why."""
    counts, agreed = judge["counts"], judge["agreement"]
    reference = next(iter(agreed), "–")
    given = {
        "judge": judge["name"],
        "reference": reference,
        "agreed": interval(agreed[reference]) if agreed else "–",
        "kendall": "–" if judge["kendall"] is None else f"{judge['kendall']:.3f}",
        "unreadable": counts.get("unreadable", 0),
        "verdicts": counts.get("unreadable", 0) + counts.get("grades", 0),
        "grades": counts.get("grades", 0),
        "changed": counts.get("order changed the grade", 0),
        "pairs": counts.get("pairs", 0),
    }
    failed = judge.get("failed")
    said = say("judge_failed", reason=failed, **given) if failed else dict.fromkeys(LANGUAGES, "")
    if not judge["doubts"]:
        trusted = say("judge_trusted", **given)
        return {one: said[one] + trusted[one] for one in LANGUAGES}
    reasons = [say(f"doubt_{doubt}", **given) for doubt in judge["doubts"]]
    doubted = say("judge_doubted", reasons={one: "; ".join(r[one] for r in reasons) for one in LANGUAGES}, **given)
    return {one: said[one] + doubted[one] for one in LANGUAGES}
