"""``align`` by each method on a tiny model with a real tokenizer: an adapter or a reward model is left behind that says
what the run said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lavra.errors import LavraError
from lavra.model.adapted import named_as
from lavra.model.adapter_files import load_adapter
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.model.weights import load_model
from lavra.model.writing import save_model
from lavra.objectives.reference import answer_scores
from lavra.objectives.reward import rewards
from lavra.tokens.tokenizer import load_tokenizer
from lavra.training.rollouts import Prompt
from lavra.workspace.aligning import AlignSettings, align, judged_by, load_items


@pytest.fixture(scope="module")
def model(pulled: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two narrow layers under SmolLM2's tokenizer and template."""
    tokenizer = load_tokenizer(pulled("smollm2-135m"))
    tiny = build(
        ModelConfig(
            vocabulary_size=tokenizer.vocabulary_size, context_length=256, layers=2, width=32, heads=4, kv_heads=2,
            head_width=8, hidden_width=48, causal=True, norm="rms", norm_epsilon=1e-5, norm_bias=False,
            positions="rotary", activation="silu", gated=True,
        )
    )  # fmt: skip
    initialise(tiny, 0)
    directory = tmp_path_factory.mktemp("model") / "tiny"
    save_model(tiny, directory, tokenizer=tokenizer)
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


def settings(method: Any, **changes: Any) -> AlignSettings:
    return AlignSettings(
        method=method, micro_tokens=512, validation=0.2, rank=4,
        **{"learning_rate": 3e-2, "steps": 12, "context": 200, "batch_tokens": 1024, **changes},
    )  # fmt: skip


@pytest.mark.parametrize("method", ["dpo", "ipo", "orpo", "simpo", "kto"])
def test_an_adapter_learns_what_is_preferred(model, data, tmp_path, method):
    done = align(data, tmp_path / "run", model=model, settings=settings(method))
    assert done.after["loss"] < done.before["loss"]
    assert done.after["accuracy"] > 0.9
    assert [problem.source.rpartition(":")[2] for problem in done.problems] == ["4", "5"]
    assert done.held + done.trained == (80 if method == "kto" else 40)
    tuned = load_model(Path(model), dtype=torch.float32)
    items, _ = load_items(data, load_tokenizer(Path(model)), settings("dpo"))
    before = answer_scores(tuned, [text for pair in items for text in pair.texts])
    load_adapter(tuned, named_as(tuned)[1], tmp_path / "run" / "adapter")
    after = answer_scores(tuned, [text for pair in items for text in pair.texts])
    moved = [a - b for a, b in zip(after, before, strict=True)]
    assert sum(moved[::2]) > sum(moved[1::2]), "the adapter on disk is the one that was trained"


def test_a_reward_model_is_left_whole(model, data, tmp_path):
    done = align(data, tmp_path / "run", model=model, settings=settings("reward"))
    assert done.after["accuracy"] > 0.9
    judge = load_model(tmp_path / "run" / "model", dtype=torch.float32)
    items, _ = load_items(data, load_tokenizer(Path(model)), settings("dpo"))
    chosen, rejected = (rewards(judge, [getattr(pair, side) for pair in items]) for side in ("chosen", "rejected"))
    assert sum(a > b for a, b in zip(chosen, rejected, strict=True)) > 0.9 * len(items)
    rate = judged_by(str(tmp_path / "run" / "model"), judge)
    asked = items[0].chosen
    prompt = Prompt(tuple(asked.ids[: asked.answer].tolist()), {})
    assert rate(prompt, [asked.ids[asked.answer :].tolist()]) == pytest.approx(chosen[:1], abs=1e-5)
    reinforced = align(
        data, tmp_path / "grpo", model=model, reward=str(tmp_path / "run" / "model"),
        settings=settings("grpo", answer_tokens=4, steps=2),
    )  # fmt: skip
    assert reinforced.result.stopped == "finished"
    with pytest.raises(LavraError, match="no reward model"):
        align(data, tmp_path / "not", model=model, reward=model, settings=settings("grpo"))


def test_grpo_is_rewarded_by_a_function_of_the_users(model, data, tmp_path):
    """That a rule is learned is shown in ``test_grpo.py``, on a model that meets it by chance; here, that the function
    is given what it is promised and its numbers are the ones that count."""
    (tmp_path / "judge.py").write_text(
        "def capitals(prompt, answers, row):\n"
        "    assert prompt == row['prompt']\n"
        "    return [sum(letter.isupper() for letter in answer) / max(1, len(answer)) for answer in answers]\n"
    )
    done = align(
        data, tmp_path / "run", model=model, reward=f"{tmp_path / 'judge.py'}:capitals",
        settings=settings("grpo", group=8, answer_tokens=4, steps=4, beta=0.1),
    )  # fmt: skip
    assert done.result.stopped == "finished"
    assert 0 < done.after["reward"] < 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-3), "the base without its adapter is the reference"
    assert lines[-1]["kl"] > lines[0]["kl"]
    with pytest.raises(LavraError, match="has no function other"):
        align(data, tmp_path / "other", model=model, reward=f"{tmp_path / 'judge.py'}:other", settings=settings("grpo"))
    with pytest.raises(LavraError, match="what rewards an answer"):
        align(data, tmp_path / "other", model=model, settings=settings("grpo"))


def test_the_same_call_continues_and_a_different_one_is_refused(model, data, tmp_path):
    first = align(data, tmp_path / "run", model=model, settings=settings("dpo", steps=3))
    again = align(data, tmp_path / "run", model=model, settings=settings("dpo", steps=3))
    assert again.after == pytest.approx(first.after)
    with pytest.raises(LavraError, match="beta"):
        align(data, tmp_path / "run", model=model, settings=settings("dpo", steps=3, beta=0.5))


def test_pairs_with_one_prompt_are_on_one_side(model, tmp_path):
    from lavra.workspace.aligning import hold_out

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
