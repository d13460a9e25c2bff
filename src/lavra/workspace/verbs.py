"""The verbs as functions of the workspace around the current directory: what ``import lavra`` offers.

import lavra

lavra.init()
lavra.ingest("contracts", licence="LicenseRef-internal", roles=["legal"])
lavra.index()
for event in lavra.ask("Quando vence o contrato?", roles=["legal"]):
    ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.workspace.workspace import Indexed, Ingested, Workspace

if TYPE_CHECKING:
    from lavra.assistants.events import Event
    from lavra.corpus.labels.checking import Checked
    from lavra.store import Trace
    from lavra.workspace.biasing import Measured as BiasMeasured
    from lavra.workspace.cleaning import Cleaned
    from lavra.workspace.evaluated import Evaluated
    from lavra.workspace.evaluating.run import Precision
    from lavra.workspace.examples.correcting import Corrected
    from lavra.workspace.examples.ingesting import Taken
    from lavra.workspace.forgetting import Receipt
    from lavra.workspace.prompts.improving import Improved
    from lavra.workspace.prompts.linting import Linted
    from lavra.workspace.questioning import Questions
    from lavra.workspace.studying.run import Study
    from lavra.workspace.tokenizing import Tokenized


def init(directory: str | Path = ".", *, name: str | None = None) -> Workspace:
    """Make a workspace, or open the one that is there."""
    return Workspace.init(Path(directory), name=name)


def ingest(*paths: str | Path, **flags: Any) -> Ingested:
    """Read files and folders into the corpus; see ``Workspace.ingest``."""
    return Workspace.find().ingest([Path(path) for path in paths], **flags)


def clean_corpus(
    corpus: str | None = None, *, name: str = "clean", against: Sequence[str] = (), **flags: Any
) -> Cleaned:
    """Make a corpus to train on, called ``name``, out of the workspace's (or another) corpus; the flags are the fields
    of ``lavra.corpus.cleaning.settings.Cleaning``."""
    from lavra.workspace.cleaning import clean, cleaning_settings

    here = Workspace.find()
    return clean(here, cleaning_settings(here, **flags), corpus=corpus, against=against, name=name)


def ingest_examples(
    *paths: str | Path, name: str = "examples", against: Sequence[str | Path] = (), **flags: Any
) -> Taken:
    """Take files of instructions, preferences or labelled texts in as one set, called ``name``; the flags are the
    fields of ``lavra.corpus.labels.settings.Taking``."""
    from lavra.workspace.examples import ingesting

    here = Workspace.find()
    settings = ingesting.taking_settings(here, **flags)
    return ingesting.ingest_examples(here, [Path(path) for path in paths], settings, against=against, name=name)


def check_examples(name: str = "examples", *, to: str | Path | None = None, **options: Any) -> Checked:
    """What is doubtful in a set of examples; the options are those of ``lavra.workspace.examples.checking``."""
    from lavra.workspace.examples import checking

    return checking.check_examples(Workspace.find(), name, to=None if to is None else Path(to), **options)


def correct_examples(name: str, decisions: str | Path, *, to: str | None = None) -> Corrected:
    """A set of another and of a person's decisions in the file of ``check_examples``, called ``to``."""
    from lavra.workspace.examples import correcting

    return correcting.correct_examples(Workspace.find(), name, Path(decisions), to=to)


def index(*, rebuild: bool = False) -> Indexed:
    """Bring the index up to date with the corpus."""
    return Workspace.find().index(rebuild=rebuild)


def ask(question: str, *, roles: Sequence[str] = ("public",), **options: Any) -> Iterator[Event]:
    """Answer a question from the documents, as a stream of events."""
    return Workspace.find().ask(question, roles=roles, **options)


def questions(**options: Any) -> Questions:
    """Make questions with answers and sources from the documents; the options are ``QuestionSettings``' fields, and
    ``writer``, ``held_out_from`` and ``roles`` of ``lavra.workspace.questioning.questions``."""
    from lavra.workspace import questioning

    names = {field.name for field in fields(questioning.QuestionSettings)}
    settings = questioning.QuestionSettings(**{name: options.pop(name) for name in names & options.keys()})
    return questioning.questions(Workspace.find(), settings, **options)


def study(**options: Any) -> Study:
    """Build several ways, ask all of them the same questions, recommend one; the options are ``StudySettings``' fields,
    and ``progress``, ``say`` and ``callbacks`` of ``lavra.workspace.studying.run.study``."""
    from lavra.workspace.studying import run
    from lavra.workspace.studying.settings import StudySettings

    names = {field.name for field in fields(StudySettings)}
    settings = StudySettings(**{name: options.pop(name) for name in names & options.keys()})
    return run.study(run.plan_study(Workspace.find(), settings), **options)


