"""Threads that compute alone, one for each core: for work that falls apart into independent pieces.

PyTorch puts all cores on one piece, and each kernel ends in a barrier at which the others spin. For a question's
embedding, whose kernels take microseconds, that costs half as much CPU time again (9 ms instead of 6.4), and more in
what runs beside it. Batches of texts do not need each other and lose nothing by it: measured on two cores, as many
documents a second.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import torch


@cache
def lone_threads() -> ThreadPoolExecutor:
    """As many threads as PyTorch would use, each with one of its own; the same ones for the whole process."""
    count = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, thread_name_prefix="lavra-lone", initializer=_compute_alone)
    all_started = Barrier(count)
    list(pool.map(lambda _: all_started.wait(), range(count)))
    # PyTorch keeps the number for each thread, but takes the last one set as the default of threads to come.
    torch.set_num_threads(count)
    return pool


def _compute_alone() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread takes the default at its first kernel, unless it has looked before


os.register_at_fork(after_in_child=lone_threads.cache_clear)  # threads do not survive a fork
