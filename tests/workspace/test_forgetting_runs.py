"""`lavra tune` against forgetting: what holds a model, the way back, early stopping, checks of one's own, a teacher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from lavra.cli.commands import app
from lavra.errors import LavraError
from lavra.model.adapted import load_adapted
from lavra.model.base import Model
from lavra.model.heads import logits
from lavra.model.weights import load_model
from lavra.tokens.tokenizer import load_tokenizer
from lavra.workspace.runs import Tuned
from lavra.workspace.tuning import teaching
from lavra.workspace.tuning.checks import Check, Checked
from lavra.workspace.tuning.run import Job, plan_job, tune
from lavra.workspace.tuning.settings import Sources, TuneSettings
from lavra.workspace.workspace import Workspace

WORDS = ["sol", "lua", "mar", "rio", "céu", "flor", "pedra", "casa"]
PROBE = torch.tensor([[1, 5, 9, 300, 77, 1200, 40]])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Examples, other examples, a short general text and two tasks: all small, so that measuring is quick."""
    folder = tmp_path_factory.mktemp("files")

    def write(name: str, rows: list[dict[str, Any]]) -> Path:
        path = folder / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        return path

    pairs = [(a, b) for a in WORDS for b in WORDS if a != b]
    (folder / "general.txt").write_text("A ferry left.\n\nA água cai na serra.", "utf-8")
    return {
        "data": write("words.jsonl", [{"prompt": f"{a} {b}?", "completion": f"{b} e {a}."} for a, b in pairs]),
        "old": write("old.jsonl", [{"text": f"Um texto antigo, o {n}º de todos."} for n in range(12)]),
        "general": folder / "general.txt",
        "tasks": write("tasks.jsonl", [{"prompt": "O sol é", "choices": ["quente", "azul"], "answer": 0}] * 2),
    }


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.init(tmp_path / "ws")


def job(
    workspace: Workspace, files: Mapping[str, Path], model: Path, *, old: bool = False, checks: Any = (), **given: Any
) -> Job:
    sources = Sources(
        data=(files["data"],),
        old=(files["old"],) if old else (),
        general=files["general"],
        tasks=files["tasks"],
    )
    settings = TuneSettings(**{"steps": 8, "batch_tokens": 512, "learning_rate": 5e-3, "evaluations": 1, **given})
    return plan_job(workspace, sources, settings, model=str(model), checks=checks)


@torch.no_grad()
def says(model: Model, path: Path) -> torch.Tensor:
    """Its log-probabilities over an example of the kind that is learned."""
    chat = [{"role": "user", "content": "sol lua?"}, {"role": "assistant", "content": "lua e sol."}]
    ids = torch.tensor([load_tokenizer(path).encode_chat(chat, False)])
    return logits(model, model(ids)).log_softmax(-1)


def words(done: Tuned, model: Path) -> torch.Tensor:
    """What the tuned model says."""
    if done.artifact.manifest.kind == "adapter":
        adapted = load_adapted(model, [done.artifact.path / "adapter"], dtype=torch.float32)
    else:
        adapted = load_model(done.artifact.path / "model", dtype=torch.float32)
    return says(adapted, model)


def divergence(done: Tuned, model: Path) -> float:
    """KL(base ‖ tuned), a place."""
    before = says(load_model(model, dtype=torch.float32), model)
    return float((before.exp() * (before - words(done, model))).sum(-1).mean())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_holds_a_model_keeps_it_nearer_to_its_base(
    workspace: Workspace, files: dict[str, Path], tiny_writer: Path, method: str
):
    free = divergence(tune(job(workspace, files, tiny_writer, method=method, steps=5)), tiny_writer)
    for name, weight, logged in (("kl", 30.0, "kl_to_base"), ("l2_sp", 100.0, "anchor"), ("ewc", 1e4, "anchor")):
        given: dict[str, Any] = {"method": method, "steps": 5, name: weight}
        done = tune(job(workspace, files, tiny_writer, old=name == "ewc", **given))
        assert divergence(done, tiny_writer) < 0.8 * free, name
        line = json.loads((done.artifact.path / "metrics.jsonl").read_text().splitlines()[-1])
        assert logged in line, name
        assert done.artifact.manifest.recipe["tune"][name] == weight


