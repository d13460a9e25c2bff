"""A study as an artifact: with its record, its page, and everything that it rests on as inputs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lavra.errors import LavraError
from lavra.store import Artifact, Draft
from lavra.store.files import digest, write_atomically
from lavra.workspace.studying.planning import Plan
from lavra.workspace.studying.race import Entry
from lavra.workspace.studying.report.page import page

PAGE, RECORD = "study.html", "study.json"
DONE = "done"
"""In the folder of a plan: the id of what it came to."""


def finished(plan: Plan) -> Artifact | None:
    """What the same plan came to before, unless a way or the judge failed: they may do better another time."""
    try:
        found = plan.workspace.store.get((plan.folder / DONE).read_text("utf-8").strip())
    except (OSError, LavraError):  # it was not done, or was removed since
        return None
    if found.manifest.erased is not None:
        return None
    record = read_record(found)
    failed = any(way["state"] == "failed" for way in record["ways"]) or judge_failed(record)
    return None if failed else found


def judge_failed(values: Mapping[str, Any]) -> str:
    """Why a study's judge was not asked about all replies; "" where it was, or there is none."""
    return str((values["judge"] or {}).get("failed", ""))


def find_study(plan: Plan, entries: Sequence[Entry]) -> Artifact | None:
    """The same study with the same outcome, if it was kept before."""
    return plan.workspace.store.find("study", _inputs(plan, entries), _outcome(plan, entries))


def read_record(artifact: Artifact) -> dict[str, Any]:
    """``study.json``."""
    found: dict[str, Any] = json.loads((artifact.path / RECORD).read_text("utf-8"))
    return found


def keep_study(plan: Plan, entries: Sequence[Entry], values: Mapping[str, Any]) -> Artifact:
    """The study as an artifact, called ``study``."""
    store = plan.workspace.store

    def build(draft: Draft) -> None:
        text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
        (draft.path / RECORD).write_text(text + "\n", "utf-8", "replace")
        (draft.path / PAGE).write_text(page(values), "utf-8", "replace")
        chosen = values["decision"] and values["decision"]["chosen"]
        draft.metrics.update(questions=len(plan.exam.asked), ways=len(entries), chosen=chosen)
        corpus = plan.workspace.corpus()
        draft.licences.extend(corpus.manifest.licences if corpus is not None else ())

    artifact = store.make("study", _inputs(plan, entries), _outcome(plan, entries, judge_failed(values)), build)
    store.set_ref("study", artifact.id)
    write_atomically(plan.folder / DONE, artifact.id.encode())
    return artifact


def _inputs(plan: Plan, entries: Sequence[Entry]) -> dict[str, str]:
    """Everything that the study rests on, by role."""
    found = plan.inputs
    for entry in entries:
        if entry.built is not None:
            name = entry.candidate.name
            found |= {f"{name}: {role}": id for role, id in entry.built.uses.items()}
            found |= {f"{name}: made {number}": a.id for number, a in enumerate(entry.built.artifacts, start=1)}
    return found


def _outcome(plan: Plan, entries: Sequence[Entry], judge_failed: str = "") -> dict[str, Any]:
    """The recipe, and what came of it: who failed may do better another time, and that is another study."""
    came = [
        [
            entry.candidate.name,
            entry.state,
            entry.reason,
            [kept.reply.to_dict() for kept in entry.kept(plan.exam.asked)],
        ]
        for entry in entries
    ]
    return {**plan.recipe, "outcome": digest([*came, judge_failed] if judge_failed else came)}


def numbers(value: Any) -> Any:
    """The same in JSON's own terms: what is no number, or infinite, is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): numbers(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [numbers(each) for each in value]
    return value
