"""The command line's commands, in the order in which one would try them; each lives in the file of its subject, opens
what it needs, calls one verb, and prints what a person wants to know.

Nothing heavy is imported here: ``lavra --help`` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from lavra.cli import (
    aligning,
    answering,
    demonstrating,
    documents,
    encoders,
    evaluating,
    keeping,
    memorisation,
    studying,
    tokenizing,
    tuning,
)
from lavra.cli.bias import bias_app
from lavra.cli.corpora import corpus_app
from lavra.cli.examples import examples_app
from lavra.cli.models import models_app
from lavra.cli.prompting import prompts_app

app = typer.Typer(
    name="lavra",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From your documents to a language model that you own, can explain and can answer for.\n\n"
    "Begin with: lavra init, lavra models pull, lavra ingest FOLDER, lavra index, lavra ask QUESTION, lavra serve. "
    "Or see it all at once: lavra demo.",
)
documents.register(app)
answering.register(app)
demonstrating.register(app)
keeping.register(app)
tokenizing.register(app)
tuning.register(app)
encoders.register(app)
aligning.register(app)
evaluating.register(app)
memorisation.register(app)
studying.register(app)
app.add_typer(corpus_app, name="corpus")
app.add_typer(examples_app, name="examples")
app.add_typer(bias_app, name="bias")
app.add_typer(models_app, name="models")
app.add_typer(prompts_app, name="prompts")
app.add_typer(keeping.store_app, name="store")
app.add_typer(keeping.keys_app, name="keys")


def _version(wanted: bool) -> None:
    if wanted:
        import lavra

        print(f"lavra {lavra.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    pass
