"""Encoders: tiny random models, made and saved by transformers, compute the same when Lavra reads them, and go back."""

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
    compare_left_padding,
    compare_logits,
    compare_packed,
    compare_right_padding,
    compare_window,
    perturb,
    random_ids,
    reference_output,
)
from safetensors.torch import load_file, save_file

from lavra.errors import LavraError
from lavra.model.attention import Mask
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.families.layouts import out
from lavra.model.heads import classify, logits, pooled
from lavra.model.placing import places
from lavra.model.weights import load_model

COMMON = {
    "vocab_size": 120,
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 70,
    "initializer_range": 0.2,  # large enough for a wrong weight to show
    "id2label": {0: "red", 1: "green", 2: "blue"},
    "label2id": {"red": 0, "green": 1, "blue": 2},
}
DISTILBERT = {
    "vocab_size": 120,
    "dim": 48,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": 70,
    "initializer_range": 0.2,
    "id2label": COMMON["id2label"],
    "label2id": COMMON["label2id"],
}
MODERNBERT = {
    **COMMON,
    "num_hidden_layers": 5,
    "local_attention": 8,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "cls_token_id": 0,
    "sep_token_id": 2,
}
# How transformers' classes of a family begin, the fields of a tiny one, and where its learned positions begin.
FAMILIES: dict[str, tuple[str, dict[str, Any], int]] = {
    "bert": ("Bert", COMMON, 0),
    "roberta": ("Roberta", COMMON, 2),
    "xlm-roberta": ("XLMRoberta", COMMON, 2),
    "distilbert": ("DistilBert", DISTILBERT, 0),
    "modernbert": ("ModernBert", MODERNBERT, 0),
    "mpnet": ("MPNet", COMMON, 2),
}
IDS = random_ids(120)
LONG = random_ids(120, time=60)


class FromZero:
    """transformers' model, for which positions begin at 0 as they do in Lavra."""

    def __init__(self, reference: Any, offset: int) -> None:
        self.reference, self.offset = reference, offset

    def __call__(self, **inputs: Any) -> Any:
        if "position_ids" in inputs:
            inputs["position_ids"] = inputs["position_ids"] + self.offset
        return self.reference(**inputs)


def make(family: str, task: str, **changes: Any) -> Any:
    stem, fields, _ = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, f"{stem}Config")(**{**fields, **changes})
    return perturb(getattr(transformers, stem + task)(config))


