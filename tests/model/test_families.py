"""Small random models, made and saved by transformers, compute the same when Lavra reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertModel, LlamaConfig, LlamaForCausalLM, LlamaModel

from lavra.errors import LavraError
from lavra.model.attention import Mask
from lavra.model.heads import logits
from lavra.model.weights import load_model

IDS = torch.randint(0, 99, (3, 21), generator=torch.Generator().manual_seed(0))


def llama(**changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    fields: dict[str, Any] = {
        "vocab_size": 99,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,  # large enough for a wrong weight to show
    }
    return LlamaForCausalLM(LlamaConfig(**(fields | changes))).eval()


def assert_same_logits(path: Path, reference: LlamaForCausalLM) -> None:
    model = load_model(path, dtype=torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(logits(model, model(IDS)), reference(IDS).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"tie_word_embeddings": True},
        {"tie_word_embeddings": False},
        {"num_key_value_heads": 6},
        {"num_key_value_heads": 1},
        {"head_dim": 16},
        {"attention_bias": True, "mlp_bias": True},
        {"hidden_act": "gelu_pytorch_tanh"},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
        {"rms_norm_eps": 1e-2},
    ],
    ids=lambda changes: ",".join(f"{key}={value}" for key, value in changes.items()),
)
def test_a_llama_computes_what_transformers_computes(tmp_path: Path, changes: dict[str, Any]) -> None:
    reference = llama(**changes)
    with torch.no_grad():  # biases and norms are born as zeros and ones, which would hide a swap
        for name, parameter in reference.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.uniform_(0.5, 1.5)
    reference.save_pretrained(tmp_path)
    assert_same_logits(tmp_path, reference)


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    reference = llama(tie_word_embeddings=False)
    reference.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert_same_logits(tmp_path, reference)


def test_a_decoder_saved_without_its_head_is_read_where_the_head_is_tied(tmp_path: Path) -> None:
    whole = llama(tie_word_embeddings=True)
    bare = LlamaModel(whole.config).eval()
    bare.load_state_dict(whole.model.state_dict())
    bare.save_pretrained(tmp_path)
    assert_same_logits(tmp_path, whole)


def test_the_old_spelling_of_the_rotary_base_is_understood(tmp_path: Path) -> None:
    reference = llama(rope_parameters={"rope_type": "default", "rope_theta": 77_000.0})
    reference.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.pop("rope_parameters", None)
    (tmp_path / "config.json").write_text(json.dumps(config | {"rope_theta": 77_000.0, "rope_scaling": None}))
    assert_same_logits(tmp_path, reference)


def test_left_padding_changes_nothing(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    padded = torch.cat([torch.zeros(3, 5, dtype=torch.long), IDS], 1)
    places = torch.arange(26).expand(3, -1)
    with torch.inference_mode():
        shifted = model(padded, mask=Mask(causal=True, valid_BS=places >= 5), positions_BT=(places - 5).clamp(min=0))
        torch.testing.assert_close(shifted[:, 5:], model(IDS), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_a_bert_computes_what_transformers_computes(tmp_path: Path, kind: type[BertModel]) -> None:
    torch.manual_seed(0)
    reference = kind(
        BertConfig(
            vocab_size=99,
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=32,
            initializer_range=0.3,
        )
    ).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    types = (torch.arange(21) > 9).long().expand(3, -1)
    valid = torch.arange(21)[None] < torch.tensor([21, 15, 3])[:, None]
    bert = getattr(reference, "bert", reference)
    with torch.inference_mode():
        expected = bert(IDS, attention_mask=valid, token_type_ids=types).last_hidden_state
        got = model(IDS, mask=Mask(causal=False, valid_BS=valid), types_BT=types)
    torch.testing.assert_close(got[valid], expected[valid], atol=1e-4, rtol=1e-4)


def edit_config(path: Path, **changes: Any) -> None:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "mamba"}, r"of type 'mamba'; Lavra reads .*bert.*llama"),
        (
            {"rope_scaling": {"rope_type": "spiral", "factor": 4}, "rope_parameters": None},
            "rotary positions of type 'spiral'",
        ),
        ({"hidden_act": "swish2"}, "activation 'swish2'"),
        ({"num_attention_heads": 5, "head_dim": None}, "5 heads do not divide width 48"),
        ({"num_key_value_heads": 4}, "kv_heads is 4; it does not divide heads 6"),
        ({"num_hidden_layers": 4}, r"lacks the tensors layers\.3\.input_layernorm\.weight.* and 5 more"),
        ({"num_hidden_layers": 2}, r"has the tensors layers\.2\.input_layernorm\.weight"),
        ({"intermediate_size": 81}, r"gate_proj.weight has shape \(80, 48\)"),
        ({"vocab_size": "many"}, "vocabulary_size is 'many'"),
        ({"vocab_size": 10**12}, "vocabulary_size is 1000000000000"),
        ({"num_hidden_layers": 10**6}, "layers is 1000000"),
        ({"rms_norm_eps": "small"}, "norm_epsilon"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_config_that_is_unknown_or_contradicts_the_file_is_refused_in_a_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    llama().save_pretrained(tmp_path)
    edit_config(tmp_path, **changes)
    with pytest.raises(LavraError, match=sentence):
        load_model(tmp_path, dtype=torch.float32)


def test_a_config_that_lacks_a_field_names_it(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["hidden_size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(LavraError, match="lacks hidden_size"):
        load_model(tmp_path, dtype=torch.float32)


def test_missing_and_unexpected_tensors_are_named(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    norm = tensors.pop("model.norm.weight")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(LavraError, match=r"lacks the tensor norm\.weight"):
        load_model(tmp_path, dtype=torch.float32)
    save_file(tensors | {"model.norm.weight": norm, "model.norm.bias": norm.clone()}, tmp_path / "model.safetensors")
    with pytest.raises(LavraError, match=r"has the tensor norm\.bias, for which its config has no place"):
        load_model(tmp_path, dtype=torch.float32)
