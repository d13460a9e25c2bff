"""``study``: every way built from the same documents, measured on the same questions, one recommended.

Nothing of it is lost by a kill: artifacts lie in the store, replies in files, and the same command goes on from there.
When all is answered, the record and its page become a ``study`` artifact with everything that it rests on as inputs.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lavra
from lavra.errors import LavraError
from lavra.evaluation.costs import Energy, Prices, carbon
from lavra.evaluation.items import Question
from lavra.evaluation.judging import Judge
from lavra.evaluation.measuring import Scores
from lavra.inference.sampling import Sampling
from lavra.store import Artifact, Draft
from lavra.store.files import digest
from lavra.store.ledger import utc_now
from lavra.store.manifest import recipe_hash
from lavra.workspace.runs import RUNS
from lavra.workspace.studying.budget import Budget, Spending, parse_budget
from lavra.workspace.studying.deciding import decide
from lavra.workspace.studying.desk import Desk
from lavra.workspace.studying.exam import Exam, make_exam
from lavra.workspace.studying.grid import Candidate, candidates
from lavra.workspace.studying.race import Entry, Race
from lavra.workspace.studying.replies import FOLDER, Kept, key
from lavra.workspace.studying.report.page import page
from lavra.workspace.studying.report.record import Pricing, record
from lavra.workspace.studying.scoring import QUALITY, Result, results, score
from lavra.workspace.studying.settings import StudySettings
from lavra.workspace.studying.way import Given
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.assistants.events import Answering
    from lavra.training.callbacks import Callback

PAGE, RECORD = "study.html", "study.json"


@dataclass(frozen=True)
class Study:
    """A study that is done. ``entries``: every candidate, with what became of it; ``record``: ``study.json``."""

    artifact: Artifact
    record: Mapping[str, Any]
    entries: Sequence[Entry]
    found: bool
    """True: the same had been found out before."""

    @property
    def page(self) -> Path:
        return self.artifact.path / PAGE

    @property
    def chosen(self) -> Entry | None:
        """The recommended way; None where none is."""
        decision = self.record["decision"]
        return decision and next(entry for entry in self.entries if entry.candidate.name == decision["chosen"])

    def assistant(self) -> Answering | None:
        """The recommended way, ready to answer."""
        chosen = self.chosen
        return chosen.built.load() if chosen is not None and chosen.built is not None else None


@dataclass(frozen=True)
class Plan:
    """A study, all of it decided and nothing of it done."""

    workspace: Workspace
    settings: StudySettings
    exam: Exam
    candidates: Sequence[Candidate]

    @property
    def inputs(self) -> dict[str, str]:
        """What it is about; the artifacts of the ways join them in the end."""
        found = {name: id for name in ("corpus", "index") if (id := self.workspace.store.ref(name))}
        return found | ({"questions": self.exam.artifact} if self.exam.artifact else {})

    @property
    def recipe(self) -> dict[str, Any]:
        return {
            **self.settings.recipe,
            "ways": [candidate.recipe for candidate in self.candidates],
            "exam": self.exam.digest,
        }

    @property
    def folder(self) -> Path:
        """Where the study keeps what it needs to continue."""
        return self.workspace.store.root / RUNS / f"study-{recipe_hash('study', self.inputs, self.recipe)[:16]}"


def plan_study(workspace: Workspace, settings: StudySettings, *, progress: Progress = silent) -> Plan:
    """Settle the ways and the questions.

    Raises:
        LavraError: for whatever is wrong with what was asked for, before anything is built.
    """
    models = settings.models or (workspace.settings.models.generator,)
    found = candidates(workspace, settings.ways, models, settings.external)
    _budget(workspace, settings)
    carbon(Energy(0.0, "estimated"), workspace.settings.prices.country)
    if any(candidate.way.reads for candidate in found):
        workspace.ready()
    exam = make_exam(
        workspace,
        questions=settings.questions,
        tuning=settings.tuning,
        learns=any(candidate.way.learns for candidate in found),
        limit=settings.limit,
        count=settings.count,
        roles=frozenset({"public", *settings.roles}),
        seed=settings.seed,
        progress=progress,
    )
    return Plan(workspace, settings, exam, found)


def study(
    plan: Plan,
    *,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda text: None,
    callbacks: Sequence[Callback] = (),
    command: str = "",
) -> Study:
    """Build, ask, measure, decide, and keep it all. ``command``: how a person asks for the same."""
    workspace, exam = plan.workspace, plan.exam
    spending = Spending(plan.folder / "spent.jsonl", _prices(workspace), _budget(workspace, plan.settings))
    given = Given(
        desk=Desk(workspace),
        model=(plan.settings.models or (workspace.settings.models.generator,))[0],
        settings={},
        training=exam.training,
        held=exam.held,
        roles=frozenset({"public", *plan.settings.roles}),
        folder=workspace.store.root / FOLDER / f"data-{exam.digest[:16]}",
        sampling=_sampling(workspace, plan.settings),
        progress=progress,
        say=say,
        callbacks=callbacks,
    )
    race = Race(
        given, exam, spending, _quick(plan.settings), _fees(workspace), workspace.store.root, progress, say
    )  # fmt: skip
    entries = race.run(plan.candidates)
    before = workspace.store.find("study", _inputs(plan, entries), _outcome(plan, entries))
    if before is not None:
        return Study(before, json.loads((before.path / RECORD).read_text("utf-8")), entries, True)
    progress("Measuring", 0, len(entries))
    judge = find_judge(workspace, plan.settings)
    found = results(exam.asked, entries, _thorough(plan, judge), lambda done: progress("Measuring", done, len(entries)))
    pricing = _pricing(workspace, _fees(workspace))
    decision = decide(found, pricing.cost, seed=plan.settings.seed)
    about = _about(plan, judge, command)
    values = _numbers(record(exam, entries, found, decision, pricing, spending, about))
    return Study(_keep(plan, entries, values), values, entries, False)


def _keep(plan: Plan, entries: Sequence[Entry], values: Mapping[str, Any]) -> Artifact:
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

    artifact = store.make("study", _inputs(plan, entries), _outcome(plan, entries), build)
    store.set_ref("study", artifact.id)
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


def _outcome(plan: Plan, entries: Sequence[Entry]) -> dict[str, Any]:
    """The recipe, and what came of it: a way that failed may do better another time, and that is another study."""
    came = [
        [
            entry.candidate.name,
            entry.state,
            entry.reason,
            [kept.reply.to_dict() for kept in entry.kept(plan.exam.asked)],
        ]
        for entry in entries
    ]
    return {**plan.recipe, "outcome": digest(came)}


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


def _thorough(plan: Plan, judge: Judge | None) -> Callable[[Sequence[Question], Sequence[Kept]], Scores]:
    """Everything that can be measured."""
    embedder = plan.workspace.embedder
    return lambda questions, kept: score(questions, kept, by=plan.settings.measure, embedder=embedder, judge=judge)


def find_judge(workspace: Workspace, settings: StudySettings) -> Judge | None:
    """Who grades, where somebody does: a model on this machine, or on a server."""
    if settings.judge is None:
        return None
    from lavra.assistants.questions.endpoint import Endpoint, OwnModel

    if settings.judge.startswith(("http://", "https://")):
        return Judge(Endpoint(settings.judge, settings.judge_model or "", key_env=settings.judge_key_env).write)
    return Judge(OwnModel(Desk(workspace).engine(settings.judge)).write)


def _prices(workspace: Workspace) -> Prices:
    section = workspace.settings.prices
    return Prices(section.currency, section.energy, section.machine, watts=section.watts)


def _budget(workspace: Workspace, settings: StudySettings) -> Budget | None:
    """Raises LavraError for one that cannot be counted."""
    if settings.budget is None:
        return None
    prices = workspace.settings.prices
    budget = parse_budget(settings.budget, prices.currency)
    if budget.unit == "money" and not _priced(workspace):
        raise LavraError("a budget of money needs prices: say them under [prices] of lavra.toml, or give minutes.")
    return budget


def _priced(workspace: Workspace) -> bool:
    prices = workspace.settings.prices
    return bool(prices.energy or prices.machine or prices.models)


def _fees(workspace: Workspace) -> Callable[[Candidate, Sequence[Kept]], float]:
    """What a server's model costs, by its tokens and the price table."""

    def fees(candidate: Candidate, kept: Sequence[Kept]) -> float:
        price = workspace.settings.prices.models.get(str(candidate.settings.get("model") or ""))
        if candidate.way.over_models or price is None:
            return 0.0
        tokens = [(one.reply.prompt_tokens, one.reply.completion_tokens) for one in kept]
        return sum(asked * price.input + written * price.output for asked, written in tokens) / 1e6

    return fees


