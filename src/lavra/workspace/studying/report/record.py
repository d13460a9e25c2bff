"""A study as plain JSON: every figure with its interval, every reply that is shown, and how to do it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lavra.evaluation.costs import carbon, energy
from lavra.evaluation.intervals import Interval, mean_interval
from lavra.evaluation.items import Evidence, Question, Source
from lavra.evaluation.judging import agreement
from lavra.store.files import tree_size
from lavra.workspace.studying.budget import Spending, money_of
from lavra.workspace.studying.deciding import Decision, front
from lavra.workspace.studying.exam import Exam
from lavra.workspace.studying.pricing import Pricing, seconds_of
from lavra.workspace.studying.race import Entry
from lavra.workspace.studying.scoring import QUALITY, Result

SHOWN = 10
"""Best and worst answers of each way."""
_PIECE = 600
"""Characters of a source that are shown."""
_TOPICS = 20
"""Topics, and documents, that are shown: those with the most questions."""

_TIMES = ("first_token", "seconds", "tokens_per_second")
"""Measures of which the table of times says more than their means."""

Json = dict[str, Any]


def record(
    exam: Exam, entries: Sequence[Entry], found: Sequence[Result], decision: Decision | None, pricing: Pricing,
    spending: Spending, about: Mapping[str, Any],
) -> Json:  # fmt: skip
    """All of a study. ``about``: what the caller knows of its surroundings: name, time, machine, judge, command."""
    by_name = {result.name: result for result in found}
    ways = [_way(entry, by_name.get(entry.candidate.name), pricing) for entry in entries]
    shown = {id for way in ways for id in (*way["best"], *way["worst"])}
    return {
        **about,
        "questions": _questions(exam),
        "spent": _spent(spending, pricing),
        "country": pricing.country,
        "currency": pricing.prices.currency,
        "ways": ways,
        "answers": {question.id: _answers(question, found) for question in exam.asked if question.id in shown},
        "decision": _decision(decision, by_name, pricing),
        "fronts": {
            "seconds": front([(r.name, seconds_of(r), _mean(r)) for r in found]),
            "money": front([(r.name, pricing.cost(r), _mean(r)) for r in found]) if pricing.priced else [],
        },
    }


def _questions(exam: Exam) -> Json:
    return {
        "asked": len(exam.asked),
        "unanswerable": sum(not question.answerable for question in exam.asked),
        "learned": len(exam.training),
        "documents": len(exam.held),
        "languages": dict(Counter(question.language for question in exam.asked).most_common()),
        "notes": [{"name": note.name, **note.values} for note in exam.notes],
        "digest": exam.digest,
        "artifact": exam.artifact,
    }


def _spent(spending: Spending, pricing: Pricing) -> Json:
    cost = spending.cost
    spent = energy(cost, pricing.prices.watts)
    return {
        "minutes": cost.seconds / 60,
        "kwh": spent.kwh,
        "kind": spent.kind,
        "co2_grams": carbon(spent, pricing.country).grams,
        "money": money_of(cost, pricing.prices) + spending.fees if pricing.priced else None,
        "fees": spending.fees,
        "budget": spending.budget.text if spending.budget else None,
        "share": spending.share,
    }


def _way(entry: Entry, result: Result | None, pricing: Pricing) -> Json:
    candidate, built = entry.candidate, entry.built
    found: Json = {
        "name": candidate.name,
        "way": candidate.way.name,
        "model": candidate.model,
        "settings": candidate.settings,
        "state": entry.state,
        "reason": entry.reason,
        "answered": len(result.kept) if result else 0,
        "best": [],
        "worst": [],
    }
    if built is not None:
        spent = energy(built.cost, pricing.prices.watts)
        found |= {
            "built": {
                "seconds": built.cost.seconds,
                "kwh": spent.kwh,
                "kind": spent.kind,
                "bytes": sum(tree_size(artifact.path) for artifact in built.artifacts),
                "artifacts": [artifact.id for artifact in built.artifacts],
            },
            "uses": dict(built.uses),
            "retained": _retained(entry),
            "counts": dict(built.counts()),
        }
    return found | (_measured(result, pricing) if result else {})


def _retained(entry: Entry) -> Json:
    """What tuning left of general ability: of the last thing that was tuned, against its base (``lavra tune``)."""
    for artifact in reversed(entry.built.artifacts if entry.built else ()):
        metrics = artifact.manifest.metrics
        if "general_before" in metrics:
            return {name: value for name, value in metrics.items() if name.startswith(("general", "tasks"))}
    return {}


def _measured(result: Result, pricing: Pricing) -> Json:
    quality = result.scores.values[QUALITY]
    order = sorted(range(len(quality)), key=lambda number: (-quality[number], number))
    ids = [result.scores.questions[number].id for number in order]
    values = {QUALITY: quality, **result.scores.values}
    measures = {name: _interval(mean_interval(each)) for name, each in values.items()}
    failures = Counter(kind for kind in result.failures if kind)
    return {
        "measures": {name: each for name, each in measures.items() if each["count"] and name not in _TIMES},
        "agreement": {name: _interval(one) for name, one in agreement(result.scores).items()},
        "latency": _latency(result),
        "memory": max((kept.memory for kept in result.kept), default=0),
        "per_answer": pricing.per_answer(result),
        "failures": dict(failures),
        "topics": _broken_down(result, lambda question: [question.topic or "–"]),
        "per_document": _broken_down(result, lambda q: sorted({source.document for source in q.sources})),
        "best": ids[:SHOWN],
        "worst": ids[::-1][: min(SHOWN, max(0, len(ids) - SHOWN))],
    }


def _latency(result: Result) -> Json:
    replies = [kept.reply for kept in result.kept if not kept.reply.error]
    if not replies:
        return {}
    first, whole = [reply.first_token for reply in replies], [reply.seconds for reply in replies]
    return {
        "first_p50": float(np.quantile(first, 0.5)),
        "first_p95": float(np.quantile(first, 0.95)),
        "whole_p50": float(np.quantile(whole, 0.5)),
        "whole_p95": float(np.quantile(whole, 0.95)),
        # Of the whole answer: one that is shown when it is checked has its first words and its last at once.
        "tokens_per_second": sum(reply.completion_tokens for reply in replies) / max(1e-9, sum(whole)),
    }


def _broken_down(result: Result, parts: Callable[[Question], Sequence[str]]) -> Json:
    """Quality by part of the questions: by topic, by document."""
    piles: dict[str, list[float]] = {}
    for question, value in zip(result.scores.questions, result.scores.values[QUALITY], strict=True):
        for part in parts(question):
            piles.setdefault(part, []).append(float(value))
    largest = sorted(piles, key=lambda part: (-len(piles[part]), part))[:_TOPICS]
    return {part: _interval(mean_interval(piles[part])) for part in largest}


def _interval(interval: Interval) -> Json:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "count": interval.count}


def _mean(result: Result) -> float:
    return float(np.nanmean(result.quality_N))


def _answers(question: Question, found: Sequence[Result]) -> Json:
    """A question with what is right, where it stands, and what each way said."""
    replies = {}
    for result in found:
        for number, asked in enumerate(result.scores.questions):
            if asked.id == question.id:
                reply = result.scores.replies[number]
                replies[result.name] = {
                    "text": reply.text,
                    "refused": reply.refused,
                    "error": reply.error,
                    "quality": float(result.scores.values[QUALITY][number]),
                    "failure": result.failures[number],
                    "sources": [_piece(evidence) for evidence in (reply.cited or reply.passages[:2])],
                }
    return {
        "question": question.text,
        "topic": question.topic,
        "answers": list(question.answers),
        "sources": [_piece(source) for source in question.sources],
        "replies": replies,
    }


def _piece(source: Source | Evidence) -> Json:
    text = " ".join(source.text.split())
    return {"document": source.document, "text": text[:_PIECE] + ("…" if len(text) > _PIECE else "")}


def _decision(decision: Decision | None, found: Mapping[str, Result], pricing: Pricing) -> Json | None:
    if decision is None:
        return None
    return {
        "chosen": decision.chosen,
        "best": decision.best,
        "cost": {name: pricing.cost(result) for name, result in found.items()},
        "by": "money" if pricing.priced else "seconds",
        "against": [
            {
                "name": compared.name,
                "difference": compared.difference.mean,
                "low": compared.difference.low,
                "high": compared.difference.high,
                "p": compared.p,
                "questions": compared.difference.count,
                "needed": compared.difference.needed,
                "tied": compared.tied,
            }
            for compared in decision.against
        ],
    }
