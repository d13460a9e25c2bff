"""A run that was stopped in any way and continued ends with the bits of one that never stopped."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import Steps, tiny_model, trainer

from lavra.errors import LavraError
from lavra.training.checkpoints import Checkpoints
from lavra.training.evaluation import HeldOut
from lavra.training.run import RunDirectory

PROGRAM = Path(__file__).with_name("tiny.py")


def start(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(PROGRAM), str(path), *options],
        capture_output=True, text=True, env=environment, timeout=300, check=False,
    )  # fmt: skip


def last_bits(path: Path) -> dict[str, torch.Tensor]:
    (file,) = (path / "checkpoints" / "step-00000024").glob("*.safetensors")
    return load_file(file)


@pytest.mark.slow
def test_a_run_killed_by_signal_9_at_random_steps_continues_bit_for_bit(tmp_path: Path) -> None:
    options = ("--dtype", "bfloat16", "--dropout", "0.1")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, *options).returncode == 0
    for step in sorted(random.Random(4).sample(range(1, 24), 3)):
        assert start(killed, *options, "--kill-at", str(step)).returncode == -signal.SIGKILL
    done = start(killed, *options)
    assert done.returncode == 0, done.stderr
    assert_same_bits(killed, whole)


def assert_same_bits(one: Path, other: Path) -> None:
    """Weights, moments, random state, and what was logged."""
    expected, found = last_bits(other), last_bits(one)
    assert expected.keys() == found.keys()
    assert all(expected[name].equal(found[name]) for name in expected)

    def curve(path: Path) -> list[tuple[int, float]]:
        return [(line["step"], line["loss"]) for line in RunDirectory(path).lines("metrics")]

    assert curve(one) == curve(other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_that_dies_at_any_step_continues_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    class Died(Exception):
        pass

    def fresh() -> Any:
        torch.manual_seed(random.randrange(1 << 30))  # what the process did before does not matter
        return tiny_model(dtype=dtype, dropout=0.1)

    trainer(tmp_path / "whole", model=fresh()).train()
    for death in (3, 4, 11, 15, 16):

        def die(step: int, death: int = death) -> None:
            if step == death:
                raise Died

        with pytest.raises(Died):
            trainer(tmp_path / "died", model=fresh(), callbacks=[Steps(die)]).train()
    assert trainer(tmp_path / "died", model=fresh()).train().stopped == "finished"
    assert_same_bits(tmp_path / "died", tmp_path / "whole")


@pytest.mark.slow
def test_sigterm_saves_and_says_how_to_continue(tmp_path: Path) -> None:
    stopped = start(tmp_path, "--kill-at", "7", "--by", "SIGTERM")
    assert stopped.returncode == 0
    assert "interrupted at step 7 of 24; saved at step 7: run the same command again" in stopped.stdout


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_wish_in_the_middle_of_a_step_leaves_nothing_of_it(tmp_path: Path, name: str) -> None:
    interrupted = trainer(tmp_path / "one", model=tiny_model(dropout=0.1))
    collate = interrupted.objective.collate
    calls = []

    def collate_and_interrupt(examples: Any) -> Any:
        calls.append(1)
        if len(calls) == 30:  # the second micro-batch of the eighth step
            signal.raise_signal(getattr(signal, name))
        return collate(examples)

    wrapped = Wrapped(interrupted.objective, collate_and_interrupt)
    interrupted.objective = interrupted.forward.objective = wrapped  # type: ignore[assignment]
    result = interrupted.train()
    assert (result.stopped, result.step) == ("interrupted", 7)
    assert trainer(tmp_path / "one", model=tiny_model(seed=5, dropout=0.1)).train().stopped == "finished"
    trainer(tmp_path / "whole", model=tiny_model(dropout=0.1)).train()
    assert_same_bits(tmp_path / "one", tmp_path / "whole")


class Wrapped:
    def __init__(self, objective: Any, collate: Any) -> None:
        self.loss, self.collate = objective.loss, collate


def test_checkpoints_are_kept_by_policy_and_the_best_stays(tmp_path: Path) -> None:
    marks = iter([3.0, 1.0, 2.0, 2.5, 2.6, 2.7, 2.8, 2.9])
    run = trainer(tmp_path, evaluate=lambda forward: {"loss": next(marks)}, evaluate_every=3, save_every=4, keep=2)
    result = run.train()
    assert [checkpoint.step for checkpoint in run.checkpoints.all()] == [6, 21, 24]
    assert result.best == 6
    best = load_file(next((tmp_path / "checkpoints" / "step-00000006").glob("*.safetensors")))
    assert all(p.equal(best[f"weights/{name}"]) for name, p in run.model.named_parameters())


def test_it_stops_when_patience_is_over(tmp_path: Path) -> None:
    marks = iter([3.0, 1.0, 2.0, 2.5, 2.6])
    run = trainer(tmp_path, evaluate=lambda forward: {"loss": next(marks)}, evaluate_every=2, patience=2)
    result = run.train()
    assert (result.stopped, result.step, result.best) == ("patience", 8, 4)


def test_a_kill_between_checkpoint_and_evaluation_evaluates_after_all(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def die(forward: Any) -> dict[str, float]:
        raise Killed

    with pytest.raises(Killed):
        trainer(tmp_path, evaluate=die, evaluate_every=6).train()
    seen = []
    run = trainer(tmp_path, evaluate=lambda forward: {"loss": float(len(seen.append(1) or seen))}, evaluate_every=6)
    run.train()
    assert [line["step"] for line in RunDirectory(tmp_path).lines("evaluations")] == [6, 12, 18, 24]


def test_the_held_out_loss_is_the_mean_over_all_targets(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    rows = run.loader._sources[0]  # type: ignore[attr-defined]
    found = [HeldOut(rows, rows.sizes, micro_tokens=size)(run.forward)["loss"] for size in (48, 480)]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    total, count = run.objective.loss(run.model, run.objective.collate(list(rows)))
    assert found[0] == pytest.approx((total / count).item(), rel=1e-6)


def test_evaluating_changes_no_bit_of_the_run_whatever_it_draws(tmp_path: Path) -> None:
    def draw(forward: Any) -> dict[str, float]:
        assert not forward.model.training
        return {"loss": 2.0 - float(torch.rand(1)) / 1e3 - forward.model.embedding.weight.std().item()}

    trainer(tmp_path / "plain", model=tiny_model(dropout=0.2)).train()
    run = trainer(tmp_path / "drawn", model=tiny_model(dropout=0.2), evaluate=draw, evaluate_every=3)
    run.train()
    assert_same_bits(tmp_path / "drawn", tmp_path / "plain")


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    newest = tmp_path / "checkpoints" / "step-00000024"
    (file,) = newest.glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(bytes(data))
    steps = Steps()
    assert trainer(tmp_path, callbacks=[steps]).train().stopped == "finished"
    assert [step.step for step in steps.seen] == [21, 22, 23, 24]


def test_a_full_disk_keeps_the_last_checkpoint_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lavra.training import checkpoints

    write, calls = checkpoints.save_file, []

    def fill_the_disk(tensors: Any, path: Path, **more: Any) -> None:
        calls.append(path)
        if len(calls) in (3, 4):  # those of steps 10 and 15
            Path(path).write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        write(tensors, path, **more)

    monkeypatch.setattr(checkpoints, "save_file", fill_the_disk)
    steps = Steps()
    run = trainer(tmp_path, callbacks=[steps])
    assert run.train().stopped == "finished"
    said = [event for event in steps.events if "No space left" in event]
    assert len(said) == 2
    assert "that of step 5 is kept" in said[0]
    assert [checkpoint.step for checkpoint in run.checkpoints.all()] == [20, 24]
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_a_really_full_disk_too(tmp_path: Path) -> None:
    if shutil.which("mount") is None or os.geteuid() != 0 or subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    ).returncode:  # fmt: skip
        pytest.skip("no small disk can be mounted here")
    try:
        steps = Steps()
        run = trainer(tmp_path / "run", callbacks=[steps], keep=5)
        assert run.train().stopped == "finished"
        assert any("could not be written" in event for event in steps.events)
        assert Checkpoints(run.run.checkpoints, keep=5, ranks=run.ranks).latest() is not None
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_another_run_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    with pytest.raises(LavraError, match=r"learning_rate 0\.003 and cannot continue with 0\.01"):
        trainer(tmp_path, learning_rate=0.01).train()
    held = RunDirectory(tmp_path)
    held.lock()
    with pytest.raises(LavraError, match="another process is training"):
        trainer(tmp_path).train()
    held.unlock()
