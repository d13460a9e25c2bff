"""The store: making, finding, naming, tracing and removing artifacts.

Layout below the root (``.lavra`` in a workspace)::

    artifacts/<kind>-<hash>/   manifest.json and the artifact's files; never changed once there
    drafts/<pid>-<random>/     what is being made; renamed into artifacts/ when whole
    refs/<name>                the id that a name stands for now ("corpus", "index" …): the roots of garbage collection
    ledger.jsonl               what happened

Recipes are looked up by reading manifests, not by an index beside them: with one truth there is nothing to repair.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from lavra.errors import LavraError
from lavra.store.code import code_version
from lavra.store.energy import Meter
from lavra.store.files import hash_file, sync_directory, sync_file, tree_size, write_atomically
from lavra.store.ledger import Ledger, utc_now
from lavra.store.manifest import ID, KINDS, Manifest, recipe_hash

_REF = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
YOUNG = 600.0
"""Seconds that garbage collection leaves a new artifact alone: its maker may be about to name it."""


@dataclass(frozen=True)
class Artifact:
    """A directory of the store and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def id(self) -> str:
        return self.path.name


@dataclass
class Draft:
    """An artifact being made: write files under ``path``, and say what was measured."""

    path: Path
    metrics: dict[str, Any] = field(default_factory=dict)
    licences: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trace:
    """A node of the pedigree: an artifact, the role it plays for the one above, and what it was made from."""

    role: str
    id: str
    manifest: Manifest | None
    """``None`` where the artifact is no longer in the store."""
    inputs: tuple[Trace, ...] = ()


@dataclass(frozen=True)
class Garbage:
    """What nothing needs: artifacts and abandoned drafts, and the bytes they take."""

    paths: tuple[Path, ...]
    bytes: int
    young: tuple[str, ...] = ()
    """Artifacts that nothing needs yet but that were made too recently to be called abandoned."""


