"""Looking after a workspace: ``lavra status``, ``trace``, ``forget``, the store and the server's keys."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lavra.cli.given import (
    DirectoryOption,
    JsonOption,
    RoleOption,
    open_workspace,
)
from lavra.errors import LavraError

if TYPE_CHECKING:
    pass

store_app = typer.Typer(no_args_is_help=True, help="Look after the store: verify it, remove what nothing needs.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys of the server: who may ask, and what they may see.")


def status(
    documents: Annotated[bool, typer.Option("--documents", help="List every document.")] = False,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Say what the workspace has: documents, index, models, and what to do next."""
    here = open_workspace(workspace)
    corpus = here.corpus()
    if documents:
        from lavra.corpus.ingest import load_documents

        for document in load_documents(corpus.path) if corpus else ():
            if as_json:
                values = {"id": document.id, "source": document.source, "language": document.language}
                print(json.dumps({**values, "licence": document.licence, "roles": document.roles}, ensure_ascii=False))
            else:
                said = (document.language, document.licence or "no licence stated", "/".join(document.roles))
                print(f"{document.id}  {document.source}  ({', '.join(said)})")
        return
    try:
        advice, up_to_date = 'lavra ask "…" or lavra serve', bool(here.ready())
    except LavraError as error:
        advice, up_to_date = str(error), False
    index_id = here.store.ref("index")
    facts: dict[str, Any] = {
        "workspace": str(here.root),
        "corpus": corpus.id if corpus else None,
        "documents": corpus.manifest.metrics["documents"] if corpus else 0,
        "index": index_id,
        "up_to_date": up_to_date,
        "generator": here.settings.models.generator,
        "embedder": here.settings.models.embedder,
    }
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        print(f"{key.replace('_', ' '):12} {'—' if value is None else value}")
    print(f"Next: {advice}")


def trace(
    name: Annotated[
        str | None,
        typer.Argument(
            help="An artifact's id, the beginning of one, or a name (corpus, index, assistant). Without it: all."
        ),
    ] = None,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Print the pedigree of an artifact: what it was made from, how and when, down to the documents."""
    here = open_workspace(workspace)
    if name is None:
        for artifact in here.store.list():
            names = [ref.name for ref in here.store.refs.iterdir() if here.store.ref(ref.name) == artifact.id]
            print(f"{artifact.manifest.made}  {artifact.id}{'  ← ' + ', '.join(sorted(names)) if names else ''}")
        return
    node = here.store.trace(name)
    if as_json:
        print(json.dumps(_trace_json(node), ensure_ascii=False, indent=2))
        return
    from lavra.cli.console import show_trace

    show_trace(node)


def _trace_json(node: Any) -> dict[str, Any]:
    manifest = node.manifest.to_json() if node.manifest else None
    return {
        "role": node.role,
        "id": node.id,
        "manifest": manifest,
        "inputs": [_trace_json(child) for child in node.inputs],
    }


def forget(
    document: Annotated[
        str, typer.Argument(help="The document's source, file name or id (`lavra status --documents`).")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Erase a document everywhere in the workspace, show that it is gone, and write a receipt."""
    from dataclasses import asdict

    from lavra.cli.console import progress
    from lavra.workspace.forgetting import find_document
    from lavra.workspace.forgetting import forget as erase

    here = open_workspace(workspace)
    found = find_document(here, document)
    if not yes and not typer.confirm(f"Erase {found.source} ({len(found.text):,} characters)? It cannot be undone."):
        raise LavraError("nothing was erased.")
    with progress() as report:
        receipt = erase(here, found.id, progress=report)
    if as_json:
        print(json.dumps(asdict(receipt), indent=2, ensure_ascii=False))
    else:
        print(f"Erased {receipt.source}: {receipt.chunks} passages from the index, text removed from:")
        for id in receipt.erased:
            print(f"  {id}")
        if receipt.made_from_it:
            print("Made from these before (rebuild or judge what was trained on them):")
            for id in receipt.made_from_it:
                print(f"  {id}")
        print(f"Receipt in {here.store.root / 'receipts'}; the original file is yours to delete.")
    if not receipt.complete:
        raise LavraError(
            f"its text is still in {', '.join(receipt.remaining)} below {here.store.root}: "
            "stop other processes that use the workspace and run the same command again."
        )
    if not as_json:
        print(f"Checked: none of its {receipt.sentences_checked} own sentences is left below {here.store.root}.")


@store_app.command("gc")
def store_gc(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    workspace: DirectoryOption = None,
) -> None:
    """Remove artifacts that nothing needs, saying which first."""
    from lavra.store.files import human_bytes

    store = open_workspace(workspace).store
    garbage = store.garbage()
    if garbage.young:
        print(f"Left alone, because they were made less than ten minutes ago: {', '.join(garbage.young)}.")
    if not garbage.paths:
        print("There is nothing to remove.")
        return
    print(f"Nothing needs these {len(garbage.paths)} ({human_bytes(garbage.bytes)}):")
    for path in garbage.paths:
        print(f"  {path.relative_to(store.root)}")
    if dry_run:
        return
    if not yes and not typer.confirm("Remove them?"):
        raise LavraError("nothing was removed.")
    store.remove(garbage.paths)
    print(f"Removed; {human_bytes(garbage.bytes)} freed.")


@store_app.command("verify")
def store_verify(workspace: DirectoryOption = None) -> None:
    """Hash every file of the store again and check the ledger's chain."""
    store = open_workspace(workspace).store
    print(f"{store.verify()} artifacts and {store.ledger.verify()} lines of the ledger are as they were made.")


@keys_app.command("add")
def keys_add(
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    role: RoleOption = None,
    uploads: Annotated[bool, typer.Option("--uploads/--no-uploads", help="Whether it may add documents.")] = True,
    workspace: DirectoryOption = None,
) -> None:
    """Make a key. It is shown once; lavra.toml keeps only its hash."""
    from lavra.workspace.keys import add

    key = add(open_workspace(workspace), name, role or ["public"], uploads=uploads)
    print(key)
    print("Keep it now: only its hash is stored. Clients send it as `Authorization: Bearer …`.", file=sys.stderr)


@keys_app.command("list")
def keys_list(workspace: DirectoryOption = None) -> None:
    """List the keys' names and roles."""
    for key in open_workspace(workspace).settings.serve.keys:
        print(f"{key.name:24} {', '.join(sorted(key.roles))}{'' if key.uploads else '  (no uploads)'}")


@keys_app.command("remove")
def keys_remove(name: Annotated[str, typer.Argument()], workspace: DirectoryOption = None) -> None:
    """Take a key away; a running server has to be started again."""
    from lavra.workspace.keys import remove

    remove(open_workspace(workspace), name)
    print(f"Removed the key {name!r}; start the server again.")


def register(app: typer.Typer) -> None:
    """Make them commands of ``app``."""
    for function in (status, trace, forget):
        app.command()(cast(Any, function))
