"""``lavra tune``: from what is asked for to what was made. Its options are in ``tune_options.py``, what it shows in
``tune_shown.py``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from lavra.cli.given import open_workspace
from lavra.cli.leaving import leave
from lavra.cli.making import callbacks, check_name, check_place, check_trackers, export, require_base, say
from lavra.cli.options import command_of
from lavra.cli.processes import processes
from lavra.cli.tune_options import TuneOptions
from lavra.cli.tune_shown import show_data, show_examples, show_rates, show_shares, show_tuned
from lavra.cli.tune_tasks import require_writing, tune_task
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.training.ranks import Ranks
    from lavra.workspace.runs import Tuned
    from lavra.workspace.settings import TuneSection
    from lavra.workspace.tuning.run import Job
    from lavra.workspace.tuning.settings import Sources, TuneSettings
    from lavra.workspace.workspace import Workspace


def tune(asked: TuneOptions) -> None:
    """Tune a model on examples, documents, or both; measures what it gained and what it forgot.

    With --task classify it learns labels of texts instead (sentiment, topic ...), with --task embed or rerank pairs.
    The same command again continues a run that was stopped, or finds what it made.
    """

    if asked.task != "write":
        tune_task(asked)
        return
    require_writing(asked)
    here = open_workspace(asked.workspace)
    check_name(asked.name)
    check_place(asked.to)
    check_trackers(asked.track)
    sources, settings = _sources(asked), _settings(asked, here.settings.tune)
    with processes(asked.together, asked.distributed) as ranks:
        require_base(here, asked.model, ranks)
        job = _plan(here, asked, sources, settings, ranks)
        show_data(job.data)
        if asked.preview:
            show_examples(job)
        elif asked.find_rate:
            _find_rate(job, ranks)
        else:
            _make(here, asked, job, ranks)


def _sources(asked: TuneOptions) -> Sources:
    """What is learned from, and measured on."""
    from lavra.workspace.tuning.settings import Sources, parse_replay

    texts = asked.text or []
    return Sources(
        data=tuple(asked.data or ()),
        texts=tuple(Path(entry) for entry in texts if entry != "corpus"),
        corpus="corpus" in texts,
        roles=("public", *(asked.role or ())),
        replay=tuple(parse_replay(entry) for entry in asked.replay or ()),
        old=tuple(asked.old or ()),
        validation=_validation(asked.validation)[0],
        general=asked.general,
        tasks=asked.general_tasks,
        mixture=asked.mixture,
    )


def _settings(asked: TuneOptions, section: TuneSection) -> TuneSettings:
    """How it is learned; what no option says, lavra.toml does."""
    from lavra.workspace.tuning.settings import TuneSettings, parse_interpolate

    given = {name: getattr(asked, name) for name in _SAME}
    for name in ("kl", "ewc", "l2_sp", "forget_at_most", "patience"):
        value = getattr(asked, name)
        given[name] = getattr(section, name) if value is None else value
    targets = [part.strip() for part in (asked.targets or "").split(",")]
    return TuneSettings(
        **given,
        targets=tuple(part for part in targets if part),
        interpolate=parse_interpolate(section.interpolate if asked.interpolate is None else asked.interpolate),
        validation=_validation(asked.validation)[1],
    )


_SAME = (
    "method", "rank", "alpha", "storage", "virtual_tokens", "group", "epochs", "steps", "learning_rate",
    "batch_tokens", "micro_tokens", "context", "learn", "cut", "checkpointing", "seed", "teacher", "teach", "hard",
    "temperature", "answer_tokens", "evaluations",
)  # fmt: skip
"""Options that are settings of the same name."""


def _validation(given: str | None) -> tuple[Path | None, float]:
    """A file, or a share."""
    if given is None:
        return None, 0.05
    try:
        return None, float(given)
    except ValueError:
        return Path(given), 0.0


def _plan(here: Workspace, asked: TuneOptions, sources: Sources, settings: TuneSettings, ranks: Ranks) -> Job:
    """Everything read and decided. Of several processes the first one has the teacher write its answers."""
    from lavra.cli.console import progress
    from lavra.workspace.tuning.checks import Check
    from lavra.workspace.tuning.run import plan_job

    own = [str(here.root / reference) for reference in here.settings.tune.checks]
    checks = [Check.load(reference) for reference in [*own, *(asked.check or ())]]
    if not ranks.first:
        ranks.wait()
    with progress() as report:
        job = plan_job(
            here, sources, settings, model=asked.model, merge=asked.merge, checks=checks, progress=report
        )  # fmt: skip
    if ranks.first:
        ranks.wait()
    return job


def _find_rate(job: Job, ranks: Ranks) -> None:
    from lavra.workspace.tuning.tries import range_test

    if ranks.count > 1:
        raise LavraError("--find-rate is for one process: leave --processes away, the rate is the same.")
    show_rates(range_test(job))


def _make(here: Workspace, asked: TuneOptions, job: Job, ranks: Ranks) -> None:
    """Train, say what came of it, and what to do with it."""
    from lavra.workspace.runs import Interrupted

    try:
        done = _train(asked, job, ranks)
    except Interrupted as stopped:
        leave(f"lavra: {stopped}", 130)
    if asked.name and ranks.first:
        here.store.set_ref(asked.name, done.artifact.id)
    show_tuned(done)
    export(here, done, asked.to, ranks)
    called = asked.name or done.artifact.id
    print(f'Next: lavra ask "…" --adapter {called}, or lavra serve --adapter {called}; lavra trace {called}')


def _train(asked: TuneOptions, job: Job, ranks: Ranks) -> Tuned:
    """Once, or as often as is asked for; the run with the lowest held-out loss, of shares the whole."""
    from lavra.workspace.tuning.run import tune as train
    from lavra.workspace.tuning.tries import learning_curve, spread, with_seeds

    def one(job: Job) -> Tuned:
        told = callbacks(job.run, job.recipe, asked.track, asked.yes, ranks)
        return train(job, callbacks=told, say=say, ranks=ranks)

    if asked.learning_curve:
        shares = learning_curve(job, one)
        show_shares(shares)
        return shares[-1][1]
    runs = [one(each) for each in with_seeds(job, asked.seeds)]
    if asked.seeds > 1:
        print(f"\nOver {asked.seeds} seeds: {spread(runs)}")
    return min(runs, key=lambda run: (run.held_out != run.held_out, run.held_out))


def register(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    app.command()(cast(Any, command_of(TuneOptions, tune)))
