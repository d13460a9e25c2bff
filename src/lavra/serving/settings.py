"""What can be set about the server: the ``[serve]`` table of ``lavra.toml``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from lavra.corpus.document import PUBLIC


class KeySettings(BaseModel):
    """One API key: who has it and what documents it may see. Only the hash is kept (``access.make_key``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    hash: str = Field(pattern=r"^(sha256:[0-9a-f]{64}|scrypt:[0-9a-f]{32}:[0-9a-f]{64})$")
    roles: frozenset[str] = frozenset({PUBLIC})
    uploads: bool = True
    """Whether its holder may add documents."""


class ServeSettings(BaseModel):
    """The server's settings; the defaults are for one person on one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    title: str = "Lavra"
    """The name on the page."""
    allowed_hosts: tuple[str, ...] = ()
    """More names by which browsers and clients may call this server, without port (``assistant.example.org``)."""
    roles: frozenset[str] = frozenset({PUBLIC})
    """The roles of everybody, as long as there are no keys."""
    keys: tuple[KeySettings, ...] = ()
    uploads: bool = True
    max_upload_bytes: int = Field(default=64 * 2**20, ge=1)
    max_request_bytes: int = Field(default=4 * 2**20, ge=1)
    """Of every request that is not an upload."""
    parallel: int = Field(default=1, ge=1)
    """Answers made at one time; the engine has a lock, so more than one only overlaps their searches."""
    queue: int = Field(default=16, ge=0)
    """Answers that may wait; the next one is refused with 429 and Retry-After."""
    keep_alive_seconds: float = Field(default=5.0, gt=0)
    """A comment goes down a waiting stream this often, so that no proxy closes it."""
    shutdown_seconds: int = Field(default=5, ge=0)
    """What answers in flight are given when the server stops."""
