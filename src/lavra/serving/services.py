"""What the server needs from the floor above: the workspace implements this protocol.

Every method that returns text of documents takes the caller's roles, so that nothing can be read past them. Methods
may block: the server calls them in worker threads. ``answer`` and ``add_document`` may be called at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lavra.assistants.events import Answering
from lavra.corpus.document import Document
from lavra.retrieval.passage import Passage

if TYPE_CHECKING:  # only names; the embedder brings torch with it
    import numpy as np


@dataclass(frozen=True, slots=True)
class Added:
    """A document that was read and can be found from now on."""

    document_id: str
    source: str
    title: str
    passages: int


class NotAdded(Protocol):
    """What could not be read, and why (``lavra.corpus``'s ``Skipped`` is one)."""

    @property
    def source(self) -> str: ...

    @property
    def reason(self) -> str: ...


class Embedding(Protocol):
    """The part of ``lavra.inference.embedder.Embedder`` that is served."""

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32, L2-normalised."""
        ...

    def queries(self, texts: Sequence[str]) -> np.ndarray: ...

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]: ...


class Services(Protocol):
    """A running workspace, as the server sees it."""

    @property
    def assistants(self) -> Mapping[str, Answering]:
        """By the name a client asks for; the first is the default. An assistant that has a ``sampling`` attribute is
        answered with these decoding settings where a request does not say otherwise."""
        ...

    @property
    def embedder(self) -> Embedding | None: ...

    def document(self, document_id: str, roles: frozenset[str]) -> Document | None:
        """The document, or None where it does not exist *or* may not be read with these roles."""
        ...

    def passage(self, chunk_id: str, roles: frozenset[str]) -> Passage | None: ...

    def add_document(self, filename: str, data: bytes, *, roles: frozenset[str]) -> Sequence[Added | NotAdded]:
        """Read a file into the running index; one result a document.

        ``filename`` is a bare, safe name. ``roles`` may read what was added; the file itself (its front matter) may
        narrow them, never widen them.
        """
        ...

    def status(self) -> Mapping[str, int]:
        """Counts for the page: ``documents``, ``passages``. No roles are asked: nothing but numbers."""
        ...

    def example_questions(self) -> Sequence[str]:
        """Questions for an empty page; everybody sees them, so they must come from public documents alone."""
        ...
