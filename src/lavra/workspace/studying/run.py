"""``study``: every way built from the same documents, measured on the same questions, one recommended.

Nothing of it is lost by a kill: artifacts lie in the store, replies in files, and the same command goes on from there.
When all is answered, the record and its page become a ``study`` artifact with everything that it rests on as inputs.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lavra
from lavra.evaluation.grounding import Entailment
from lavra.evaluation.items import Question
from lavra.evaluation.judging import Judge
from lavra.evaluation.measuring import Scores
from lavra.inference.sampling import Sampling
from lavra.store import Artifact
from lavra.store.files import digest
from lavra.store.ledger import utc_now
from lavra.workspace.generators import find_generator
from lavra.workspace.studying.abilities import measure_abilities, to_record
from lavra.workspace.studying.budget import Spending
from lavra.workspace.studying.command import command_of
from lavra.workspace.studying.deciding import decide
from lavra.workspace.studying.desk import Desk
from lavra.workspace.studying.grading import JUDGE, KeptJudge, judge_here, judged
from lavra.workspace.studying.grid import Candidate
from lavra.workspace.studying.keeping import PAGE, find_study, finished, keep_study, numbers, read_record
from lavra.workspace.studying.planning import Plan, plan_study, settle
from lavra.workspace.studying.pricing import pricing_of
from lavra.workspace.studying.race import Race
from lavra.workspace.studying.replies import FOLDER, Kept, key
from lavra.workspace.studying.report.record import record
from lavra.workspace.studying.resampling import resample, with_samples
from lavra.workspace.studying.scoring import QUALITY, Result, results, score
from lavra.workspace.studying.settings import StudySettings
from lavra.workspace.studying.way import Given
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.assistants.events import Answering
    from lavra.training.callbacks import Callback

__all__ = ["Plan", "Study", "plan_study", "settle", "study"]


@dataclass(frozen=True)
class Study:
    """A study that is done. ``record``: ``study.json``."""

    plan: Plan
    artifact: Artifact
    record: Mapping[str, Any]
    found: bool
    """True: the same had been found out before."""

    @property
    def page(self) -> Path:
        return self.artifact.path / PAGE

    @property
    def chosen(self) -> Candidate | None:
        """The recommended way; None where none is."""
        decision = self.record["decision"]
        return decision and next(one for one in self.plan.candidates if one.name == decision["chosen"])

    def assistant(self) -> Answering | None:
        """The recommended way, ready to answer: what was made of it lies in the store."""
        if self.chosen is None:
            return None
        given = given_for(self.plan).to(self.chosen)
        assistant = self.chosen.way.build(given).load()
        given.desk.return_model()
        return assistant


def study(
    plan: Plan,
    *,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda text: None,
    callbacks: Sequence[Callback] = (),
    command: str = "",
) -> Study:
    """Build, ask, measure, decide, and keep it all. ``command``: how a person asks for the same.

    A study that is done is found, unless a way failed: then those that failed are tried again.
    """
    if (done := finished(plan)) is not None:
        return Study(plan, done, read_record(done), True)
    judge = find_judge(plan)
    if judge is not None and _on_a_server(plan.settings):
        judge.try_out()
    exam, pricing = plan.exam, pricing_of(plan.workspace)
    spending = Spending(plan.folder / "spent.jsonl", pricing.prices, plan.budget)
    given = given_for(plan, progress=progress, say=say, callbacks=callbacks)
    entries = Race(given, exam, spending, _quick(plan.settings), pricing.fees).run(plan.candidates)
    if (before := find_study(plan, entries)) is not None:
        return Study(plan, before, read_record(before), True)
    samples = resample(entries, exam.asked, plan.settings.samples, given, spending)
    if judge is not None:
        replies = sum(len(entry.kept(exam.asked)) for entry in entries)
        judge.told = lambda graded: progress("Judging", graded, replies)
    measured = _thorough(plan, judge, plan.settings.measure)
    found = results(exam.asked, entries, measured, lambda done: progress("Measuring", done, len(entries)))
    undecided = _undecided(plan, judge)
    if undecided:
        found = results(exam.asked, entries, _thorough(plan, judge, QUALITY))  # grades there are, are kept
    found = [
        replace(one, scores=with_samples(one.scores, samples[one.name])) if one.name in samples else one
        for one in found
    ]
    if judge is not None and judge.failed:
        say(f"the judge was not asked any more: {judge.failed}")
    decision = None if undecided else decide(found, pricing.cost, seed=plan.settings.seed)
    kept = measure_abilities(entries, exam, given, plan.settings.data) if plan.settings.general else []
    about = {
        **_about(plan, command),
        "models": to_record(kept),
        "judge": _judged(plan, found, judge, undecided) if judge is not None and found else None,
    }
    values = numbers(record(exam, entries, found, decision, pricing, spending, about))
    return Study(plan, keep_study(plan, entries, values), values, False)


def given_for(plan: Plan, **shown: Any) -> Given:
    """What all ways of a study are given. ``shown``: ``progress``, ``say`` and ``callbacks``."""
    workspace, exam = plan.workspace, plan.exam
    return Given(
        desk=Desk(workspace),
        model=plan.models[0],
        settings={},
        training=exam.training,
        held=exam.held,
        roles=frozenset({"public", *plan.settings.roles}),
        folder=workspace.store.root / FOLDER / f"data-{exam.digest[:16]}",
        sampling=_sampling(workspace, plan.settings),
        **shown,
    )


def _sampling(workspace: Workspace, settings: StudySettings) -> Sampling:
    """How every way writes: as ``[answer]`` says, but for the length."""
    section = workspace.settings.answer
    return Sampling(
        temperature=section.temperature, top_k=section.top_k, top_p=section.top_p, min_p=section.min_p,
        repetition_penalty=section.repetition_penalty, max_tokens=settings.max_tokens, seed=section.seed,
    )  # fmt: skip


def _quick(settings: StudySettings) -> Callable[[Sequence[Question], Sequence[Kept]], float]:
    """The mean quality of some replies, for deciding who stays in the race."""

    def quality(questions: Sequence[Question], kept: Sequence[Kept]) -> float:
        there = {one.reply.question for one in kept}
        answered = [question for question in questions if key(question) in there]
        if not answered:
            return -math.inf
        by = settings.measure if settings.measure not in ("similarity", "judge") else QUALITY
        return float(score(answered, kept, by=by).values[QUALITY].mean())

    return quality


def _thorough(plan: Plan, judge: KeptJudge | None, by: str) -> Callable[[Sequence[Question], Sequence[Kept]], Scores]:
    """Everything that can be measured. ``by``: what ways are compared by."""
    embedder = plan.workspace.embedder
    entailment = find_entailment(plan)
    return lambda questions, kept: score(questions, kept, by=by, embedder=embedder, judge=judge, entailment=entailment)


def find_entailment(plan: Plan) -> Entailment | None:
    """The model that decides what is grounded, where the settings name one: an artifact, or a model's reference.

    Raises LavraError where there is none, or it is no cross-encoder with one label.
    """
    if plan.settings.entailment is None:
        return None
    from lavra.inference.classifier import Reranker
    from lavra.workspace.generators import find_generator

    return Reranker.load(find_generator(plan.workspace, plan.settings.entailment).model)


def find_judge(plan: Plan) -> KeptJudge | None:
    """Who grades, where somebody does: a model on this machine, or on a server. Loaded when it is asked."""
    settings, workspace = plan.settings, plan.workspace
    if settings.judge is None:
        return None
    from lavra.assistants.questions.endpoint import Endpoint
    from lavra.assistants.server import Options

    path = workspace.store.root / FOLDER / f"grades-{digest([settings.judge, settings.judge_model])[:16]}.jsonl"

    if _on_a_server(settings):
        options = Options("--judge", "--judge-model", "--judge-key-env")
        endpoint = Endpoint(settings.judge, settings.judge_model or "", key_env=settings.judge_key_env, options=options)
        name = f"{settings.judge} {settings.judge_model}"
        return KeptJudge(Judge(endpoint.write, counts=endpoint.counts), path, name)
    generator = find_generator(workspace, settings.judge)
    own = cache(lambda: judge_here(generator))
    return KeptJudge(
        Judge(lambda turns: "", weigh=lambda turns: own()(turns)), path, f"{settings.judge} {generator.model.sha256}"
    )  # fmt: skip


def _on_a_server(settings: StudySettings) -> bool:
    return (settings.judge or "").startswith(("http://", "https://"))


def _undecided(plan: Plan, judge: KeptJudge | None) -> bool:
    """Ways were to be compared by a judge who graded nothing, or not everything: then nothing is recommended."""
    return plan.settings.measure == JUDGE and judge is not None and (bool(judge.failed) or not judge.counts["grades"])


def _judged(plan: Plan, found: Sequence[Result], judge: KeptJudge, undecided: bool) -> dict[str, Any]:
    """What the report says of the judge. ``undecided``: ways could not be compared by it."""
    by = QUALITY if undecided else plan.settings.measure
    named = plan.settings.judge_model or plan.settings.judge
    return {**judged(found, judge, named, by), "undecided": undecided}


def _about(plan: Plan, command: str) -> dict[str, Any]:
    return {
        "name": plan.workspace.name,
        "made": utc_now(),
        "lavra": lavra.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "measure": plan.settings.measure,
        "recipe": plan.recipe,
        "command": command or command_of(plan.settings),
    }
