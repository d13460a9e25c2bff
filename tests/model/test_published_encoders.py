"""Configs as they were published, in the spellings of many years, mean to Lavra what they mean to transformers.

Sizes are cut down, everything else is as it stands on the hub; weights are random.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from judge import Record, assert_near, perturb, random_ids
from safetensors.torch import save_file

from lavra.model.heads import classify, logits
from lavra.model.transformer import Transformer
from lavra.model.weights import load_model

SMALL_BERT = {
    "vocab_size": 120,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.2,
}
SMALL_DISTILBERT = {
    "vocab_size": 120,
    "dim": 48,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 64,
    "initializer_range": 0.2,
}
SMALL_T5 = {"vocab_size": 120, "d_model": 48, "d_kv": 12, "d_ff": 64, "num_layers": 3, "num_heads": 4}
SMALL_BART = {
    "vocab_size": 120,
    "d_model": 48,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "init_std": 0.2,
}
_BERT = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "pad_token_id": 0,
    "type_vocab_size": 2,
    **SMALL_BERT,
}
_ROBERTA = {
    "attention_probs_dropout_prob": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 514,
    "pad_token_id": 1,
    **SMALL_BERT,
}
_XLMR = {
    **_ROBERTA,
    "model_type": "xlm-roberta",
    "output_past": True,
    "position_embedding_type": "absolute",
    "type_vocab_size": 1,
    "use_cache": True,
}
_DISTILBERT = {
    "activation": "gelu",
    "attention_dropout": 0.1,
    "dropout": 0.1,
    "max_position_embeddings": 512,
    "model_type": "distilbert",
    "pad_token_id": 0,
    "qa_dropout": 0.1,
    "seq_classif_dropout": 0.2,
    "sinusoidal_pos_embds": False,
    "tie_weights_": True,
    **SMALL_DISTILBERT,
}
_BART = {
    "activation_dropout": 0.1,
    "activation_function": "gelu",
    "add_bias_logits": False,
    "attention_dropout": 0.1,
    "bos_token_id": 0,
    "classifier_dropout": 0.0,
    "decoder_layerdrop": 0.0,
    "decoder_start_token_id": 2,
    "dropout": 0.1,
    "encoder_layerdrop": 0.0,
    "eos_token_id": 2,
    "forced_eos_token_id": 2,
    "gradient_checkpointing": False,
    "is_encoder_decoder": True,
    "max_position_embeddings": 1024,
    "num_hidden_layers": 3,
    "pad_token_id": 1,
    **SMALL_BART,
}
_SENTIMENT = {"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
_ENTAILMENT = {"contradiction": 0, "neutral": 1, "entailment": 2}

PUBLISHED: dict[str, dict[str, Any]] = {
    "bert-base-uncased": {**_BERT, "architectures": ["BertForMaskedLM"], "position_embedding_type": "absolute"},
    "bert-base-NER": {
        **_BERT,
        "_num_labels": 9,
        "architectures": ["BertForTokenClassification"],
        "id2label": dict(zip("0123", ("O", "B-MISC", "I-MISC", "B-PER"), strict=True)),
        "label2id": {"O": 0, "B-MISC": 1, "I-MISC": 2, "B-PER": 3},
        "output_past": True,
    },
    "ms-marco-MiniLM-L-6-v2": {
        **_BERT,
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    },
    "roberta-base": {
        **_ROBERTA,
        "architectures": ["RobertaForMaskedLM"],
        "model_type": "roberta",
        "type_vocab_size": 1,
    },
    "multilingual-e5-base": {**_XLMR, "architectures": ["XLMRobertaModel"], "classifier_dropout": None},
    "bge-reranker-base": {
        **_XLMR,
        "architectures": ["XLMRobertaForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    },
    "distilbert-base-uncased": {**_DISTILBERT, "architectures": ["DistilBertForMaskedLM"]},
    "distilbert-sst-2": {
        **_DISTILBERT,
        **_SENTIMENT,
        "architectures": ["DistilBertForSequenceClassification"],
        "finetuning_task": "sst-2",
        "output_past": True,
    },
    "ModernBERT-base": {
        "architectures": ["ModernBertForMaskedLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 5,
        "classifier_activation": "gelu",
        "classifier_bias": False,
        "classifier_dropout": 0.0,
        "classifier_pooling": "mean",
        "cls_token_id": 5,
        "decoder_bias": True,
        "deterministic_flash_attn": False,
        "embedding_dropout": 0.0,
        "eos_token_id": 4,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "gradient_checkpointing": False,
        "hidden_activation": "gelu",
        "initializer_cutoff_factor": 2.0,
        "layer_norm_eps": 1e-05,
        "local_attention": 128,
        "local_rope_theta": 10000.0,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "mlp_dropout": 0.0,
        "model_type": "modernbert",
        "norm_bias": False,
        "norm_eps": 1e-05,
        "pad_token_id": 3,
        "position_embedding_type": "absolute",
        "sep_token_id": 4,
        **SMALL_BERT,
        "num_hidden_layers": 4,
    },
    "mpnet-base": {
        **_ROBERTA,
        "architectures": ["MPNetForMaskedLM"],
        "model_type": "mpnet",
        "relative_attention_num_buckets": 32,
    },
    "t5-small": {
        "architectures": ["T5ForConditionalGeneration"],
        "decoder_start_token_id": 0,
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "layer_norm_epsilon": 1e-06,
        "model_type": "t5",
        "n_positions": 512,
        "output_past": True,
        "pad_token_id": 0,
        "relative_attention_num_buckets": 32,
        **SMALL_T5,
    },
    "flan-t5-small": {
        "architectures": ["T5ForConditionalGeneration"],
        "decoder_start_token_id": 0,
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "feed_forward_proj": "gated-gelu",
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "layer_norm_epsilon": 1e-06,
        "model_type": "t5",
        "n_positions": 512,
        "num_decoder_layers": 3,
        "output_past": True,
        "pad_token_id": 0,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32,
        "tie_word_embeddings": False,
        **SMALL_T5,
    },
    "sentence-t5-base": {
        "architectures": ["T5EncoderModel"],
        "decoder_start_token_id": 0,
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "feed_forward_proj": "relu",
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "layer_norm_epsilon": 1e-06,
        "model_type": "t5",
        "n_positions": 512,
        "num_decoder_layers": 3,
        "output_past": True,
        "pad_token_id": 0,
        "relative_attention_num_buckets": 32,
        **SMALL_T5,
    },
    "mt5-small": {
        "architectures": ["MT5ForConditionalGeneration"],
        "decoder_start_token_id": 0,
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "feed_forward_proj": "gated-gelu",
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "layer_norm_epsilon": 1e-06,
        "model_type": "mt5",
        "num_decoder_layers": 3,
        "pad_token_id": 0,
        "relative_attention_num_buckets": 32,
        "tie_word_embeddings": False,
        "tokenizer_class": "T5Tokenizer",
        **SMALL_T5,
    },
    "bart-base": {
        **_BART,
        "add_final_layer_norm": False,
        "architectures": ["BartModel"],
        "model_type": "bart",
        "normalize_before": False,
        "normalize_embedding": True,
        "scale_embedding": False,
    },
    "bart-large-mnli": {
        **_BART,
        "add_final_layer_norm": False,
        "architectures": ["BartForSequenceClassification"],
        "id2label": {str(index): label for label, index in _ENTAILMENT.items()},
        "label2id": _ENTAILMENT,
        "model_type": "bart",
        "normalize_before": False,
        "output_past": False,
        "scale_embedding": False,
    },
    "mbart-large-50": {
        **_BART,
        "add_final_layer_norm": True,
        "architectures": ["MBartForConditionalGeneration"],
        "model_type": "mbart",
        "normalize_before": True,
        "normalize_embedding": True,
        "scale_embedding": True,
        "static_position_embeddings": False,
    },
}
IDS = random_ids(120, time=30, least=6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_means_what_it_means_to_transformers(name: str, tmp_path: Path, record: Record) -> None:
    fields = PUBLISHED[name]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**fields)
    reference: Any = perturb(getattr(transformers, fields["architectures"][0])(config))
    if name in ("flan-t5-small", "mt5-small"):  # which have a matrix of their own for logits
        reference.lm_head.weight = torch.nn.Parameter(torch.randn(120, 48) * 0.2)
    reference.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(fields))  # not as transformers writes it today
    if name == "bert-base-uncased":  # the file holds more than its class: all that it was trained with
        whole = perturb(transformers.BertForPreTraining(config))
        whole.load_state_dict(reference.state_dict(), strict=False)
        tensors = {key: tensor.clone() for key, tensor in whole.state_dict().items() if "decoder" not in key}
        save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})

    model = load_model(tmp_path, dtype=torch.float32)
    assert isinstance(model, Transformer)
    assert model.config.context_length in (512, 1024, 8192)
    inputs = {"input_ids": IDS}
    given: dict[str, Any] = {}
    ids, ends = IDS, None
    with torch.inference_mode():
        if model.config.encoder is not None:
            ids = IDS.clone()
            ids[:, -1] = 2  # </s>, where BART classifies
            ends = torch.full((3,), 29)
            inputs = {"input_ids": ids, "decoder_input_ids": ids}
            given["source"] = model.encode(ids)
        hidden = model(ids, **given)
        out = reference(**inputs)
        head = model.config.head
        if head == "none":
            got, wanted = hidden, out.last_hidden_state
        else:
            got = logits(model, hidden) if head in ("language", "masked") else classify(model, hidden, ends_B=ends)
            wanted = out.logits
    check = {"none": "states", "language": "logits", "masked": "logits"}.get(head, f"{head} labels")
    assert_near(got, wanted, record, fields["model_type"], check)
    labels = tuple(fields["id2label"].values()) if "id2label" in fields else ()
    assert model.config.labels == (("next", "random") if name == "bert-base-uncased" else labels)
