"""Real models: Gemma 3 270M as transformers reads it, and exports that transformers and llama.cpp run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from lavra.cli.commands import app
from lavra.inference.export import export
from lavra.model.base import Model
from lavra.model.heads import logits
from lavra.model.weights import load_model
from lavra.tokens.tokenizer import load_tokenizer

pytestmark = pytest.mark.slow
PROMPT = "The capital of France is"


def greedy(model: Model, ids: list[int], steps: int) -> list[int]:
    given = torch.tensor([ids])
    with torch.inference_mode():
        for _ in range(steps):
            given = torch.cat((given, logits(model, model(given)[:, -1]).argmax(-1, keepdim=True)), 1)
    return given[0, len(ids) :].tolist()


def test_gemma_computes_what_transformers_computes_from_the_same_gguf(
    pulled: Callable[[str], Path], record: Any
) -> None:
    path = pulled("gemma3-270m")
    reference = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    model, tokenizer = load_model(path, dtype=torch.float32), load_tokenizer(path)
    # Longer than the window of 512.
    text = "A capital de Portugal é Lisboa, e a de França é Paris. " * 45
    ids = torch.tensor([tokenizer.encode(text)])
    assert ids.shape[1] > 600
    with torch.inference_mode():
        ours, theirs = logits(model, model(ids)), reference(ids).logits
    record("gemma3-270m", "logits", (ours - theirs).abs().max().item())
    # Logits of this model lie between -140 and 140.
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


@pytest.fixture(scope="module")
def exported(pulled: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as a GGUF and as a directory, by the command line."""
    pulled("smollm2-135m")
    out = tmp_path_factory.mktemp("exported")
    for name, kind in (("smollm2.gguf", "f32"), ("smollm2", "f32")):
        result = CliRunner().invoke(app, ["models", "export", "smollm2-135m", str(out / name), "--type", kind])
        assert result.exit_code == 0, result.output
        assert "read again and the same" in result.output
    return out


def test_transformers_continues_as_lavra_does(exported: Path, smollm2: Model) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported / "smollm2")
    reference = AutoModelForCausalLM.from_pretrained(exported / "smollm2").eval()
    ids = tokenizer(PROMPT, return_tensors="pt")
    answer = reference.generate(**ids, max_new_tokens=16, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert answer.tolist() == greedy(smollm2, ids["input_ids"][0].tolist(), 16)[: len(answer)]
    messages = [{"role": "user", "content": "Hi"}]
    ours = load_tokenizer(exported / "smollm2")
    theirs = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert theirs == ours.render(messages)


@pytest.mark.skipif(not llama_cpp.INSTALLED, reason="xllamacpp, the judge, is not installed")
def test_llama_cpp_continues_as_lavra_does(exported: Path, smollm2: Model) -> None:
    ids = load_tokenizer(exported / "smollm2.gguf").encode(PROMPT)
    steps = llama_cpp.ask(exported / "smollm2.gguf", ids, 12, 3)
    assert [max(step, key=step.__getitem__) for step in steps] == greedy(smollm2, ids, 12)


@pytest.mark.parametrize("name", ["e5-small-enpt", "minilm-l6"])
def test_an_embedder_becomes_a_directory_that_transformers_loads(
    pulled: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    from transformers import AutoModel

    model, tokenizer = load_model(pulled(name), dtype=torch.float32), load_tokenizer(pulled(name))
    done = export(name, tmp_path / "out", type="f32")
    assert (done.format, done.written_as, done.type) == ("hf", "bert", "f32")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = theirs("Onde fica a água? It is here.")["input_ids"]
    assert ids == tokenizer.encode("Onde fica a água? It is here.")
    reference = AutoModel.from_pretrained(tmp_path / "out").eval()
    with torch.inference_mode():
        expected = reference(torch.tensor([ids])).last_hidden_state
        torch.testing.assert_close(model(torch.tensor([ids])), expected, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_exported_is_one_sentence(pulled: Callable[[str], Path], tmp_path: Path) -> None:
    pulled("smollm2-135m")
    for arguments, sentence in {
        ("--format", "onnx"): "exports the formats hf and gguf, not onnx",
        ("--type", "q8_0"): "weights of format hf are of type f32, f16, bf16, not q8_0",
        ("--format", "gguf", "--type", "q4_k_m"): "K-quants are made by llama.cpp's llama-quantize",
    }.items():
        result = CliRunner().invoke(app, ["models", "export", "smollm2-135m", str(tmp_path / "x"), *arguments])
        assert result.exit_code != 0
        assert sentence in str(result.exception)
    assert not list(tmp_path.iterdir())
