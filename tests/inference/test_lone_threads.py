"""Threads that compute alone: one thread of PyTorch's each, and nobody else loses any."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, threading, time
from concurrent.futures import ThreadPoolExecutor
import torch
from lavra.inference.lone_threads import lone_threads

torch.set_num_threads(3)
pool = lone_threads()
assert pool is lone_threads()
together = threading.Barrier(3)

def look(_):
    together.wait()  # one piece for each thread
    return threading.get_ident(), torch.get_num_threads(), torch.ones(9).sum().item()

seen = list(pool.map(look, range(3)))
assert len({thread for thread, *_ in seen}) == 3
assert [(count, total) for _, count, total in seen] == [(1, 9.0)] * 3, seen
assert torch.get_num_threads() == 3
assert ThreadPoolExecutor(1).submit(torch.get_num_threads).result() == 3, "a thread that comes later"

child = os.fork()
if child == 0:
    os._exit(0 if lone_threads().submit(torch.get_num_threads).result(timeout=60) == 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "a fork has threads of its own"
print("all of it")
"""


def test_each_has_one_thread_and_the_others_keep_theirs() -> None:
    # A process of its own: the pool is made once a process, with the number of threads that it finds.
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.stdout == "all of it\n", done.stderr