def _pricing(workspace: Workspace, fees: Callable[[Candidate, Sequence[Kept]], float]) -> Pricing:
    def paid(result: Result) -> float:
        return fees(result.entry.candidate, result.kept)

    return Pricing(_prices(workspace), paid, workspace.settings.prices.country, _priced(workspace))


def _about(plan: Plan, judge: Judge | None, command: str) -> dict[str, Any]:
    named = plan.settings.judge_model or plan.settings.judge
    return {
        "name": plan.workspace.name,
        "made": utc_now(),
        "lavra": lavra.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "measure": plan.settings.measure,
        "judge": {"name": named, "counts": dict(judge.counts)} if judge is not None else None,
        "recipe": plan.recipe,
        "command": command or _command(plan.settings),
    }


def _command(settings: StudySettings) -> str:
    """How a person asks for the same on the command line."""
    words = ["lavra", "study"]
    plain = [way for way in settings.ways if not way.split(":")[0].endswith((".py", ".toml"))]
    words += ["--ways", ",".join(plain)] if plain else []
    for way in settings.ways:
        words += ["--way", way] if way not in plain else []
    words += ["--models", ",".join(settings.models)] if settings.models else []
    usual = StudySettings()
    for name in ("questions", "tuning", "limit", "count", "budget", "measure", "max_tokens", "endpoint",
                 "endpoint_model", "key_env", "judge", "judge_model", "judge_key_env", "seed"):  # fmt: skip
        value = getattr(settings, name)
        words += [f"--{name.replace('_', '-')}", str(value)] if value != getattr(usual, name) else []
    for role in settings.roles:
        words += ["--role", role] if role != "public" else []
    return shlex.join(words)


def _numbers(value: Any) -> Any:
    """The same in JSON's own terms: what is no number, or infinite, is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _numbers(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_numbers(each) for each in value]
    return value
