"""Adapters of virtual tokens are tuned like others, and several adapters over one base are served by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from lavra.assistants.assistant import BareModel
from lavra.assistants.events import Answer, Message
from lavra.cli.commands import app
from lavra.errors import LavraError
from lavra.inference.engine import Engine
from lavra.inference.sampling import Sampling
from lavra.serving.app import create_app
from lavra.workspace.running import Running
from lavra.workspace.tuning.export import export_tuned
from lavra.workspace.tuning.run import Tuned, plan_job, tune
from lavra.workspace.tuning.settings import Sources, TuneSettings
from lavra.workspace.workspace import Workspace

pytestmark = pytest.mark.usefixtures("models")
METHODS = {"lora": 1e-2, "prompt": 0.3, "prefix": 0.1}
WORDS = ["sol", "lua", "mar", "rio", "flor", "pedra", "casa"]


@pytest.fixture(scope="module")
def workspace(documents: Path, tiny_writer: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace.init(tmp_path_factory.mktemp("choosing"), name="regras")
    made.ingest([documents])
    made.index()
    return made.writing_with(str(tiny_writer))


def plan(workspace: Workspace, data: Path, method: str, **more: Any) -> Any:
    settings: dict[str, Any] = {"method": method, "steps": 12, "batch_tokens": 512, "virtual_tokens": 6}
    chosen = TuneSettings(**settings | {"learning_rate": METHODS[method], "evaluations": 1})
    return plan_job(workspace, Sources(data=(data,)), chosen, model=workspace.settings.models.generator, **more)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "words.jsonl"
    pairs = [(a, b) for a in WORDS for b in WORDS if a != b]
    rows = [{"prompt": f"Depois de {a} vem? ({n})", "completion": f"{b} e {a}."} for n, (a, b) in enumerate(pairs)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture(scope="module")
def tuned(workspace: Workspace, data: Path) -> dict[str, Tuned]:
    found = {}
    for method in METHODS:
        found[method] = tune(plan(workspace, data, method))
        workspace.store.set_ref(method, found[method].artifact.id)
    return found


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_virtual_tokens_learn_and_say_so(
    workspace: Workspace, tuned: dict[str, Tuned], method: str, data: Path
) -> None:
    done = tuned[method]
    assert done.held_out < done.metrics["held_out_before"]
    recipe = done.artifact.manifest.recipe["tune"]
    assert recipe["virtual_tokens"] == 6
    assert not {"rank", "alpha", "targets"} & recipe.keys()
    config = json.loads((done.artifact.path / "adapter" / "adapter_config.json").read_text())
    assert config["peft_type"] == f"{method.upper()}_TUNING"
    with pytest.raises(LavraError, match="is in no weights"):
        export_tuned(workspace, done.artifact, workspace.root / "out")
    with pytest.raises(LavraError, match="nothing can be merged"):
        plan(workspace, data, method, merge=True)
    with pytest.raises(LavraError, match="no way back"):
        TuneSettings(method=method, interpolate="curve")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def client(workspace: Workspace, tuned: dict[str, Tuned]) -> Iterator[TestClient]:
    """``low`` and ``soft`` by the store, ``ahead`` by a directory as peft has it."""
    directory = tuned["prefix"].artifact.path / "adapter"
    named = {"low": "lora", "soft": tuned["prompt"].artifact.id, "ahead": str(directory)}
    with TestClient(create_app(Running(workspace.with_adapters(named))), base_url="http://localhost") as made:
        yield made


def ask(client: TestClient, model: str) -> Any:
    messages = [{"role": "user", "content": "Depois de sol vem?"}]
    return client.post(
        "/v1/chat/completions", json={"model": model, "messages": messages, "temperature": 0, "max_tokens": 12}
    )


def test_the_api_lists_base_and_adapters_and_each_answers_as_alone(
    client: TestClient, workspace: Workspace, tuned: dict[str, Tuned], tiny_writer: Path
) -> None:
    base = workspace.engine.name
    listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert listed[:-1] == ["regras", base, "low", "regras:low", "soft", "regras:soft", "ahead"]
    alone = {base: (), "low": ("lora",), "soft": ("prompt",), "ahead": ("prefix",)}
    texts = {}
    for name, methods in (*alone.items(), *reversed(alone.items())):
        adapters = [tuned[method].artifact.path / "adapter" for method in methods]
        bare = BareModel(name, Engine.load(str(tiny_writer), adapters=adapters))
        sampling = Sampling(temperature=0, max_tokens=12)
        wanted = list(bare.answer([Message("user", "Depois de sol vem?")], roles=frozenset(), sampling=sampling))[-1]
        assert isinstance(wanted, Answer)
        answer = ask(client, name).json()
        texts[name] = answer["choices"][0]["message"]["content"]
        assert answer["model"] == name
        assert texts[name] == wanted.text, name
    assert len(set(texts.values())) > 1


def test_an_adapter_from_the_store_answers_from_documents_too(
    client: TestClient, workspace: Workspace, tuned: dict[str, Tuned]
) -> None:
    """And the pedigree of that assistant names it."""
    assert ask(client, "regras:low").status_code == 200
    inputs = [one.manifest.inputs["model"] for one in workspace.store.list("assistant")]
    assert tuned["lora"].artifact.id in inputs
    assert workspace.store.get("assistant").manifest.inputs["model"] != tuned["prompt"].artifact.id


def test_an_unknown_adapter_is_not_found(client: TestClient) -> None:
    answer = ask(client, "high")
    assert answer.status_code == 404
    assert "high" in answer.json()["error"]["message"]
    assert "low" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["a=nowhere"], "neither something that was tuned here nor a directory"),
        (["a=lora", "a=prompt"], "each name once"),
        (["lora", "prompt"], "cannot both write"),
        (["=lora"], "wants a name"),
        (["regras=lora"], "served already"),
    ],
)
def test_what_cannot_be_served_is_a_sentence(
    workspace: Workspace, tuned: dict[str, Tuned], given: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lavra.cli.answering.open_workspace", lambda directory: workspace)
    result = CliRunner().invoke(app, ["serve", *(part for one in given for part in ("--adapter", one))])
    assert result.exit_code != 0
    assert sentence in " ".join(str(result.exception or result.output).split()) + " ".join(result.output.split())
