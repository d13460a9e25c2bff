"""The plan before, the line during, the report after; and trackers, whatever becomes of them."""

from __future__ import annotations

import errno
import io
import json
import struct
import threading
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tiny import LENGTH, tiny_model, trainer

from lavra.errors import LavraError
from lavra.model.counts import count_operations
from lavra.objectives.distillation import Distillation
from lavra.objectives.language import LanguageModel
from lavra.objectives.packing import Example, PackedRows
from lavra.objectives.retention import KLToBase, ewc
from lavra.training.callbacks import Callback, Step
from lavra.training.curve import Line, draw
from lavra.training.evaluation import HeldOut
from lavra.training.plan import Work, duration, held_beside
from lavra.training.progress import TerminalProgress
from lavra.training.report import Report
from lavra.training.run import RunDirectory
from lavra.training.trackers import Point, Tracker, make_trackers

Told = tuple[str, int, float]
"""Name, step, value."""


def test_the_plan_says_what_is_trained_and_what_it_takes(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    rows = dict(run.plan.rows())
    assert list(rows) == ["trained", "steps", "tokens", "rate", "operations", "memory", "machine", "time", "energy"]
    parameters = sum(p.numel() for p in run.model.parameters())
    assert run.plan.trained == run.plan.parameters == parameters
    assert run.plan.tokens == 24 * 8 * LENGTH
    assert run.plan.memory["weights"] == 4 * parameters
    assert run.plan.memory["moments"] == 8 * parameters


def test_the_plan_counts_what_an_objective_holds_besides_the_model() -> None:
    model, base = tiny_model(), tiny_model(dtype=torch.bfloat16)
    parameters = sum(p.numel() for p in model.parameters())
    assert held_beside(LanguageModel(), model) == 0
    assert held_beside(KLToBase(LanguageModel(), 0.1, base), model) == 2 * parameters
    importance = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    held = ewc(KLToBase(Distillation(base), 0.1, base), model, 1.0, importance)
    assert held_beside(held, model) == 2 * parameters + 2 * parameters + 4 * parameters + 4 * parameters


def test_operations_of_a_batch_are_three_forward_passes_of_each_text() -> None:
    model = tiny_model()
    texts = [Example(torch.arange(n).numpy() % 61) for n in (17, 9, 33)]
    batch = LanguageModel().collate(list(PackedRows(texts, 40)))
    expected = 0.0
    for text in texts:
        operations = count_operations(model.config, text.places)
        expected += 3 * text.places * (operations.weights + operations.attention / 2)
    assert Work(model).of_batch(batch) == pytest.approx(expected)
    frozen = tiny_model().requires_grad_(False)
    frozen.blocks[0].mlp.down.weight.requires_grad_()  # type: ignore[union-attr]
    assert 0.6 < Work(frozen).of_batch(batch) / expected < 0.75  # no gradients of most weights


def test_a_run_that_cannot_fit_is_refused_with_what_would(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    plan = run.plan
    object.__setattr__(plan, "available", plan.needed - plan.memory["activations"] // 4)
    with pytest.raises(LavraError, match="set micro_tokens to 64 instead of 96, or switch checkpointing on"):
        plan.require_room()
    object.__setattr__(plan, "available", plan.memory["weights"])
    with pytest.raises(LavraError, match="tune an adapter"):
        plan.require_room()


def test_the_terminal_shows_plan_line_and_end(tmp_path: Path) -> None:
    for terminal in (False, True):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=140)
        trainer(tmp_path / str(terminal), callbacks=[TerminalProgress(console)], steps=4).train()
        text = out.getvalue()
        assert "parameters" in text
        assert "all 4 steps are made" in text
        assert "tokens/s" in text
        assert "of peak" in text


def test_the_report_has_the_curve_the_evaluations_and_the_events(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=6, evaluate_every=2)
    rows = run.loader._sources[0]  # type: ignore[attr-defined]
    run.evaluate = HeldOut(rows, rows.sizes, micro_tokens=LENGTH * 4)
    run.callbacks.append(Report(run.run, title="A & B"))
    run.run.event(1, "something <odd>")
    run.train()
    markdown, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    assert "| ended | all 6 steps are made |" in markdown
    assert markdown.count("| 2 |") == 1
    assert "A &amp; B" in page
    assert "something &lt;odd&gt;" in page
    root = ElementTree.fromstring((tmp_path / "loss.svg").read_text())
    lines = [element for element in root if element.tag.endswith("polyline")]
    assert [len(line.attrib["points"].split()) for line in lines] == [6, 6, 3]


def test_a_curve_shows_what_is_there_and_leaves_out_what_is_no_number() -> None:
    svg = draw("t", [Line("a", [(0, 1.0), (1, float("nan")), (2, 3.0)], "#000")], x_name="x", y_name="y")
    assert len(ElementTree.fromstring(svg).findall(".//{*}polyline")[0].attrib["points"].split()) == 2
    assert draw("t", [Line("a", [], "#000")], x_name="x", y_name="y") == ""


def test_durations() -> None:
    assert [duration(s) for s in (12.4, 200, 7500)] == ["12 s", "3 min 20 s", "2 h 05 min"]


class Remembers:
    def __init__(self, fail: bool = False) -> None:
        self.points: list[Point] = []
        self.batches, self.closed, self.fail = 0, False, fail

    def write(self, points: Sequence[Point]) -> None:
        if self.fail:
            raise ConnectionError("nobody there")
        self.batches += 1
        self.points += points

    def close(self) -> None:
        self.closed = True


def test_a_tracker_gets_every_step_in_batches(tmp_path: Path) -> None:
    backend = Remembers()
    trainer(tmp_path, callbacks=[Tracker(lambda: backend, "one")]).train()
    assert [step for step, _ in backend.points] == list(range(1, 25))
    assert backend.batches < 24
    assert backend.closed
    lines = RunDirectory(tmp_path).lines("metrics")
    assert [values["loss"] for _, values in backend.points] == [line["loss"] for line in lines]


def test_a_tracker_that_is_down_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    said: list[str] = []

    def absent() -> Any:
        raise OSError("no such server")

    callbacks = [
        Tracker(lambda: Remembers(fail=True), "down", said.append),
        Tracker(absent, "absent", said.append),
    ]
    assert trainer(tmp_path, callbacks=callbacks).train().stopped == "finished"
    assert sorted(text.split()[0] for text in said) == ["absent", "down"]


def test_a_tracker_that_is_too_slow_loses_points_and_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lavra.training.trackers._QUEUE", 5)
    said: list[str] = []
    ready = threading.Event()
    backend = Remembers()

    def late() -> Remembers:
        ready.wait(20)
        return backend

    class Ends(Callback):
        def step(self, step: Step) -> None:
            if step.step == 24:
                ready.set()

    assert trainer(tmp_path, callbacks=[Tracker(late, "late", said.append), Ends()]).train().stopped == "finished"
    lost = 24 - len(backend.points)
    assert lost > 0
    assert said == [f"late was too slow for {lost} points; they are in metrics.jsonl"]


def test_a_report_that_cannot_be_written_is_said_and_the_run_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*given: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lavra.training.report.write_report", full)
    run = trainer(tmp_path)
    run.callbacks.append(Report(run.run))
    assert run.train().stopped == "finished"
    assert "could not be written (No space left on device)" in caplog.text


def test_one_that_is_not_installed_is_said_and_one_that_nobody_knows_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lavra.training.trackers.find_spec", lambda name: None)
    said: list[str] = []
    assert make_trackers(["wandb"], RunDirectory(tmp_path), {}, say=said.append) == []
    assert "wandb is not installed" in said[0]
    with pytest.raises(LavraError, match="no tracker 'abacus'"):
        make_trackers(["abacus"], RunDirectory(tmp_path), {})


def test_mlflow_is_told_unless_somebody_else_is_or_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory(tmp_path)

    def names(given: list[str] | None) -> list[str]:
        return [tracker.name for tracker in make_trackers(given, run, {}) if isinstance(tracker, Tracker)]

    monkeypatch.setattr("lavra.training.trackers.find_spec", lambda module: module)
    assert names(None) == ["mlflow"]
    assert names(["tensorboard"]) == ["tensorboard"]
    assert names(["none"]) == []
    monkeypatch.setattr("lavra.training.trackers.find_spec", lambda module: None)
    assert names(None) == []


def told_mlflow(place: Path) -> list[Told]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("lavra").experiment_id])  # type: ignore[union-attr]
    assert run.data.params["rate"] == "0.1"
    assert run.info.status == "FINISHED"
    return [
        (name, metric.step, metric.value)
        for name in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, name)
    ]


