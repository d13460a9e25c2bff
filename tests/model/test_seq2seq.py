"""Encoder-decoders: tiny random models, made and saved by transformers, compute the same when Lavra reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from judge import (
    PADS,
    Record,
    assert_near,
    compare_logits,
    compare_packed,
    compare_right_padding,
    perturb,
    random_ids,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from lavra.errors import LavraError
from lavra.model.attention import Mask
from lavra.model.heads import classify, logits
from lavra.model.transformer import Source, Transformer
from lavra.model.weights import load_model
from lavra.model.writing import save_model

T5 = {
    "vocab_size": 120,
    "d_model": 48,
    "d_kv": 10,  # not d_model / num_heads
    "d_ff": 64,
    "num_layers": 4,
    "num_decoder_layers": 3,  # with more, generate of transformers has no cache for them
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "initializer_factor": 1.5,  # large enough for a wrong weight to show
    "decoder_start_token_id": 0,
}
BART = {
    "vocab_size": 120,
    "d_model": 48,
    "encoder_layers": 3,
    "decoder_layers": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 80,
    "max_position_embeddings": 70,
    "init_std": 0.2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
# transformers' class, and the fields of a tiny one.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("T5", T5),
    "t5 v1.1": ("T5", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mt5": ("MT5", T5),
    "bart": ("Bart", BART),
    "bart scaled": ("Bart", {**BART, "scale_embedding": True, "activation_function": "relu"}),
    "mbart": ("MBart", {**BART, "scale_embedding": True}),
}
SOURCES = random_ids(120, time=50)
TARGETS = random_ids(120, time=33, seed=1)
RIGHT = torch.arange(50)[None] < 50 - torch.tensor(PADS)[:, None]
LEFT = RIGHT.flip(1)


def make(kind: str, task: str = "ForConditionalGeneration", **changes: Any) -> Any:
    stem, fields = KINDS[kind]
    torch.manual_seed(0)
    reference = getattr(transformers, stem + task)(getattr(transformers, stem + "Config")(**{**fields, **changes}))
    if "final_logits_bias" in dict(reference.named_buffers()):
        reference.final_logits_bias.normal_()
    if kind in ("t5 v1.1", "mt5") and hasattr(reference, "lm_head"):  # published ones have a matrix of their own
        reference.lm_head.weight = torch.nn.Parameter(torch.randn(120, 48) * 0.2)
    return perturb(reference)


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Transformer]:
    reference = make(request.param)
    path = tmp_path_factory.mktemp("seq2seq")
    reference.save_pretrained(path)
    model = load_model(path, dtype=torch.float32)
    assert isinstance(model, Transformer)
    return request.param, reference, model


def expected(reference: Any, sources: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    with torch.inference_mode():
        mask = None if valid is None else valid.long()
        return reference(input_ids=sources, attention_mask=mask, decoder_input_ids=targets).logits


def encode(model: Transformer, sources: Tensor, valid: Tensor | None = None) -> Source:
    return model.encode(sources, mask=Mask(causal=False, valid_BS=valid))


@torch.inference_mode()
def computed(model: Transformer, sources: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    return logits(model, model(targets, source=encode(model, sources, valid)))


def test_logits_are_those_of_transformers(pair: tuple[str, Any, Transformer], record: Record) -> None:
    kind, reference, model = pair
    assert_near(
        computed(model, SOURCES, TARGETS), expected(reference, SOURCES, TARGETS), record, family(kind), "logits"
    )
    got = computed(model, SOURCES, TARGETS, RIGHT)
    assert_near(got, expected(reference, SOURCES, TARGETS, RIGHT), record, family(kind), "right padding")
    got = computed(model, SOURCES, TARGETS, LEFT)
    for row, pad in enumerate(PADS):  # BART of transformers counts padding as positions; each row alone has none
        alone = expected(reference, SOURCES[row : row + 1, pad:], TARGETS[row : row + 1])
        assert_near(got[row : row + 1], alone, record, family(kind), "left padding")


def test_packed_pairs_are_what_each_is_alone(pair: tuple[str, Any, Transformer], record: Record) -> None:
    kind, reference, model = pair
    sources, targets = (20, 7, 13), (6, 15, 9)
    source, target = SOURCES.flatten()[:40][None], TARGETS.flatten()[:30][None]
    segments = torch.arange(3)
    with torch.inference_mode():
        read = model.encode(
            source, mask=Mask(causal=False, segments_BS=segments.repeat_interleave(torch.tensor(sources))[None])
        )
        mask = Mask(causal=True, segments_BS=segments.repeat_interleave(torch.tensor(targets))[None])
        got = logits(model, model(target, mask=mask, source=read))
    pairs = zip(source.split(sources, 1), target.split(targets, 1), strict=True)
    alone = torch.cat([expected(reference, *one) for one in pairs], 1)
    assert_near(got, alone, record, family(kind), "packed")


def test_a_cache_over_padded_sources_gives_the_logits_of_a_whole_pass(
    pair: tuple[str, Any, Transformer], record: Record
) -> None:
    kind, reference, model = pair
    cache, parts = model.make_cache(33, batch=3), []
    with torch.inference_mode():
        source: Source | None = encode(model, SOURCES, RIGHT)
        for start, end in [(0, 5), (5, 9), *((at, at + 1) for at in range(9, 33))]:
            parts.append(logits(model, model(TARGETS[:, start:end], cache=cache, source=source)))
            source = None  # the cache has it
    assert_near(torch.cat(parts, 1), expected(reference, SOURCES, TARGETS, RIGHT), record, family(kind), "cache")


def test_greedy_decoding_writes_what_transformers_writes(pair: tuple[str, Any, Transformer]) -> None:
    _, reference, model = pair
    settings = reference.generation_config
    settings.eos_token_id = settings.forced_eos_token_id = None
    wanted = reference.generate(SOURCES, attention_mask=RIGHT.long(), max_new_tokens=24, do_sample=False, num_beams=1)
    cache, ids = model.make_cache(25, batch=3), wanted[:, :1]
    with torch.inference_mode():
        source: Source | None = encode(model, SOURCES, RIGHT)
        for _ in range(24):
            hidden = model(ids[:, -1:], cache=cache, source=source)
            ids, source = torch.cat((ids, logits(model, hidden[:, -1:]).argmax(-1)), 1), None
    assert torch.equal(ids, wanted)


def test_the_encoder_sees_what_the_decoder_is_taught(pair: tuple[str, Any, Transformer], tmp_path: Path) -> None:
    _, reference, model = pair
    hidden = model(TARGETS, source=encode(model, SOURCES, RIGHT))
    model.requires_grad_(True)
    try:
        hidden = model(TARGETS, source=encode(model, SOURCES, RIGHT))
        torch.nn.functional.cross_entropy(logits(model, hidden).flatten(0, 1), TARGETS.flatten()).backward()
        assert model.embedding is not None
        assert model.embedding.weight.grad is not None
        got = model.embedding.weight.grad.clone()
    finally:
        model.zero_grad(set_to_none=True)
        model.requires_grad_(False)
    out = reference(input_ids=SOURCES, attention_mask=RIGHT.long(), decoder_input_ids=TARGETS).logits
    torch.nn.functional.cross_entropy(out.flatten(0, 1), TARGETS.flatten()).backward()
    wanted = reference.get_input_embeddings().weight.grad.clone()
    reference.zero_grad(set_to_none=True)
    pad = reference.config.pad_token_id  # which transformers' embedding never learns
    got[pad] = wanted[pad] = 0
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-3)


def test_a_written_directory_is_what_transformers_reads(
    pair: tuple[str, Any, Transformer], tmp_path: Path, record: Record
) -> None:
    kind, reference, model = pair
    save_model(model, tmp_path / "again", family=family(kind))
    read = load_model(tmp_path / "again", dtype=torch.float32)
    assert read.config == model.config
    for name, parameter in read.state_dict().items():
        assert torch.equal(parameter, model.state_dict()[name]), name
    loaded, info = type(reference).from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    got, wanted = (expected(one.eval(), SOURCES, TARGETS) for one in (loaded, reference))
    assert_near(got, wanted, record, family(kind), "round trip", 1e-6)


def test_a_decoder_without_its_source_says_so(pair: tuple[str, Any, Transformer]) -> None:
    with pytest.raises(LavraError, match="reads a source beside its own text"):
        pair[2](TARGETS)


def family(kind: str) -> str:
    return kind.partition(" ")[0]


@pytest.mark.parametrize("kind", ["t5", "bart", "mbart"])
def test_a_model_without_its_head_gives_states(kind: str, tmp_path: Path, record: Record) -> None:
    reference = make(kind, "Model")
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    assert isinstance(model, Transformer)
    with torch.inference_mode():
        wanted = reference(input_ids=SOURCES, decoder_input_ids=TARGETS)
        read = encode(model, SOURCES)
        assert_near(read.states_BSC, wanted.encoder_last_hidden_state, record, kind, "states")
        assert_near(model(TARGETS, source=read), wanted.last_hidden_state, record, kind, "states")


@pytest.mark.parametrize("kind", ["t5", "t5 v1.1", "mt5"])
def test_an_encoder_may_come_without_its_decoder(kind: str, tmp_path: Path, record: Record) -> None:
    reference = make(kind, "EncoderModel")
    reference.save_pretrained(tmp_path / "first")
    model = load_model(tmp_path / "first", dtype=torch.float32)
    assert not model.config.causal
    assert model.config.encoder is None
    compare_logits(reference, model, SOURCES, record, family(kind), "states")
    compare_right_padding(reference, model, SOURCES, record, family(kind))
    compare_packed(reference, model, SOURCES, record, family(kind))
    save_model(model, tmp_path / "again", family=family(kind))
    assert load_model(tmp_path / "again", dtype=torch.float32).config == model.config
    loaded, info = type(reference).from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    compare_logits(loaded.eval(), model, SOURCES, record, family(kind), "states")


@pytest.mark.parametrize("kind", ["bart", "mbart"])
def test_bart_classifies_by_the_state_at_the_end(kind: str, tmp_path: Path, record: Record) -> None:
    labels = {0: "contradiction", 1: "neutral", 2: "entailment"}
    reference = make(kind, "ForSequenceClassification", id2label=labels, label2id={v: k for k, v in labels.items()})
    reference.save_pretrained(tmp_path / "first")
    model = load_model(tmp_path / "first", dtype=torch.float32)
    assert isinstance(model, Transformer)
    assert model.config.labels == ("contradiction", "neutral", "entailment")
    ids, ends = SOURCES.clone(), torch.tensor([40, 44, 49])
    ids[torch.arange(3), ends] = 2  # </s>
    shifted = torch.cat((torch.full((3, 1), 2), ids[:, :-1]), 1)
    with torch.inference_mode():
        got = classify(model, model(shifted, source=encode(model, ids)), ends_B=ends)
        wanted = reference(input_ids=ids, decoder_input_ids=shifted).logits
    assert_near(got, wanted, record, kind, "sequence labels")
    save_model(model, tmp_path / "again", family=kind)
    assert load_model(tmp_path / "again", dtype=torch.float32).config == model.config


@pytest.mark.parametrize("copies", [("encoder",), ("decoder",), ("encoder", "decoder"), ("shared", "encoder")])
def test_the_one_embedding_is_found_under_any_of_its_names(
    copies: tuple[str, ...], tmp_path: Path, record: Record
) -> None:
    reference = make("bart")
    reference.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    embedding = tensors.pop("model.shared.weight")
    for copy in copies:
        name = "model.shared.weight" if copy == "shared" else f"model.{copy}.embed_tokens.weight"
        tensors[name] = embedding.clone()
    save_file(tensors, tmp_path / "model.safetensors")
    model = load_model(tmp_path, dtype=torch.float32)
    assert isinstance(model, Transformer)
    assert_near(computed(model, SOURCES, TARGETS), expected(reference, SOURCES, TARGETS), record, "bart", "logits")


def test_the_first_t5s_empty_table_is_ignored(tmp_path: Path) -> None:
    make("t5").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.zeros(8, 4)
    save_file(tensors, tmp_path / "model.safetensors")
    load_model(tmp_path, dtype=torch.float32)


def test_a_t5_config_of_transformers_4_says_by_tying_whether_logits_are_scaled(tmp_path: Path) -> None:
    make("t5").save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    for field in ("scale_decoder_outputs", "tie_word_embeddings"):
        config.pop(field, None)
    for tied, scale in ((None, 48**-0.5), (True, 48**-0.5), (False, 1.0)):
        file.write_text(json.dumps(config if tied is None else {**config, "tie_word_embeddings": tied}))
        assert load_model(tmp_path, dtype=torch.float32).config.logit_scale == pytest.approx(scale)


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("t5", {"feed_forward_proj": "gated-swish2"}, "activation 'swish2'"),
        ("t5", {"num_decoder_layers": 4}, r"lacks the tensors decoder\.block\.3"),
        ("t5", {"relative_attention_max_distance": 2}, "relative_buckets is 8; with relative_distance"),
        ("t5", {"architectures": ["T5ForTokenClassification"]}, "a T5 that classifies"),
        ("bart", {"decoder_attention_heads": 5}, "5 heads do not divide width 48"),
        ("bart", {"encoder_layers": 2}, r"has the tensors encoder\.layers\.2"),
        ("mbart", {"d_model": "wide"}, "wrong type|heads do not divide"),
    ],
    ids=str,
)
def test_a_config_that_contradicts_the_file_is_refused_in_a_sentence(
    kind: str, changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    make(kind).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(LavraError, match=sentence):
        load_model(tmp_path, dtype=torch.float32)
