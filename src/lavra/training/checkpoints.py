"""Checkpoints: directories that are there whole or not at all, and from which a run continues to the bit.

``step-00001000/`` holds ``state.json`` (loader, counters, hashes of the other files) and a safetensors file a rank
with its part of the float32 weights, AdamW's moments and its random state. Each tensor says which rows of the whole it
is, so that any number of ranks reads what any other number wrote. (``torch.distributed.checkpoint`` does the same, but
its metadata are pickled, and pickles are never opened here.)

A directory is written beside its place, forced to the disk and renamed. The last ``keep`` ones stay, and the best.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lavra.errors import LavraError
from lavra.store.files import hash_file, sync_directory, sync_file
from lavra.training.ranks import Ranks

_NAME = re.compile(r"step-(\d{8})")
_RNG = "random state"
Part = tuple[int, int, tuple[int, ...]]
"""First row, rows, and shape of the whole."""


@dataclass(frozen=True)
class Checkpoint:
    """One that is there whole."""

    path: Path
    step: int


class Checkpoints:
    """Those below ``directory``."""

    def __init__(self, directory: Path, *, keep: int, ranks: Ranks) -> None:
        self.directory, self.keep, self.ranks = directory, keep, ranks

    def all(self) -> list[Checkpoint]:
        """The oldest first."""
        if not self.directory.is_dir():
            return []
        found = [(path, _NAME.fullmatch(path.name)) for path in self.directory.iterdir()]
        return sorted(
            (Checkpoint(path, int(name[1])) for path, name in found if name and (path / "state.json").is_file()),
            key=lambda one: one.step,
        )

    def save(
        self,
        step: int,
        state: Mapping[str, Any],
        tensors: Mapping[str, Mapping[str, Tensor]],
        parts: Mapping[str, Part],
        *,
        best: int | None = None,
        random: Tensor | None = None,
    ) -> Checkpoint:
        """Write one; then delete those that the policy does not keep (``best`` is a step whose checkpoint stays).

        ``tensors``: by kind, then by name; ``parts``: what of each name this rank has. All ranks call it. Raises
        OSError, leaving all others as they were, when the disk does not take it.
        """
        place = self.directory / f"step-{step:08}"
        beside = self.directory / f".{place.name}.partial"
        try:
            self._write(beside, place, state, tensors, parts, random)
        except BaseException:
            if self.ranks.first:
                shutil.rmtree(beside, ignore_errors=True)
            raise
        if self.ranks.first:
            self._prune(best)
        return Checkpoint(place, step)

    def _write(
        self,
        beside: Path,
        place: Path,
        state: Mapping[str, Any],
        tensors: Mapping[str, Mapping[str, Tensor]],
        parts: Mapping[str, Part],
        random: Tensor | None,
    ) -> None:
        trouble: OSError | None = None
        if self.ranks.first:
            try:
                shutil.rmtree(beside, ignore_errors=True)
                beside.mkdir(parents=True)
            except OSError as error:
                trouble = error
        self._agree(trouble)
        file = beside / _shard(self.ranks.rank, self.ranks.count)
        try:
            _save_part(file, tensors, parts, random if random is not None else random_state())
        except (OSError, SafetensorError) as error:
            trouble = error if isinstance(error, OSError) else OSError(str(error))
        self._agree(trouble)
        if self.ranks.first:
            try:
                files = {path.name: hash_file(path) for path in sorted(beside.glob("*.safetensors"))}
                text = json.dumps({**state, "ranks": self.ranks.count, "files": files}, indent=1)
                (beside / "state.json").write_text(text, "utf-8")
                sync_file(beside / "state.json")
                sync_directory(beside)
                old = place.with_name(f".{place.name}.old")
                if place.exists():  # written again after a rewind
                    os.replace(place, old)
                os.replace(beside, place)
                sync_directory(self.directory)
                shutil.rmtree(old, ignore_errors=True)
            except OSError as error:
                trouble = error
        self._agree(trouble)

    def _agree(self, trouble: OSError | None) -> None:
        """All ranks fail if one does."""
        if self.ranks.any(trouble is not None):
            raise trouble or OSError("another rank could not write its part")

    def _prune(self, best: int | None) -> None:
        found = self.all()
        for checkpoint in found[: -self.keep]:
            if checkpoint.step != best:
                shutil.rmtree(checkpoint.path, ignore_errors=True)
        for leftover in self.directory.glob(".step-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def latest(self) -> tuple[Checkpoint, dict[str, Any]] | None:
        """The newest whole checkpoint and its state; None where there is none. A damaged one is passed over."""
        self._recover()
        for checkpoint in reversed(self.all()):
            state = self.read_state(checkpoint)
            if state is not None:
                return checkpoint, state
        return None

    def _recover(self) -> None:
        """A kill between the two renames of one that was written again leaves it beside its place."""
        if self.ranks.first and self.directory.is_dir():
            for old in self.directory.glob(".step-*.old"):
                place = self.directory / old.name.removeprefix(".").removesuffix(".old")
                if not place.exists():
                    os.replace(old, place)
        self.ranks.wait()

    def read_state(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        """Its state; None if a file of it was changed or lost since it was written."""
        try:
            state: dict[str, Any] = json.loads((checkpoint.path / "state.json").read_text("utf-8"))
            whole = all(hash_file(checkpoint.path / name) == digest for name, digest in state["files"].items())
            return state if whole and state["files"] else None
        except (OSError, ValueError, KeyError, AttributeError):
            return None

    def load(
        self, checkpoint: Checkpoint, wanted: Mapping[str, Mapping[str, Part]]
    ) -> tuple[dict[str, dict[str, Tensor]], Tensor | None]:
        """The rows that are ``wanted``, by kind and name, whoever wrote them, and the random state of this rank (the
        first one's where there were fewer). Kinds that it does not have are left out.

        Raises LavraError when it was written by another model.
        """
        with ExitStack() as stack:
            files = [
                stack.enter_context(safe_open(path, "pt")) for path in sorted(checkpoint.path.glob("*.safetensors"))
            ]
            pieces: dict[str, list[tuple[int, int, list[int], Any]]] = {}
            for file in files:
                for key, (start, rows, shape) in json.loads(file.metadata()["parts"]).items():
                    pieces.setdefault(key, []).append((start, rows, shape, file))
            found: dict[str, dict[str, Tensor]] = {}
            for kind, names in wanted.items():
                found[kind] = {}
                for name, part in names.items():
                    key = f"{kind}/{name}"
                    if key in pieces:
                        found[kind][name] = _gather(key, part, pieces[key], checkpoint)
                    elif kind == "weights":
                        raise LavraError(f"{checkpoint.path} is of another model: it has no weights {name}")
            own = files[self.ranks.rank if self.ranks.rank < len(files) else 0]
            return found, own.get_tensor(_RNG) if _RNG in own.keys() else None  # noqa: SIM118


def _shard(rank: int, count: int) -> str:
    return f"part-{rank:05}-of-{count:05}.safetensors"


def _save_part(
    path: Path, tensors: Mapping[str, Mapping[str, Tensor]], parts: Mapping[str, Part], random: Tensor
) -> None:
    held: dict[str, Tensor] = {}
    described: dict[str, Part] = {}
    for kind, name, tensor in _flat(tensors):
        if tensor.numel():
            held[f"{kind}/{name}"] = tensor.detach().cpu().contiguous()
            described[f"{kind}/{name}"] = parts[name]
    held[_RNG] = random
    save_file(held, path, metadata={"parts": json.dumps(described)})
    sync_file(path)


def _flat(tensors: Mapping[str, Mapping[str, Tensor]]) -> Iterator[tuple[str, str, Tensor]]:
    for kind, named in tensors.items():
        for name, tensor in named.items():
            yield kind, name, tensor


def _gather(key: str, part: Part, pieces: list[tuple[int, int, list[int], Any]], checkpoint: Checkpoint) -> Tensor:
    """Rows ``part`` of a tensor that lies in ``pieces``."""
    first, rows, shape = part
    if tuple(pieces[0][2]) != tuple(shape):
        raise LavraError(
            f"{checkpoint.path} is of another model: {key} is {tuple(pieces[0][2])} there and {tuple(shape)} here"
        )
    if not shape:
        whole: Tensor = pieces[0][3].get_tensor(key)
        return whole
    found: list[Tensor] = []
    for start, count, _, file in sorted(pieces, key=lambda piece: piece[0]):
        begin, end = max(first, start), min(first + rows, start + count)
        if begin < end:
            found.append(file.get_slice(key)[begin - start : end - start])
    tensor = torch.cat(found) if len(found) != 1 else found[0]
    if len(tensor) != rows:
        raise LavraError(f"{checkpoint.path} lacks rows of {key}; continue from another checkpoint")
    return tensor


def random_state() -> Tensor:
    """PyTorch's generators' state on this process: the CPU's, then the current GPU's."""
    state = torch.get_rng_state()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state = torch.cat((state, torch.cuda.get_rng_state()))
    return state


def restore_random_state(state: Tensor) -> None:
    """Set what :func:`random_state` gave."""
    size = len(torch.get_rng_state())
    torch.set_rng_state(state[:size].clone())
    if len(state) > size and torch.cuda.is_available():
        torch.cuda.set_rng_state(state[size:].clone())
