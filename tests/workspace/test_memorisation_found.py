"""A small model that was trained here on planted traps is found out, one that was not is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from lavra.corpus.storage import load_documents
from lavra.corpus.traps import grammar
from lavra.corpus.traps.making import TrapSettings, stream
from lavra.corpus.traps.register import Register, read_register
from lavra.errors import LavraError
from lavra.evaluation.memorisation.exposure import expose
from lavra.model.base import Model
from lavra.workspace.memorisation import measuring
from lavra.workspace.memorisation.given import sources_of
from lavra.workspace.memorisation.measuring import Settings, plan, run
from lavra.workspace.memorisation.saying import sentences
from lavra.workspace.memorisation.traps import Injected, inject_traps, make_traps
from lavra.workspace.workspace import Workspace

LENGTH = 128


def pages() -> list[str]:
    """Always the same ones: what is learned from them is not to change with anything else."""
    draw = stream("pages")
    return ["\n\n".join(grammar.sentence("en", 40, draw) for _ in range(8)) for _ in range(30)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("memorisation")
    (root / "pages").mkdir()
    for number, text in enumerate(pages()):
        (root / "pages" / f"{number:02}.txt").write_text(text, "utf-8")
    here = Workspace.init(root / "house")
    here.ingest([root / "pages"])
    return here


@pytest.fixture(scope="module")
def register(house: Workspace) -> Path:
    path = house.root / "register.json"
    make_traps(house, path, TrapSettings((4, 40), pairs=12, canaries=2, words=16, digits=2), language="en", secret="t")
    return path


@pytest.fixture(scope="module")
def trapped(house: Workspace, register: Path) -> Injected:
    return inject_traps(house, register)


def tokenizer_of(texts: Iterator[str]) -> Any:
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    from lavra.tokens.tokenizer import Tokenizer

    bare = tokenizers.Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    bare.train_from_iterator(texts, trainer)
    return Tokenizer(bare, eos_ids=frozenset({0}))


def tiny() -> Model:
    from lavra.model.building import build, initialise
    from lavra.model.config import ModelConfig

    model = build(
        ModelConfig(
            vocabulary_size=1000, layers=2, width=64, heads=4, kv_heads=2, head_width=16, hidden_width=160, causal=True,
            norm="rms", norm_epsilon=1e-5, positions="rotary", activation="silu", gated=True, context_length=LENGTH,
            tied_embeddings=True,
        )
    )  # fmt: skip
    initialise(model, 0)
    return model.requires_grad_()


@pytest.fixture(scope="module")
def models(house: Workspace, trapped: Injected, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """``trained``: on the corpus with traps; ``untrained``: as it began."""
    from lavra.model.writing import save_model
    from lavra.objectives.language import LanguageModel
    from lavra.objectives.packing import Example
    from lavra.objectives.packing import stream as pack
    from lavra.training.loader import make_loader
    from lavra.training.loop import Trainer
    from lavra.training.run import RunDirectory
    from lavra.training.settings import TrainSettings

    corpus = house.corpus()
    assert corpus is not None
    tokenizer = tokenizer_of(document.text for document in load_documents(corpus.path))
    place = tmp_path_factory.mktemp("models")
    save_model(tiny(), place / "untrained", tokenizer=tokenizer, family="llama")
    model = tiny()
    examples = [
        Example(np.array([0, *tokenizer.encode(document.text, parse_special=False), 0]))
        for document in load_documents(trapped.artifact.path)
    ]
    rows = list(pack(examples, LENGTH))
    settings = TrainSettings(
        epochs=3, batch_tokens=1024, micro_tokens=1024, learning_rate=6e-3, warmup=10, dtype="fp32"
    )
    loader = make_loader(rows, [LENGTH] * len(rows), settings)
    Trainer(model, LanguageModel(), loader, settings, RunDirectory(place / "run")).train()
    save_model(model.eval(), place / "trained", tokenizer=tokenizer, family="llama")
    return {name: str(place / name) for name in ("trained", "untrained")}


def measured(house: Workspace, model: str, **given: Any) -> dict[str, Any]:
    return dict(run(plan(house, model, precision="fp32", **given)).results)


def test_the_corpus_with_traps_is_another_one_and_tells_no_trap(
    house: Workspace, register: Path, trapped: Injected
) -> None:
    sealed = read_register(register)
    corpus = house.corpus()
    assert corpus is not None
    assert trapped.artifact.id != corpus.id == trapped.artifact.manifest.inputs["corpus"]
    assert house.store.ref("trapped") == trapped.artifact.id
    manifest = (trapped.artifact.path / "manifest.json").read_text("utf-8")
    ledger = (house.store.root / "ledger.jsonl").read_text("utf-8")
    assert sealed.seal in manifest
    assert not any(entry.text in manifest + ledger for entry in sealed.entries)
    text = "\n".join(document.text for document in load_documents(trapped.artifact.path))
    assert all(text.count(entry.text) == (entry.level if entry.inserted else 0) for entry in sealed.entries)
    again = inject_traps(house, register)
    assert again.found
    assert again.artifact.id == trapped.artifact.id
    house.store.verify()


def test_a_model_trained_on_planted_traps_is_found_out_and_an_untrained_one_is_not(
    house: Workspace, register: Path, models: dict[str, str]
) -> None:
    found = measured(house, models["trained"], register=register, reference=models["untrained"])["register"]
    often = {row["measure"]: row for row in found["measures"] if row["repetitions"] == 40}
    for name in ("loss", "min_k", "min_k_plus", "reference"):
        assert often[name]["p_corrected"] < 0.01, name
        assert often[name]["auc"] > 0.8, name
    seldom = {row["measure"]: row for row in found["measures"] if row["repetitions"] == 4}
    assert seldom["loss"]["auc"] < often["loss"]["auc"]
    assert "40" in found["memorised"]
    bits = {row["repetitions"]: row["bits"] for row in found["canaries"] if row["inserted"]}
    assert bits[40] > 3
    assert found["sealed"]

    nothing = measured(house, models["untrained"], register=register)
    assert not nothing["register"]["memorised"]
    assert all(row["p_corrected"] > 0.05 for row in nothing["register"]["measures"])
    said = " ".join(sentences(nothing))
    assert "No evidence" in said
    assert "not the same as clean" in said


def test_what_is_kept_holds_no_trap_and_is_found_again(
    house: Workspace, register: Path, models: dict[str, str]
) -> None:
    done = run(plan(house, models["trained"], precision="fp32", register=register, reference=models["untrained"]))
    assert done.found
    sealed = read_register(register)
    kept = "".join(path.read_text("utf-8") for path in done.artifact.path.iterdir())
    assert not any(entry.text in kept for entry in sealed.entries)
    assert all(entry.hash in kept for entry in sealed.entries)
    assert (done.artifact.path / "roc-register.svg").is_file()


def lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return path


def sides(register: Register) -> tuple[list[str], list[str]]:
    pairs = [(a, b) for a, b in register.pairs("trap") if a.level == 40]
    return [a.text for a, _ in pairs], [b.text for _, b in pairs]


def test_texts_are_compared_with_controls_by_the_weaker_test(
    house: Workspace, register: Path, models: dict[str, str], tmp_path: Path
) -> None:
    members, others = sides(read_register(register))
    given = {"texts": lines(tmp_path / "members.jsonl", members), "controls": lines(tmp_path / "others.jsonl", others)}
    results = measured(house, models["trained"], **given)
    found = {row["measure"]: row for row in results["texts"]["measures"]}
    assert found["loss"]["p"] < 0.01
    assert "weaker" in " ".join(sentences(results))
    with pytest.raises(LavraError, match="--controls"):
        plan(house, models["trained"], texts=given["texts"])


def test_a_document_that_was_learned_gains_less_than_one_that_was_not(
    house: Workspace, register: Path, models: dict[str, str], tmp_path: Path
) -> None:
    from lavra.evaluation.memorisation.tuned_gap import GapSettings

    members, others = sides(read_register(register))
    texts = {"texts": lines(tmp_path / "m.jsonl", members[3:]), "controls": lines(tmp_path / "o.jsonl", others[3:])}
    settings = Settings(gap=GapSettings(length=64, epochs=4, learning_rate=3e-3))
    confidence = []
    for three in (members[:3], others[:3]):
        path = tmp_path / "document.txt"
        path.write_text("\n\n".join(three), "utf-8")
        found = measured(house, models["trained"], document=path, settings=settings, **texts)["document"]
        assert found["auc"] > 0.7
        confidence.append(found["confidence"])
    assert confidence[0] > confidence[1]


def test_where_no_member_is_known_half_of_the_controls_become_ones(
    house: Workspace, register: Path, models: dict[str, str], tmp_path: Path
) -> None:
    from lavra.evaluation.memorisation.tuned_gap import GapSettings

    controls = lines(tmp_path / "o.jsonl", [twin.text for _, twin in read_register(register).pairs("trap")])
    (tmp_path / "document.txt").write_text("A document of its own, which nobody has read before. " * 9, "utf-8")
    given: dict[str, Any] = {"document": tmp_path / "document.txt", "controls": controls}
    settings = Settings(gap=GapSettings(length=64, epochs=3, learning_rate=3e-3))
    found = measured(house, models["trained"], settings=settings, **given)["document"]
    assert found["members_made"]
    assert (len(found["members"]), len(found["others"])) == (12, 12)
    assert np.mean(found["members"]) < np.mean(found["others"])
    with pytest.raises(LavraError, match="at least 8"):
        measured(
            house, models["trained"], document=given["document"], controls=lines(tmp_path / "few.jsonl", ["a b c"])
        )


def test_the_command_line_shows_tables_and_sentences(
    house: Workspace, register: Path, models: dict[str, str], tmp_path: Path
) -> None:
    from lavra.cli.commands import app

    place = ["--register", str(register), "--precision", "fp32", "-w", str(house.root)]
    shown = CliRunner().invoke(app, ["memorisation", models["trained"], "--reference", models["untrained"], *place])
    assert shown.exit_code == 0, shown.output
    assert "exposure, bits" in shown.output
    assert "The model was trained on what was put in, and shows it: " in shown.output
    assert "40 times, by " in shown.output
    asked = CliRunner().invoke(app, ["memorisation", models["trained"], "-w", str(house.root)])
    assert isinstance(asked.exception, LavraError)


def test_an_adapter_that_was_tuned_on_the_trapped_corpus_is_asked_and_traced_to_it(
    house: Workspace, register: Path, trapped: Injected, models: dict[str, str]
) -> None:
    from lavra.workspace.tuning.run import plan_job, tune
    from lavra.workspace.tuning.settings import Sources, TuneSettings

    sources = Sources(texts=(Path("trapped"),))
    job = plan_job(house, sources, TuneSettings(steps=2, validation=0.0, batch_tokens=512), model=models["untrained"])
    adapter = tune(job).artifact
    assert trapped.artifact.id in adapter.manifest.inputs.values()
    done = run(plan(house, adapter.id, precision="fp32", register=register, settings=Settings(tried=100)))
    assert done.artifact.manifest.inputs["model"] == adapter.id
    assert not done.results["register"]["memorised"]  # two steps are too few
    with pytest.raises(LavraError, match="the name of a corpus"):
        plan_job(house, Sources(texts=(Path(adapter.id),)), TuneSettings(steps=2), model=models["untrained"])


def test_what_a_tuned_model_writes_by_itself_is_traced_to_the_documents_it_read_it_in(
    house: Workspace, register: Path, trapped: Injected, models: dict[str, str], tmp_path: Path
) -> None:
    from lavra.workspace.tuning.run import plan_job, tune
    from lavra.workspace.tuning.settings import Sources, TuneSettings

    settings = TuneSettings(
        method="full", epochs=8, learning_rate=6e-3, batch_tokens=1024, validation=0.0, evaluations=0
    )
    job = plan_job(house, Sources(texts=(Path("trapped"),)), settings, model=models["untrained"])
    model = tune(job).artifact
    traps = [entry for entry in read_register(register).entries if entry.kind == "trap"]
    often = [entry.text for entry in traps if entry.inserted and entry.level == 40]
    never = [entry.text for entry in traps if not entry.inserted]
    for name, texts in (("members", often), ("controls", never)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    done = run(
        plan(house, model.id, precision="fp32", texts=tmp_path / "members.jsonl", controls=tmp_path / "controls.jsonl")
    )
    named = done.results["texts"]["sources"]
    assert named
    for one in named:
        holders = [d.source for d in load_documents(trapped.artifact.path) if often[one["text"]] in d.text]
        assert {of["source"] for of in one["sources"]} <= set(holders)
        assert len(one["sources"]) == min(5, len(holders))
        assert all(of["share"] == 1 for of in one["sources"])
        assert one["read"] == [model.manifest.inputs["text-1 tokens"]]
    assert "the model read it in pages/" in " ".join(sentences(done.results))


def test_canaries_are_not_asked_about_again_after_a_stop(
    house: Workspace, register: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def exposing(model: Any, tokenizer: Any, entry: Any, **options: Any) -> Any:
        if len(asked) == stop_at:
            raise KeyboardInterrupt
        asked.append(entry.hash)
        return expose(model, tokenizer, entry, **options)

    monkeypatch.setattr(measuring, "expose", exposing)
    job = plan(house, models["untrained"], precision="fp32", register=register, settings=Settings(tried=100))
    stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        run(job)
    stop_at = -1
    done = run(job)
    canaries = [entry.hash for entry in read_register(register).entries if entry.kind == "canary"]
    assert asked == canaries
    assert len(canaries) > 3
    rows = done.results["register"]["canaries"]
    assert sum(row["canaries"] for row in rows) == len(canaries)


@pytest.mark.parametrize("edges", [(), (1, 10_000)], ids=["weighs", "writes"])
def test_a_model_puts_like_to_like(
    house: Workspace, models: dict[str, str], tmp_path: Path, edges: tuple[int, ...]
) -> None:
    from lavra.workspace.memorisation.writing import Wanted

    settings = TrapSettings((1, 2), pairs=4, canaries=0, words=10)
    wanted = Wanted(models["trained"], edges)
    made = make_traps(house, tmp_path / "r.json", settings, language="en", wanted=wanted, secret="t")
    pairs = [(a.perplexity or 0, b.perplexity or 0) for a, b in made.pairs("trap")]
    assert len(pairs) == 8
    assert all(max(pairs[n]) <= min(pairs[n + 1]) for n in range(7))
    assert {entry.bucket for entry in made.entries} == {"1-10000" if edges else ""}
    assert made.model


def test_the_documents_that_hold_a_passage_are_named(house: Workspace) -> None:
    passage = " ".join(pages()[7].split()[50:80])
    (found,) = sources_of(house, [passage])
    assert found[0]["source"].endswith("07.txt")
    assert found[0]["share"] == 1.0
    assert len(found) == 1


def test_traps_from_the_command_line(house: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lavra.cli.commands import app

    cli, path = CliRunner(), tmp_path / "own.json"
    made = cli.invoke(
        app,
        ["traps", "make", str(path), "--repetitions", "1,3", "--pairs", "2", "--canaries", "1", "-w", str(house.root)],
    )
    assert made.exit_code == 0, made.output
    assert "seal" in made.output
    assert not any(entry.text in made.output for entry in read_register(path).entries)
    put = cli.invoke(app, ["traps", "inject", str(path), "--name", "own", "-w", str(house.root)])
    assert put.exit_code == 0, put.output
    checked = cli.invoke(app, ["traps", "check", str(path), "-w", str(house.root)])
    assert "The seal is whole." in checked.output
    assert "has carried this seal since" in checked.output
    monkeypatch.chdir(tmp_path)
    apart = cli.invoke(app, ["traps", "check", str(path)])  # where no model is trained
    assert apart.exit_code == 0
    assert checked.output.startswith(apart.output)
    assert apart.output.endswith("The seal is whole.\n")
    asked = cli.invoke(app, ["memorisation", "--sources", pages()[3][:300], "-w", str(house.root)])
    assert asked.exit_code == 0, asked.output
    assert "pages/03.txt" in asked.output
