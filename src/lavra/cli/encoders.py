"""``lavra tune-embedder``, ``tune-reranker``, ``tune-classifier`` and ``classify``: models that read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from lavra.cli.given import DirectoryOption, open_workspace
from lavra.cli.leaving import leave
from lavra.cli.making import callbacks, check_trackers
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.training.callbacks import Callback
    from lavra.workspace.encoders.run import EncoderJob, Tell, Tuned
    from lavra.workspace.workspace import Workspace

LossName = Literal["multiple-negatives", "triplet", "cosent", "cosine", "contrastive", "online-contrastive"]

ModelOption = Annotated[str | None, typer.Option("--model", help="What is tuned; by default the workspace's embedder.")]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Times that every example is seen.")]
BatchOption = Annotated[int | None, typer.Option(min=2, help="Examples of a step.")]
RateOption = Annotated[float | None, typer.Option(help="The highest learning rate.")]
WindowOption = Annotated[int | None, typer.Option(min=8, help="Tokens of a text that are read while tuning.")]
RankOption = Annotated[int | None, typer.Option(min=0, help="Of a LoRA adapter, merged in the end; 0: all weights.")]
PatienceOption = Annotated[int | None, typer.Option(min=0, help="Evaluations without a better one before it stops.")]
SeedOption = Annotated[int | None, typer.Option(min=0)]
TrackOption = Annotated[
    list[str] | None, typer.Option(help="mlflow (if installed, by default), wandb, comet, tensorboard; none.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before training.")]
RolesOption = Annotated[
    list[str] | None, typer.Option("--role", "-r", help="Also learn from documents that this role may read.")
]
QuestionsOption = Annotated[
    Path | None, typer.Option(help="A JSONL file of questions with passage, or source and answer.")
]


def tune_embedder(
    pairs: Annotated[
        Path | None,
        typer.Argument(help="Pairs (.jsonl, .csv, .tsv, ASSIN's .xml); by default made of the documents."),
    ] = None,
    questions: QuestionsOption = None,
    loss: Annotated[
        LossName | None, typer.Option(help="By default cosent for graded pairs, else multiple-negatives.")
    ] = None,
    negatives: Annotated[int, typer.Option(min=0, help="Hard negatives mined for each pair.")] = 0,
    dimensions: Annotated[
        str | None, typer.Option(help="Lengths at which vectors may be cut later (Matryoshka): 384,192,96.")
    ] = None,
    model: ModelOption = None,
    epochs: EpochsOption = None,
    batch: BatchOption = None,
    learning_rate: RateOption = None,
    window: WindowOption = None,
    rank: RankOption = None,
    patience: PatienceOption = None,
    seed: SeedOption = None,
    role: RolesOption = None,
    track: TrackOption = None,
    yes: YesOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Tune an embedder, so that your documents' own words are found; measured on pairs that were held out."""
    from lavra.cli.console import progress
    from lavra.workspace.encoders.embedder import tune_embedder as run
    from lavra.workspace.encoders.settings import EMBEDDER

    here = open_workspace(workspace)
    settings = _settings(EMBEDDER, locals())
    try:
        lengths = [int(part) for part in (dimensions or "").split(",") if part.strip()]
    except ValueError as error:
        raise LavraError(f"--dimensions is {dimensions!r}; give whole numbers, such as 384,192,96") from error
    with _stoppable(), progress() as report:
        done = run(
            here, pairs=pairs, questions=questions, loss=loss, negatives=negatives, dimensions=lengths,
            settings=settings, roles=role or (), progress=report, tell=_telling(track, yes),
        )  # fmt: skip
    _show(done)
    print(f'Next: embedder = "{_beside(here, done.path)}" under [models] in lavra.toml, then lavra index --rebuild')