class Store:
    """The store at ``root``, made if it is not there. Any number of processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifacts = root / "artifacts"
        self.drafts = root / "drafts"
        self.refs = root / "refs"
        for directory in (self.artifacts, self.drafts, self.refs):
            directory.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(root / "ledger.jsonl")

    # ── making ───────────────────────────────────────────────────────────────────────────────────────────────

    def make(
        self,
        kind: str,
        inputs: Mapping[str, str],
        recipe: Mapping[str, Any],
        build: Callable[[Draft], None],
    ) -> Artifact:
        """The artifact of this recipe: found if it was made before, else made by ``build`` and put in place whole.

        ``recipe`` is plain JSON and holds everything that determines the result besides the inputs. Another process
        that wants the same one waits and then finds it. If ``build`` raises, nothing remains.
        """
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of artifact; the kinds are {', '.join(KINDS)}")
        key = recipe_hash(kind, inputs, recipe)
        with FileLock(self.drafts / f"{key[:16]}.lock"):
            found = self.find(kind, inputs, recipe)
            if found:
                return found
            draft = Draft(self.drafts / f"{os.getpid()}-{uuid.uuid4().hex[:12]}")
            draft.path.mkdir()
            try:
                meter = Meter()
                build(draft)
                manifest = Manifest(
                    kind=kind,
                    inputs=dict(inputs),
                    recipe=json.loads(json.dumps(recipe)),
                    files=_hash_tree(draft.path),
                    licences=tuple(sorted(set(draft.licences))),
                    metrics=draft.metrics,
                    code=code_version(),
                    made=utc_now(),
                    cost=meter.read(),
                )
                return self._publish(draft.path, manifest)
            finally:
                shutil.rmtree(draft.path, ignore_errors=True)

    def _publish(self, draft: Path, manifest: Manifest) -> Artifact:
        place = self.artifacts / manifest.id
        write_atomically(draft / "manifest.json", _pretty(manifest.to_json()))
        for directory in {path.parent for path in draft.rglob("*")}:
            sync_directory(directory)
        self.ledger.append("make", id=manifest.id, inputs=dict(manifest.inputs), recipe=manifest.recipe_hash)
        try:
            draft.rename(place)
        except OSError:
            if not (place / "manifest.json").exists():
                raise
            return self.get(manifest.id)  # the same content by another recipe's lock: theirs serves as well
        sync_directory(self.artifacts)
        return Artifact(place, manifest)

    # ── finding ──────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, id: str) -> Artifact:
        """The artifact with this id, or with this unambiguous beginning of one, or with this ref's name.

        Raises:
            LavraError: for an id that is not here or that several begin with.
        """
        if _REF.fullmatch(id) and (named := self.ref(id)):
            id = named
        path = self.artifacts / id
        if not (ID.fullmatch(id) and path.is_dir()):
            matches = [entry for entry in self.artifacts.iterdir() if _begins(entry.name, id)] if id else []
            if len(matches) != 1:
                what = "no artifact" if not matches else f"{len(matches)} artifacts"
                raise LavraError(
                    f"{what} in {self.root} {'is' if not matches else 'are'} called {id!r}; "
                    "`lavra trace` without a name lists them all.",
                    status=404,
                )
            path = matches[0]
        where = path / "manifest.json"
        try:
            values = json.loads(where.read_bytes())
        except (OSError, ValueError) as error:
            raise LavraError(f"{where} cannot be read ({error}); restore it from a backup.") from error
        return Artifact(path, Manifest.from_json(values, str(where)))

    def find(self, kind: str, inputs: Mapping[str, str], recipe: Mapping[str, Any]) -> Artifact | None:
        """The newest artifact made from these inputs by this recipe, unless it was erased."""
        key = recipe_hash(kind, inputs, recipe)
        made = [
            artifact
            for artifact in self.list(kind)
            if artifact.manifest.recipe_hash == key and artifact.manifest.erased is None
        ]
        return max(made, key=lambda artifact: artifact.manifest.made, default=None)

    def list(self, kind: str | None = None) -> Sequence[Artifact]:
        """All artifacts (of one kind), oldest first."""
        pattern = f"{kind}-*" if kind else "*"
        found = []
        for path in self.artifacts.glob(pattern):
            if ID.fullmatch(path.name):
                try:
                    found.append(self.get(path.name))
                except LavraError:
                    if path.is_dir():  # else another process removed it between the listing and the reading
                        raise
        return sorted(found, key=lambda artifact: (artifact.manifest.made, artifact.id))

    # ── naming ───────────────────────────────────────────────────────────────────────────────────────────────

    def ref(self, name: str) -> str | None:
        """The id that ``name`` stands for now; None for what is no name, such as a path."""
        if not _REF.fullmatch(name):
            return None
        try:
            return (self.refs / name).read_text().strip() or None
        except OSError:
            return None

    def set_ref(self, name: str, id: str) -> None:
        """Let ``name`` stand for ``id`` from now on. Raises LavraError for what is no name."""
        if not _REF.fullmatch(name):
            raise LavraError(
                f"nothing can be called {name!r}: take small letters, digits, '-', '_' and '.', a letter first."
            )
        if self.ref(name) != id:
            self.ledger.append("name", name=name, id=id)
            write_atomically(self.refs / name, id.encode() + b"\n")

    # ── pedigree ─────────────────────────────────────────────────────────────────────────────────────────────

    def trace(self, id: str, role: str = "") -> Trace:
        """The pedigree of an artifact, down to the first inputs."""
        artifact = self.get(id)
        inputs = []
        for input_role, input_id in sorted(artifact.manifest.inputs.items()):
            if (self.artifacts / input_id).is_dir():
                inputs.append(self.trace(input_id, input_role))
            else:
                inputs.append(Trace(input_role, input_id, None))
        return Trace(role, artifact.id, artifact.manifest, tuple(inputs))

    def made_from(self, id: str) -> Sequence[Artifact]:
        """Every artifact that has ``id`` somewhere in its pedigree."""
        tainted, found = {id}, []
        for artifact in self._by_dependency():
            if tainted & set(artifact.manifest.inputs.values()):
                tainted.add(artifact.id)
                found.append(artifact)
        return found

    def _by_dependency(self) -> Iterator[Artifact]:
        """All artifacts, inputs before what was made from them."""
        waiting = {artifact.id: artifact for artifact in self.list()}
        while waiting:
            ready = [a for a in waiting.values() if not set(a.manifest.inputs.values()) & waiting.keys()]
            for artifact in ready:
                yield waiting.pop(artifact.id)

    # ── removing ─────────────────────────────────────────────────────────────────────────────────────────────

    def garbage(self) -> Garbage:
        """What no ref needs, directly or through inputs, and drafts whose makers are gone."""
        needed: set[str] = set()
        waiting = [id for path in self.refs.iterdir() if (id := self.ref(path.name))]
        while waiting:
            id = waiting.pop()
            if id not in needed and (self.artifacts / id).is_dir():
                needed.add(id)
                waiting.extend(self.get(id).manifest.inputs.values())
        paths, young = [], []
        for artifact in self.list():
            if artifact.id in needed:
                continue
            age = datetime.now(UTC) - datetime.fromisoformat(artifact.manifest.made)
            if age.total_seconds() < YOUNG:
                young.append(artifact.id)
            else:
                paths.append(artifact.path)
        paths += [draft for draft in self.drafts.iterdir() if draft.is_dir() and not _maker_lives(draft.name)]
        return Garbage(tuple(paths), sum(tree_size(path) for path in paths), tuple(young))

    def remove(self, paths: Sequence[Path]) -> None:
        """Remove artifacts or drafts; each is renamed away first, so that none is ever seen half removed."""
        for path in paths:
            if path.parent == self.artifacts:
                self.ledger.append("remove", id=path.name)
            aside = self.drafts / f"0-removed-{uuid.uuid4().hex[:8]}"
            path.rename(aside)
            shutil.rmtree(aside)

    def erase(self, id: str, **why: Any) -> None:
        """Remove an artifact's files but keep its manifest, so that what was made from it can still be traced."""
        artifact = self.get(id)
        self.ledger.append("erase", id=artifact.id, **why)
        manifest = replace(artifact.manifest, erased={"time": utc_now(), **why})
        write_atomically(artifact.path / "manifest.json", _pretty(manifest.to_json()))
        for entry in artifact.path.iterdir():
            if entry.name != "manifest.json":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    # ── checking ─────────────────────────────────────────────────────────────────────────────────────────────

    def verify(self) -> int:
        """The number of artifacts, after hashing every file and checking the ledger's chain.

        Raises:
            LavraError: naming the first file or line that is not what it was when it was made.
        """
        self.ledger.verify()
        recorded = {record["id"] for record in self.ledger if record["event"] == "make"}
        artifacts = self.list()
        for artifact in artifacts:
            if artifact.id not in recorded:
                raise LavraError(f"{artifact.path} is not in the ledger: it was put there by another hand.")
            if artifact.manifest.erased is None:
                present = _hash_tree(artifact.path)
                for name in sorted({*present, *artifact.manifest.files}):
                    if present.get(name) != artifact.manifest.files.get(name):
                        raise LavraError(f"{artifact.path / name} is not what it was when the artifact was made.")
        return len(artifacts)


def _hash_tree(root: Path) -> dict[str, str]:
    """Relative POSIX path to SHA-256 of every file but the manifest, forced to the disk on the way."""
    hashes = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name != "manifest.json":
            sync_file(path)
            hashes[name] = hash_file(path)
    return hashes


def _pretty(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _begins(name: str, given: str) -> bool:
    """Whether ``given`` is the beginning of an id or of its hash (at least four digits)."""
    return bool(ID.fullmatch(name)) and (
        name.startswith(given) or (len(given) >= 4 and name.split("-")[1].startswith(given))
    )


def _maker_lives(draft: str) -> bool:
    """Whether the process that a draft's name begins with is running on this machine."""
    try:
        pid = int(draft.split("-")[0])
        if pid <= 0:
            return False
        os.kill(pid, 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:  # it lives, under another user
        return True
    return True