def saved(reference: Any, path: Path) -> Any:
    reference.save_pretrained(path)
    return load_model(path, dtype=torch.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_those_of_transformers(family: str, tmp_path: Path, record: Record) -> None:
    whole = make(family, "Model")
    reference, model = FromZero(whole, FAMILIES[family][2]), saved(whole, tmp_path)
    compare_logits(reference, model, IDS, record, family, "states")
    compare_logits(reference, model, LONG, record, family, "states")
    compare_left_padding(reference, model, IDS, record, family)
    compare_right_padding(reference, model, IDS, record, family)
    compare_packed(reference, model, IDS, record, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_masked_words_are_those_of_transformers(family: str, tmp_path: Path, record: Record) -> None:
    reference = make(family, "ForMaskedLM")
    model = saved(reference, tmp_path)
    assert model.config.head == "masked"
    compare_logits(reference, model, IDS, record, family)
    compare_right_padding(reference, model, IDS, record, family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_labels_of_texts_are_those_of_transformers(family: str, side: str, tmp_path: Path, record: Record) -> None:
    reference = make(family, "ForSequenceClassification")
    model = saved(reference, tmp_path)
    assert model.config.labels == ("red", "green", "blue")
    place, pads = torch.arange(IDS.shape[1])[None], torch.tensor(PADS)[:, None]
    valid = place >= pads if side == "left" else place < IDS.shape[1] - pads
    with torch.inference_mode():
        got = classify(model, model(IDS, mask=Mask(causal=False, valid_BS=valid)), valid)
    for row in range(len(IDS)):  # transformers takes the first token of a row, padding or not
        expected = reference_output(reference, IDS[row : row + 1, valid[row]])
        assert_near(got[row : row + 1], expected, record, family, "sequence labels")


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_of_tokens_are_those_of_transformers(family: str, tmp_path: Path, record: Record) -> None:
    reference = make(family, "ForTokenClassification")
    model = saved(reference, tmp_path)
    with torch.inference_mode():
        got = classify(model, model(IDS))
    assert got.shape == (3, 21, 3)
    assert_near(got, reference_output(reference, IDS), record, family, "token labels")


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "mpnet"])
def test_the_pooled_state_is_that_of_transformers(family: str, tmp_path: Path, record: Record) -> None:
    reference = make(family, "Model")
    model = saved(reference, tmp_path)
    with torch.inference_mode():
        assert_near(pooled(model, model(IDS)), reference(IDS).pooler_output, record, family, "pooler")


def test_bert_says_which_sentence_comes_next(tmp_path: Path, record: Record) -> None:
    reference = make("bert", "ForPreTraining")
    model = saved(reference, tmp_path)
    types = (torch.arange(21) > 9).long().expand(3, -1)
    with torch.inference_mode():
        expected = reference(IDS, token_type_ids=types)
        hidden = model(IDS, types_BT=types)
        assert_near(logits(model, hidden), expected.prediction_logits, record, "bert", "logits")
        assert_near(classify(model, hidden), expected.seq_relationship_logits, record, "bert", "next sentence")
    assert model.config.labels == ("next", "random")


def test_modernbert_alternates_between_near_and_all(tmp_path: Path, record: Record) -> None:
    bases = {"full_attention": 160_000.0, "sliding_attention": 100.0}
    rope = {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()}
    reference = make("modernbert", "Model", rope_parameters=rope)
    model = saved(reference, tmp_path)
    assert (model.config.radius, model.config.local_layers) == (4, (1, 2, 4))
    assert (model.config.rope_theta, model.config.local_rope_theta) == (160_000.0, 100.0)
    compare_window(reference, model, LONG, record, "modernbert")


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("ForSequenceClassification", {"classifier_pooling": "mean"}),
        ("ForMaskedLM", {"decoder_bias": False}),
        ("ForMaskedLM", {"tie_word_embeddings": False}),
        ("ForMaskedLM", {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True}),
        ("ForMaskedLM", {"layer_types": ["full_attention"] * 5}),
    ],
    ids=str,
)
def test_modernberts_options(task: str, changes: dict[str, Any], tmp_path: Path, record: Record) -> None:
    reference = make("modernbert", task, **changes)
    model = saved(reference, tmp_path)
    with torch.inference_mode():
        hidden = model(IDS)
        got = logits(model, hidden) if task == "ForMaskedLM" else classify(model, hidden)
    assert_near(
        got,
        reference_output(reference, IDS),
        record,
        "modernbert",
        "logits" if task == "ForMaskedLM" else "sequence labels",
    )


