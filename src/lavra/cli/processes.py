"""Several processes that train together: started here with ``--processes``, or by ``torchrun``.

One of them speaks, the first; and of all that fail because one did, only that one says why (``cli/run.py``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.training.ranks import Ranks

Spread = Literal["ddp", "fsdp"]
_GRACE = 20.0  # seconds in which the others of a process that failed may end by themselves


@contextmanager
def processes(count: int, spread: Spread | None) -> Iterator[Ranks]:
    """This process among those of the run. With ``count`` above 1 this one only starts them, waits, and exits as they
    did."""
    from lavra.training.ranks import Ranks

    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > 1:
        ranks = Ranks(spread or "ddp")
    elif count > 1:
        sys.exit(_start(count))
    elif spread is not None:
        raise LavraError(f"--distributed {spread} is for several processes: add --processes 2, or start with torchrun.")
    else:
        ranks = Ranks()
    yield ranks
    ranks.close()


def _start(count: int) -> int:
    """The exit code of ``count`` processes with this one's command line: 0, or that of the first that failed."""
    from lavra.training.settings import MEETING

    with tempfile.TemporaryDirectory(prefix="lavra-") as folder:
        shared = {
            MEETING: (Path(folder) / "meeting").as_uri(),
            "WORLD_SIZE": str(count),
            # Threads of several processes on the same cores wait for each other.
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, _cores() // count))),
        }
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "lavra", *sys.argv[1:]],
                env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                # Ctrl-C is this process's to hear: each of the others is told once.
                start_new_session=True,
            )
            for rank in range(count)
        ]
        try:
            return _wait(running)
        except BaseException:
            for process in running:
                process.terminate()
            return max(process.wait() for process in running)
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()


def _wait(running: list[subprocess.Popen[bytes]]) -> int:
    failed, until = 0, 0.0
    while any(process.poll() is None for process in running):
        if not failed:
            failed = next((code for process in running if (code := process.poll())), 0)
            until = time.monotonic() + _GRACE
        elif time.monotonic() > until:
            for process in running:
                process.terminate()
            until += _GRACE
        time.sleep(0.05)
    failed = failed or next((code for process in running if (code := process.returncode)), 0)
    return failed if failed >= 0 else 128 - failed


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
