"""Results are kept as the harness writes them, averaged with what is missing, and compared item by item."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

pytest.importorskip("lm_eval")
from tiny_decoders import WORDS, tiny_decoder
from typer.testing import CliRunner

from lavra.cli.commands import app
from lavra.errors import LavraError
from lavra.evaluation.harness.averaging import Average, Benchmark, average, averages, rescaled
from lavra.evaluation.harness.comparing import Evaluation, compare
from lavra.evaluation.harness.extra import require_harness
from lavra.evaluation.harness.radar import radar
from lavra.evaluation.harness.running import Settings
from lavra.evaluation.intervals import paired
from lavra.store.manifest import Manifest
from lavra.workspace.evaluated import Evaluated
from lavra.workspace.evaluating.compare import compare_evaluations
from lavra.workspace.evaluating.run import plan, run
from lavra.workspace.workspace import Workspace

require_harness()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace, two tiny models, and two tasks of a user's own with 60 items each."""
    root = tmp_path_factory.mktemp("evaluating")
    Workspace.init(root)
    for number in (1, 2):
        tiny_decoder("rotary", root / f"model{number}", seed=number)
    random = np.random.default_rng(0)
    rows = []
    for number in range(60):
        words = random.choice(WORDS, 12).tolist()
        rows.append(
            {"query": " ".join(words[:6]), "choices": sorted(set(words[6:10])), "gold": number % 2, "next": words[11]}
        )
    (root / "data").mkdir()
    (root / "data" / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    common: dict[str, Any] = {
        "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "{data}/rows.jsonl"}}, "test_split": "test",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    kinds = {
        "chosen": {"output_type": "multiple_choice", "doc_to_text": "query", "doc_to_choice": "choices"},
        "continued": {"output_type": "loglikelihood", "doc_to_text": "query"},
    }
    (root / "tasks").mkdir()
    for name, more in kinds.items():
        target = "gold" if name == "chosen" else " {{next}}"
        category = {"metadata": {"version": 1.0, "category": name}}
        task = {"task": name, **common, **more, "doc_to_target": target, **category}
        (root / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(task))
    return root


def asked(place: Path, model: str, **more: Any) -> Evaluated:
    here = Workspace.open(place)
    job = plan(
        here, str(place / model), ["chosen", "continued"], place / "data", include=[place / "tasks"],
        settings=Settings(**more), precision="fp32",
    )  # fmt: skip
    return run(job)


@pytest.fixture(scope="module")
def first(place: Path) -> Evaluated:
    return asked(place, "model1")


def test_an_evaluation_is_an_artifact_that_is_found_again(place: Path, first: Evaluated) -> None:
    again = asked(place, "model1")
    assert not first.found
    assert again.found
    assert again.artifact.id == first.artifact.id
    manifest: Manifest = first.artifact.manifest
    assert manifest.inputs["model"].startswith("model-")
    assert asked(place, "model1", limit=10).artifact.id != first.artifact.id
    assert Workspace.open(place).store.verify() > 0
    files = {path.name for path in first.artifact.path.iterdir()}
    assert files >= {"results.json", "samples_chosen.jsonl", "samples_continued.jsonl", "report.md", "report.html"}


def test_results_are_in_the_harness_form(first: Evaluated) -> None:
    results = json.loads((first.artifact.path / "results.json").read_text())
    chosen = results["results"]["chosen"]
    samples = [json.loads(line) for line in (first.artifact.path / "samples_chosen.jsonl").read_text().splitlines()]
    values = np.array([sample["acc"] for sample in samples])
    assert chosen["acc,none"] == pytest.approx(values.mean())
    assert chosen["acc_stderr,none"] == pytest.approx(values.std(ddof=1) / math.sqrt(len(values)))
    assert results["n-samples"]["chosen"] == {"original": 60, "effective": 60}
    assert results["higher_is_better"]["chosen"] == {"acc": True}
    assert results["configs"]["chosen"]["num_fewshot"] == 0
    score = results["lavra"]["scores"]["chosen"]
    assert score["low"] <= score["value"] <= score["high"]
    assert score["baselines"]["constant"] == 0.5
    assert results["lavra"]["scores"]["continued"].get("baselines") is None
    assert str(first.artifact.path.parents[2]) not in json.dumps(results)  # nothing of this machine


def test_a_limit_draws_the_same_items_for_every_model(place: Path) -> None:
    def drawn(model: str) -> list[int]:
        lines = (asked(place, model, limit=12).artifact.path / "samples_chosen.jsonl").read_text().splitlines()
        return [json.loads(line)["doc_id"] for line in lines]

    found = drawn("model1")
    assert found == drawn("model2")
    assert len(found) == 12
    assert found != list(range(12))


# ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_evaluations_are_compared_item_by_item(place: Path, first: Evaluated) -> None:
    second = asked(place, "model2")
    found = compare_evaluations(Workspace.open(place), first.artifact.id, second.artifact.id)
    values = []
    for done in (first, second):
        lines = (done.artifact.path / "samples_chosen.jsonl").read_text().splitlines()
        values.append([float(json.loads(line)["acc"]) for line in lines])
    one = next(each for each in found.tasks if each.task == "chosen")
    assert one.difference == paired(*values)
    assert one.a - one.b == pytest.approx(one.difference.mean)
    assert found.artifact is not None
    assert found.artifact.manifest.inputs == {"a": first.artifact.id, "b": second.artifact.id}
    assert "Differences" in (found.artifact.path / "report.html").read_text()


def test_what_was_asked_otherwise_is_not_compared(place: Path, first: Evaluated) -> None:
    a = Evaluation.read(first.artifact.path)
    other = Evaluation(a.name, {**a.results, "n-shot": {"chosen": 5, "continued": 0}}, a.samples)
    found, notes = compare(a, other)
    assert [one.task for one in found] == ["continued"]
    assert "chosen is not compared: 0 and 5 examples before the question" in notes
    assert found[0].better == ""  # the same answers
    nothing = Evaluation("b", {**a.results, "n-shot": {"chosen": 5, "continued": 5}}, a.samples)
    with pytest.raises(LavraError, match="cannot be compared"):
        compare(a, nothing)


def test_results_that_the_harness_wrote_itself_are_compared_too(tmp_path: Path, first: Evaluated) -> None:
    from lm_eval.loggers import EvaluationTracker

    results = json.loads((first.artifact.path / "results.json").read_text())
    samples = {
        task: [json.loads(line) for line in (first.artifact.path / f"samples_{task}.jsonl").read_text().splitlines()]
        for task in results["results"]
    }
    for rows in samples.values():  # as the harness has them before it writes: with every prompt
        for row in rows:
            row.setdefault("arguments", [["", ""]])
    tracker = EvaluationTracker(output_path=str(tmp_path))
    tracker.general_config_tracker.model_name = tracker.general_config_tracker.model_name_sanitized = "theirs"
    del results["lavra"]
    tracker.save_results_aggregated(results=results, samples=samples)
    for task, rows in samples.items():
        tracker.save_results_samples(task_name=task, samples=rows)
    written = next(tmp_path.rglob("results_*.json")).parent
    found, notes = compare(Evaluation.read(first.artifact.path), Evaluation.read(written))
    assert {one.task for one in found} == {"chosen", "continued"}
    assert not notes
    assert all(one.difference.mean == 0 and one.difference.count == 60 for one in found)


def test_a_directory_without_results_is_said(tmp_path: Path) -> None:
    with pytest.raises(LavraError, match="there are no results in"):
        Evaluation.read(tmp_path)


# ── averages ─────────────────────────────────────────────────────────────────────────────────────────────────────────

PAIR = Average(
    "pair", "Pair", True, (Benchmark("a", 0, 0.5, "x"), Benchmark("b", 0, 0.0, "x"), Benchmark("c", 0, 0.25, "y"))
)


def test_an_average_is_the_gauntlets_formula() -> None:
    categories, whole = average(PAIR, {"a": (0.8, 0.02), "b": (0.3, 0.01), "c": (0.4, 0.03)})
    assert categories["x"].value == pytest.approx(((0.8 - 0.5) / 0.5 + 0.3) / 2)
    assert categories["y"].value == pytest.approx(0.15 / 0.75)
    assert whole.value == pytest.approx((categories["x"].value + categories["y"].value) / 2)
    assert categories["x"].error == pytest.approx(math.hypot(0.04, 0.01) / 2)
    assert (whole.coverage, whole.missing) == (1.0, ())


def test_what_is_missing_is_left_out_and_said() -> None:
    categories, whole = average(PAIR, {"b": (0.3, 0.01)})
    assert categories["x"].value == pytest.approx(0.3)
    assert (categories["x"].present, categories["x"].expected, categories["x"].missing) == (1, 2, ("a",))
    assert math.isnan(categories["y"].value)
    assert (whole.value, whole.present, whole.expected) == (pytest.approx(0.3), 1, 3)
    assert whole.missing == ("a", "c")


def test_the_gauntlet_is_as_its_makers_wrote_it(shared: Path) -> None:
    published = yaml.safe_load((shared / "eval/gauntlet/yamls/eval_gauntlet_v0.3.yaml").read_text())["eval_gauntlet"]
    names = {"gsm8k": "gsm8k_8shot", "openbook_qa": "openbookqa"}
    wanted = {
        (category["name"].replace("_", " "), names.get(b["name"], b["name"]), b["num_fewshot"], b["random_baseline"])
        for category in published["categories"]
        for b in category["benchmarks"]
    }
    assert {(b.category, b.task, b.shots, b.chance) for b in averages()["gauntlet"].benchmarks} == wanted
    assert averages()["gauntlet"].rescale == (published["subtract_random_baseline"] and published["rescale_accuracy"])
    assert rescaled(0.25, 0.25) == 0


# ── shown ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_radar_is_well_formed_and_says_its_numbers(count: int) -> None:
    values = {f"category <{number}>": 0.1 * number - 0.05 for number in range(count)}
    root = ElementTree.fromstring(radar("A & B", [("a", values), ("b", values)]))
    texts = "".join(root.itertext())
    assert all(f"<{number}>" in texts for number in range(count))
    assert root.attrib["aria-label"] == "A & B"


def test_the_command_shows_scores_beside_guessing(place: Path) -> None:
    arguments = ["evaluate", str(place / "model1"), "--tasks", "chosen", "--data", str(place / "data")]
    more = [
        "--include",
        str(place / "tasks"),
        "--limit",
        "20",
        "--precision",
        "fp32",
        "-w",
        str(place),
        "--name",
        "once",
    ]
    found = CliRunner().invoke(app, [*arguments, *more])
    assert found.exit_code == 0, found.output
    assert "guessing" in found.output
    assert "items: at most 20 a task, drawn by 1234" in found.output
    assert Workspace.open(place).store.ref("once")
    listed = CliRunner().invoke(app, ["evaluate", "--list"])
    assert "mmlu" in listed.output
    assert "gauntlet" in listed.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "say which tasks"),
        (["--tasks", "arc", "--data", "nowhere"], "there is no directory nowhere"),
        (["--tasks", "arc"], "give it as --data DIR"),
        (["--compare", "x", "y"], "no artifact in"),
    ],
)
def test_mistakes_are_one_sentence(place: Path, arguments: list[str], sentence: str) -> None:
    found = CliRunner().invoke(app, ["evaluate", str(place / "model1"), *arguments, "-w", str(place)])
    assert isinstance(found.exception, LavraError)
    assert sentence in str(found.exception)