def evaluate(
    *tasks: str,
    model: str | None = None,
    data: str | Path | None = None,
    include: Sequence[str | Path] = (),
    precision: Precision | None = None,
    **options: Any,
) -> Evaluated:
    """Ask a model standard tasks; ``data`` is the directory of theirs. The options are the fields of ``Settings`` of
    ``lavra.evaluation.harness.running``."""
    from lavra.evaluation.harness.running import Settings
    from lavra.workspace.evaluating.run import plan, run

    where = None if data is None else Path(data)
    own = [Path(path) for path in include]
    return run(
        plan(Workspace.find(), model, tasks, where, include=own, settings=Settings(**options), precision=precision)
    )


def lint_prompts(*prompts: str, variables: Sequence[str] | None = None) -> Sequence[Linted]:
    """What is wrong with prompts, by name or file; by default those that the workspace uses. No model is asked."""
    from lavra.workspace.prompts import linting

    return linting.lint_prompts(Workspace.find(), prompts, variables=variables)


def improve_prompt(questions: str | Path, *, keep: bool = False, **options: Any) -> Improved:
    """Search for a better prompt on some of the questions and test it on others.

    The options are the fields of ``ImproveSettings`` of ``lavra.workspace.prompts.improving``, and the ``writer`` and
    ``progress`` of its ``improve``. ``keep``: write it into the workspace, and use it; raises LavraError where it does
    not gain.
    """
    from lavra.workspace.prompts import improving, keeping

    names = {field.name for field in fields(improving.ImproveSettings)}
    settings = improving.ImproveSettings(
        Path(questions), **{name: options.pop(name) for name in names & options.keys()}
    )
    found = improving.improve(Workspace.find(), settings, **options)
    if keep:
        keeping.keep(Workspace.find(), found)
    return found


def bias(
    model: str | None = None,
    *,
    data: str | Path | None = None,
    beside: str | None = None,
    self_debias: bool = False,
    **options: Any,
) -> Sequence[BiasMeasured]:
    """How often a model finds the stereotyping side likelier, and what debiasing changes, or another model ``beside``
    it; the options are the fields of ``Debiasing`` of ``lavra.inference.self_debias``."""
    from lavra.inference.self_debias import Debiasing
    from lavra.workspace.biasing import likelihoods_of, measure_bias
    from lavra.workspace.decoders import load

    how = Debiasing(**options) if self_debias else None
    where, here = None if data is None else Path(data), Workspace.find()
    other, kept_beside = (None, None) if beside is None else (load(here, beside), likelihoods_of(here, beside))
    kept = likelihoods_of(here, model)
    return measure_bias(load(here, model), data=where, how=how, beside=other, kept=kept, kept_beside=kept_beside)


def tokenize(texts: str | Path | None = None, *, model: str | None = None, name: str = "tokens") -> Tokenized:
    """Write token files of a corpus of the store or of documents at a path, by default of the workspace's corpus, with
    the tokenizer of ``model``."""
    from lavra.workspace.tokenizing import tokenize

    return tokenize(Workspace.find(), texts, model=model, name=name)


def memorisation(model: str | None = None, **options: Any) -> Evaluated:
    """Ask a model what it shows of traps, of texts, or of one document; the options are those of ``plan`` of
    ``lavra.workspace.memorisation.measuring``, paths as text too."""
    from lavra.workspace.memorisation.measuring import plan, run

    for name in {"register", "texts", "controls", "document"} & options.keys():
        options[name] = None if options[name] is None else Path(options[name])
    return run(plan(Workspace.find(), model, **options))


def serve(host: str | None = None, port: int | None = None, *, insecure: bool = False) -> None:
    """Serve the assistant until it is stopped; what is not given comes from ``[serve]`` of ``lavra.toml``."""
    from lavra.serving.serve import run
    from lavra.workspace.running import Running

    workspace = Workspace.find()
    run(Running(workspace), host, port, settings=workspace.settings.serve, insecure=insecure)


def trace(id: str) -> Trace:
    """The pedigree of an artifact."""
    return Workspace.find().store.trace(id)


def forget(document: str) -> Receipt:
    """Erase a document, and show that it is gone."""
    from lavra.workspace.forgetting import forget as erase

    return erase(Workspace.find(), document)
