"""Reading a model takes its weights and a tenth more at the most; writing and proving one three tenths."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from lavra.model.gguf_writing import save_gguf
from lavra.model.weights import load_model
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone resets the high-water mark"),
]
WORKER = Path(__file__).with_name("peak_worker.py")


def save(directory: Path, width: int, layers: int) -> Path:
    """A random Llama with a byte-level tokenizer; at a width of 640 with 12 layers 252 MB."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=4096,
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        tie_word_embeddings=False,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(directory)
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>", "ab"]
    backend = Backend(models.BPE({text: index for index, text in enumerate(letters)}, [("a", "b")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "</s>"])
    Tokenizer(backend, bos_id=256, eos_ids=frozenset({257})).save(directory)
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("peak")
    for name, width, layers in (("tiny", 64, 2), ("real", 640, 12)):
        made = save(root / name, width, layers)
        model, tokenizer = load_model(made, dtype=torch.float32), load_tokenizer(made)
        for kind in ("F32", "Q8_0"):
            save_gguf(model, tokenizer, root / f"{name}.{kind}.gguf", quantisation=kind, architecture="llama")
        for stored in (torch.bfloat16, torch.float16):
            path = root / f"{name}.{stored}".replace("torch.", "")
            transformers.LlamaForCausalLM.from_pretrained(made, dtype=stored).save_pretrained(
                path, max_shard_size="40MB"
            )
            assert name == "tiny" or len(list(path.glob("*-of-*.safetensors"))) >= 3
    return root


def peak(directory: Path, task: str, source: str, out: Path) -> float:
    command = [
        sys.executable,
        str(WORKER),
        task,
        *(str(directory / (name + source)) for name in ("tiny", "real")),
        str(out),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return float(answer.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("dtype", "source"),
    [
        *((dtype, source) for dtype in ("f32", "bf16") for source in ("", ".F32.gguf", ".Q8_0.gguf")),
        ("f32", ".bfloat16"),
        ("bf16", ".float16"),
    ],
)
def test_reading(directory: Path, tmp_path: Path, source: str, dtype: str) -> None:
    """One file and shards, of whichever type: the finished model is what memory is measured by."""
    assert 0.95 < peak(directory, f"read {dtype}", source, tmp_path) <= 1.1


def test_reading_into_four_bits(directory: Path, tmp_path: Path) -> None:
    """Never all weights in full, which would be 4.8 times as much; a matrix is, while it is quantised."""
    assert peak(directory, "read nf4", "", tmp_path) <= 2.2


@pytest.mark.parametrize("task", ["write hf f32", "write gguf F32", "write gguf Q8_0"])
def test_writing_and_proving(directory: Path, tmp_path: Path, task: str) -> None:
    assert peak(directory, task, "", tmp_path) <= 1.3
