"""From the command line to an exit code: 0 done, 2 a mistake that the user can repair, 130 stopped by Ctrl-C."""

from __future__ import annotations

import os
import sys

from lavra.errors import LavraError


def run() -> None:
    """Run the command line and exit."""
    from lavra.cli.commands import app

    debug = "--debug" in sys.argv or bool(os.environ.get("LAVRA_DEBUG"))
    try:
        app()
    except LavraError as error:
        if debug:
            raise
        print(f"lavra: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nlavra: stopped. Nothing made so far is lost: run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `lavra models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
