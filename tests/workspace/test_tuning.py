"""`lavra tune`, whole: on a tiny model with a real tokenizer and chat template, from a file to an answer."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from lavra.cli.commands import app
from lavra.errors import LavraError
from lavra.inference.engine import Engine
from lavra.inference.sampling import Sampling
from lavra.model.adapted import load_adapted
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.model.writing import save_model
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer
from lavra.workspace.tuning.data import hold_out, load_examples
from lavra.workspace.tuning.run import Job, plan_job, tune
from lavra.workspace.tuning.settings import Sources, TuneSettings
from lavra.workspace.tuning.tries import learning_curve, range_test, spread, with_seeds
from lavra.workspace.workspace import Workspace

WORDS = ["sol", "lua", "mar", "rio", "céu", "flor", "pedra", "casa", "vento", "fogo", "terra", "nuvem"]
SHAPE: dict[str, Any] = {
    "layers": 2, "width": 64, "heads": 4, "kv_heads": 2, "head_width": 16, "hidden_width": 128, "causal": True,
    "norm": "rms", "norm_epsilon": 1e-5, "positions": "rotary", "activation": "silu",
    "gated": True, "context_length": 256, "tied_embeddings": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(pulled: Callable[[str], Path]) -> Tokenizer:
    return load_tokenizer(pulled("smollm2-135m"))


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny = build(ModelConfig(vocabulary_size=tokenizer.vocabulary_size, **SHAPE))
    initialise(tiny, 0)
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny, path, tokenizer=tokenizer, family="llama")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "words.jsonl"
    rows = [
        {"prompt": f"Depois de {a} vem?", "completion": f"{b} e {a}."} for a in WORDS for b in WORDS if a < b or a > b
    ]
    rows = [{**row, "prompt": f"{row['prompt']} ({number})"} for number, row in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.init(tmp_path / "ws")


def job(workspace: Workspace, data: Path, model: Path, merge: bool = False, **settings: Any) -> Job:
    chosen = TuneSettings(**{"steps": 12, "batch_tokens": 512, "learning_rate": 3e-3, "method": "lora", **settings})
    return plan_job(workspace, Sources(data=(data,)), chosen, model=str(model), merge=merge)


@pytest.mark.parametrize("method", ["lora", "rslora", "dora", "ia3", "qlora", "full"])
def test_each_method_learns_and_its_artifact_says_from_what(workspace: Workspace, data: Path, model: Path, method: str):
    rate = {"ia3": 0.05, "full": 3e-3}.get(method, 5e-3)
    asked = job(workspace, data, model, method=method, learning_rate=rate)
    done = tune(asked, name="words")
    assert done.held_out < done.metrics["held_out_before"]
    manifest = done.artifact.manifest
    assert done.artifact.id.startswith("model-" if method == "full" else "adapter-")
    assert manifest.recipe["data"][0][0] == "words.jsonl"
    assert manifest.recipe["tune"]["method"] == method
    assert {"general_before", "general_after", "tokens_per_second"} <= manifest.metrics.keys()
    assert manifest.cost.seconds > 0
    names = {path.name for path in done.artifact.path.iterdir()}
    assert {"metrics.jsonl", "loss.svg", "report.md", "left-out.txt"} <= names
    base = workspace.store.trace("words").inputs
    assert [node.role for node in base] == ["base"]
    assert workspace.store.verify() >= 2
    assert not (workspace.store.root / "runs").exists() or not any((workspace.store.root / "runs").iterdir())
    again = tune(asked)
    assert again.found
    assert again.artifact.id == done.artifact.id


def test_what_was_tuned_answers_at_once_alone_and_merged(workspace: Workspace, data: Path, model: Path):
    """The engine with the adapter, the merged model, and the model in memory say the same."""
    adapter = tune(job(workspace, data, model, steps=80, learning_rate=2e-2))
    merged = tune(job(workspace, data, model, steps=80, learning_rate=2e-2, merge=True))
    ids = torch.tensor([[1, 5, 9, 300, 77]])
    base = load_adapted(model, (), dtype=torch.float32)(ids)
    states = []
    for artifact in (adapter.artifact, merged.artifact):
        found = workspace.writing_with(artifact.id).generator
        states.append(load_adapted(found.model.path, found.adapters, dtype=torch.float32)(ids))
    assert (states[0] - base).abs().max() > 0.05
    assert (states[0] - states[1]).abs().max() < 0.02 * states[0].abs().max()  # merged in bf16 where the chip has it
    answers = []
    for reference in (adapter.artifact.id, merged.artifact.id, str(model)):
        engine = workspace.writing_with(reference).engine
        prompt = engine.tokenizer.encode_chat([{"role": "user", "content": "Depois de sol vem? (3)"}])
        answers.append([step.token_id for step in engine.stream(prompt, Sampling(max_tokens=8))])
    assert answers[0] == answers[1] != answers[2]


def test_an_adapter_is_not_laid_over_another_model(
    workspace: Workspace, data: Path, model: Path, tokenizer: Tokenizer, tmp_path: Path
):
    import shutil

    moved = tmp_path / "tiny"
    shutil.copytree(model, moved)
    done = tune(job(workspace, data, moved, steps=2))
    other = build(ModelConfig(vocabulary_size=tokenizer.vocabulary_size, **SHAPE))
    initialise(other, 1)
    save_model(other, moved, tokenizer=tokenizer, family="llama", overwrite=True)
    with pytest.raises(LavraError, match=r"was tuned over .* when its files were others"):
        _ = workspace.writing_with(done.artifact.id).engine
    with pytest.raises(LavraError, match="was made for"):
        Engine.load(str(moved), adapters=(done.artifact.path / "adapter",))


def test_longlora_stretches_the_context_and_keeps_it_in_use(workspace: Workspace, tmp_path: Path, model: Path):
    long = tmp_path / "long.jsonl"
    rows = [{"prompt": f"{n} " + "sol e lua " * 120, "completion": "mar"} for n in range(24)]
    long.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    with pytest.raises(LavraError, match=r"takes 256 tokens, not 1,024.*--method longlora"):
        job(workspace, long, model, context=1024)
    asked = job(workspace, long, model, context=1024, method="longlora", steps=3, learning_rate=1e-3)
    done = tune(asked)
    engine = workspace.writing_with(done.artifact.id).engine
    assert engine.context_length == 1024
    theta = Engine.load(str(model))._model.config.rope_theta
    assert engine._model.config.rope_theta > theta
    config = json.loads((done.artifact.path / "adapter" / "adapter_config.json").read_text())
    assert "embed_tokens" in config["modules_to_save"]
    assert asked.recipe["stretched"] == "base"
    copied = tmp_path / "copied"
    shutil.copytree(done.artifact.path / "adapter", copied)
    own = json.loads((copied / "lavra-adapter.json").read_text())
    del own["stretched"]  # as versions wrote it that divided the positions
    (copied / "lavra-adapter.json").write_text(json.dumps(own))
    with pytest.raises(LavraError, match="stretched in another way: tune it again"):
        Engine.load(str(model), adapters=(copied,))


def test_documents_are_read_on_whole_and_only_those_that_everybody_may_read(
    workspace: Workspace, model: Path, documents: Path
):
    settings = TuneSettings(steps=3, method="full", validation=0.0)
    asked = plan_job(workspace, Sources(texts=(documents,)), settings, model=str(model))
    assert asked.data.loaded.hidden == 1
    decoded = "".join(asked.base.tokenizer.decode(e.labelled.ids.tolist()) for e in asked.data.training)
    assert "trinta dias de férias" in decoded
    assert "41 thousand" not in decoded
    assert all(example.labelled.learned == example.tokens - 1 for example in asked.data.training)
    done = tune(asked)
    assert done.metrics["general_after"] != done.metrics["general_before"]
    board = plan_job(
        workspace, Sources(texts=(documents,), roles=("public", "board")), settings, model=str(model)
    )  # fmt: skip
    assert board.data.loaded.hidden == 0


def test_examples_of_one_document_are_held_out_together_and_the_same_ones_each_time(
    tokenizer: Tokenizer, tmp_path: Path
):
    rows = [{"prompt": f"q{n}", "completion": f"a{n}", "document": f"d{n // 5}"} for n in range(100)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    groups = []
    for name in ("a", "b"):
        loaded = load_examples([tmp_path / f"{name}.jsonl"], tokenizer, learn="answers", context=256)
        training, held = hold_out(loaded.examples, 0.1)
        assert not {e.group for e in training} & {e.group for e in held}
        assert len(held) == 10
        groups.append({e.group for e in held})
    assert groups[0] == groups[1]


def test_what_is_too_long_or_teaches_nothing_is_named(tokenizer: Tokenizer, tmp_path: Path):
    path = tmp_path / "data.jsonl"
    rows = [
        {"prompt": "a", "completion": "b"},
        {"prompt": "c", "completion": "sol " * 300},
        {"prompt": "d " * 300, "completion": "e"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_examples([path], tokenizer, learn="answers", context=100)
    assert (len(loaded.examples), loaded.too_long) == (1, 2)
    assert "do not fit the context of 100" in str(loaded.problems[0])
    cut = load_examples([path], tokenizer, learn="answers", context=100, shorten=True)
    assert [example.tokens <= 101 for example in cut.examples] == [True, True]
    assert str(cut.problems[0]).startswith(f"{path}:3: what is left after cutting holds no answer")


def test_replay_and_the_distance_to_the_base_are_in_the_run(
    workspace: Workspace, data: Path, model: Path, tmp_path: Path
):
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({"text": f"um texto geral {n} " * 8}) + "\n" for n in range(40)))
    settings = TuneSettings(steps=8, batch_tokens=1024, kl=0.5, learning_rate=1e-3)
    sources = Sources(data=(data,), replay=((other, 0.5),))
    asked = plan_job(workspace, sources, settings, model=str(model))
    plain = plan_job(workspace, Sources(data=(data,)), replace(settings, kl=0.0), model=str(model))
    with_replay, without = tune(asked), tune(plain)
    assert with_replay.artifact.manifest.recipe["replay"] == [["other.jsonl", 0.5]]
    line = json.loads((with_replay.artifact.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert "kl_to_base" in line
    assert with_replay.artifact.id != without.artifact.id


def test_a_killed_run_continues_with_the_same_command_to_the_same_bits(
    workspace: Workspace, data: Path, model: Path, tmp_path: Path
):
    whole = Workspace.init(tmp_path / "whole")
    flags = ["--model", str(model), "--steps", "40", "--batch-tokens", "512", "--learning-rate", "0.003", "--yes"]
    command = [sys.executable, "-m", "lavra", "tune", str(data), *flags, "-w"]
    if subprocess.run([sys.executable, "-m", "lavra", "--version"], capture_output=True).returncode:
        command[:3] = [sys.executable, "-c", "from lavra.cli import main; main()"]
    process = subprocess.Popen([*command, str(workspace.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    runs = workspace.store.root / "runs"
    until = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < until:
        if any(len(file.read_text().splitlines()) > 12 for file in runs.glob("*/metrics.jsonl")):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    for root in (workspace.root, whole.root):
        subprocess.run([*command, str(root)], check=True, capture_output=True)
    weights = [
        next(here.store.artifacts.glob("adapter-*/adapter/adapter_model.safetensors")).read_bytes()
        for here in (workspace, whole)
    ]
    assert weights[0] == weights[1]


def test_seeds_shares_and_rates(workspace: Workspace, data: Path, model: Path):
    asked = job(workspace, data, model, steps=None, epochs=2)
    seeds = [tune(each) for each in with_seeds(asked, 2)]
    assert seeds[0].artifact.id != seeds[1].artifact.id
    assert "±" in spread(seeds)
    shares = learning_curve(asked, tune)
    counts = [done.metrics["examples"] for _, done in shares]
    assert counts[0] < counts[1] < counts[2] == len(asked.data.training)
    found = range_test(asked, steps=30)
    assert 1e-6 < found.steepest <= found.lowest < 0.3
    assert found.advised <= found.steepest


def test_the_command_line_from_preview_to_gguf(workspace: Workspace, data: Path, model: Path, tmp_path: Path):
    run = CliRunner().invoke
    at = ["-w", str(workspace.root), "--model", str(model)]
    shown = run(app, ["tune", str(data), "--preview", *at])
    assert shown.exit_code == 0, shown.output
    assert "⟦" in shown.output
    assert "of them learned" in shown.output
    out = tmp_path / "tuned.gguf"
    done = run(app, ["tune", str(data), "--steps", "4", "--name", "words", "--to", str(out), *at])
    assert done.exit_code == 0, done.output
    assert "General text" in done.output
    exported = load_tokenizer(out)
    messages = [{"role": "user", "content": "Depois de <|im_end|>?"}]
    assert exported.encode_chat(messages) == load_tokenizer(model).encode_chat(messages)
    for arguments, said in (
        (["tune", *at], "there is nothing to learn from"),
        (["tune", str(data), "--name", "corpus", *at], "cannot be used"),
        (["tune", str(tmp_path / "none.jsonl"), *at], "does not exist"),
        (["tune", str(data), "--targets", "q_prok", "--steps", "1", *at], "no map of the model is called 'q_prok'"),
        (["tune", str(data), "--validation", str(data), *at], "are also trained on"),
    ):
        failed = run(app, arguments)
        assert isinstance(failed.exception, LavraError), failed.output
        assert said in str(failed.exception)


def test_the_same_chat_is_the_same_ids_in_training_in_answers_and_in_the_export(
    workspace: Workspace, tokenizer: Tokenizer, pulled: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):  # fmt: skip
    """What the engine is given for a question is the beginning of what was trained on, for SmolLM2 itself."""
    from lavra.assistants.assistant import BareModel
    from lavra.assistants.events import Message
    from lavra.tokens.conversation import encode_conversation

    messages = [
        {"role": "system", "content": "Responda em uma frase."},
        {"role": "user", "content": "O que é <|im_start|>?"},
        {"role": "assistant", "content": "Um marcador."},
        {"role": "user", "content": "E depois?"},
        {"role": "assistant", "content": "A resposta."},
    ]
    [trained] = encode_conversation(tokenizer, messages)
    engine = Engine.load(str(pulled("smollm2-135m")))
    given: list[list[int]] = []

    def stream(prompt: Any, sampling: Any, **more: Any) -> Any:
        given.append([int(token) for token in prompt])
        return iter(())

    monkeypatch.setattr(engine, "stream", stream)
    bare = BareModel("smollm2", engine, Sampling())
    try:
        list(bare.answer([Message(m["role"], m["content"]) for m in messages[:-1]], roles=frozenset({"public"})))
    except Exception:  # nothing was generated; what was sent is what counts
        assert given
    assert trained.ids[: len(given[0])].tolist() == given[0]
    assert trained.weights[len(given[0])] == 1
    assert trained.weights[len(given[0]) - 1] == 0
