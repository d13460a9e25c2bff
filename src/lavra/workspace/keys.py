"""API keys in ``lavra.toml``: names, roles and hashes; the person's comments and order stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tomlkit

from lavra.errors import LavraError
from lavra.serving.access import make_key
from lavra.store.files import write_atomically
from lavra.workspace.settings import NAME
from lavra.workspace.workspace import Workspace


def add(workspace: Workspace, name: str, roles: Sequence[str], *, uploads: bool = True) -> str:
    """Make a key and keep its hash; the key itself is returned and nowhere else.

    Raises:
        LavraError: where the name is taken.
    """
    if any(key.name == name for key in workspace.settings.serve.keys):
        raise LavraError(f"there is a key {name!r} already: remove it first, or take another name.")
    key, record = make_key(name, roles, uploads=uploads)
    text, serve = _serve_table(workspace)
    entry = tomlkit.table()
    entry.add("name", record.name)
    entry.add("hash", record.hash)
    entry.add("roles", sorted(record.roles))
    if not uploads:
        entry.add("uploads", False)
    serve.setdefault("keys", tomlkit.aot()).append(entry)
    write_atomically(workspace.root / NAME, tomlkit.dumps(text).encode())
    return key


def remove(workspace: Workspace, name: str) -> None:
    """Take a key away.

    Raises:
        LavraError: where there is none of that name.
    """
    text, serve = _serve_table(workspace)
    keys = serve.get("keys", [])
    for position, entry in enumerate(keys):
        if entry["name"] == name:
            del keys[position]
            write_atomically(workspace.root / NAME, tomlkit.dumps(text).encode())
            return
    raise LavraError(f"there is no key {name!r}: `lavra keys list` shows them.")


def _serve_table(workspace: Workspace) -> tuple[tomlkit.TOMLDocument, Any]:
    text = tomlkit.parse((workspace.root / NAME).read_text(encoding="utf-8"))
    return text, text.setdefault("serve", tomlkit.table())
