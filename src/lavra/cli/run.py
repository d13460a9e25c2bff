"""From the command line to an exit code: 0 done, 2 a mistake that the user can repair, 130 stopped by Ctrl-C.

Of several processes that train together the first one speaks, and only the first that fails says why.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any

from lavra.cli.leaving import leave
from lavra.errors import LavraError

_NO_PLACE = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EIO)


class Stopped(BaseException):
    """Ctrl-C or SIGTERM. Not a KeyboardInterrupt, which the command-line library turns into its own "Aborted"."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop(number: int, frame: Any) -> None:
    raise Stopped(number)


def run() -> None:
    """Run the command line and exit."""
    from lavra.cli.commands import app

    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    debug = "--debug" in sys.argv or bool(os.environ.get("LAVRA_DEBUG"))
    if int(os.environ.get("RANK", "0")) > 0:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        app()
    except LavraError as error:
        _say_first()
        if debug:
            raise
        print(f"lavra: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        _say_first()
        leave(
            "\nlavra: stopped. What was finished is kept: run the same command again to continue.",
            128 + stopped.number,
        )
    except BrokenPipeError:  # `lavra models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (OSError, RuntimeError) as error:
        _say_first()
        # LanceDB says it as a RuntimeError, whose text is all there is.
        if debug or not (sentence := disk_trouble(error) or _others_gone(error)):
            raise
        print(f"lavra: {sentence}", file=sys.stderr)
        sys.exit(2)
    except Exception:
        _say_first()
        raise


def _say_first() -> None:
    """Give this process its voice if no other of the same run has said yet why it ends; else end in silence."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    ranks = sys.modules.get("lavra.training.ranks")
    if not (ranks.first_to_say() if ranks is not None else os.environ.get("RANK", "0") == "0"):
        os._exit(2)
    sys.stderr = sys.__stderr__ or sys.stderr


def _others_gone(error: Exception) -> str | None:
    """One sentence where another process of the run ended without a word, else nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and ("gloo" in str(error) or "NCCL" in str(error)):
        return (
            "another process of this run is gone, perhaps for want of memory: run the same command again to continue "
            "from the last checkpoint."
        )
    return None


def disk_trouble(error: Exception) -> str | None:
    """One sentence for a disk that is full, or a place that cannot be used; else nothing."""
    number, text = getattr(error, "errno", None), str(error).lower()
    if number in (errno.ENOSPC, errno.EDQUOT) or "no space left on device" in text:
        return "the disk is full: free some room and run the same command again; what was finished is kept."
    place = getattr(error, "filename2", None) or getattr(error, "filename", None)  # of two, where something was to go
    if place is None:
        return None
    if number == errno.EROFS:
        return f"{place} may not be written: choose a place you may write to."
    if number in (errno.EACCES, errno.EPERM):
        return f"there is no permission for {place}: change its permissions, or choose a place you may use."
    if number in _NO_PLACE:
        return f"{str(place)[:200]} cannot be used ({os.strerror(number).lower()}): choose another place."
    return None
