"""GGUF files of every decoder family: what Lavra writes, llama.cpp and transformers compute as Lavra does."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import pytest
import torch
import zoo
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.families.gguf import architecture_of
from lavra.model.gguf_writing import PRECISIONS, save_gguf
from lavra.model.heads import logits
from lavra.model.weights import load_model
from lavra.model.writing import same_config, save_model
from lavra.store.gguf_file import read_gguf
from lavra.tokens.tokenizer import Tokenizer

IDS = torch.randint(3, 250, (3, 21), generator=torch.Generator().manual_seed(1))
VOCABULARY = 300
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10_000.0}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 1024,
    "rope_theta": 500_000.0,
}
# transformers takes Gemma's attention scale for granted, which is that of heads 256 wide.
WIDE = {"head_dim": 256, "query_pre_attn_scalar": 256, "num_attention_heads": 2, "num_key_value_heads": 1}
LINEAR = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
LONGROPE = {
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [2.0, 2.3, 2.6, 2.9],
        "original_max_position_embeddings": 256,
    },
    "original_max_position_embeddings": 256,
    "max_position_embeddings": 512,
    "sliding_window": 32,
}
# Name: family, what is different, llama.cpp's architecture, whether transformers reads it as it was meant.
CASES: dict[str, tuple[str, dict[str, Any], str, bool]] = {
    "llama": ("llama", {}, "llama", True),
    "llama, untied": ("llama", {"tie_word_embeddings": False}, "llama", True),
    "llama 3": ("llama", {"rope_parameters": LLAMA3, "max_position_embeddings": 8192}, "llama", False),
    "llama, linear": ("llama", {"rope_parameters": LINEAR}, "llama", False),
    "llama, yarn": ("llama", {"rope_parameters": YARN}, "llama", False),
    "mistral": ("mistral", {"sliding_window": None}, "llama", False),
    "mixtral": ("mixtral", {"sliding_window": None}, "llama", False),
    "smollm3": ("smollm3", {"num_hidden_layers": 5}, "smollm3", False),
    "qwen2": ("qwen2", {}, "qwen2", True),
    "qwen2, yarn": ("qwen2", {"rope_parameters": YARN}, "qwen2", False),
    "qwen3": ("qwen3", {}, "qwen3", False),
    "qwen3_moe": ("qwen3_moe", {"norm_topk_prob": True, "moe_intermediate_size": 768}, "qwen3moe", True),
    "gemma": ("gemma", {}, "gemma", False),
    "gemma2": ("gemma2", {**WIDE}, "gemma2", True),
    "gemma3": ("gemma3_text", {"num_hidden_layers": 7, **WIDE}, "gemma3", True),
    "phi3": ("phi3", {"sliding_window": None, "max_position_embeddings": 256}, "phi3", True),
    # llama.cpp knows no window in these two architectures: beyond it, it computes otherwise than it was told.
    "mistral, in its window": ("mistral", {"sliding_window": 32}, "llama", False),
    "phi3, longrope": ("phi3", LONGROPE, "phi3", False),
    "olmo2": ("olmo2", {}, "olmo2", False),
    "gpt2": ("gpt2", {"n_positions": 1024}, "gpt2", True),
    "gptneox": ("gpt_neox", {"rotary_pct": 0.5}, "gptneox", False),
    "gptneox, in turn": ("gpt_neox", {"use_parallel_residual": False}, "gptneox", False),
}
each = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    # Only tokens that are whole characters: llama.cpp holds back the probabilities of half ones.
    letters = ["Ġ", *map(chr, range(33, 127))]
    pairs = list(product("abcdefghijklmno", repeat=2))
    texts = ["<s>", "</s>", "<pad>", *letters, *map("".join, pairs)][:VOCABULARY]
    merges = [pair for pair in pairs if "".join(pair) in texts]
    backend = Backend(models.BPE({text: index for index, text in enumerate(texts)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(texts[:3])
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return Tokenizer(backend, bos_id=0, eos_ids=frozenset({1}), pad_id=2, special=special)


def made(case: str, directory: Path) -> tuple[Any, Model]:
    """transformers' model with random numbers everywhere, and Lavra's reading of it."""
    kind, changes, _, _ = CASES[case]
    reference = zoo.make(kind, vocab_size=VOCABULARY, **changes)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.15)
    reference.save_pretrained(directory)
    return reference, load_model(directory, dtype=torch.float32)


def computed(model: Model, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.inference_mode():
        return logits(model, model(ids))


@each
def test_a_model_comes_back_from_gguf_bit_for_bit(tmp_path: Path, case: str, tokenizer: Tokenizer, record: Any) -> None:
    reference, model = made(case, tmp_path / "hf")
    architecture = CASES[case][2]
    hint = architecture_of(CASES[case][0])
    assert save_gguf(model, tokenizer, tmp_path / "x.gguf", quantisation="F32", architecture=hint) == architecture
    again = load_model(tmp_path / "x.gguf", dtype=torch.float32)
    assert same_config(model.config, again.config) is None
    for (name, ours), theirs in zip(again.named_parameters(), model.parameters(), strict=True):
        # Norms that are stored plus one were rounded there; see layouts.py.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2**-23 if "norm" in name else 0)
    with torch.inference_mode():
        expected = reference(IDS).logits
    record(f"gguf {architecture}", "logits", (computed(again) - expected).abs().max().item())
    torch.testing.assert_close(computed(again), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not llama_cpp.INSTALLED, reason="xllamacpp, the judge, is not installed")
@each
def test_llama_cpp_computes_the_same_from_it(tmp_path: Path, case: str, tokenizer: Tokenizer, record: Any) -> None:
    _, model = made(case, tmp_path / "hf")
    architecture = CASES[case][2]
    save_gguf(model, tokenizer, tmp_path / "x.gguf", quantisation="F32", architecture=architecture)
    prompt = IDS[0].tolist()
    answer = llama_cpp.ask(tmp_path / "x.gguf", prompt, steps=4, shown=20)
    ids = list(prompt)
    worst = 0.0
    for step in answer:
        ours = computed(model, torch.tensor([ids]))[0, -1].log_softmax(-1)
        worst = max(worst, *(abs(ours[token].item() - value) for token, value in step.items()))
        ids.append(max(step, key=step.__getitem__))
    record(f"gguf {architecture}", "llama.cpp", worst)
    # llama.cpp looks GELU up in a table of half-precision numbers.
    assert worst < (0.05 if model.config.activation.startswith("gelu") else 2e-3)


@pytest.mark.parametrize("case", [case for case, (_, _, _, readable) in CASES.items() if readable])
def test_transformers_computes_the_same_from_it(tmp_path: Path, case: str, tokenizer: Tokenizer) -> None:
    from transformers import AutoModelForCausalLM

    _, model = made(case, tmp_path / "hf")
    save_gguf(model, tokenizer, tmp_path / "x.gguf", quantisation="F32", architecture=CASES[case][2])
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="x.gguf", dtype=torch.float32).eval()
    with torch.inference_mode():
        torch.testing.assert_close(computed(model), reference(IDS).logits, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("quantisation", PRECISIONS)
def test_matrices_are_quantised_and_vectors_are_not(tmp_path: Path, quantisation: str, tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    wide = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "num_attention_heads": 4}
    reference = zoo.make("llama", vocab_size=VOCABULARY, tie_word_embeddings=True, **wide)
    reference.save_pretrained(tmp_path / "hf")
    model = load_model(tmp_path / "hf", dtype=torch.float32)
    save_gguf(model, tokenizer, tmp_path / "x.gguf", quantisation=quantisation.lower(), architecture="llama")
    infos = read_gguf(tmp_path / "x.gguf").tensors
    types = {name: gguf.GGMLQuantizationType(info.type_id).name for name, info in infos.items()}
    assert types["blk.0.ffn_up.weight"] == types["blk.2.attn_k.weight"] == quantisation
    assert types["blk.0.attn_norm.weight"] == types["output_norm.weight"] == "F32"
    assert types["token_embd.weight"] == ("Q8_0" if quantisation[1] in "45" else quantisation)
    again = load_model(tmp_path / "x.gguf", dtype=torch.float32)
    error = (computed(again) - computed(model)).norm() / computed(model).norm()
    assert (error == 0) == (quantisation == "F32")
    assert error < PRECISIONS[quantisation].answer


def test_rows_that_are_no_whole_number_of_blocks_stay_f16(tmp_path: Path, tokenizer: Tokenizer) -> None:
    _, model = made("llama", tmp_path / "hf")  # 48 wide
    save_gguf(model, tokenizer, tmp_path / "x.gguf", quantisation="Q8_0", architecture="llama")
    types = {name: info.type_id for name, info in read_gguf(tmp_path / "x.gguf").tensors.items()}
    assert types["blk.0.ffn_up.weight"] == gguf.GGMLQuantizationType.F16


def test_a_gguf_goes_back_to_a_directory_bit_for_bit(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Also where the file stores rows in pairs and norms plus one."""
    for case in ("llama 3", "gemma3", "mixtral"):
        reference, model = made(case, tmp_path / "hf")
        save_gguf(model, tokenizer, tmp_path / "x.gguf", quantisation="F32", overwrite=True)
        save_model(load_model(tmp_path / "x.gguf", dtype=torch.float32), tmp_path / "back", overwrite=True)
        again = load_model(tmp_path / "back", dtype=torch.float32)
        with torch.inference_mode():
            torch.testing.assert_close(computed(again), reference(IDS).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("bert", {}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}),
        ("qwen3_moe", {"norm_topk_prob": False}),
        ("gemma2", {"query_pre_attn_scalar": 99}),
        ("llama", {"hidden_act": "relu"}),
        # and what it would not open: tensors that are none of its architecture's, or the lack of one that is
        ("qwen3", {"attention_bias": True}),
        ("gemma", {"attention_bias": True}),
        ("gemma2", {**WIDE, "tie_word_embeddings": False}),
        ("olmo2", {"tie_word_embeddings": True}),
        ("smollm3", {"num_hidden_layers": 5, "mlp_bias": True}),
        ("gpt_neox", {"attention_bias": False}),
        ("gpt_neox", {"tie_word_embeddings": True}),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_not_written(
    tmp_path: Path, kind: str, changes: dict[str, Any], tokenizer: Tokenizer
) -> None:
    zoo.make(kind, vocab_size=VOCABULARY, **changes).save_pretrained(tmp_path / "hf")
    model = load_model(tmp_path / "hf", dtype=torch.float32)
    with pytest.raises(LavraError, match="none of the formats"):
        save_gguf(model, tokenizer, tmp_path / "x.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_k_quants_are_refused_saying_who_makes_them(tmp_path: Path, tokenizer: Tokenizer) -> None:
    _, model = made("llama", tmp_path / "hf")
    with pytest.raises(LavraError, match=r"not written as Q4_K_M; choose F32.*llama-quantize"):
        save_gguf(model, tokenizer, tmp_path / "x.gguf", quantisation="q4_k_m")


def test_a_tokenizer_with_more_tokens_than_rows_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    zoo.make("llama", vocab_size=99).save_pretrained(tmp_path / "hf")
    with pytest.raises(LavraError, match="for which a model of 99 embeddings has no row"):
        save_gguf(load_model(tmp_path / "hf", dtype=torch.float32), tokenizer, tmp_path / "x.gguf")
