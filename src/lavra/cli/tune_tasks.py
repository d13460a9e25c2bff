"""``lavra tune --task classify|embed|rerank``: the commands for models that read, under the name of the one for all.

``lavra tune-classifier``, ``tune-embedder`` and ``tune-reranker`` have more options, of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lavra.cli import encoders
from lavra.cli.tune_options import TuneOptions
from lavra.errors import LavraError

COMMANDS = {"classify": "tune-classifier", "embed": "tune-embedder", "rerank": "tune-reranker"}
_SAME = ("model", "epochs", "learning_rate", "patience", "track", "yes", "workspace")
"""Options that are called alike and mean the same."""
_MORE = {"classify": ("label", "many", "balanced"), "embed": ("role",), "rerank": ("role",)}
_ALWAYS = ("data", "task", "context", "seed")
_FLAGS = {"together": "processes", "data": "FILE"}


def tune_task(asked: TuneOptions) -> None:
    """Tune what reads. Raises LavraError for an option that means nothing there, rather than leave it out."""
    taken = {*_ALWAYS, *_SAME, *_MORE[asked.task]}
    for name, value in changed(asked).items():
        if name not in taken:
            flag = _FLAGS.get(name, name).replace("_", "-")
            raise LavraError(
                f"--{flag} {value} is nothing for --task {asked.task}: `lavra {COMMANDS[asked.task]} --help` lists "
                "what is."
            )
    given = {name: getattr(asked, name) for name in (*_SAME, *_MORE[asked.task])}
    given |= {"window": asked.context, "seed": asked.seed}
    if asked.task == "classify":
        encoders.tune_classifier(_one_file(asked, required=True), **given)
    elif asked.task == "embed":
        encoders.tune_embedder(_one_file(asked), **given)
    else:
        encoders.tune_reranker(_one_file(asked), **given)


def require_writing(asked: TuneOptions) -> None:
    """Raises LavraError for what only a classifier has."""
    for name in _MORE["classify"]:
        if name in changed(asked):
            raise LavraError(f"--{name} is for labels: add --task classify, or leave it out.")


def changed(asked: TuneOptions) -> Mapping[str, Any]:
    """What was asked for otherwise than by default."""
    given = {field.name: (getattr(asked, field.name), field.default) for field in fields(asked)}
    return {name: value for name, (value, default) in given.items() if value != default and value != []}


def _one_file(asked: TuneOptions, *, required: bool = False) -> Any:
    files: list[Path] = list(asked.data or ())
    if len(files) > 1 or (required and not files):
        what = "texts and labels" if asked.task == "classify" else "pairs"
        raise LavraError(f"--task {asked.task} takes one file of {what} (.csv, .tsv, .jsonl); given were {len(files)}.")
    return files[0] if files else None
