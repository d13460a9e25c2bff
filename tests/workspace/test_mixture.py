"""A model trained on is shown each part of a cleaned corpus as often as its balance says, and the run says so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("daft")

from lavra.cli.tune_shown import show_data
from lavra.corpus.ingest import load_documents
from lavra.corpus.representation.parts import read_shares
from lavra.errors import LavraError
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.model.writing import save_model
from lavra.tokens.tokenizer import load_tokenizer
from lavra.workspace.cleaning import clean, cleaning_settings
from lavra.workspace.tuning.data import as_facts
from lavra.workspace.tuning.mixing import parts_of
from lavra.workspace.tuning.publishing import Outcome, figures
from lavra.workspace.tuning.run import Job, make_loader, plan_job
from lavra.workspace.tuning.settings import Sources, TuneSettings
from lavra.workspace.workspace import Workspace

WORDS = {
    "pt": "o conselho decidiu que a reunião seria em março porque não havia dados da biblioteca nem do arquivo",
    "en": "the council decided that the meeting would be in march because there were no data of the library",
}
COUNTS = {"pt": 40, "en": 8}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Forty Portuguese documents and eight English ones, ingested."""
    root = tmp_path_factory.mktemp("mixture")
    draw = np.random.default_rng(0)
    for language, count in COUNTS.items():
        (root / "docs" / language).mkdir(parents=True)
        for number in range(count):
            lines = [" ".join(draw.permutation(WORDS[language].split())).capitalize() + "." for _ in range(8)]
            (root / "docs" / language / f"{number}.txt").write_text("\n".join(lines), "utf-8")
    workspace = Workspace.init(root)
    workspace.ingest([root / "docs"], licence="CC0-1.0")
    return workspace


@pytest.fixture(scope="module")
def model(pulled: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = load_tokenizer(pulled("smollm2-135m"))
    config = ModelConfig(
        vocabulary_size=tokenizer.vocabulary_size, layers=1, width=32, heads=2, kv_heads=1, head_width=16,
        hidden_width=64, causal=True, norm="rms", norm_epsilon=1e-5, positions="rotary", activation="silu", gated=True,
        context_length=256, tied_embeddings=True,
    )  # fmt: skip
    tiny = build(config)
    initialise(tiny, 0)
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny, path, tokenizer=tokenizer, family="llama")
    return path


def cleaned(here: Workspace, name: str, **flags: object) -> Path:
    settings = cleaning_settings(here, stages=("language",), **flags)
    return clean(here, settings, name=name).artifact.path


def planned(here: Workspace, model: Path, name: str, *, mixture: bool = True) -> Job:
    settings = TuneSettings(method="full", epochs=4, validation=0.0, batch_tokens=512)
    return plan_job(here, Sources(texts=(Path(name),), mixture=mixture), settings, model=str(model))


def shares(job: Job, epochs: int) -> dict[str, float]:
    """What is really drawn: of the tokens that are learned, the share of each language."""
    loader = make_loader(job)
    tokens: Counter[str] = Counter()
    for _ in range(loader.steps(epochs)):
        for micro in loader.next_step():
            for row in micro.examples:
                numbers, counts = np.unique(row.sources[row.weights > 0], return_counts=True)
                for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                    tokens[job.data.training[number].source.split("/")[1]] += count
    whole = sum(tokens.values())
    return {name: count / whole for name, count in tokens.items()}


def test_shares_of_tokens_follow_the_weights(here: Workspace, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cleaned(here, "even", balance="languages", balance_alpha=0.0)
    job = planned(here, model, "even")
    parts = {part.name: part for part in parts_of(job.data.training)}
    assert parts["pt"].share > 0.85  # of tokens; of bytes it is five sixths, of which weights are made
    assert parts["pt"].drawn < 0.7
    assert sum(part.drawn for part in parts.values()) == pytest.approx(1)
    found = shares(job, 20)
    for name, part in parts.items():
        assert found[name] == pytest.approx(part.drawn, abs=0.02)
    show_data(job.data)
    said = capsys.readouterr().out
    assert f"pt: drawn {parts['pt'].times:.2f} times, {parts['pt'].share:.1%} → {parts['pt'].drawn:.1%}" in said
    assert job.recipe["mixture"] == [["en", parts["en"].times], ["pt", parts["pt"].times]]
    as_it_is = planned(here, model, "even", mixture=False)
    assert "mixture" not in as_it_is.recipe
    assert shares(as_it_is, 1)["pt"] == pytest.approx(parts["pt"].share, abs=0.01)


def test_the_run_and_its_manifest_say_what_was_drawn(here: Workspace, model: Path) -> None:
    cleaned(here, "even", balance="languages", balance_alpha=0.0)
    job = planned(here, model, "even")
    kept = figures(job, Outcome(None, {}, {}))["mixture"]  # type: ignore[arg-type]
    assert kept["en"]["weight"] == pytest.approx(3.0, abs=0.5)
    assert kept["en"]["drawn"] > 2 * kept["en"]["share"]
    assert as_facts(job.data.loaded, job.data)["mixture"] == kept
    assert job.inputs["text-1"] == here.store.ref("even")


@pytest.mark.parametrize("balance", ["languages", "dialects", "sources", "licences", "years", "topics"])
def test_every_balance_knows_whose_document_is_whose(here: Workspace, balance: str) -> None:
    path = cleaned(here, "by", balance=balance, balance_alpha=0.0)
    weights = json.loads((path / "report.json").read_bytes())["mixture"]
    found = read_shares(path)
    assert {document.id for document in load_documents(path)} == found.keys()
    assert {share.part for share in found.values() if share.part} == set(weights)
    assert all(share.times == weights.get(share.part, 1.0) for share in found.values())


def test_a_corpus_without_balance_is_drawn_as_it_is(here: Workspace, model: Path) -> None:
    path = cleaned(here, "plain")
    assert read_shares(path) == {}
    assert "mixture" not in planned(here, model, "plain").recipe


def test_weights_that_nothing_can_be_trained_by_are_named(here: Workspace, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"mixture": {"pt": 0.5}}')
    with pytest.raises(LavraError, match="clean it again, or train on it as it is with --no-mixture"):
        read_shares(tmp_path)