def test_a_metric_that_is_no_mean_of_items_keeps_the_harness_error(place: Path) -> None:
    """F1 belongs to all items together: its interval is the harness's, and it is not compared item by item."""
    rows = place / "data" / "f1.jsonl"
    rows.write_text("\n".join(json.dumps({"query": word, "gold": n % 2}) for n, word in enumerate(WORDS * 2)))
    task = {
        "task": "judged", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "query", "doc_to_choice": ["no", "yes"],
        "doc_to_target": "gold", "metric_list": [{"metric": "f1", "aggregation": "f1", "higher_is_better": True}],
    }  # fmt: skip
    (place / "judged.yaml").write_text(yaml.safe_dump(task))
    here = Workspace.open(place)
    job = plan(here, str(place / "model1"), ["judged"], place / "data", include=[place / "judged.yaml"])
    results = run(job).results
    score, judged = results["lavra"]["scores"]["judged"], results["results"]["judged"]
    assert score["value"] == judged["f1,none"]
    assert score["high"] - score["low"] == pytest.approx(2 * 1.959964 * judged["f1_stderr,none"])
    found = Evaluation.read(run(job).artifact.path)
    with pytest.raises(LavraError, match="its f1 is none of an item alone"):
        compare(found, found)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(LavraError, match=r"pip install 'lavra\[evaluate\]'"):
        require_harness()
