"""Two processes tune as one does: by torchrun and ``--processes``, with a model each and one spread over both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.model.writing import save_model
from lavra.tokens.tokenizer import load_tokenizer
from lavra.workspace.runs import Tuned
from lavra.workspace.tuning.run import plan_job, tune
from lavra.workspace.tuning.settings import Sources, TuneSettings
from lavra.workspace.workspace import Workspace

pytestmark = pytest.mark.slow
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture(scope="module")
def place(pulled: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny``, a model, and ``data.jsonl``."""
    root = tmp_path_factory.mktemp("together")
    tokenizer = load_tokenizer(pulled("smollm2-135m"))
    tiny = build(
        ModelConfig(
            vocabulary_size=tokenizer.vocabulary_size, layers=2, width=32, heads=4, kv_heads=2, head_width=8,
            hidden_width=48, causal=True, norm="rms", norm_epsilon=1e-5, positions="rotary", activation="silu",
            gated=True, context_length=256, tied_embeddings=True,
        )
    )  # fmt: skip
    initialise(tiny, 0)
    save_model(tiny, root / "tiny", tokenizer=tokenizer, family="llama")
    rows = [{"prompt": f"O que vem depois de {n}?", "completion": "sol " * (n % 7 + 1)} for n in range(60)]
    (root / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return root


def alone(place: Path, method: str) -> Tuned:
    """The same in this process."""
    settings = TuneSettings(method=method, steps=4, batch_tokens=1024, learning_rate=3e-3, validation=0.2)  # type: ignore[arg-type]
    workspace = Workspace.init(place / f"alone-{method}")
    return tune(plan_job(workspace, Sources(data=(place / "data.jsonl",)), settings, model=str(place / "tiny")))


def together(
    place: Path, workspace: Path, *options: str, launcher: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    Workspace.init(workspace)
    command = [
        sys.executable, *(launcher or []), "-m", "lavra", "tune", "data.jsonl", "--model", str(place / "tiny"),
        "--steps", "4", "--batch-tokens", "1024", "--learning-rate", "0.003", "--validation", "0.2", "--yes",
        "-w", str(workspace), *options,
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=place, capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def losses(path: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (path / "metrics.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("method", "launcher", "options"),
    [("lora", TORCHRUN, ()), ("full", None, ("--processes", "2", "--distributed", "fsdp"))],
    ids=["torchrun, ddp, an adapter", "processes, fsdp, the whole model"],
)
def test_two_processes_make_the_artifact_of_one(
    place: Path, tmp_path: Path, method: str, launcher: list[str] | None, options: tuple[str, ...]
) -> None:
    expected = alone(place, method)
    done = together(place, tmp_path / "ws", "--method", method, *options, launcher=launcher)
    assert done.returncode == 0, done.stderr[-3000:]
    store = Workspace.open(tmp_path / "ws").store
    [found] = store.list(expected.artifact.manifest.kind)[-1:]
    assert found.manifest.recipe == expected.artifact.manifest.recipe
    assert losses(found.path) == pytest.approx(losses(expected.artifact.path), rel=1e-4)
    assert found.manifest.metrics["held_out_after"] == pytest.approx(expected.held_out, rel=1e-3)
    assert store.verify() == 2, "the base's card, and one artifact"
    assert not any(path.is_dir() for path in [*store.drafts.iterdir(), *(store.root / "runs").iterdir()])
    assert done.stdout.count(f"{found.id} (") == 1, "one of them speaks"


def test_a_mistake_is_said_once(place: Path, tmp_path: Path) -> None:
    done = together(place, tmp_path / "ws", "--targets", "q_prok", "--processes", "2")
    assert done.returncode == 2
    assert done.stderr.count("no map of the model is called 'q_prok'") == 1
    assert "Traceback" not in done.stderr
