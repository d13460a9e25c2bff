"""Who is calling, and what they may see: API keys and their roles.

A key that Lavra makes has 256 random bits, for which one SHA-256 is as good as any slow hash; a key that a person
chose can be kept as scrypt (N=2^14, r=8, p=1) instead. Every record is compared in constant time and none ends the
search early.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fastapi import Request

from lavra.corpus.document import PUBLIC
from lavra.serving.errors import ApiError
from lavra.serving.settings import KeySettings, ServeSettings


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    name: str
    roles: frozenset[str]
    """Always with ``public``, which everybody has."""
    may_upload: bool

    @property
    def upload_roles(self) -> frozenset[str]:
        """Who may read what this caller adds: their own groups, and everybody only where they have no group."""
        return (self.roles - {PUBLIC}) or frozenset({PUBLIC})


def make_key(name: str, roles: Sequence[str] = (PUBLIC,), *, uploads: bool = True) -> tuple[str, KeySettings]:
    """A new key, to be shown once, and the record to keep."""
    key = f"lavra-{secrets.token_urlsafe(32)}"
    return key, KeySettings(name=name, hash=hash_key(key), roles=frozenset(roles), uploads=uploads)


def hash_key(key: str, *, slow: bool = False) -> str:
    """``sha256:<hex>``; ``slow`` for a key that a person chose: ``scrypt:<salt>:<hex>``."""
    if not slow:
        return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    salt = secrets.token_bytes(16)
    return f"scrypt:{salt.hex()}:{_scrypt(key, salt.hex())}"


@lru_cache(maxsize=256)
def _scrypt(key: str, salt: str) -> str:
    """About 50 ms of work, so a known key is worked out once and then remembered."""
    return hashlib.scrypt(key.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=32).hex()


def _matches(key: str, record: KeySettings) -> bool:
    algorithm, _, rest = record.hash.partition(":")
    if algorithm == "sha256":
        return hmac.compare_digest(hashlib.sha256(key.encode()).hexdigest(), rest)
    salt, _, digest = rest.partition(":")
    return hmac.compare_digest(_scrypt(key, salt), digest)


def identify(authorization: str | None, settings: ServeSettings) -> Caller:
    """The caller behind an ``Authorization`` header. Raises ``ApiError`` 401 where a key is wanted and not good."""
    if not settings.keys:
        return Caller("anyone", settings.roles | {PUBLIC}, settings.uploads)
    scheme, _, key = (authorization or "").partition(" ")
    key = key.strip()
    # 256 characters: nobody's key is longer, and hashing is not for strangers to order by the megabyte.
    if scheme.lower() == "bearer" and 0 < len(key) <= 256:
        found = [record for record in settings.keys if _matches(key, record)]
        if found:
            record = found[0]
            return Caller(record.name, record.roles | {PUBLIC}, settings.uploads and record.uploads)
        problem = "This API key is not known to this server."
    else:
        problem = "This server wants an API key: send it as 'Authorization: Bearer KEY'."
    raise ApiError(problem, status=401, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def caller_of(request: Request) -> Caller:
    """The caller, as the guard found them (a FastAPI dependency)."""
    caller = request.scope["lavra.caller"]
    assert isinstance(caller, Caller)
    return caller
