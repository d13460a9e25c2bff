"""``traps``: a register made, and its texts put into a copy of the corpus to train on.

The copy is an artifact of its own, made from the workspace's corpus. The index never sees it: nobody who asks the
documents is shown a sentence that was made up. Its manifest carries the register's seal and none of the sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.corpus.traps import grammar
from lavra.corpus.traps.injecting import Places, draw_documents, inject
from lavra.corpus.traps.making import TrapSettings, make_register, new_secret, sentences
from lavra.corpus.traps.register import Register, read_register, write_register
from lavra.errors import LavraError
from lavra.store import Artifact, Draft
from lavra.store.ledger import utc_now
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.workspace.memorisation.writing import Wanted

VERSION = 1
TRAPPED = "trapped"
"""What the corpus with traps is called, unless somebody says otherwise."""


@dataclass(frozen=True)
class Injected:
    """``found``: the same had been done before."""

    artifact: Artifact
    register: Register
    found: bool

    @property
    def figures(self) -> dict[str, Any]:
        return dict(self.artifact.manifest.metrics)


def make_traps(
    workspace: Workspace,
    path: Path,
    settings: TrapSettings,
    *,
    language: str | None = None,
    wanted: Wanted | None = None,
    secret: str | None = None,
    progress: Progress = silent,
) -> Register:
    """A register at ``path``, which is not there yet. ``language``: by default the corpus' commonest; ``wanted``: the
    model that weighs the sentences or writes them, by default none, and the grammar's are taken as they are;
    ``secret``: for experiments that are to be repeated, else nobody can know it."""
    if path.exists():
        raise LavraError(f"{path} exists already, and a register is never overwritten: choose another name.")
    language = language or commonest_language(workspace)
    secret = secret or new_secret()
    if wanted is None:
        written, model = sentences(settings, language, secret), ""
    else:
        from lavra.workspace.memorisation.writing import write_sentences

        written, model = write_sentences(workspace, wanted, settings, language, secret, progress=progress)
    register = make_register(settings, language, written, secret=secret, model=model, made=utc_now())
    write_register(register, path)
    workspace.store.ledger.append("traps", seal=register.seal, pairs=len(register.inserted))
    return register


def commonest_language(workspace: Workspace) -> str:
    """Of the corpus, among those with a grammar; English where there is no corpus yet."""
    from lavra.corpus.ingest import load_report

    corpus = workspace.corpus()
    counts = load_report(corpus.path).languages if corpus else {}
    known = {code: counts[code] for code in grammar.languages() if counts.get(code)}
    return max(known, key=lambda code: known[code]) if known else "en"


def inject_traps(workspace: Workspace, path: Path, *, name: str = TRAPPED, progress: Progress = silent) -> Injected:
    """The workspace's corpus with the register's texts in it, called ``name``; the register is written again, with the
    documents that each text went into.

    Raises LavraError where nothing was ingested, or where the register's texts are in another corpus already.
    """
    from lavra.corpus.ingest import load_documents
    from lavra.corpus.storage import FILE_NAME, CorpusWriter, load_rows

    register = read_register(path)
    corpus = workspace.corpus()
    if corpus is None:
        raise LavraError("there are no documents to put traps into: run `lavra ingest FOLDER` first.")
    if register.corpus and register.corpus != corpus.id:
        raise LavraError(
            f"the traps of {path} are in {register.corpus} already, and twice would be other repetitions: make a new "
            "register for this corpus."
        )
    progress("Looking for places", 0, 0)
    placed = draw_documents(register, Places.of(load_documents(corpus.path), register.language))
    register = register.injected(corpus.id, placed)
    recipe = {"made by": "traps", "version": VERSION, "seal": register.seal}
    made: list[bool] = []
    total = int(corpus.manifest.metrics["documents"])

    def build(draft: Draft) -> None:
        characters = 0
        with CorpusWriter(draft.path / FILE_NAME) as writer:
            rows = load_rows(corpus.path)
            roots: list[str] = []

            def documents() -> Any:
                for document, root in rows:
                    roots.append(root)
                    yield document

            for number, document in enumerate(inject(documents(), register)):
                writer.add(document, roots.pop())
                characters += len(document.text)
                if number % 256 == 0:
                    progress("Putting traps in", number, total)
        copies = sum(entry.copies for entry in register.entries)
        trapped = sum(entry.copies * len(entry.text) for entry in register.entries)
        touched = {document for entry in register.entries for document in entry.documents}
        draft.metrics.update(
            documents=total, characters=characters, traps=len(register.inserted), copies=copies,
            documents_with_traps=len(touched), share_of_traps=round(trapped / max(1, characters), 6),
        )  # fmt: skip
        draft.licences.extend(corpus.manifest.licences)
        made.append(True)

    artifact = workspace.store.make("corpus", {"corpus": corpus.id}, recipe, build)
    workspace.store.set_ref(name, artifact.id)
    write_register(register, path, replacing=True)
    return Injected(artifact, register, not made)


def corpora_with(workspace: Workspace, register: Register) -> list[Artifact]:
    """The corpora whose manifests carry the register's seal: they say since when it has been so."""
    return [one for one in workspace.store.list("corpus") if one.manifest.recipe.get("seal") == register.seal]


def levels(register: Register) -> list[tuple[int, int, int, int]]:
    """(repetitions, pairs of traps, pairs of canaries, copies put in) of each level."""
    kinds: Counter[tuple[int, str]] = Counter((entry.level, entry.kind) for entry in register.inserted)
    copies: Counter[int] = Counter()
    for entry in register.inserted:
        copies[entry.level] += entry.copies
    return [(level, kinds[level, "trap"], kinds[level, "canary"], copies[level]) for level in register.levels]


def parse_numbers(given: str, option: str) -> tuple[int, ...]:
    """``1,10,100``. Raises LavraError for anything else."""
    try:
        return tuple(int(part.strip().replace("_", "")) for part in given.split(","))
    except ValueError:
        raise LavraError(f"{option} is {given!r}: give whole numbers with commas, such as 1,10,100.") from None


def describe(register: Register) -> Sequence[tuple[str, str]]:
    """What may be said of it on a screen: no sentence."""
    perplexities = sorted(entry.perplexity for entry in register.entries if entry.perplexity is not None)
    found = [
        ("made", register.made), ("language", register.language), ("weighed by", register.model or "no model"),
        ("seal", register.seal), ("in", register.corpus or "no corpus yet"),
    ]  # fmt: skip
    if perplexities:
        found.append(("perplexity", f"{perplexities[0]:.1f} to {perplexities[-1]:.1f}"))
    return found
