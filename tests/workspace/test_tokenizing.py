"""Documents become token files once; what was trained on them names the documents behind a passage."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lavra.corpus.storage import load_documents
from lavra.errors import LavraError
from lavra.objectives.packing import Example, cut
from lavra.tokens.conversation import encode_text
from lavra.tokens.tokenizer import load_tokenizer
from lavra.workspace.forgetting import forget, remember
from lavra.workspace.memorisation.given import sources_of, sources_read, token_files_of
from lavra.workspace.tokenizing import drop_unfinished, token_files, tokenize
from lavra.workspace.tuning.data import load_texts
from lavra.workspace.tuning.run import plan_job, tune
from lavra.workspace.tuning.settings import Sources, TuneSettings
from lavra.workspace.workspace import Workspace

PASSAGE = "As férias podem ser divididas em até três períodos, nenhum deles menor que dez dias."


@pytest.fixture(scope="module")
def here(documents: Path, models: None, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    here = Workspace.init(tmp_path_factory.mktemp("tokens") / "house")
    here.ingest([documents])
    return here


@pytest.fixture(scope="module")
def adapter(here: Workspace, tiny_writer: Path) -> str:
    sources = Sources(corpus=True)
    settings = TuneSettings(steps=2, validation=0.0, batch_tokens=512)
    made = tune(plan_job(here, sources, settings, model=str(tiny_writer)), name="read")
    return made.artifact.id


def test_what_is_learned_of_token_files_is_what_the_documents_give(here: Workspace, tiny_writer: Path) -> None:
    tokenizer = load_tokenizer(tiny_writer)
    loaded = load_texts(here, Sources(corpus=True), tokenizer, 64)
    pieces = []
    for document in load_documents(here.corpus().path):
        if "public" in document.roles:
            whole = encode_text(tokenizer, document.text)
            pieces += [p for p in cut([Example(whole.ids, whole.weights)], 64) if p.places > 0]
    assert loaded.hidden == 1
    assert [e.labelled.ids.tolist() for e in loaded.examples] == [p.ids.tolist() for p in pieces]
    assert [e.labelled.weights.tolist() for e in loaded.examples] == [p.weights.tolist() for p in pieces]
    assert all(e.labelled.ids.dtype == np.uint16 for e in loaded.examples)


def test_they_are_found_again_and_made_anew_where_the_documents_or_the_tokenizer_are_others(
    here: Workspace, documents: Path, pulled: Callable[[str], Path]
) -> None:
    first = tokenize(here)
    assert tokenize(here).artifact.id == first.artifact.id
    assert tokenize(here).found
    other = tokenize(here, model=str(pulled("e5-small")), name="other")
    assert other.artifact.id != first.artifact.id
    assert other.files.shards[0].dtype == np.uint32
    apart = tokenize(here, documents, name="apart")
    assert apart.artifact.manifest.inputs == {}
    assert [apart.files.ids(n).tolist() for n in range(3)] == [first.files.ids(n).tolist() for n in range(3)]
    figures = first.artifact.manifest.metrics
    texts = [document.text for document in load_documents(here.corpus().path)]
    assert figures["tokens"] == sum(len(encode_text(load_tokenizer(here.generator.model.path), t).ids) for t in texts)
    assert figures["words"] == sum(len(text.split()) for text in texts)
    assert set(figures["languages"]) == {"pt", "en"}


def test_a_passage_is_named_by_the_source_ids_of_what_the_model_read(here: Workspace, adapter: str) -> None:
    (found,) = sources_read(here, token_files_of(here, adapter), [PASSAGE])
    files = token_files(here, here.store.get(adapter))[0]
    assert found[0]["source"] == "regras/ferias.md"
    assert found[0]["headings"] == ("Férias", "Duração")
    assert found[0]["licence"] == "CC-BY-4.0"
    assert found[0]["tokens"] == files.id
    assert found[0]["share"] == 1  # the document has a line end in it where the passage has a blank
    same = ("document", "run", "of", "page", "headings", "licence")
    assert all(sources_of(here, [PASSAGE])[0][0][name] == found[0][name] for name in same)
    assert sources_read(here, [files], ["Nothing of the kind stands in any of these documents, not a word of it."]) == [
        []
    ]


def test_the_command_line_names_the_sources_and_refuses_what_has_none(here: Workspace, adapter: str) -> None:
    from lavra.cli.commands import app

    place = ["-w", str(here.root)]
    asked = CliRunner().invoke(app, ["memorisation", adapter, "--sources", PASSAGE, *place])
    assert "regras/ferias.md (Férias › Duração): " in asked.output
    assert "15 of 15 words in a row; CC-BY-4.0" in asked.output
    refused = CliRunner().invoke(app, ["memorisation", "smollm2-135m", "--sources", PASSAGE, *place])
    assert "no token files that smollm2-135m was trained on" in str(refused.exception)
    made = CliRunner().invoke(app, ["tokenize", "--json", *place])
    assert json.loads(made.output)["documents"] == 3
    shown = CliRunner().invoke(app, ["tokenize", *place])
    assert "There already: tokens-" in shown.output
    assert "tokens a word" in shown.output
    tuned = CliRunner().invoke(app, ["tune", "--text", "tokens", "--preview", "-w", str(here.root)])
    assert tuned.exit_code == 0, tuned.output


def test_token_files_of_another_tokenizer_are_refused(here: Workspace, tiny_writer: Path, tmp_path: Path) -> None:
    tokenize(here, model="e5-small-enpt", name="unigram")
    with pytest.raises(LavraError, match="made with another tokenizer"):
        plan_job(here, Sources(texts=(Path("unigram"),)), TuneSettings(steps=1), model=str(tiny_writer))
    with pytest.raises(LavraError, match="nosuch does not exist"):
        tokenize(here, "nosuch")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(LavraError, match=r"empty\.txt \(the file is empty\)"):
        tokenize(here, tmp_path / "empty.txt")


def test_forgetting_a_document_erases_the_token_files_that_hold_it(
    documents: Path, models: None, tmp_path: Path
) -> None:
    here = Workspace.init(tmp_path / "house")
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "other-name.txt").write_text("A preface.\n\n" + PASSAGE + "\n", encoding="utf-8")
    (copy / "bystander.txt").write_text("Nothing of the document stands here.", encoding="utf-8")
    here.ingest([documents])
    here.index()
    of_corpus, of_copy = tokenize(here).artifact.id, tokenize(here, copy, name="copy").artifact.id
    kept = tokenize(here, copy / "bystander.txt", name="kept").artifact.id
    tuned = here.store.make("adapter", {"text-1 tokens": of_copy}, {}, lambda draft: None).id
    (here.store.root / "tokenizing" / "left").mkdir(parents=True)
    receipt = forget(here, "ferias.md")
    assert {of_corpus, of_copy} <= set(receipt.erased)
    assert here.store.get(kept).manifest.erased is None
    assert receipt.complete
    assert tuned in receipt.made_from_it
    assert not (here.store.root / "tokenizing").exists()
    assert not list(here.store.get(of_copy).path.glob("*.npy"))
    again = tokenize(here)
    assert not again.found
    assert {owner.source for owner in again.files.owners()} == {"regras/board/salaries.md", "regras/travel.md"}


def test_a_document_that_is_erased_while_it_is_read_is_in_no_token_file(
    documents: Path, models: None, tmp_path: Path
) -> None:
    here = Workspace.init(tmp_path / "house")
    here.ingest([documents])
    document = next(d for d in load_documents(here.corpus().path) if d.source.endswith("travel.md"))

    def erasing(what: str, done: int, total: int) -> None:
        if done == total:
            remember(here, document)

    with pytest.raises(LavraError, match="erased while its tokens were being written"):
        tokenize(here, progress=erasing)
    (left,) = here.store.list("tokens")
    assert left.manifest.erased
    assert not list(left.path.glob("*.npy"))

    def removing(what: str, done: int, total: int) -> None:
        drop_unfinished(here)

    with pytest.raises(LavraError, match="erased while its tokens were being written"):
        tokenize(here, model="e5-small-enpt", progress=removing)


_KILLED = """
import sys
from pathlib import Path
from lavra.tokens import packed
from lavra.workspace.tokenizing import tokenize
from lavra.workspace.workspace import Workspace

