"""From the command line to an exit code: 0 done, 2 a mistake that the user can repair, 130 stopped by Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any

from lavra.cli.leaving import leave
from lavra.errors import LavraError


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
    try:
        app()
    except LavraError as error:
        if debug:
            raise
        print(f"lavra: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        leave(
            "\nlavra: stopped. What was finished is kept: run the same command again to continue.",
            128 + stopped.number,
        )
    except BrokenPipeError:  # `lavra models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (OSError, RuntimeError) as error:
        # LanceDB says it as a RuntimeError, whose text is all there is.
        if debug or not (sentence := _disk_trouble(error)):
            raise
        print(f"lavra: {sentence}", file=sys.stderr)
        sys.exit(2)


def _disk_trouble(error: Exception) -> str | None:
    """One sentence for a disk that is full or may not be written, else nothing."""
    number, text = getattr(error, "errno", None), str(error).lower()
    if number in (errno.ENOSPC, errno.EDQUOT) or "no space left on device" in text:
        return "the disk is full: free some room and run the same command again; what was finished is kept."
    if number in (errno.EROFS, errno.EACCES) and getattr(error, "filename", None):
        return f"{error.filename} may not be written: choose a place you may write to."  # type: ignore[attr-defined]
    return None
