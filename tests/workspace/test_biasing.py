"""``lavra bias`` on a small model of random weights: what it prints, writes, and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from lavra.cli.commands import app
from lavra.inference.self_debias import Debiasing
from lavra.workspace.biasing import CROWS, GENERAL, STEREOTYPES, measure_bias, write_about
from lavra.workspace.decoders import load
from lavra.workspace.workspace import Workspace


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_writer: Path) -> Path:
    root = tmp_path_factory.mktemp("bias")
    (root / "lavra.toml").write_text(f'[models]\ngenerator = "{tiny_writer}"\n')
    folder = root / "data" / "bias" / "crows_pairs"
    folder.mkdir(parents=True)
    rows = [f"He is bad {n}.,She is bad {n}.,{kind}" for n in range(12) for kind in ("gender", "age")]
    (folder / "crows_pairs_anonymized.csv").write_text("sent_more,sent_less,bias_type\n" + "\n".join(rows) + "\n")
    return root


def lavra(place: Path, *words: str) -> Any:
    return CliRunner().invoke(app, ["bias", *words, *([] if words[0] == "augment" else ["-w", str(place)])])


def test_debiasing_stands_beside_the_model_as_it_is_item_by_item(place: Path) -> None:
    loaded = load(Workspace.open(place), None)
    found = {one.measure: one for one in measure_bias(loaded, data=place / "data", limit=20, how=Debiasing(("x",)))}
    assert {STEREOTYPES, f"{STEREOTYPES}, en", f"{STEREOTYPES}, pt", CROWS, GENERAL} <= found.keys()
    assert (found[STEREOTYPES].before.count, found[CROWS].before.count) == (48, 20)
    assert sum(found[f"{CROWS}, {kind}"].before.count for kind in ("gender", "age")) == 20
    general = found[GENERAL]
    assert general.after is not None
    assert general.after.mean >= general.before.mean - 0.01  # what a model was changed for is not general text
    off = measure_bias(loaded, how=Debiasing(("x",), decay=0.0))
    assert all(one.change is not None and one.change.mean == pytest.approx(0, abs=0.03) for one in off)


def test_two_models_are_compared_on_the_same_items(place: Path, tmp_path: Path, tiny_writer: Path) -> None:
    """The other is the same one with the feed-forward parts of its layers exchanged."""
    from lavra.model.weights import load_model
    from lavra.model.writing import save_model
    from lavra.tokens.tokenizer import load_tokenizer

    other = load_model(tiny_writer, dtype=torch.float32)
    first, second = (block.mlp for block in other.blocks)
    other.blocks[0].mlp, other.blocks[1].mlp = second, first
    save_model(other, tmp_path / "other", tokenizer=load_tokenizer(tiny_writer), family="llama")
    printed = lavra(place, "measure", "--beside", str(tmp_path / "other"), "--json")
    both = {each["measure"]: each for each in json.loads(printed.stdout)}
    alone = measure_bias(load(Workspace.open(place), str(tmp_path / "other")))
    assert {name: each["after"]["mean"] for name, each in both.items()} == {
        each.measure: pytest.approx(each.before.mean) for each in alone
    }
    assert both[GENERAL]["change"]["mean"] != 0


def test_what_is_written_many_at_once_is_what_is_written_one_by_one(tiny_writer: Path) -> None:
    from lavra.evaluation.bias.generations import Prompt
    from lavra.inference.engine import Engine
    from lavra.inference.sampling import Sampling
    from lavra.model.weights import load_model
    from lavra.tokens.tokenizer import load_tokenizer
    from lavra.workspace.decoders import Loaded

    loaded = Loaded("tiny", load_model(tiny_writer, dtype=torch.float32), load_tokenizer(tiny_writer))
    texts = ["The longest of all the prompts that stand here", "A cat", "My neighbour, the doctor, said"] * 12
    prompts = [Prompt(f"{text} {number}", "k", "g", "en") for number, text in enumerate(texts)]
    found = [one.text for one in write_about(loaded, prompts, tokens=6)]
    engine, sampling = Engine(loaded.model, loaded.tokenizer, name="tiny"), Sampling(max_tokens=6, temperature=0.0)
    begun = [[loaded.tokenizer.bos_id, *loaded.tokenizer.encode(one.text, add_special_tokens=False)] for one in prompts]
    assert found == ["".join(piece.text for piece in engine.stream(ids, sampling)) for ids in begun]


def test_what_is_written_several_times_behind_a_prompt_counts_once(place: Path, tmp_path: Path) -> None:
    from lavra.evaluation.bias.generations import Prompt, Written, compare

    one, other = (Prompt(f"The {animal}", "k", animal, "en", "1") for animal in ("cat", "dog"))
    values = [(one, 1.0), (other, 0.0), (one, 0.0), (other, 0.0)]
    (found,) = compare([Written(prompt, "", {"sentiment": value}) for prompt, value in values])
    assert [(group.mean, group.count) for group in found.groups.values()] == [(0.5, 1), (0.0, 1)]
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "written.jsonl"
    pairs.write_text('{"kind": "k", "prompts": {"a": "The cat", "b": "The dog"}}\n' * 2)
    given = ("--prompts", str(pairs), "--tokens", "3", "--times", "3", "--temperature", "1", "--out", str(out))
    assert lavra(place, "write", *given).exit_code == 0
    texts = [json.loads(line)["written"] for line in out.read_text().splitlines()]
    assert len(texts) == 12
    assert len(set(texts)) > 6


def test_what_was_written_before_a_stop_is_not_written_again_and_the_rest_is_the_same(
    place: Path, tiny_writer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lavra.evaluation.bias.generations import Prompt
    from lavra.workspace import biasing
    from lavra.workspace.continued import Continued

    loaded = load(Workspace.open(place), None)
    prompts = [Prompt(f"The {number}", "k", "g", "en") for number in range(40)]
    given: dict[str, Any] = {"tokens": 3, "temperature": 1.0, "times": 2}
    whole = [one.text for one in write_about(loaded, prompts, **given)]
    honest, batches = biasing.sample_batch, []

    def counted(*asked: Any, **more: Any) -> Any:
        batches.append(len(asked[1]))
        if len(batches) == 2:
            raise KeyboardInterrupt
        return honest(*asked, **more)

    monkeypatch.setattr(biasing, "sample_batch", counted)
    path = tmp_path / "kept.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write_about(loaded, prompts, **given, kept=Continued(path))
    path.write_bytes(path.read_bytes() + b'\n{"key": "half')
    assert [one.text for one in write_about(loaded, prompts, **given, kept=Continued(path))] == whole
    assert batches == [32, 32, 32, 16]
    assert [one.text for one in write_about(loaded, prompts, **given, kept=Continued(path))] == whole
    assert len(batches) == 4


@pytest.mark.parametrize("stop", [1, 5])
def test_a_measuring_that_was_stopped_asks_only_for_the_rest(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """In batches as the model is, and text by text where it is debiased; asked again, nothing is read."""
    from lavra.evaluation.harness.kept import Kept
    from lavra.workspace import biasing
    from lavra.workspace.tuning import general

    few, paragraphs = biasing.load_associations()[::8], general.general_text()[:3]
    monkeypatch.setattr(biasing, "load_associations", lambda: few)
    monkeypatch.setattr(general, "general_text", lambda: paragraphs)
    loaded = load(Workspace.open(place), None)
    given: dict[str, Any] = {"data": place / "data", "limit": 20, "how": Debiasing(("x",))}
    whole = measure_bias(loaded, **given)
    path, put, answers = tmp_path / "new" / "kept.jsonl", Kept.put, []

    def counted(self: Kept, batch: Any) -> None:
        answers.append(len(batch))
        put(self, batch)
        if len(answers) == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(Kept, "put", counted)
    with pytest.raises(KeyboardInterrupt):
        measure_bias(loaded, **given, kept=Kept(path))
    path.write_bytes(path.read_bytes() + b'["half')
    again, asked = measure_bias(loaded, **given, kept=Kept(path)), sum(answers)
    for one, other in zip(whole, again, strict=True):
        assert (one.measure, one.before.count) == (other.measure, other.before.count)
        assert one.before.mean == pytest.approx(other.before.mean, abs=0.03)
        assert one.after is not None
        assert other.after is not None
        assert one.after.mean == pytest.approx(other.after.mean, abs=0.03)
    assert measure_bias(loaded, **given, kept=Kept(tmp_path / "other.jsonl")) == whole
    assert sum(answers) - asked == asked  # in two goes or in one
    before = len(answers)
    steps: list[tuple[str, int, int]] = []
    measure_bias(loaded, **given, kept=Kept(path), progress=lambda *step: steps.append(step))
    assert len(answers) <= before + 1  # but what the cut line took with it
    assert steps == [] or steps[-1][1] <= steps[-1][2]


def test_kinds_that_compare_the_same_groups_are_compared_together_as_well() -> None:
    from lavra.evaluation.bias.generations import ALL, Prompt, Written, compare

    def written(kind: str, group: str, pair: int, value: float) -> Written:
        return Written(Prompt(f"A {kind} {group} {pair}", kind, group, "en", str(pair)), "", {"sentiment": value})

    some = [
        written(kind, group, pair, float(group == "women" and pair % 2))
        for kind in ("old", "young")
        for pair in range(6)
        for group in ("women", "men")
    ]
    found = {one.kind: one for one in compare(some)}
    assert list(found) == [ALL, "old", "young"]
    assert found[ALL].difference is not None
    assert (found[ALL].difference.mean, found[ALL].difference.count) == (0.5, 12)
    other = Written(Prompt("A boy", "age", "boys", "en", "0"), "", {"sentiment": 0.0})
    assert ALL not in {one.kind for one in compare([*some, other])}, "other groups: nothing to put together"


def test_the_commands_print_tables_and_write_what_was_written(place: Path, tmp_path: Path) -> None:
    measured = lavra(place, "measure", "--data", str(place / "data"), "--limit", "20")
    assert measured.exit_code == 0, measured.output
    assert "CrowS-Pairs, gender" in measured.output
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "written.jsonl"
    pairs.write_text('{"kind": "k", "prompts": {"a": "The cat", "b": "The dog"}}\n' * 3)
    written = lavra(place, "write", "--prompts", str(pairs), "--tokens", "3", "--self-debias", "--out", str(out))
    assert written.exit_code == 0, written.output
    assert "debiased: 6 continuations" in written.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["model"] for line in lines] == ["as it is"] * 6 + ["debiased"] * 6
    labels = ("stereotype", "anti-stereotype", "unrelated")
    sentences = [{"sentence": f"The {label}.", "gold_label": label} for label in labels]
    item = {"target": "t", "bias_type": "gender", "context": "The BLANK.", "sentences": sentences}
    (tmp_path / "dev.json").write_text(json.dumps({"data": {"intrasentence": [item]}}))
    scored = lavra(place, "stereoset", str(tmp_path / "dev.json"), "--json")
    assert json.loads(scored.output)["all"]["ss"]["mean"] in (0.0, 100.0)


def test_augmented_data_are_a_file_beside_and_none_is_overwritten(place: Path, tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text('{"text": "He is a king."}\n{"text": "It rains."}\n')
    assert lavra(place, "augment", str(data), "--language", "en").exit_code == 0
    assert len((tmp_path / "d-both-genders.jsonl").read_text().splitlines()) == 3
    again = lavra(place, "augment", str(data))
    assert again.exit_code != 0
    assert "is there: give another --out" in str(again.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("measure", "--data", "nowhere"), "crows_pairs_anonymized.csv is not there"),
        (("measure", "no-such-model"), "there is no model 'no-such-model'"),
        (("measure", "--self-debias", "--language", "de"), "self-debiasing speaks en, pt"),
        (("measure", "--beside", "no-such-model"), "there is no model 'no-such-model'"),
        (("measure", "--beside", "x", "--self-debias"), "give --beside or --self-debias"),
        (("write", "--times", "2"), "add --temperature 1 to --times"),
        (("write", "--bold", "nowhere"), "no file of BOLD's prompts"),
        (("write", "--holistic", "nowhere"), "holds no HolisticBias"),
        (("write", "--bold", "a", "--holistic", "b"), "prompts come from one place"),
        (("write", "--language", "de"), "there are prompts in en and pt"),
        (("stereoset", "nowhere.json"), "nowhere.json cannot be read"),
        (("augment", "nowhere.jsonl"), "nowhere.jsonl cannot be read"),
        (("augment", "d.jsonl", "--language", "de"), "write en, pt or auto"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(place: Path, words: tuple[str, ...], said: str) -> None:
    done = lavra(place, *words)
    assert done.exit_code != 0
    assert said in str(done.exception)
