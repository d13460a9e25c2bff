"""GGUF files: every quantised type dequantises to its published formula, in the right place and order."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import quantize
from transformers import LlamaConfig, LlamaForCausalLM

from lavra.errors import LavraError
from lavra.model.gguf_source import GGUFSource
from lavra.model.heads import logits
from lavra.model.weights import load_model
from lavra.store.gguf_file import read_gguf

T = gguf.GGMLQuantizationType


def half(block: bytes, at: int) -> float:
    return float(np.frombuffer(block[at : at + 2], "<f2")[0])


def q4_0(block: bytes) -> list[float]:
    d, q = half(block, 0), block[2:]
    return [d * ((q[i] & 15) - 8) for i in range(16)] + [d * ((q[i] >> 4) - 8) for i in range(16)]


def q4_1(block: bytes) -> list[float]:
    d, m, q = half(block, 0), half(block, 2), block[4:]
    return [d * (q[i] & 15) + m for i in range(16)] + [d * (q[i] >> 4) + m for i in range(16)]


def q8_0(block: bytes) -> list[float]:
    return [half(block, 0) * int(x) for x in np.frombuffer(block[2:], np.int8)]


def q4_k(block: bytes) -> list[float]:
    """ggml-quants.c, dequantize_row_q4_K: eight runs of 32, each with a 6-bit scale and a 6-bit minimum."""
    d, low, scales, q = half(block, 0), half(block, 2), block[4:16], block[16:]
    out: list[float] = []
    for run in range(8):
        if run < 4:
            scale, minimum = scales[run] & 63, scales[run + 4] & 63
        else:
            scale = (scales[run + 4] & 15) | ((scales[run - 4] >> 6) << 4)
            minimum = (scales[run + 4] >> 4) | ((scales[run] >> 6) << 4)
        nibbles = q[32 * (run // 2) : 32 * (run // 2) + 32]
        out += [d * scale * ((x >> 4) if run % 2 else (x & 15)) - low * minimum for x in nibbles]
    return out


def q6_k(block: bytes) -> list[float]:
    """dequantize_row_q6_K: 4 low bits and 2 high bits a weight, an int8 scale for each 16."""
    low, high, scales, d = block[:128], block[128:192], np.frombuffer(block[192:208], np.int8), half(block, 208)
    out = [0.0] * 256
    for part in range(2):
        for i in range(32):
            bits = high[32 * part + i]
            a, b = low[64 * part + i], low[64 * part + i + 32]
            for quarter, nibble in enumerate((a & 15, b & 15, a >> 4, b >> 4)):
                value = (nibble | (((bits >> (2 * quarter)) & 3) << 4)) - 32
                out[128 * part + 32 * quarter + i] = d * int(scales[8 * part + 2 * quarter + i // 16]) * value
    return out


FORMULAS = {T.Q4_0: q4_0, T.Q4_1: q4_1, T.Q8_0: q8_0, T.Q4_K: q4_k, T.Q6_K: q6_k}
SCALES_AT = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q6_K: [208]}


def random_blocks(kind: T, rows: int, columns: int) -> np.ndarray:
    """Any bytes are valid quants; only the fp16 scales must be finite."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    generator = np.random.default_rng(int(kind))
    blocks = generator.integers(0, 256, (rows * columns // block, size), dtype=np.uint8)
    for at in SCALES_AT[kind]:
        scale = generator.uniform(-0.1, 0.1, len(blocks)).astype("<f2")
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


@pytest.mark.parametrize("kind", FORMULAS, ids=lambda kind: kind.name)
def test_a_quantised_tensor_dequantises_to_its_formula(tmp_path: Path, kind: T) -> None:
    data = random_blocks(kind, 6, 512)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("x", data, raw_dtype=kind)
    write(writer)
    into = torch.empty(6, 512)
    GGUFSource(read_gguf(tmp_path / "x.gguf")).copy("x", into)
    size = gguf.GGML_QUANT_SIZES[kind][1]
    raw = data.tobytes()
    expected = [value for at in range(0, len(raw), size) for value in FORMULAS[kind](raw[at : at + size])]
    torch.testing.assert_close(into.flatten(), torch.tensor(expected), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [T.F32, T.F16, T.BF16])
def test_a_plain_tensor_keeps_its_values(tmp_path: Path, kind: T) -> None:
    # Multiples of 1/8 below 16 are exact in all three.
    values = (np.arange(192, dtype=np.float32).reshape(6, 32) - 96) / 8
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("x", quantize(values, kind), raw_dtype=kind)
    write(writer)
    into = torch.empty(6, 32, dtype=torch.bfloat16)
    GGUFSource(read_gguf(tmp_path / "x.gguf")).copy("x", into)
    assert into.tolist() == values.tolist()


def write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def interleave(weight: np.ndarray, heads: int) -> np.ndarray:
    """The order of query and key rows in llama-architecture files, as llama.cpp's converter writes it."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_llama(path: Path, model: LlamaForCausalLM, kind: T = T.F32) -> None:
    """``model`` as a GGUF. Matrices in ``kind``, the rest in F32, as converters do."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, parameter in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = parameter.numpy()
        if "q_proj" in name:
            values = interleave(values, config.num_attention_heads)
        if "k_proj" in name:
            values = interleave(values, config.num_key_value_heads)
        stored = kind if values.ndim == 2 else T.F32
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), quantize(values, stored), raw_dtype=stored)
    write(writer)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", [T.F32, T.Q8_0])
def test_a_llama_from_gguf_computes_what_transformers_computes(tmp_path: Path, kind: T, tied: bool) -> None:
    torch.manual_seed(0)
    reference = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=96,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            tie_word_embeddings=tied,
            initializer_range=0.2,
        )
    ).eval()
    with torch.no_grad():
        for parameter in reference.parameters():  # the judge holds what a rounded file can hold
            if parameter.ndim == 2:
                rounded = gguf.quants.dequantize(quantize(parameter.numpy(), kind), kind)
                parameter.copy_(torch.from_numpy(np.array(rounded)))
    write_llama(tmp_path / "tiny.gguf", reference, kind)
    model = load_model(tmp_path / "tiny.gguf", dtype=torch.float32)
    ids = torch.randint(0, 96, (2, 17))
    with torch.inference_mode():
        torch.testing.assert_close(logits(model, model(ids)), reference(ids).logits, atol=1e-3, rtol=1e-3)


def test_another_architecture_or_type_is_refused_by_name(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "mamba")
    writer.add_tensor("x", np.zeros((2, 32), np.float32))
    write(writer)
    with pytest.raises(LavraError, match=r"architecture 'mamba'; Lavra reads gemma.*, llama"):
        load_model(tmp_path / "x.gguf", dtype=torch.float32)
    writer = gguf.GGUFWriter(tmp_path / "y.gguf", "llama")
    writer.add_tensor("x", quantize(np.zeros((2, 256), np.float32), T.TQ1_0), raw_dtype=T.TQ1_0)
    write(writer)
    with pytest.raises(LavraError, match="tensor x is of type TQ1_0"):
        GGUFSource(read_gguf(tmp_path / "y.gguf"))
