"""The command line: each verb of the Python API, with help that is enough and errors that say what to do."""

from __future__ import annotations


def main() -> None:
    """The ``lavra`` command."""
    from lavra.cli.run import run

    run()