def test_all_that_holds_a_model_combines(workspace: Workspace, files: dict[str, Path], tiny_writer: Path):
    done = tune(job(workspace, files, tiny_writer, old=True, steps=2, kl=0.1, l2_sp=0.1, ewc=1.0))
    line = json.loads((done.artifact.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"kl_to_base", "anchor"} <= line.keys()


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "full"])
def test_the_way_back_begins_at_the_base_and_ends_at_the_tuned_model(
    workspace: Workspace, files: dict[str, Path], tiny_writer: Path, method: str
):
    rate = {"ia3": 0.05, "full": 3e-3}.get(method, 1e-2)
    tuned = tune(job(workspace, files, tiny_writer, method=method, learning_rate=rate))
    curve = tune(job(workspace, files, tiny_writer, method=method, learning_rate=rate, interpolate="curve"))
    found = json.loads((curve.artifact.path / "interpolation.json").read_text())
    points = {point["share"]: point for point in found["points"]}
    assert curve.metrics["interpolation"] == found["points"]
    assert sorted(points) == [0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0]
    near = {"rel": 1e-4 if method != "dora" else 2e-3}  # DoRA's lengths are divided by lengths, and rounded
    assert points[0.0]["loss"] == pytest.approx(curve.metrics["held_out_before"], **near)
    assert points[0.0]["general_bits_per_byte"] == pytest.approx(curve.metrics["general_before"], **near)
    assert points[1.0]["loss"] == pytest.approx(tuned.metrics["held_out_after"], rel=1e-5)
    assert curve.metrics["held_out_after"] == pytest.approx(tuned.metrics["held_out_after"], rel=1e-5)
    assert torch.equal(words(curve, tiny_writer), words(tuned, tiny_writer)), "a curve alone takes nothing back"
    report = (curve.artifact.path / "report.md").read_text()
    assert "lowest held-out loss of those that lose at most 1.0%" in report
    picture = (curve.artifact.path / "interpolation.svg").read_text()
    assert picture in (curve.artifact.path / "report.html").read_text()
    assert picture.count("<circle") == 8, "seven points, and the recommended one"


def test_a_share_that_is_given_scales_what_the_adapter_adds(
    workspace: Workspace, files: dict[str, Path], tiny_writer: Path
):
    whole = tune(job(workspace, files, tiny_writer))
    part = tune(job(workspace, files, tiny_writer, interpolate=0.3))
    ups = [load_file(done.artifact.path / "adapter" / "adapter_model.safetensors") for done in (whole, part)]
    for name, tensor in ups[0].items():
        expected = 0.3 * tensor if "lora_B" in name else tensor
        torch.testing.assert_close(ups[1][name], expected, msg=name)
    assert part.metrics["interpolated"] == 0.3
    assert "| 0.3 |" in (part.artifact.path / "report.md").read_text()


def test_auto_takes_the_recommended_share(workspace: Workspace, files: dict[str, Path], tiny_writer: Path):
    """So strict that nothing but the base forgets little enough, and so lax that all of tuning does."""
    for allowed, share in ((0.0, None), (1.0, 1.0)):
        done = tune(job(workspace, files, tiny_writer, method="full", interpolate="auto", forget_at_most=allowed))
        found = json.loads((done.artifact.path / "interpolation.json").read_text())
        assert (
            done.metrics["interpolated"] == found["recommended"] == (found["recommended"] if share is None else share)
        )
        limit = done.metrics["general_before"] * (1 + allowed)
        allowed_points = [p for p in found["points"] if p["general_bits_per_byte"] <= limit + 1e-9]
        assert done.metrics["held_out_after"] == pytest.approx(min(p["loss"] for p in allowed_points), rel=1e-4)
        assert done.metrics["general_after"] <= limit + 1e-6


def test_a_run_stops_early_and_keeps_the_best_it_saw(
    workspace: Workspace, files: dict[str, Path], tiny_writer: Path, tmp_path: Path
):
    """Examples that are learned by heart, and held-out ones that contradict them."""
    wrong = tmp_path / "wrong.jsonl"
    rows = [{"prompt": f"{a} {b} ?", "completion": "Outra coisa."} for a, b in pairwise(WORDS)]
    wrong.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    sources = Sources(data=(files["data"],), validation=wrong, general=files["general"], tasks=files["tasks"])
    settings = TuneSettings(steps=200, batch_tokens=512, learning_rate=2e-2, patience=2, evaluations=100)
    done = tune(plan_job(workspace, sources, settings, model=str(tiny_writer)))
    assert done.metrics["stopped"] == "patience"
    assert done.metrics["steps"] < 200
    seen = [json.loads(line)["loss"] for line in (done.artifact.path / "evaluations.jsonl").read_text().splitlines()]
    assert done.metrics["held_out_after"] == pytest.approx(min(seen), rel=1e-4)


