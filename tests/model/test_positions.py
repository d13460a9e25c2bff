"""Positions that no family of the table has: sinusoids and Shaw's by their papers, ALiBi by BLOOM of transformers."""

from __future__ import annotations

import math

import judge
import pytest
import torch
import transformers

from lavra.model.attention import Mask
from lavra.model.blocks import Attention, Pass
from lavra.model.building import build
from lavra.model.config import ModelConfig
from lavra.model.positions import alibi_slopes, sinusoids
from lavra.model.transformer import Transformer

WIDTH, HEADS = 48, 6
BLOOM_LIKE = ModelConfig(
    vocabulary_size=99,
    context_length=64,
    layers=3,
    width=WIDTH,
    heads=HEADS,
    kv_heads=HEADS,
    head_width=8,
    hidden_width=4 * WIDTH,
    causal=True,
    norm="layer",
    norm_epsilon=1e-5,
    embedding_norm=True,
    positions="none",
    relative="alibi",
    activation="gelu_tanh",
    gated=False,
    attention_bias=True,
    output_bias=True,
    mlp_bias=True,
)


def test_sinusoids_are_those_of_the_paper() -> None:
    """Vaswani et al. 2017, section 3.5: sin(pos / 10000^(2i/C)) at 2i, the cosine of the same at 2i + 1."""
    expected = [
        [(math.sin, math.cos)[c % 2](place / 10_000 ** ((c - c % 2) / 10)) for c in range(10)] for place in range(300)
    ]
    torch.testing.assert_close(sinusoids(300, 10), torch.tensor(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("segments", [None, [0] * 5 + [1] * 7])
def test_sinusoids_are_added_by_the_place_in_a_text(segments: list[int] | None) -> None:
    config = ModelConfig(**{**vars(BLOOM_LIKE), "positions": "sinusoidal", "relative": "none"})
    model = build(config)
    assert isinstance(model, Transformer)
    mask = Mask(causal=True, segments_BS=None if segments is None else torch.tensor([segments]))
    places = mask.positions(12)
    added = model._add_positions(torch.zeros(1, 12, WIDTH), slice(0, 12) if places is None else places, 12)
    table = sinusoids(12, WIDTH)
    torch.testing.assert_close(added[0], table if segments is None else torch.cat((table[:5], table[:7])))


@pytest.mark.parametrize("heads", [1, 2, 6, 8, 12, 20])
def test_slopes_of_alibi_are_those_of_bloom(heads: int) -> None:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)
    torch.testing.assert_close(alibi_slopes(heads), theirs[:, 0, 1])


def test_a_decoder_with_alibi_is_bloom() -> None:
    """Weights laid by hand, for Lavra reads no BLOOM; with padding, packed texts and a cache too."""
    torch.manual_seed(0)
    config = transformers.BloomConfig(vocab_size=99, hidden_size=WIDTH, n_layer=3, n_head=HEADS, initializer_range=0.3)
    reference = judge.perturb(transformers.BloomForCausalLM(config))
    theirs, weights = reference.state_dict(), {}
    for name in build(BLOOM_LIKE).state_dict():
        place = name.replace("blocks.", "transformer.h.").replace(".attention.output", ".self_attention.dense")
        place = place.replace("attention_norm", "input_layernorm").replace("mlp_norm", "post_attention_layernorm")
        place = place.replace("mlp.up", "mlp.dense_h_to_4h").replace("mlp.down", "mlp.dense_4h_to_h")
        place = place.replace(".attention.qkv", ".self_attention.query_key_value")
        if not name.startswith("blocks."):
            stem, _, leaf = name.partition(".")
            top = {"embedding": "word_embeddings", "embedding_norm": "word_embeddings_layernorm", "final_norm": "ln_f"}
            place = f"transformer.{top[stem]}.{leaf}"
        tensor = theirs[place]
        if ".qkv." in name:  # theirs: query, key and value of the first head, then of the second, …
            tensor = tensor.unflatten(0, (HEADS, 3, 8)).transpose(0, 1).flatten(0, 2)
        weights[name] = tensor
    model = build(BLOOM_LIKE)
    assert isinstance(model, Transformer)
    model.load_state_dict(weights)
    model.eval()
    ids = judge.random_ids(99, time=40)

    def nowhere(family: str, check: str, difference: float) -> None:
        """BLOOM is no family of the table."""

    judge.compare_logits(reference, model, ids, nowhere, "bloom")
    judge.compare_packed(reference, model, ids, nowhere, "bloom")
    for row, pad in enumerate(judge.PADS):
        valid = (torch.arange(40) >= pad)[None]
        got = judge.output(model, ids[row : row + 1], mask=Mask(causal=True, valid_BS=valid))
        alone = judge.reference_output(reference, ids[row : row + 1, pad:])
        torch.testing.assert_close(got[:, pad:], alone, atol=1e-4, rtol=1e-4)
    with torch.inference_mode():
        cache = model.make_cache(40, batch=3)
        states = [model(ids[:, :17], cache=cache), *(model(ids[:, t : t + 1], cache=cache) for t in range(17, 40))]
        torch.testing.assert_close(torch.cat(states, 1), model(ids), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_with_shaws_positions_is_that_of_the_paper(causal: bool) -> None:
    """Shaw et al. 2018, eq. 3 to 5: a vector for each clipped distance j - i beside the key, another beside the
    value, the same for all heads."""
    changes = {"relative": "shaw", "relative_distance": 3, "causal": causal, "head": "none", "kv_heads": 2}
    config = ModelConfig(**{**vars(BLOOM_LIKE), **changes})
    torch.manual_seed(0)
    layer = Attention(config, 0).double()
    assert layer.shaw is not None
    x, time = torch.randn(1, 11, WIDTH, dtype=torch.float64), 11
    mask = Mask(causal=causal)
    with torch.no_grad():
        got = layer(x, Pass(mask, mask))[0]
        q, k, v = layer.qkv(x)[0].split([HEADS * 8, 16, 16], -1)
        keys, values, mixed = layer.shaw.keys.weight, layer.shaw.values.weight, torch.zeros(time, HEADS * 8).double()
        for head in range(HEADS):
            own, shared = slice(head * 8, head * 8 + 8), slice(head // 3 * 8, head // 3 * 8 + 8)
            for i in range(time):
                seen = range(i + 1 if causal else time)
                where = [max(-3, min(3, j - i)) + 3 for j in seen]
                scores = torch.stack(
                    [q[i, own] @ (k[j, shared] + keys[w]) / 8**0.5 for j, w in zip(seen, where, strict=True)]
                )
                share = scores.softmax(0)
                mixed[i, own] = sum(
                    share[n] * (v[j, shared] + values[w]) for n, (j, w) in enumerate(zip(seen, where, strict=True))
                )
        torch.testing.assert_close(got, layer.output(mixed), atol=1e-6, rtol=1e-5)
