"""``align`` by each method on a tiny model with a real tokenizer: an artifact is left that says
what the run said."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from lavra.cli.commands import app
from lavra.errors import LavraError
from lavra.inference.sampling import Sampling
from lavra.model.adapted import load_adapted
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.model.weights import load_model
from lavra.model.writing import save_model
from lavra.objectives.reference import answer_scores
from lavra.objectives.reward import rewards
from lavra.tokens.tokenizer import load_tokenizer
from lavra.training.callbacks import Callback, Step
from lavra.training.rollouts import Prompt
from lavra.workspace.aligning.data import hold_out, load_items
from lavra.workspace.aligning.rewards import judged_by
from lavra.workspace.aligning.run import AlignJob, align, plan_align
from lavra.workspace.aligning.settings import AlignSettings
from lavra.workspace.runs import Interrupted
from lavra.workspace.workspace import Workspace


@pytest.fixture(scope="module")
def model(pulled: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two narrow layers under SmolLM2's tokenizer and template."""
    tokenizer = load_tokenizer(pulled("smollm2-135m"))
    tiny = build(
        ModelConfig(
            vocabulary_size=tokenizer.vocabulary_size, context_length=256, layers=2, width=32, heads=4, kv_heads=2,
            head_width=8, hidden_width=48, causal=True, norm="rms", norm_epsilon=1e-5,
            positions="rotary", activation="silu", gated=True,
        )
    )  # fmt: skip
    initialise(tiny, 0)
    directory = tmp_path_factory.mktemp("model") / "tiny"
    save_model(tiny, directory, tokenizer=tokenizer, family="llama")
    return str(directory)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Polite answers are preferred; two rows prefer nothing."""
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    given: list[dict[str, Any]] = [
        {"prompt": f"Question {number}?", "chosen": f"Certainly, {number}.", "rejected": f"Nope {number}"}
        for number in range(40)
    ]
    given[3:3] = [{"prompt": "same", "chosen": "a", "rejected": "a"}, {"prompt": "", "chosen": "a", "rejected": "b"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in given), "utf-8")
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.init(tmp_path / "ws")


def settings(method: Any, **changes: Any) -> AlignSettings:
    return AlignSettings(
        method=method, micro_tokens=512, validation=0.2, rank=4,
        **{"learning_rate": 3e-2, "steps": 12, "context": 200, "batch_tokens": 1024, **changes},
    )  # fmt: skip


def job(
    workspace: Workspace, data: Path, model: str, method: str, *, reward: str | None = None, **changes: Any
) -> AlignJob:
    return plan_align(workspace, data, settings(method, **changes), model=model, reward=reward)


@pytest.mark.parametrize("method", ["dpo", "ipo", "orpo", "simpo", "kto"])
def test_an_adapter_learns_what_is_preferred(workspace, data, model, method):
    asked = job(workspace, data, model, method)
    done = align(asked)
    assert done.metrics["held_out_after"] < done.metrics["held_out_before"]
    assert done.metrics["accuracy_after"] > 0.9
    assert [problem.source.rpartition(":")[2] for problem in asked.data.problems] == ["4", "5"]
    assert done.metrics["examples"] + done.metrics["held_out_examples"] == (80 if method == "kto" else 40)
    items, _ = load_items(data, load_tokenizer(Path(model)), settings("dpo"))
    texts = [text for pair in items for text in pair.texts]
    found = workspace.writing_with(done.artifact.id).generator
    before, after = (
        answer_scores(load_adapted(Path(model), adapters, dtype=torch.float32), texts)
        for adapters in ((), found.adapters)
    )
    moved = [a - b for a, b in zip(after, before, strict=True)]
    assert sum(moved[::2]) > sum(moved[1::2]), "the adapter on disk is the one that was trained"


def test_its_artifact_is_one_like_any_other(workspace, data, model, tmp_path):
    """Traced to its base, found instead of made again, kept while it has a name, and answered with."""
    asked = job(workspace, data, model, "dpo", steps=3)
    done = align(asked, name="polite")
    manifest = done.artifact.manifest
    assert manifest.kind == "adapter"
    assert manifest.recipe["data"] == [["pairs.jsonl", asked.sha256]]
    assert manifest.recipe["align"]["method"] == "dpo"
    assert {"general_before", "general_after", "accuracy_before", "accuracy_after"} <= manifest.metrics.keys()
    names = {path.name for path in done.artifact.path.iterdir()}
    assert {"adapter", "metrics.jsonl", "loss.svg", "report.md", "left-out.txt"} <= names
    assert [node.role for node in workspace.store.trace("polite").inputs] == ["base"]
    assert workspace.store.verify() == 2
    assert not any((workspace.store.root / "runs").iterdir())
    again = align(job(workspace, data, model, "dpo", steps=3))
    assert again.found
    assert again.artifact.id == done.artifact.id
    other = align(job(workspace, data, model, "dpo", steps=3, beta=0.5))
    assert other.artifact.id != done.artifact.id
    assert other.artifact.id in workspace.store.garbage().young
    assert done.artifact.id not in workspace.store.garbage().young
    ids = [step.token_id for step in workspace.writing_with("polite").engine.stream([1, 2, 3], Sampling(max_tokens=2))]
    assert len(ids) == 2


def test_a_run_that_was_stopped_is_continued_by_the_same_command(workspace, data, model):
    class Stop(Callback):
        def step(self, step: Step) -> None:
            if step.step == 2:
                signal.raise_signal(signal.SIGTERM)

    asked = job(workspace, data, model, "dpo", steps=4)
    with pytest.raises(Interrupted, match="saved at step 2"):
        align(asked, callbacks=[Stop()])
    assert not workspace.store.list("adapter")
    done = align(asked)
    assert done.metrics["steps"] == 4
    assert "continues after step 2" in (done.artifact.path / "events.jsonl").read_text("utf-8")


def test_the_command_line_from_pairs_to_a_model_elsewhere(workspace, data, model, tmp_path):
    arguments = ["align", str(data), "--model", model, "--steps", "2", "--batch-tokens", "1024", "--yes"]
    at = ["-w", str(workspace.root)]
    out = tmp_path / "whole"
    done = CliRunner().invoke(app, [*arguments, "--name", "polite", "--to", str(out), *at])
    assert done.exit_code == 0, done.output
    assert "Left out: 2." in done.output
    assert "accuracy" in done.output
    ids = torch.tensor([[1, 5, 9, 300, 77]])
    found = workspace.writing_with("polite").generator
    merged = load_adapted(found.model.path, found.adapters, dtype=torch.float32)(ids)
    torch.testing.assert_close(load_model(out, dtype=torch.float32)(ids), merged, atol=0.05, rtol=0.05)
    failed = CliRunner().invoke(app, [*arguments, "--to", str(out), *at])
    assert "exists already" in str(failed.exception)
    failed = CliRunner().invoke(app, [*arguments, "--name", "index", *at])
    assert "cannot be used" in str(failed.exception)


def test_a_reward_model_is_left_whole(workspace, data, model, tmp_path):
    done = align(job(workspace, data, model, "reward"), name="judge")
    assert done.artifact.manifest.kind == "model"
    assert done.metrics["accuracy_after"] > 0.9
    directory = done.artifact.path / "model"
    judge = load_model(directory, dtype=torch.float32)
    items, _ = load_items(data, load_tokenizer(Path(model)), settings("dpo"))
    chosen, rejected = (rewards(judge, [getattr(pair, side) for pair in items]) for side in ("chosen", "rejected"))
    assert sum(a > b for a, b in zip(chosen, rejected, strict=True)) > 0.9 * len(items)
    rate = judged_by(directory, judge)
    asked = items[0].chosen
    prompt = Prompt(tuple(asked.ids[: asked.answer].tolist()), {})
    assert rate(prompt, [asked.ids[asked.answer :].tolist()]) == pytest.approx(chosen[:1], abs=1e-5)
    reinforced = align(job(workspace, data, model, "grpo", reward="judge", answer_tokens=4, steps=2))
    assert reinforced.metrics["stopped"] == "finished"
    assert reinforced.artifact.manifest.inputs["reward"] == done.artifact.id
    with pytest.raises(LavraError, match="no reward model"):
        align(job(workspace, data, model, "grpo", reward=model))
    with pytest.raises(LavraError, match="choose a decoder"):
        _ = workspace.writing_with("judge").engine


def test_grpo_is_rewarded_by_a_function_of_the_users(workspace, data, model, tmp_path):
    """That a rule is learned is shown in ``test_grpo.py``, on a model that meets it by chance; here, that the function
    is given what it is promised and its numbers are the ones that count."""
    (tmp_path / "judge.py").write_text(
        "def capitals(prompt, answers, row):\n"
        "    assert prompt == row['prompt']\n"
        "    return [sum(letter.isupper() for letter in answer) / max(1, len(answer)) for answer in answers]\n"
    )
    reward = f"{tmp_path / 'judge.py'}:capitals"
    done = align(job(workspace, data, model, "grpo", reward=reward, group=8, answer_tokens=4, steps=4, beta=0.1))
    assert done.metrics["stopped"] == "finished"
    assert 0 < done.metrics["reward_after"] < 1
    lines = [json.loads(line) for line in (done.artifact.path / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-3), "the base without its adapter is the reference"
    assert lines[-1]["kl"] > lines[0]["kl"]
    with pytest.raises(LavraError, match="has no function other"):
        job(workspace, data, model, "grpo", reward=f"{tmp_path / 'judge.py'}:other")
    with pytest.raises(LavraError, match="what rewards an answer"):
        job(workspace, data, model, "grpo")


def test_pairs_with_one_prompt_are_on_one_side(model, tmp_path):
    path = tmp_path / "pairs.jsonl"
    given = [{"prompt": f"q{number // 4}", "chosen": f"a{number}", "rejected": f"b{number}"} for number in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in given), "utf-8")
    items, _ = load_items(path, load_tokenizer(Path(model)), settings("dpo"))
    learned, held = hold_out(items, settings("dpo"))
    prompts = [{tuple(pair.chosen.ids[: pair.chosen.answer].tolist()) for pair in part} for part in (learned, held)]
    assert not prompts[0] & prompts[1]
    assert len(held) == 8


def test_settings_that_mean_nothing_are_refused():
    for changes, reason in (
        ({"method": "ppo"}, "one of dpo"),
        ({"validation": 1.0}, "a share"),
        ({"limit": 1}, "at least 2"),
    ):
        with pytest.raises(LavraError, match=reason):
            AlignSettings(**changes)