def test_a_check_of_ones_own_is_given_the_model_before_and_after(
    workspace: Workspace, files: dict[str, Path], tiny_writer: Path
):
    seen: list[str] = []

    def politeness(given: Checked) -> dict[str, float]:
        assert not given.model.training
        seen.append(given.when)
        (given.directory / "said.txt").write_text(given.when)
        torch.manual_seed(0)  # what a check does with chance is its own affair
        return {"thanks": float(given.model(PROBE).float().abs().mean())}

    done = tune(job(workspace, files, tiny_writer, checks=[Check("politeness", politeness)]))
    assert seen == ["before", "after"]
    assert done.metrics["politeness.thanks_before"] != done.metrics["politeness.thanks_after"]
    assert (done.artifact.path / "checks" / "politeness" / "after" / "said.txt").read_text() == "after"
    assert "| politeness.thanks |" in (done.artifact.path / "report.md").read_text()
    assert done.artifact.manifest.recipe["checks"] == [["politeness", ""]]
    plain = tune(job(workspace, files, tiny_writer))
    assert torch.equal(words(plain, tiny_writer), words(done, tiny_writer)), "a check changes nothing"


def test_a_check_that_fails_costs_no_training(workspace: Workspace, files: dict[str, Path], tiny_writer: Path):
    def late(given: Checked) -> dict[str, float]:
        if given.when == "after":
            raise ValueError("no words left")
        return {"fine": 1.0}

    told: list[str] = []
    done = tune(job(workspace, files, tiny_writer, checks=[Check("late", late)]), say=told.append)
    assert told == ["the check late failed after the training (ValueError: no words left); what was trained is kept."]
    assert "late.fine_before" in done.metrics
    assert "late.fine_after" not in done.metrics
    for function, said in (
        (lambda given: 3, r"failed before the training \(TypeError: it returns int"),
        (lambda given: {"x": float("nan")}, "its figure x is nan, not a number"),
    ):
        with pytest.raises(LavraError, match=said):
            tune(job(workspace, files, tiny_writer, checks=[Check("bad", function)]))
    with pytest.raises(LavraError, match="two checks are called late"):
        job(workspace, files, tiny_writer, checks=[Check("late", late), Check("late", late)])


def test_a_teachers_logits_are_learned(workspace: Workspace, files: dict[str, Path], tiny_writer: Path):
    """A teacher that was tuned, and a student that is given none of the answers, only the teacher's words."""
    teacher = tune(job(workspace, files, tiny_writer, method="full", steps=12), name="teacher")
    settings: dict[str, Any] = {"steps": 16, "teacher": "teacher", "hard": 0.0}
    taught = tune(job(workspace, files, tiny_writer, learning_rate=1e-2, **settings))
    line = json.loads((taught.artifact.path / "metrics.jsonl").read_text().splitlines()[-1])
    first = json.loads((taught.artifact.path / "metrics.jsonl").read_text().splitlines()[0])
    assert line["divergence"] < 0.7 * first["divergence"]
    assert taught.artifact.manifest.recipe["teacher"] == teacher.artifact.id
    assert taught.artifact.manifest.inputs["teacher"] == teacher.artifact.id
    assert taught.held_out < taught.metrics["held_out_before"]


