"""Scales of embeddings, residuals, scores and logits, all at once: Granite's, whose other parts are a Llama's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import judge
import torch
import transformers
import zoo

from lavra.model.transformer import Transformer
from lavra.model.weights import load_model


def test_every_scale_is_granite_s(tmp_path: Path) -> None:
    scales = {
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.3,
        "attention_multiplier": 0.2,
        "logits_scaling": 4.0,
    }
    fields = {name: value for name, value in zoo.ZOO["llama"][1].items() if name != "head_dim"}
    torch.manual_seed(0)
    reference = judge.perturb(
        transformers.GraniteForCausalLM(transformers.GraniteConfig(**fields, **scales, initializer_range=0.3))
    )
    reference.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "llama"}))
    plain = load_model(tmp_path, dtype=torch.float32)
    scaled = replace(
        plain.config, embedding_scale=3.0, residual_scale=0.3, attention_scale=0.2, logit_scale=0.25
    )  # Lavra multiplies by what Granite divides by
    model = Transformer(scaled).eval()
    model.load_state_dict(plain.state_dict())
    ids = judge.random_ids(99)
    expected = judge.reference_output(reference, ids)
    torch.testing.assert_close(judge.output(model, ids), expected, atol=1e-4, rtol=1e-4)
    for name in ("embedding_scale", "residual_scale", "attention_scale", "logit_scale"):
        without = Transformer(replace(scaled, **{name: getattr(plain.config, name)})).eval()
        without.load_state_dict(plain.state_dict())
        assert (judge.output(without, ids) - expected).abs().max() > 1e-3, f"{name} has to matter"
