"""One chat renders to the same bytes wherever a tuned model meets it: in training, in an answer, on the server, in the
GGUF that other programs read, and by transformers from the exported directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from transformers import AutoTokenizer

from lavra.assistants.assistant import BareModel
from lavra.assistants.events import Message
from lavra.inference.engine import Engine
from lavra.inference.sampling import Sampling
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.model.writing import save_model
from lavra.serving.app import create_app
from lavra.tokens.conversation import encode_conversation
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer
from lavra.workspace.tuning.export import export_tuned
from lavra.workspace.tuning.run import plan_job, tune
from lavra.workspace.tuning.settings import Sources, TuneSettings
from lavra.workspace.workspace import Workspace

ASKED = [
    {"role": "system", "content": "Responda em uma frase.\n"},
    {"role": "user", "content": "  O que é <|im_start|>?\n\n"},
    {"role": "assistant", "content": "Um marcador: 1 < 2 & 3."},
    {"role": "user", "content": "E “depois”, às 5 h? 🙂"},
]
ANSWER = {"role": "assistant", "content": "A resposta."}


@pytest.fixture(scope="module")
def tokenizer(pulled: Callable[[str], Path]) -> Tokenizer:
    return load_tokenizer(pulled("smollm2-135m"))


@pytest.fixture(scope="module")
def exported(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tuned/`` and ``tuned.gguf``: a tiny model that was tuned on the chat itself."""
    root = tmp_path_factory.mktemp("exported")
    tiny = build(
        ModelConfig(
            vocabulary_size=tokenizer.vocabulary_size, layers=1, width=32, heads=2, kv_heads=2, head_width=16,
            hidden_width=32, causal=True, norm="rms", norm_epsilon=1e-5, positions="rotary", activation="silu",
            gated=True, context_length=256, tied_embeddings=True,
        )
    )  # fmt: skip
    initialise(tiny, 0)
    save_model(tiny, root / "tiny", tokenizer=tokenizer, family="llama")
    (root / "chat.jsonl").write_text(json.dumps({"messages": [*ASKED, ANSWER]}) + "\n", "utf-8")
    workspace = Workspace.init(root / "ws")
    settings = TuneSettings(steps=1, batch_tokens=256, validation=0.0)
    job = plan_job(workspace, Sources(data=(root / "chat.jsonl",)), settings, model=str(root / "tiny"))
    [learned] = job.data.training
    assert learned.labelled.ids.tolist() == encode_conversation(tokenizer, [*ASKED, ANSWER])[0].ids.tolist()
    artifact = tune(job).artifact
    for name in ("tuned", "tuned.gguf"):
        export_tuned(workspace, artifact, root / name)
    return root


def given_to(engine: Engine, monkeypatch: pytest.MonkeyPatch, ask: Callable[[BareModel], Any]) -> list[int]:
    """The ids that the engine is asked to continue."""
    seen: list[list[int]] = []

    def stream(prompt: Any, sampling: Any, **more: Any) -> Iterator[Any]:
        seen.append([int(token) for token in prompt])
        return iter([SimpleNamespace(text="A resposta.", token_id=1, finish_reason="stop")])

    monkeypatch.setattr(engine, "stream", stream)
    ask(BareModel("tuned", engine, Sampling(max_tokens=4)))
    return seen[0]


def answered(bare: BareModel) -> None:
    messages = [Message(m["role"], m["content"]) for m in ASKED]  # type: ignore[arg-type]
    list(bare.answer(messages, roles=frozenset({"public"})))


def served(bare: BareModel) -> None:
    services = SimpleNamespace(assistants={"tuned": bare})
    with TestClient(create_app(services), base_url="http://127.0.0.1") as client:  # type: ignore[arg-type]
        reply = client.post("/v1/chat/completions", json={"model": "tuned", "messages": ASKED})
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("name", ["tuned", "tuned.gguf"])
@pytest.mark.parametrize("ask", [answered, served])
def test_the_same_chat_is_the_same_bytes(
    exported: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, name: str, ask: Callable[[BareModel], None]
) -> None:
    [trained] = encode_conversation(tokenizer, [*ASKED, ANSWER], learn="last")
    engine = Engine.load(str(exported / name))
    ids = given_to(engine, monkeypatch, ask)
    assert trained.ids[: len(ids)].tolist() == ids, "what is asked is the beginning of what was trained"
    assert (trained.weights[: len(ids)].any(), trained.weights[len(ids)]) == (False, 1), "and the answer comes next"
    rendered = engine.tokenizer.decode(ids, skip_special_tokens=False)
    reference = AutoTokenizer.from_pretrained(exported / "tuned")
    expected = reference.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True)
    assert rendered.encode() == expected.encode()