def test_a_teacher_with_other_words_can_only_answer(
    workspace: Workspace, files: dict[str, Path], tiny_writer: Path, tmp_path: Path
):
    """Two tokens exchanged: as many words, and each logit of those two of another."""
    other = shutil.copytree(tiny_writer, tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    one, two = sorted(vocabulary, key=vocabulary.get)[400:402]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")
    with pytest.raises(LavraError, match=r"have not the same tokenizer.*--teach answers"):
        job(workspace, files, tiny_writer, teacher=str(other))
    with pytest.raises(LavraError, match=r"answered nothing .* raise --answer-tokens"):
        job(workspace, files, tiny_writer, teacher=str(other), teach="answers", answer_tokens=3)


def test_a_teachers_answers_take_the_place_of_the_files(
    workspace: Workspace, files: dict[str, Path], tiny_writer: Path, monkeypatch: pytest.MonkeyPatch
):
    tune(job(workspace, files, tiny_writer, method="full", steps=36, learning_rate=1e-2), name="teacher")
    settings = {"teacher": "teacher", "teach": "answers", "answer_tokens": 12, "steps": 2}
    asked = job(workspace, files, tiny_writer, **settings)
    engine = workspace.writing_with("teacher").engine
    from lavra.inference.sampling import Sampling

    for example in asked.data.training[:4]:
        assert example.written is not None
        prompt, answer = example.written.messages  # type: ignore[union-attr]
        ids = engine.tokenizer.encode_chat([dict(prompt)])
        steps = [step.token_id for step in engine.stream(ids, Sampling(max_tokens=12))]
        assert engine.tokenizer.decode(steps).strip() == answer["content"]
        decoded = asked.base.tokenizer.decode(example.labelled.ids.tolist())
        assert decoded.rstrip().endswith(answer["content"])
    held = {example.source for example in asked.data.validation}
    for example in asked.data.validation:
        assert getattr(example.written, "answer", "").endswith("."), "what is held out keeps people's answers"
    assert held
    monkeypatch.setattr(teaching, "load_teacher", lambda *_: pytest.fail("nothing is asked twice"))
    again = job(workspace, files, tiny_writer, **settings)
    assert again.run == asked.run
    done = tune(again)
    assert done.artifact.manifest.recipe["tune"]["teach"] == "answers"


def test_what_cannot_be_asked_for_together_is_said_before_anything_is_done(
    workspace: Workspace, files: dict[str, Path], tiny_writer: Path
):
    for given, said in (
        ({"kl": 0.1, "method": "longlora"}, "hold it with l2_sp"),
        ({"interpolate": 1.5}, "from 0"),
        ({"interpolate": "half"}, "curve, auto"),
        ({"ewc": -1.0}, "must not be negative"),
        ({"temperature": 0.0}, "must be positive"),
        ({"ewc": 1.0}, "give a file of examples with --old"),
        ({"interpolate": "auto", "validation": 0.0}, "needs held-out examples"),
    ):
        with pytest.raises(LavraError, match=said):
            job(workspace, files, tiny_writer, **given)


def test_figures_of_other_texts_are_of_another_run(workspace: Workspace, files: dict[str, Path], tiny_writer: Path):
    asked = job(workspace, files, tiny_writer)
    sources = replace(asked.sources, general=None)
    other = plan_job(workspace, sources, asked.settings, model=str(tiny_writer))
    assert asked.run != other.run


def test_the_command_line_holds_goes_back_and_checks(
    workspace: Workspace, files: dict[str, Path], tiny_writer: Path, tmp_path: Path
):
    check = tmp_path / "checks.py"
    check.write_text("def size(given):\n    return {'layers': given.model.config.layers}\n", "utf-8")
    (workspace.root / "house.py").write_text("def rule(given):\n    return {'when': len(given.when)}\n", "utf-8")
    (workspace.root / "lavra.toml").write_text('[tune]\nkl = 0.5\nchecks = ["house.py:rule"]\n', "utf-8")
    options = {
        "--model": tiny_writer, "-w": workspace.root, "--general": files["general"], "--general-tasks": files["tasks"],
        "--steps": 4, "--batch-tokens": 512, "--l2-sp": 0.1, "--ewc": 1, "--old": files["old"], "--interpolate": 0.5,
        "--check": f"{check}:size", "--patience": 3,
    }  # fmt: skip
    arguments = ["tune", str(files["data"]), *(str(part) for option in options.items() for part in option)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "recommended" in done.output
    assert "0.5" in next(line for line in done.output.splitlines() if line.endswith("taken"))
    assert "General tasks" in done.output
    assert "Check size.layers 2 → 2." in done.output
    assert "Check rule.when 6 → 5." in done.output
    [artifact] = [one for one in workspace.store.list("adapter") if one.manifest.recipe["made by"] == "tune"]
    tuned = artifact.manifest.recipe["tune"]
    assert (tuned["kl"], tuned["ewc"], tuned["l2_sp"], tuned["patience"]) == (0.5, 1.0, 0.1, 3)
    for extra, said in (
        (["--interpolate", "most"], "is not curve, auto, or a number"),
        (["--check", "none.py:size"], "names no function"),
        (["--check", f"{check}:weight"], "has no function weight"),
    ):
        failed = CliRunner().invoke(app, [*arguments, *extra])
        assert isinstance(failed.exception, LavraError), failed.output
        assert said in str(failed.exception)
