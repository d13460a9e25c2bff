"""Licence, owner, readers' roles and language of each file: who says what, and who is believed.

Strongest first: the flags of the ingest (`ReadSettings`); what the file says of itself (front matter, a record's
fields); the nearest ``lavra-sources.toml`` beside or above the file, up to the root::

    [[source]]
    path = "hr/**"            # relative to this file's folder; no slash: a name at any depth; default: everything
    licence = "CC-BY-4.0"     # an SPDX identifier where there is one
    owner = "Human Resources"
    roles = ["hr"]
    language = "pt"
    tdm_reservation = true    # the owner has opted out of training (false: has allowed it, whatever the file says)

Inside one file the last matching ``[[source]]`` that has a key gives it; a nearer file goes before a farther one, key
by key; last come the defaults of ``lavra.toml``. Two exceptions, because files are untrusted and roles are access:
**roles** that a flag, a sources file or a default gives are final, a document's own roles only count where nobody else
gave any (then everyone's access can only become narrower); and a sources file that cannot be understood stops the
ingest instead of being skipped.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lavra.corpus.document import PUBLIC
from lavra.corpus.parts import Parts
from lavra.corpus.settings import ReadSettings
from lavra.corpus.site_files import SiteFiles
from lavra.errors import LavraError

FILE_NAME = "lavra-sources.toml"
_FOLDERS = 10_000
"""Folders whose files are remembered."""


class Source(BaseModel):
    """One ``[[source]]`` table."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    path: str = "**"
    licence: str | None = Field(default=None, alias="license", min_length=1)
    owner: str | None = Field(default=None, min_length=1)
    roles: list[str] | None = Field(default=None, min_length=1)
    language: str | None = Field(default=None, pattern="^[a-z]{2,3}$")
    tdm_reservation: bool | None = None

    @field_validator("roles")
    @classmethod
    def _named(cls, roles: list[str] | None) -> list[str] | None:
        if roles is not None and not all(role.strip() for role in roles):
            raise ValueError("a role has no name")
        return roles

    @field_validator("path")
    @classmethod
    def _relative(cls, path: str) -> str:
        if path.startswith("/") or ".." in PurePosixPath(path).parts:
            raise ValueError("it must be relative to the folder of this file, without '..'")
        return path


class SourcesFile(BaseModel):
    """A whole ``lavra-sources.toml``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    source: list[Source] = []


@dataclass(frozen=True, slots=True)
class Facts:
    """What is settled about one document."""

    licence: str | None
    owner: str | None
    roles: tuple[str, ...]
    language: str | None
    tdm_reservation: bool | None = None
    site: Mapping[str, str] = field(default_factory=dict)
    """What the files of its site say of training, as metadata."""


class Sources:
    """The sources files of one root, each read once, when the first file below it is; None: there are none."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._files: dict[Path, list[tuple[re.Pattern[str], Source]]] = {}
        self._sites = SiteFiles(root)

    def facts(self, path: Path, parts: Parts, settings: ReadSettings) -> Facts:
        """Licence, owner, roles and language (None: detect it) of a document read from ``path`` below the root."""
        said = self._said(path)
        roles = settings.roles or said.get("roles") or settings.default_roles or parts.roles or (PUBLIC,)
        return Facts(
            licence=settings.licence or parts.licence or said.get("licence") or settings.default_licence,
            owner=settings.owner or parts.owner or said.get("owner") or settings.default_owner,
            roles=tuple(dict.fromkeys(roles)),
            language=settings.language or parts.language or said.get("language"),
            tdm_reservation=said.get("tdm_reservation"),
            site=self._sites.said(path),
        )

    def check(self, path: Path) -> None:
        """Raise `LavraError` if a sources file above ``path`` cannot be understood."""
        self._said(path)

    def _said(self, path: Path) -> dict:
        """The keys that sources files give to ``path``, the nearest file's first."""
        said: dict = {}
        folder = path.parent
        while self._root is not None and (folder == self._root or self._root in folder.parents):
            if folder not in self._files:
                if len(self._files) >= _FOLDERS:
                    self._files.clear()
                self._files[folder] = _load(folder / FILE_NAME)
            if entries := self._files[folder]:
                relative = unicodedata.normalize("NFC", path.relative_to(folder).as_posix())
                for pattern, source in reversed(entries):
                    if pattern.fullmatch(relative):
                        for key in ("licence", "owner", "roles", "language", "tdm_reservation"):
                            if said.get(key) is None:
                                said[key] = getattr(source, key)
            if folder == self._root:
                break
            folder = folder.parent
        return said


def _load(path: Path) -> list[tuple[re.Pattern[str], Source]]:
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise LavraError(
            f"{path} cannot be read ({error.strerror}): without it nobody knows who may read what"
        ) from None
    try:
        sources = SourcesFile.model_validate(tomllib.loads(content.decode("utf-8-sig")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LavraError(f"{path} is not valid TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        said = "there is no such key" if first["type"] == "extra_forbidden" else first["msg"]
        raise LavraError(f"{path}: {key}: {said}") from None
    return [(glob(source.path), source) for source in sources.source]


def glob(pattern: str) -> re.Pattern[str]:
    """A path pattern as a regular expression: ``*`` and ``?`` within a name, ``**`` across folders.

    A pattern without a slash matches a file's name, or a folder's with all below it, at any depth.
    """
    pattern = unicodedata.normalize("NFC", pattern).removeprefix("./").rstrip("/") or "**"
    anywhere = "" if "/" in pattern or pattern == "**" else "(?:.*/)?"
    pieces = []
    for piece in re.split(r"(\*\*/|\*\*|\*|\?)", pattern):
        pieces.append({"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(piece) or re.escape(piece))
    return re.compile(anywhere + "".join(pieces) + "(?:/.*)?", re.S)
