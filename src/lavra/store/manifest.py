"""The manifest: what an artifact is, what it was made from, and how.

It lies in the artifact's directory as ``manifest.json``, so that files carry their own pedigree. The id is a hash of
what the artifact *is* (kind, inputs, recipe, files); when and at what cost it was made stand in the manifest but not
in the id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lavra.errors import LavraError
from lavra.store.energy import Cost
from lavra.store.files import digest

ID = re.compile(r"[a-z]+-[0-9a-f]{16}")
KINDS = (
    "corpus", "tokens", "model", "adapter", "index", "prompt", "assistant", "questions", "examples", "evaluation",
    "study", "release",
)  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """``inputs`` maps a role ("corpus", "model" …) to an artifact's id; ``files`` maps relative paths to SHA-256."""

    kind: str
    inputs: Mapping[str, str]
    recipe: Mapping[str, Any]
    files: Mapping[str, str]
    licences: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    made: str = ""
    """When, ISO 8601, UTC."""
    cost: Cost = field(default_factory=lambda: Cost(0.0, 0.0))
    erased: Mapping[str, Any] | None = None
    """Set where a person's right to erasure removed the files: when, and which documents. The rest stays for trace."""

    @property
    def id(self) -> str:
        """``corpus-0123456789abcdef``."""
        return f"{self.kind}-{digest([self.kind, self.inputs, self.recipe, self.files])[:16]}"

    @property
    def recipe_hash(self) -> str:
        """Same inputs and recipe, same hash: how something made already is found."""
        return recipe_hash(self.kind, self.inputs, self.recipe)

    def to_json(self) -> dict[str, Any]:
        """As ``manifest.json`` holds it; ``id`` is written for people and checked on reading."""
        values = {"id": self.id, **asdict(self), "licences": list(self.licences)}
        if self.erased is None:
            del values["erased"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> Manifest:
        """Raises ``LavraError`` for a manifest that contradicts its own id."""
        try:
            fields = {key: value for key, value in values.items() if key != "id"}
            manifest = cls(**{**fields, "licences": tuple(fields.get("licences", ())), "cost": Cost(**fields["cost"])})
            named = values["id"]
        except (TypeError, KeyError) as error:
            raise LavraError(f"{where} is not a manifest ({error}); restore it from a backup.") from error
        if manifest.id != named:
            raise LavraError(f"{where} was changed after it was made: it says {named} but amounts to {manifest.id}.")
        return manifest


def recipe_hash(kind: str, inputs: Mapping[str, str], recipe: Mapping[str, Any]) -> str:
    """SHA-256 over what determines an artifact before it is made."""
    return digest([kind, inputs, recipe])
