"""What a file says about itself: front matter and record fields under their usual names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lavra.corpus.parts import Parts, one_line

_NAMES = {
    "licence": ("licence", "license", "rights", "licença", "licencia"),
    "owner": ("owner", "author", "authors", "creator", "autor", "autores"),
    "language": ("language", "lang", "idioma", "língua"),
    "title": ("title", "título", "titulo"),
}
_CC = re.compile(r"creativecommons\.org/(?:licenses/([a-z-]+)/(\d\.\d)|publicdomain/zero/(\d\.\d))", re.I)


def claim(parts: Parts, fields: Mapping[str, Any]) -> None:
    """Fill the claims of ``parts`` from ``fields``; everything else that is short goes to its metadata."""
    lower = {str(key).strip().lower(): value for key, value in fields.items()}
    for wanted, names in _NAMES.items():
        value = next((lower.pop(n) for n in names if _text(lower.get(n))), None)
        if value is not None and (text := _text(value)):
            setattr(parts, wanted, spdx(text) if wanted == "licence" else text)
    if parts.language:
        code = parts.language.lower().replace("_", "-").split("-")[0]
        parts.language = code if re.fullmatch("[a-z]{2,3}", code) else None
    if "roles" in lower:
        parts.roles = as_roles(lower.pop("roles"))
    for key, value in lower.items():
        if isinstance(value, (str, int, float, bool)) and 0 < len(str(value)) <= 1000 and len(key) <= 100:
            name = key.replace("-", "_") if key in ("tdm-reservation", "tdm-policy") else one_line(key)
            parts.metadata.setdefault(name, one_line(str(value)))


def as_roles(value: Any) -> tuple[str, ...] | None:
    """Roles from a list or a comma-separated string; None where it names none."""
    found = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    names = (one_line(str(role)) for role in found if isinstance(role, (str, int)))
    return tuple(dict.fromkeys(filter(None, names))) or None


def spdx(licence: str) -> str:
    """The SPDX identifier of a Creative Commons address; anything else as it is."""
    if match := _CC.search(licence):
        kind, version, zero = match.groups()
        return f"CC0-{zero}" if zero else f"CC-{kind.upper()}-{version}"
    return licence[:200]


def _text(value: Any) -> str:
    """A scalar, or a flat list of scalars; deeper nesting is ignored (YAML aliases can make it endless)."""
    if isinstance(value, list):
        return ", ".join(one_line(str(item)) for item in value[:50] if isinstance(item, (str, int, float)))
    return one_line(str(value)) if isinstance(value, (str, int, float)) else ""
