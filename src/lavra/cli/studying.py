"""``lavra study``: every way built from the same documents, measured on the same questions, one recommended."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lavra.cli.given import open_workspace, require_models
from lavra.cli.leaving import leave
from lavra.cli.making import require_base, say
from lavra.cli.options import command_of
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.workspace.settings import StudySection
    from lavra.workspace.studying.run import Plan, Study
    from lavra.workspace.studying.settings import StudySettings
    from lavra.workspace.workspace import Workspace


def _in(panel: str) -> Any:
    """``typer.Option`` in a panel of the help."""

    def option(*names: str, **given: Any) -> Any:
        return typer.Option(*names, rich_help_panel=panel, **given)

    return option


_asked = _in("What is asked")
_ways = _in("What is tried")
_bounds = _in("How far it goes")
_out = _in("What comes out")


@dataclass(frozen=True)
class StudyOptions:
    """One field an option; the help says what it is."""

    documents: Annotated[
        list[Path] | None, typer.Argument(help="Files and folders to ingest and index first; else what is there.")
    ] = None

    questions: Annotated[
        Path | None, _asked(help="Questions with answers and sources (JSONL, CSV, SQuAD, BEIR); else they are made.")
    ] = None
    tuning: Annotated[Path | None, _asked(help="Other questions, for the ways that learn.")] = None
    limit: Annotated[int | None, _asked(help="Ask so many at most.")] = None
    count: Annotated[int | None, _asked(help="Make so many at most where none are given; 200.")] = None
    role: Annotated[list[str] | None, _asked("--role", "-r", help="Ask as somebody with this role; repeat.")] = None

    ways: Annotated[
        str | None,
        _ways(
            help="Of prompt, few-shot, rag, tune, tune+rag, continue, pretrain, external; settings after a colon, as "
            "in rag:read=4."
        ),
    ] = None
    way: Annotated[list[str] | None, _ways(help="One more: file.py:function, or a TOML file; repeat.")] = None
    models: Annotated[str | None, _ways(help="Base models, by commas; the workspace's generator.")] = None
    endpoint: Annotated[str | None, _ways(help="The address of an OpenAI-compatible server, for external.")] = None
    endpoint_model: Annotated[str | None, _ways(help="The model to ask for there.")] = None
    key_env: Annotated[str | None, _ways(help="The environment variable that holds the server's key.")] = None
    max_tokens: Annotated[int | None, _ways(help="Longest answer, the same for all; 128.")] = None

    budget: Annotated[str | None, _bounds(help="15 min, 0.5 kWh or 3 EUR: halves the field until it is spent.")] = None
    measure: Annotated[
        str | None,
        _bounds(help="What ways are compared by: quality, token_f1, exact_match, rouge_l, chrf, similarity."),
    ] = None
    judge: Annotated[
        str | None, _bounds(help="A model that also grades each reply, or the address of a server that has one.")
    ] = None
    judge_model: Annotated[str | None, _bounds(help="The judge's model on that server.")] = None
    judge_key_env: Annotated[str | None, _bounds(help="The environment variable that holds its key.")] = None
    samples: Annotated[
        int, _bounds(min=0, help="Ask every way so many times more, to see whether it says the same.")
    ] = 0
    general: Annotated[
        bool | None,
        _bounds(
            "--general/--no-general",
            help="Measure what tuning left of each model: general ability, bias, what it learned by heart.",
        ),
    ] = None
    data: Annotated[
        Path | None, _bounds(help="The directory of lavra evaluate's data, to measure bias on CrowS-Pairs as well.")
    ] = None
    entailment: Annotated[
        str | None, _bounds(help="A reranker tuned on entailment, which then decides what is grounded.")
    ] = None
    seed: Annotated[int, _bounds(min=0)] = 0

    out: Annotated[Path | None, _out(help="Also write study.html and study.json into this folder.")] = None
    as_json: Annotated[bool, _out("--json", help="Print study.json instead.")] = False
    yes: Annotated[bool, _out("--yes", "-y", help="Do not ask before it begins.")] = False
    workspace: Annotated[Path | None, _out("--workspace", "-w", help="The workspace's directory.")] = None


def study(asked: StudyOptions) -> None:
    """Find out which way to take: build several, ask all of them the same questions, and recommend one.

    The same command again continues a study that was stopped, or finds what it found out.
    """
    from lavra.cli.console import progress
    from lavra.workspace.runs import Interrupted
    from lavra.workspace.studying.run import plan_study, settle
    from lavra.workspace.studying.run import study as run

    here = open_workspace(asked.workspace)
    settings = settings_of(asked, here.settings.study)
    _require_models(here, settings)
    settle(here, settings)  # a mistake is told before documents are read for an hour
    with progress() as report:
        if asked.documents:
            here.ingest(asked.documents, progress=report)
            here.index(progress=report)
        plan = plan_study(here, settings, progress=report)
    show_plan(plan)
    if not asked.yes and sys.stdin.isatty() and sys.stderr.isatty() and not typer.confirm("Begin?", default=True):
        raise LavraError("nothing was built.")
    try:
        with progress() as report:
            done = run(plan, progress=report, say=say)
    except Interrupted as stopped:
        leave(f"lavra: {stopped}", 130)
    if asked.as_json:
        print(json.dumps(done.record, ensure_ascii=False, indent=1))
    else:
        show_study(done)
    if asked.out:
        _copy(done, asked.out)
    if all(way["state"] == "failed" for way in done.record["ways"]):
        raise LavraError("every way failed; the reasons stand above, and in the report.")


def settings_of(asked: StudyOptions, section: StudySection) -> StudySettings:
    """What was asked for; what no option says, ``[study]`` of lavra.toml does."""
    from lavra.workspace.studying.settings import StudySettings

    named = tuple(part.strip() for part in (asked.ways or "").split(",") if part.strip())
    own = tuple(asked.way or ())
    given = {name: getattr(asked, name) for name in _SAME}
    for name in ("count", "measure", "max_tokens", "general", "entailment"):
        value = getattr(asked, name)
        given[name] = getattr(section, name) if value is None else value
    return StudySettings(
        **given,
        ways=(*named, *own) or section.ways,
        models=tuple(part.strip() for part in (asked.models or "").split(",") if part.strip()),
        roles=("public", *(asked.role or ())),
    )


_SAME = (
    "questions", "tuning", "limit", "budget", "seed", "endpoint", "endpoint_model", "key_env", "judge", "judge_model",
    "judge_key_env", "samples", "data",
)  # fmt: skip
"""Options that are settings of the same name."""


def _require_models(here: Workspace, settings: StudySettings) -> None:
    """All of them on this machine before anything is built."""
    from lavra.training.ranks import Ranks

    require_models(here)
    for model in settings.models:
        require_base(here, model, Ranks())


def show_plan(plan: Plan) -> None:
    """What is going to be tried, and on what."""
    exam = plan.exam
    unanswerable = sum(not question.answerable for question in exam.asked)
    learned = f", {len(exam.training)} others to learn from" if exam.training else ""
    say(f"{len(exam.asked)} questions ({unanswerable} that nothing answers){learned}.")
    say("Ways, cheapest first: " + "; ".join(candidate.name for candidate in plan.candidates) + ".")


def show_study(done: Study) -> None:
    """The table, the decision, and where the report is."""
    from rich.table import Table

    from lavra.cli.console import out
    from lavra.workspace.studying.report.verdict import interval, judge_verdict, verdict

    table = Table(box=None, pad_edge=False)
    for name in ("way", "questions", "quality", "refusing", "seconds", ""):
        table.add_column(
            name, justify="left" if name in ("way", "") else "right", no_wrap=name != "way", overflow="fold"
        )
    ranked = sorted(done.record["ways"], key=lambda way: -(_mean(way) if way.get("measures") else -1))
    for way in ranked:
        measured = way.get("measures")
        figures = [interval(measured["quality"]), f"{measured['refusal']['mean']:.2f}"] if measured else ["–", "–"]
        seconds = f"{way['latency']['whole_p50']:.2f}" if way.get("latency") else "–"
        table.add_row(way["name"], str(way["answered"]), *figures, seconds, _state(way))
    out.print(table)
    for way in done.record["ways"]:
        if way["reason"]:
            print(f"{way['name']}: {_state(way)}: {way['reason']}")
    _show_abilities(done.record)
    if done.record["judge"]:
        print("\n" + judge_verdict(done.record["judge"])["en"])
    print("\n" + " ".join(verdict(done.record)["en"]))
    print(f"\nThe whole report: {done.page}{' (found out before)' if done.found else ''}")


def _show_abilities(record: Mapping[str, Any]) -> None:
    """What tuning left of each model, where it was measured."""
    from rich.table import Table

    from lavra.cli.console import out
    from lavra.workspace.studying.report.abilities import COLUMNS, ability_cells, measured_columns
    from lavra.workspace.studying.report.words import say as words

    if not (columns := measured_columns(record)):
        return
    table = Table(box=None, pad_edge=False)
    for name in ("model", *columns):
        table.add_column(words(COLUMNS[name])["en"] if name in COLUMNS else name, overflow="fold")
    for row in record["models"]:
        table.add_row(", ".join(row["ways"]) or row["id"], *ability_cells(row, columns))
    out.print()
    out.print(table)


def _mean(way: dict[str, Any]) -> float:
    return float(way["measures"]["quality"]["mean"])


def _state(way: dict[str, Any]) -> str:
    said = {"whole": "", "unbuilt": "not built", "cut": "cut off"}
    return said.get(way["state"], str(way["state"]))


def _copy(done: Study, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in (done.page, done.page.with_suffix(".json")):
        shutil.copyfile(file, folder / file.name)
    print(f"Written to {folder}.", file=sys.stderr)


def register(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    app.command()(cast(Any, command_of(StudyOptions, study)))