def tune_reranker(
    pairs: Annotated[Path | None, typer.Argument(help="As for tune-embedder.")] = None,
    questions: QuestionsOption = None,
    negatives: Annotated[int, typer.Option(min=1, help="Hard negatives mined for each pair.")] = 4,
    model: ModelOption = None,
    epochs: EpochsOption = None,
    batch: BatchOption = None,
    learning_rate: RateOption = None,
    window: WindowOption = None,
    rank: RankOption = None,
    patience: PatienceOption = None,
    seed: SeedOption = None,
    role: RolesOption = None,
    track: TrackOption = None,
    yes: YesOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Tune a cross-encoder that reads a question and a passage together and says how well they fit."""
    from lavra.cli.console import progress
    from lavra.workspace.encoders.reranker import tune_reranker as run
    from lavra.workspace.encoders.settings import RERANKER

    here = open_workspace(workspace)
    settings = _settings(RERANKER, locals())
    with _stoppable(), progress() as report:
        done = run(
            here, pairs=pairs, questions=questions, negatives=negatives, settings=settings, roles=role or (),
            progress=report, tell=_telling(track, yes),
        )  # fmt: skip
    _show(done)
    print(f'Next: reranker = "{done.artifact.id}" under [search] in lavra.toml, then lavra ask "…"')


def tune_classifier(
    data: Annotated[Path, typer.Argument(help="Texts and labels (.csv, .tsv, .jsonl).")],
    text: Annotated[str | None, typer.Option(help="The column of texts, where it has no usual name.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of labels.")] = None,
    many: Annotated[bool, typer.Option("--many", help="A text may have several labels, or none.")] = False,
    balanced: Annotated[bool, typer.Option("--balanced", help="Rare labels weigh as much as common ones.")] = False,
    label_smoothing: Annotated[float, typer.Option(min=0, max=0.99, help="Share of the target spread evenly.")] = 0.0,
    model: ModelOption = None,
    epochs: EpochsOption = None,
    batch: BatchOption = None,
    learning_rate: RateOption = None,
    window: WindowOption = None,
    rank: RankOption = None,
    patience: PatienceOption = None,
    seed: SeedOption = None,
    track: TrackOption = None,
    yes: YesOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Tune a classifier: sentiment, topic, quality …; measured, and calibrated, on texts that were held out."""
    from lavra.workspace.encoders.classes import classes_page
    from lavra.workspace.encoders.classifier import tune_classifier as run
    from lavra.workspace.encoders.settings import CLASSIFIER

    here = open_workspace(workspace)
    with _stoppable():
        done = run(
            here, data, text=text, label=label, many=many, balanced=balanced, label_smoothing=label_smoothing,
            settings=_settings(CLASSIFIER, locals()), tell=_telling(track, yes),
        )  # fmt: skip
    for note in done.notes:
        print(note)
    print(classes_page(done.report))
    print(f"In {done.artifact.id}: the model, classes.md and reliability.svg.")
    print(f'Next: lavra classify {done.artifact.id} "…"')


def classify(
    model: Annotated[str, typer.Argument(help="A classifier: an artifact's id, a path, or a model's reference.")],
    texts: Annotated[list[str], typer.Argument(help="Texts; - reads them from standard input, one a line.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines, for programs.")] = False,
    workspace: DirectoryOption = None,
) -> None:
    """Say which label each text has, and how sure that is."""
    from lavra.inference.classifier import Classifier

    classifier = Classifier.load(_model(model, workspace))
    given = [line for line in sys.stdin.read().splitlines() if line.strip()] if texts == ["-"] else texts
    found = classifier.probabilities(given)
    for text, row, labels in zip(given, found, classifier(given), strict=True):
        by_label = {name: float(value) for name, value in zip(classifier.labels, row, strict=True)}
        if as_json:
            rounded = {name: round(value, 4) for name, value in by_label.items()}
            print(json.dumps({"text": text, "labels": list(labels), "probabilities": rounded}, ensure_ascii=False))
        else:
            said = ", ".join(f"{name} {by_label[name]:.0%}" for name in labels) or "no label"
            print(f"{said}  {text}")


@contextmanager
def _stoppable() -> Iterator[None]:
    """A run that somebody stopped says how to continue, and ends."""
    from lavra.workspace.runs import Interrupted

    try:
        yield
    except Interrupted as stopped:
        leave(f"lavra: {stopped}", 130)


def _telling(track: Sequence[str] | None, yes: bool) -> Tell:
    """The terminal, and whoever else is told how a run goes."""
    from lavra.training.ranks import Ranks

    check_trackers(track)

    def tell(job: EncoderJob) -> Sequence[Callback]:
        return callbacks(job.run, job.recipe, track, yes, Ranks())

    return tell


def _model(name: str, directory: Path | None) -> str:
    """An artifact's id stands for the model in it."""
    if Path(name).exists() or not name.startswith("model-"):
        return name
    return str(open_workspace(directory).store.get(name).path / "model")


def _settings(default: Any, given: dict[str, Any]) -> Any:
    from dataclasses import fields, replace

    named = {field.name for field in fields(default)}
    return replace(default, **{name: given[name] for name in named & given.keys() if given[name] is not None})


def _beside(here: Workspace, path: Path) -> str:
    return path.relative_to(here.root).as_posix() if path.is_relative_to(here.root) else str(path)


def _show(done: Tuned) -> None:
    for note in done.notes:
        print(note)
    for name, value in done.after.items():
        print(f"{name:<10} {done.before[name]:.3f} → {value:.3f}")
    print(f"In {done.artifact.id}: model (sentence-transformers reads it too) and report.md.")


def register(app: typer.Typer) -> None:
    """Make them commands of ``app``."""
    for function in (tune_embedder, tune_reranker, tune_classifier, classify):
        app.command()(cast(Any, function))
