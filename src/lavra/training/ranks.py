"""The processes of one run: how they add up their sums, and how a model is spread over them.

``torchrun``, or ``--processes``, starts the processes and tells each its place in the environment. *ddp*: each has the
whole model, and the float32 sums of gradients are added once a step (Li et al. 2020, PyTorch Distributed, section 3.2,
no_sync). *fsdp*: weights, gradients and optimiser are spread over the ranks, and a block's weights are gathered while
it computes (Rajbhandari et al. 2019, ZeRO stage 3; PyTorch's ``fully_shard``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.training.settings import MEETING, Distributed

_PATIENCE = timedelta(hours=6)
"""One that evaluates or writes a large model keeps the others waiting; that one is gone is noticed at once."""
_store: dist.Store | None = None


def first_to_say() -> bool:
    """Whether this is the first process of the run that has something to say about its end. True once a run: all of
    them fail when one does, and only the first knows why."""
    if _store is None:
        return os.environ.get("RANK", "0") == "0"
    try:
        return _store.add("lavra: said", 1) == 1
    except RuntimeError:  # whoever kept the store is gone, and has said why
        return False


class Ranks:
    """This process among all; one alone where nobody said otherwise."""

    def __init__(self, mode: Distributed = "none") -> None:
        self.mode = mode
        self._opened = False
        self.rank, self.count = 0, 1
        if mode == "none":
            if int(os.environ.get("WORLD_SIZE", "1")) > 1:
                raise LavraError("this is one of several processes of torchrun; set distributed to ddp or fsdp")
            return
        if not dist.is_initialized():
            if "RANK" not in os.environ:
                raise LavraError(f"distributed {mode} needs processes: start with torchrun --nproc-per-node N")
            self._join()
        self.rank, self.count = dist.get_rank(), dist.get_world_size()

    def _join(self) -> None:
        global _store
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        place = (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
        _store, rank, count = next(dist.rendezvous(os.environ.get(MEETING, "env://"), *place, timeout=_PATIENCE))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=dist.PrefixStore("group", _store), rank=rank, world_size=count, timeout=_PATIENCE,
        )  # fmt: skip
        self._opened = True

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @property
    def averages(self) -> int:
        """What gradients were divided by before the loop sees them: ``fully_shard`` divides by the ranks."""
        return self.count if self.mode == "fsdp" else 1

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor becomes its sum over ranks, in place."""
        if self.count == 1:
            return
        works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
        for work in works:
            if work is not None:
                work.wait()

    def any(self, flag: bool) -> bool:
        """Whether it is true on any rank."""
        if self.count == 1:
            return flag
        found = torch.tensor(float(flag))
        self.add([found])
        return bool(found > 0)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor becomes the first rank's."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Until all are here."""
        self.any(False)

    def shard(self, whole: nn.Module, blocks: Iterable[nn.Module]) -> None:
        """Spread the parameters of ``whole`` over the ranks; each of ``blocks`` is gathered by itself, the rest for
        all of a pass."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        device = next(whole.parameters()).device.type
        mesh = init_device_mesh(device, (self.count,))
        for block in blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(whole, mesh=mesh, reshard_after_forward=False)

    def forget_whole(self, whole: nn.Module) -> None:
        """Let go of the gathered weights of what :meth:`shard` spread. A backward pass does that by itself; after a
        pass without one, the next would compute with what the weights were before an update."""
        if self.mode == "fsdp":
            whole.reshard()  # type: ignore[operator]

    def part(self, parameter: Any) -> tuple[int, int, tuple[int, ...]]:
        """First row, rows, and whole shape of what this rank has of ``parameter``; (0, rows, shape) if all of it."""
        shape = tuple(parameter.shape)
        if not hasattr(parameter, "to_local"):
            return 0, shape[0] if shape else 1, shape
        rows = parameter.to_local().shape[0]
        each = -(-shape[0] // self.count)  # as torch.chunk cuts
        return min(each * self.rank, shape[0]), rows, shape

    def whole(self, parameter: Tensor) -> Tensor:
        """All of a parameter that may be spread over the ranks, on each of them. All call it."""
        found: Tensor = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
        return found

    def close(self) -> None:
        """Leave the group, all together, if it was joined here."""
        if self._opened:
            dist.barrier()
            dist.destroy_process_group()
            self._opened = False