def test_the_spelling_of_transformers_4_is_understood(tmp_path: Path, record: Record) -> None:
    reference = make("modernbert", "Model")
    reference.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = {key: value for key, value in json.loads(file.read_text()).items() if key not in NEW_FIELDS}
    older = {"global_attn_every_n_layers": 3, "global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0}
    file.write_text(json.dumps(config | older))
    compare_logits(reference, load_model(tmp_path, dtype=torch.float32), LONG, record, "modernbert", "states")


NEW_FIELDS = ("layer_types", "rope_parameters")


def test_the_first_berts_names_of_norms_are_understood(tmp_path: Path, record: Record) -> None:
    reference = make("bert", "ForMaskedLM")
    reference.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    older = {".LayerNorm.weight": ".LayerNorm.gamma", ".LayerNorm.bias": ".LayerNorm.beta"}
    for new, old in older.items():
        tensors = {name.replace(new, old): tensor for name, tensor in tensors.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    compare_logits(reference, load_model(tmp_path, dtype=torch.float32), IDS, record, "bert")


@pytest.mark.parametrize("family", ["mpnet", "roberta"])
def test_an_embedder_that_calls_itself_a_masked_model_but_lacks_the_head_is_read_without(
    family: str, tmp_path: Path, record: Record
) -> None:
    reference = make(family, "Model")
    reference.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text()) | {"architectures": [FAMILIES[family][0] + "ForMaskedLM"]}
    file.write_text(json.dumps(config))
    model = load_model(tmp_path, dtype=torch.float32)
    assert model.config.head == "none"
    compare_logits(reference, model, IDS, record, family, "states")


def test_a_classifier_without_its_pooler_is_refused(tmp_path: Path) -> None:
    make("bert", "ForSequenceClassification").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["bert.pooler.dense.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(LavraError, match=r"lacks the tensor pooler\.dense\.weight"):
        load_model(tmp_path, dtype=torch.float32)


def test_a_head_that_is_not_known_is_refused_by_its_tensors(tmp_path: Path) -> None:
    make("bert", "ForQuestionAnswering").save_pretrained(tmp_path)
    with pytest.raises(LavraError, match=r"has the tensors qa_outputs\.bias, qa_outputs\.weight"):
        load_model(tmp_path, dtype=torch.float32)


def test_an_mpnet_whose_buckets_transformers_would_not_count_is_refused(tmp_path: Path) -> None:
    """Its class counts 32 of them, with a table of any size."""
    make("mpnet", "Model", relative_attention_num_buckets=40).save_pretrained(tmp_path)
    with pytest.raises(LavraError, match="an MPNet with 40 buckets of positions instead of 32"):
        load_model(tmp_path, dtype=torch.float32)


def test_a_packed_text_beyond_the_positions_is_refused(tmp_path: Path) -> None:
    model = saved(make("roberta", "Model"), tmp_path)
    assert model.config.context_length == 68
    texts = torch.tensor([[0] * 40 + [1] * 69])
    with pytest.raises(LavraError, match="69 tokens do not fit a model of 68"):
        model(torch.full((1, 109), 5), mask=Mask(causal=False, segments_BS=texts))


@pytest.mark.parametrize(
    ("family", "changes", "sentence"),
    [
        ("bert", {"is_decoder": True}, "an encoder that decodes"),
        ("bert", {"position_embedding_type": "relative_key"}, "positions of type 'relative_key'"),
        ("bert", {"tie_word_embeddings": False}, "a masked head with a matrix of its own"),
        ("roberta", {"hidden_act": "relu"}, "a masked head with another activation"),
        ("modernbert", {"num_hidden_layers": 10**9, "layer_types": None}, "layers is 1000000000"),
        ("modernbert", {"layer_types": ["full_attention"]}, "1 layer_types for 5 layers"),
        ("modernbert", {"layer_types": ["spiral"] * 5}, "layers of type 'spiral'"),
        ("modernbert", {"global_attn_every_n_layers": 0, "layer_types": None}, "wrong type"),
        ("modernbert", {"classifier_bias": True}, "biases in its head or its MLP, not both"),
        ("modernbert", {"classifier_activation": "relu"}, "another activation in its head"),
        ("modernbert", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "scaled rotary positions"),
        ("mpnet", {"hidden_size": "wide"}, "wrong type|heads do not divide"),
        ("distilbert", {"n_heads": 5}, "5 heads do not divide width 48"),
    ],
    ids=str,
)
def test_a_config_that_lavra_cannot_follow_is_refused_in_a_sentence(
    family: str, changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    make(family, "ForMaskedLM").save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(LavraError, match=sentence):
        load_model(tmp_path, dtype=torch.float32)


TASKS = ("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_written_directory_is_what_transformers_and_lavra_read(
    family: str, task: str, tmp_path: Path, record: Record
) -> None:
    reference = make(family, task)
    model = saved(reference, tmp_path / "first")
    kind = BY_MODEL_TYPE[family]
    assert kind.write is not None
    tensors = {}
    prefix = "" if model.config.head == "none" else kind.prefix
    for _, parameter, parts in places(model, kind):
        for place in parts:
            name = place.name if place.name.startswith(kind.heads) else prefix + place.name
            tensors[name] = out(place.view(parameter), place.layout, model.config).contiguous()
    again = tmp_path / "again"
    again.mkdir()
    save_file(tensors, again / "model.safetensors", {"format": "pt"})
    (again / "config.json").write_text(json.dumps(kind.write(model.config)))

    read = load_model(again, dtype=torch.float32)
    assert read.config == model.config
    for name, parameter in read.state_dict().items():
        assert torch.equal(parameter, model.state_dict()[name]), name
    loaded, info = type(reference).from_pretrained(again, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert_near(
        reference_output(loaded.eval(), IDS), reference_output(reference, IDS), record, family, "round trip", 1e-7
    )
