"""Two processes make the steps of one; what they saved, any number of processes continues."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lavra.training.checkpoints import Checkpoints
from lavra.training.ranks import Ranks
from lavra.training.run import RunDirectory

PROGRAM = Path(__file__).with_name("tiny.py")
pytestmark = pytest.mark.slow


def start(path: Path, *options: str, processes: int = 2) -> str:
    """By torchrun, as a user would."""
    command = [sys.executable]
    if processes > 1 or "fsdp" in options or "ddp" in options:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [*command, str(PROGRAM), str(path), *options],
        capture_output=True, text=True, timeout=400, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def losses(path: Path) -> list[float]:
    return [line["loss"] for line in RunDirectory(path).lines("metrics")]


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The last checkpoint's, put together."""
    checkpoints = Checkpoints(path / "checkpoints", keep=2, ranks=Ranks())
    found = checkpoints.latest()
    assert found is not None
    pieces: dict[str, list[torch.Tensor]] = {}
    for file in sorted(found[0].path.glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            if name.startswith("weights/"):
                pieces.setdefault(name, []).append(tensor)
    return {name: torch.cat(parts) for name, parts in pieces.items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alone")
    start(path, "--steps", "12", processes=1)
    return path


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_have_the_losses_and_weights_of_one(tmp_path: Path, alone: Path, mode: str) -> None:
    start(tmp_path, "--distributed", mode, "--steps", "12")
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=1e-4)
    expected, found = weights(alone), weights(tmp_path)
    assert expected.keys() == found.keys()
    if mode == "fsdp":
        files = sorted((tmp_path / "checkpoints" / "step-00000012").glob("*.safetensors"))
        assert [file.name for file in files] == ["part-00000-of-00002.safetensors", "part-00001-of-00002.safetensors"]
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)


def test_two_processes_hold_spread_weights_as_one_does(tmp_path: Path) -> None:
    """EWC and L2-SP, each process with its own part of what is held."""
    start(tmp_path / "alone", "--steps", "6", "--hold", processes=1)
    start(tmp_path / "spread", "--distributed", "fsdp", "--steps", "6", "--hold")
    one, two = (RunDirectory(tmp_path / name).lines("metrics") for name in ("alone", "spread"))
    for figure in ("loss", "anchor", "norm"):
        assert [line[figure] for line in two] == pytest.approx([line[figure] for line in one], rel=1e-4, abs=1e-9)
    assert one[-1]["anchor"] > 0
    expected, found = weights(tmp_path / "alone"), weights(tmp_path / "spread")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)


def test_sharded_checkpoints_continue_on_another_number_of_processes(tmp_path: Path, alone: Path) -> None:
    """Two write their parts until they are stopped, one goes on, then two with all of it each, and three end it."""
    start(tmp_path, "--distributed", "fsdp", "--steps", "12", "--kill-at", "4", "--by", "SIGTERM")
    assert 4 <= len(losses(tmp_path)) < 12
    start(tmp_path, "--steps", "12", "--kill-at", "8", "--by", "SIGTERM", processes=1)
    assert 8 <= len(losses(tmp_path)) < 12
    start(tmp_path, "--distributed", "ddp", "--steps", "12", "--kill-at", "10", "--by", "SIGTERM")
    assert 10 <= len(losses(tmp_path)) < 12
    start(tmp_path, "--distributed", "fsdp", "--steps", "12", processes=3)
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=1e-4)