packed.SHARD_TOKENS = 2000
packed.TokenWriter.__init__.__kwdefaults__["shard_tokens"] = 2000
flush, stop = packed.TokenWriter.flush, int(sys.argv[2])
def flushing(writer):
    flush(writer)
    if writer._number == stop:
        print("ready", flush=True)
        __import__("time").sleep(60)
packed.TokenWriter.flush = flushing
print(tokenize(Workspace.open(Path(sys.argv[1]))).artifact.id)
"""


def test_after_a_kill_it_goes_on_and_the_files_are_the_same(models: None, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    for number in range(30):
        text = f"Página {number}. " + " ".join(f"palavra{number * 31 + word}" for word in range(100))
        (tmp_path / "pages" / f"{number:02}.txt").write_text(text, encoding="utf-8")
    ids = []
    for name, stops in (("straight", [-1]), ("killed", [3, -1])):
        Workspace.init(tmp_path / name).ingest([tmp_path / "pages"])
        for stop in stops:
            command = [sys.executable, "-c", _KILLED, str(tmp_path / name), str(stop)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            if stop > 0:
                assert line == "ready"
                process.send_signal(signal.SIGKILL)
                process.wait()
                kept = sorted((tmp_path / name / ".lavra" / "tokenizing").glob("*/documents-*.parquet"))
                assert len(kept) == 3
                assert not list((tmp_path / name / ".lavra" / "artifacts").glob("tokens-*"))
            else:
                assert process.wait() == 0
                ids.append(line)
    made = [
        here / ".lavra" / "artifacts" / id
        for here, id in zip((tmp_path / "straight", tmp_path / "killed"), ids, strict=True)
    ]
    files = [json.loads((path / "manifest.json").read_text())["files"] for path in made]
    assert files[0] == files[1]  # by their hashes
    assert len(list(made[1].glob("*.npy"))) > 4
    assert not list((tmp_path / "killed" / ".lavra" / "tokenizing").iterdir())
