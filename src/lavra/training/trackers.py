"""Mirrors of a run's metrics elsewhere: MLflow, Weights & Biases, Comet, TensorBoard, each if it is installed.

They get what ``metrics.jsonl`` gets and the run's settings, and nothing besides: what W&B and Comet collect by
themselves (code, terminal, packages, host) is switched off. It goes in batches, from a thread of their own. One that is
absent, slow or down is said once and then left alone: it never stops or slows a run. Nothing leaves the machine unless
the user has set it so: without a key W&B and Comet write offline, MLflow writes an SQLite file, and telemetry is off.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from lavra.errors import LavraError
from lavra.training.callbacks import Callback, Result, Step
from lavra.training.plan import Plan
from lavra.training.run import RunDirectory

Point = tuple[int, dict[str, float]]
_BATCH_SECONDS = 2.0
_QUEUE = 100_000  # points; more are dropped


class Backend(Protocol):
    """What a tracker must do; may raise whatever it likes."""

    def write(self, points: Sequence[Point]) -> None: ...
    def close(self) -> None: ...


class MLflow:
    def __init__(self, name: str, run: RunDirectory, settings: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it would tell of each table it makes
        self._metric = Metric
        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(run.path.parent / 'mlflow.db').resolve()}"
        self._client = MlflowClient(tracking_uri=place)
        found = self._client.get_experiment_by_name("lavra")
        experiment = found.experiment_id if found else self._client.create_experiment("lavra")
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        self._client.log_batch(self._run, params=[Param(key, str(value)[:500]) for key, value in settings.items()])

    def write(self, points: Sequence[Point]) -> None:
        now = int(time.time() * 1000)
        metrics = [self._metric(key, value, now, step) for step, values in points for key, value in values.items()]
        for start in range(0, len(metrics), 1000):  # a batch takes no more
            self._client.log_batch(self._run, metrics=metrics[start : start + 1000])

    def close(self) -> None:
        self._client.set_terminated(self._run)


class WandB:
    def __init__(self, name: str, run: RunDirectory, settings: Mapping[str, Any]) -> None:
        import wandb

        wished = any(os.environ.get(name) for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"))
        quiet = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_meta=True,
            x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
        )  # fmt: skip
        self._run = wandb.init(
            project="lavra", name=name, dir=str(run.path), config=dict(settings), settings=quiet,
            mode=None if wished else "offline",
        )  # fmt: skip
        # Its own count of steps never goes back, and drops what does; a run that diverges goes back.
        self._run.define_metric("*", step_metric="step")

    def write(self, points: Sequence[Point]) -> None:
        for step, values in points:
            self._run.log({"step": step, **values})

    def close(self) -> None:
        self._run.finish()


_COMET_COLLECTS = (
    "log_code", "log_graph", "log_env_details", "log_env_gpu", "log_env_host", "log_env_cpu", "log_env_network",
    "log_env_disk", "log_git_metadata", "log_git_patch", "auto_param_logging", "auto_metric_logging",
    "auto_output_logging", "auto_log_co2", "parse_args",
)  # fmt: skip
"""By itself, unless it is told not to."""


class Comet:
    def __init__(self, name: str, run: RunDirectory, settings: Mapping[str, Any]) -> None:
        os.environ.setdefault("COMET_LOGGING_CONSOLE", "ERROR")
        import comet_ml

        quiet: dict[str, Any] = dict.fromkeys(_COMET_COLLECTS, False)
        quiet |= {"project_name": "lavra", "display_summary_level": 0}
        if os.environ.get("COMET_API_KEY"):
            self._run = comet_ml.Experiment(**quiet)
        else:
            self._run = comet_ml.OfflineExperiment(**quiet, offline_directory=str(run.path / "comet"))
        self._run.set_name(name)
        self._run.log_parameters(dict(settings))

    def write(self, points: Sequence[Point]) -> None:
        for step, values in points:
            self._run.log_metrics(values, step=step)

    def close(self) -> None:
        self._run.end()


class TensorBoard:
    def __init__(self, name: str, run: RunDirectory, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.path / "tensorboard"))
        self._writer.add_text("settings", "\n".join(f"    {key}: {value}" for key, value in settings.items()))

    def write(self, points: Sequence[Point]) -> None:
        for step, values in points:
            for key, value in values.items():
                self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


BACKENDS: Mapping[str, tuple[Callable[..., Backend], str]] = {
    "mlflow": (MLflow, "mlflow"),
    "wandb": (WandB, "wandb"),
    "comet": (Comet, "comet_ml"),
    "tensorboard": (TensorBoard, "tensorboard"),
}
"""By name: the class, and the module that it needs."""


class Tracker(Callback):
    """One backend, fed from a thread. ``say`` hears what went wrong with it, once."""

    def __init__(self, make: Callable[[], Backend], name: str, say: Callable[[str], None] = lambda text: None) -> None:
        self._make, self.name, self._say = make, name, say
        self._points: queue.Queue[Point | None] = queue.Queue(_QUEUE)
        self._thread: threading.Thread | None = None
        self._dropped = 0

    def begin(self, plan: Plan, step: int) -> None:
        self._thread = threading.Thread(target=self._work, name=f"tracker {self.name}", daemon=True)
        self._thread.start()

    def step(self, step: Step) -> None:
        values = {
            "loss": step.loss,
            "rate": step.rate,
            "gradient norm": step.norm,
            "tokens per second": step.tokens_per_second,
            "share of peak": step.share,
            "memory": float(step.memory),
            **step.metrics,
        }
        self._put(step.step, values)

    def evaluated(self, step: int, metrics: Mapping[str, float], best: bool) -> None:
        self._put(step, {f"held out {name}": value for name, value in metrics.items()})

    def end(self, result: Result) -> None:
        self.close()

    def close(self) -> None:
        """Wait a little for what is under way."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            try:
                self._points.put_nowait(None)
            except queue.Full:  # it is stuck or slow: the oldest point makes room for the end
                with suppress(queue.Empty):  # taken meanwhile
                    self._points.get_nowait()
                    self._dropped += 1
                self._points.put_nowait(None)
            thread.join(timeout=20)
            if thread.is_alive():
                self._say(f"{self.name} is still busy and is left alone; the metrics are in metrics.jsonl")
            elif self._dropped:
                self._say(f"{self.name} was too slow for {self._dropped} points; they are in metrics.jsonl")

    def _put(self, step: int, values: Mapping[str, float]) -> None:
        try:
            self._points.put_nowait((step, {name: value for name, value in values.items() if math.isfinite(value)}))
        except queue.Full:
            self._dropped += 1

    def _work(self) -> None:
        try:
            backend = self._make()
            ending = False
            while not ending:
                points, ending = self._gather()
                if points:
                    backend.write(points)
            backend.close()
        except Exception as error:  # whatever it is, the run is not its hostage
            self._say(f"{self.name} does not work ({type(error).__name__}: {error}); the metrics are in metrics.jsonl")

    def _gather(self) -> tuple[list[Point], bool]:
        """What came within a batch's time, and whether that was the end."""
        points: list[Point] = []
        until = time.monotonic() + _BATCH_SECONDS
        while (left := until - time.monotonic()) > 0:
            try:
                point = self._points.get(timeout=left)
            except queue.Empty:
                break
            if point is None:
                return points, True
            points.append(point)
        return points, False


USUAL = "mlflow"
"""Who is told where nobody is named, if it is installed; it writes a file beside the runs."""
NONE = "none"


def require_known(names: Iterable[str]) -> None:
    """Raises LavraError for a tracker that nobody knows."""
    for name in names:
        if name not in BACKENDS and name != NONE:
            raise LavraError(f"there is no tracker {name!r}; there are {', '.join(BACKENDS)} and {NONE}")


def make_trackers(
    names: Sequence[str] | None,
    run: RunDirectory,
    settings: Mapping[str, Any],
    *,
    title: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> list[Callback]:
    """A callback a name; without names the usual one, where it is there. One that is not installed is said and left
    out; a name that nobody knows raises LavraError."""
    if names is None:
        names = [USUAL] if find_spec(BACKENDS[USUAL][1]) else []
    require_known(names)
    found: list[Callback] = []
    for name in names:
        if name == NONE:
            continue
        kind, module = BACKENDS[name]
        if find_spec(module) is None:
            say(f"{name} is not installed (pip install {module.replace('_', '-')}); the run goes on without it")
            continue
        found.append(
            Tracker(lambda kind=kind: kind(title or Path(run.path).name, run, settings), name, say)  # type: ignore[misc]
        )
    return found
