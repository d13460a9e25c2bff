"""``examples ingest``: files of instructions, preferences or labelled texts into the store, with their account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.store import Artifact, Draft
from lavra.store.files import hash_file
from lavra.workspace.examples.naming import KIND, find_set
from lavra.workspace.workspace import Workspace

if TYPE_CHECKING:
    from lavra.corpus.labels.account import Account
    from lavra.corpus.labels.settings import Taking

READER = 1
"""Raised when the same files would make another set, so that nothing old is found in its place."""
NAME = "examples"
_POLICY = ("licences", "unlicensed", "personal_kinds", "personal_patterns", "similarity", "overlap")
"""What ``[corpus]`` says of documents, and means of examples too."""


@dataclass(frozen=True)
class Taken:
    """``found``: the same had been taken in before."""

    artifact: Artifact
    account: Account
    found: bool


def taking_settings(workspace: Workspace, **flags: Any) -> Taking:
    """The policy of ``[corpus]`` in ``lavra.toml``, with what flags say on top."""
    from lavra.corpus.labels.settings import Taking

    corpus, documents = workspace.settings.corpus, workspace.settings.documents
    values: dict[str, Any] = {name: getattr(corpus, name) for name in _POLICY}
    values |= {"languages": documents.languages, "licence": documents.licence}
    values |= {name: value for name, value in flags.items() if value is not None}
    return Taking(**values)


def ingest_examples(
    workspace: Workspace,
    paths: Sequence[Path],
    settings: Taking,
    *,
    against: Sequence[str | Path] = (),
    name: str = NAME,
) -> Taken:
    """Take ``paths`` in as one set, called ``name``.

    Rows that a test holds are left out: those ``against`` (sets by name, or files) and the evaluation sets of
    ``lavra.toml``. Raises LavraError for a file that cannot be read, or where nothing would stay.
    """
    from lavra.corpus.labels.account import load_account
    from lavra.corpus.labels.reading import names_of
    from lavra.corpus.labels.taking import take_in

    if not paths:
        raise LavraError("there is nothing to take in: give files of examples (.jsonl, .json, .csv, .parquet).")
    for path in paths:
        if not path.is_file():
            raise LavraError(f"{path} is no file: give files of examples (.jsonl, .json, .csv, .parquet).")
    tests, inputs, hashes = _tests(workspace, against)
    names = names_of(paths)
    recipe = {
        "made by": "examples ingest",
        "reader": READER,
        "files": [[names[path], hash_file(path)] for path in paths],
        "tests": hashes,
        "settings": {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(settings).items()
        },
    }
    made: list[Account] = []

    def build(draft: Draft) -> None:
        account = take_in(paths, draft.path, settings, tests=tests)
        draft.metrics.update(kind=account.kind, examples=account.kept, rows=account.rows, left_out=account.left_out)
        draft.licences.extend(licence for licence in account.licences if licence != "none stated")
        made.append(account)

    artifact = workspace.store.make(KIND, inputs, recipe, build)
    workspace.store.set_ref(name, artifact.id)
    return Taken(artifact, made[0] if made else load_account(artifact.path), not made)


def _tests(
    workspace: Workspace, against: Sequence[str | Path]
) -> tuple[dict[str, Path], dict[str, str], list[list[str]]]:
    """Where each test lies, by name; those that are artifacts; and hashes of those that are files."""
    sets: Mapping[str, str] = workspace.settings.corpus.evaluation_sets
    places = {name: _beside(workspace, Path(path)) for name, path in sets.items()}
    inputs: dict[str, str] = {}
    for given in against:
        path = Path(given)
        if path.exists():
            places[path.name] = path
        else:
            artifact = find_set(workspace, str(given))
            places[str(given)] = artifact.path
            inputs[f"against {given}"] = artifact.id
    hashes = []
    for name, path in sorted(places.items()):
        if not path.exists():
            raise LavraError(f"the evaluation set {path} does not exist: correct evaluation_sets in lavra.toml.")
        if path.is_file():
            hashes.append([name, hash_file(path)])
        elif f"against {name}" not in inputs:
            raise LavraError(f"{path} is a folder: give a file of test items, or a set of examples by name.")
    return places, inputs, hashes


def _beside(workspace: Workspace, path: Path) -> Path:
    return path if path.is_absolute() else workspace.root / path
