"""Who may read a chunk: role names as data, never as query text.

A role is whatever an organisation calls it: any length, any script, quotes and all. So role names never enter a
filter expression. Each is stored beside its chunk as a digest of 32 hexadecimal digits in the column ``access``
(with a label-list index over it), and a reader's filter is made of digests alone: there is nothing to escape.

The filter runs *inside* both searches (a prefilter). Filtering afterwards would starve a reader with few rights:
the best fifty of all are then mostly passages that they may not see.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable

from lavra.corpus.document import PUBLIC


def digest(role: str) -> str:
    """Thirty-two hexadecimal digits for a role; canonically equal Unicode spellings are one role."""
    canonical = unicodedata.normalize("NFC", role)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def readers(roles: Iterable[str]) -> list[str]:
    """The column ``access`` of a chunk whose document these roles may read; no role at all: nobody may."""
    return sorted({digest(role) for role in roles})


def readable_by(roles: Iterable[str]) -> str:
    """The filter for a reader with these roles, and with the one that everybody has.

    Raises:
        TypeError: a lone string, which would otherwise be taken for a collection of one-letter roles.
    """
    if isinstance(roles, str):
        raise TypeError("roles is a collection of names, not one name: write {'legal'}, not 'legal'")
    digests = ", ".join(f"'{name}'" for name in readers({PUBLIC, *roles}))
    return f"array_has_any(access, [{digests}])"