def told_tensorboard(place: Path) -> list[Told]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(place / "run" / "tensorboard")).Reload()
    return [(name, e.step, e.value) for name in events.Tags()["scalars"] for e in events.Scalars(name)]


def told_wandb(place: Path) -> list[Told]:
    """From its file: blocks of 32 KiB, in them pieces of records (4 bytes of checksum, 2 of length, 1 of kind)."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = place.glob("run/wandb/offline-run-*/*.wandb")
    assert not list(path.parent.glob("files/*")), "nothing that it was not given"
    data, at, whole, found = path.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:  # too little for a piece
            at += left
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a record in one piece, or its last one
            record, whole = Record.FromString(whole), b""
            values = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.history.item}
            assert not record.HasField("output_raw")
            found += [(name, values["step"], value) for name, value in values.items()]
    return found


def told_comet(place: Path) -> list[Told]:
    (path,) = place.glob("run/comet/*.zip")
    with zipfile.ZipFile(path) as file:
        messages = [json.loads(line) for line in file.read("messages.json").splitlines()]
    collected = {"file_name", "os_packages", "installed_packages", "standard_output", "git_metadata", "system_details"}
    assert not collected & {message["type"] for message in messages}, "nothing that it was not given"
    given = [message["payload"]["metric"] for message in messages if message["type"] == "metric_msg"]
    return [(metric["metricName"], metric["step"], metric["metricValue"]) for metric in given]


@pytest.mark.parametrize(
    ("name", "module", "told"),
    [
        ("tensorboard", "tensorboard", told_tensorboard),
        ("mlflow", "mlflow", told_mlflow),
        ("wandb", "wandb", told_wandb),
        ("comet", "comet_ml", told_comet),
    ],
)
def test_the_real_trackers_have_every_figure_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, told: Callable[[Path], list[Told]]
) -> None:
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    for variable in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "COMET_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    run, said = RunDirectory(tmp_path / "run"), []
    trackers = make_trackers([name], run, {"rate": 0.1, "betas": [0.9, 0.95]}, title="test", say=said.append)
    training = trainer(tmp_path / "run", callbacks=trackers, steps=3, evaluate_every=2)
    rows = training.loader._sources[0]  # type: ignore[attr-defined]
    training.evaluate = HeldOut(rows, rows.sizes, micro_tokens=LENGTH * 4)
    training.train()
    assert not said
    written = {(metric, step): value for metric, step, value in told(tmp_path)}
    for line in run.lines("metrics"):
        assert written["loss", line["step"]] == pytest.approx(line["loss"], rel=1e-6)
        assert written["rate", line["step"]] == pytest.approx(line["rate"], rel=1e-6)
    for line in run.lines("evaluations"):
        assert written["held out loss", line["step"]] == pytest.approx(line["loss"], rel=1e-6)
