"""Artifacts on disk, content-addressed, each with its manifest; and the ledger that remembers them.

An artifact is a directory. It exists whole or not at all: it is written beside its place and renamed into it, so a
reader never sees half of one and a kill at any moment leaves the store valid. Nothing in this room knows what a
corpus or a model is.
"""

from lavra.store.energy import Cost
from lavra.store.ledger import Ledger
from lavra.store.manifest import Manifest
from lavra.store.store import Artifact, Draft, Garbage, Store, Trace

__all__ = ["Artifact", "Cost", "Draft", "Garbage", "Ledger", "Manifest", "Store", "Trace"]
