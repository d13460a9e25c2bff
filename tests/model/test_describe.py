"""What `lavra models describe` says is true: counted by transformers, by PyTorch's own counter, and by the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from torch.utils.flop_counter import FlopCounterMode

from lavra.errors import LavraError
from lavra.model.activations import count_activations
from lavra.model.base import Model
from lavra.model.building import build
from lavra.model.cache import StateCache
from lavra.model.config import Experts, ModelConfig, Sparse
from lavra.model.counts import count_cache, count_operations, count_parameters, keys_seen
from lavra.model.describe import describe, describe_config
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.heads import logits
from lavra.model.inspection import inspect
from lavra.model.transformer import Transformer

TINY = ModelConfig(
    vocabulary_size=99,
    context_length=512,
    layers=3,
    width=48,
    heads=6,
    kv_heads=2,
    head_width=8,
    hidden_width=80,
    causal=True,
    norm="rms",
    norm_epsilon=1e-5,
    positions="rotary",
    activation="silu",
    gated=True,
)
ENCODER = replace(
    TINY, causal=False, kv_heads=6, norm="layer", norm_position="post", positions="learned", gated=False, head="none"
)
SEQ2SEQ = replace(TINY, encoder=replace(TINY, causal=False, head="none", layers=2))
VARIANTS = {
    "llama": TINY,
    "untied, biased": replace(TINY, tied_embeddings=False, attention_bias=True, mlp_bias=True, output_bias=True),
    "bert": ENCODER,
    "window": replace(TINY, window=8, local_layers=(0, 2), sinks=2),
    "soft cap": replace(TINY, attention_soft_cap=30.0, logit_soft_cap=20.0),
    "norms on both sides": replace(TINY, norm_position="both", norm_plus_one=True, qk_norm="head"),
    "parallel": replace(TINY, parallel=True, rotary_width=4, norm="layer", gated=False),
    "shaw": replace(TINY, positions="none", relative="shaw", relative_distance=4),
    "encoder-decoder": SEQ2SEQ,
    "masked": replace(ENCODER, head="masked", head_transform=True),
}
named = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)


@pytest.mark.parametrize("kind", zoo.ZOO)
def test_parameters_are_as_many_as_transformers_has(kind: str, tmp_path: Path) -> None:
    reference = zoo.make(kind)
    reference.save_pretrained(tmp_path)
    kinds = {"AutoModelForCausalLM": "decoder", "AutoModelForSeq2SeqLM": "encoder-decoder"}
    special = {"clip": "dual", "clip_vision_model": "image", "vit": "image"}
    assert inspect(tmp_path).kind == special.get(kind, kinds.get(zoo.ZOO[kind][0], "encoder"))
    described = describe(tmp_path)
    assert described.parameters.all == _count(reference)
    assert sum(described.parameters.total.values()) == described.parameters.all
    assert max(map(len, described.as_text().splitlines())) <= 120


def _count(reference: Any) -> int:
    """Numbers that transformers' model holds, a shared tensor once."""
    held = {t.data_ptr(): t.numel() for t in reference.state_dict().values() if t.is_floating_point()}
    return sum(held.values())


def test_the_zoo_has_every_family() -> None:
    # "lavra" is any architecture, without a reference; "gemma3" is gemma3_text inside a model that also sees.
    assert set(BY_MODEL_TYPE) == {*zoo.ZOO, "lavra", "gemma3"}


def test_a_real_model_has_the_parameters_that_transformers_counts(smollm2_path: Path, smollm2_reference: Any) -> None:
    described = describe(smollm2_path, name="smollm2-135m")
    assert described.parameters.all == smollm2_reference.num_parameters() == 134_515_008
    text = described.as_text()
    assert "134.5M parameters" in text
    assert "9 heads × 64 over 3 key/value heads" in text
    assert "× 30" in text


def torch_counts(config: ModelConfig, batch: int, time: int) -> int:
    """Operations as PyTorch counts them, of a forward pass and all logits."""
    # A soft cap is computed in tiles, whose size depends on the length; what is multiplied is the same.
    config = replace(config, attention_soft_cap=None)
    with torch.device("meta"):
        model = build(config)
        ids = torch.zeros(batch, time, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            source = model.encode(ids) if config.encoder is not None else None  # type: ignore[operator]
            hidden = model(ids, source=source) if source is not None else model(ids)
            if config.head in ("language", "masked"):
                logits(model, hidden)
    return counter.get_total_flops()


@named
def test_operations_are_those_that_pytorch_counts(config: ModelConfig) -> None:
    dense = replace(config, window=None, local_layers=None, sinks=0)  # PyTorch counts what a mask hides, too
    counted = count_operations(dense, 64)
    assert torch_counts(dense, 2, 64) == 2 * 64 * (counted.forward + counted.encoder)
    assert count_operations(config, 64).forward <= counted.forward
    assert counted.training == 3 * counted.forward


def test_operations_of_an_image_tower_are_those_that_pytorch_counts() -> None:
    from lavra.model.config import Image

    config = replace(ENCODER, vocabulary_size=0, image=Image(32, 8), context_length=17)
    with torch.device("meta"):
        model = Transformer(config)
        with FlopCounterMode(display=False) as counter:
            model(pixels_BIHW=torch.zeros(2, 3, 32, 32))
    counted = count_operations(config, 17)
    assert counter.get_total_flops() == pytest.approx(2 * 17 * counted.forward, rel=1e-3)


def test_a_token_passes_the_chosen_experts_only() -> None:
    dense = replace(TINY, hidden_width=2 * 16)
    experts = replace(TINY, experts=Experts(count=4, chosen=2, width=16))
    router = 3 * 4 * 48
    assert count_parameters(experts).all_active == count_parameters(dense).all + router
    assert count_parameters(experts).all == count_parameters(dense).all + router + 3 * 2 * 3 * 16 * 48
    assert count_operations(experts, 64).forward == count_operations(dense, 64).forward + 2 * router


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, window=5, sinks=2),
        replace(TINY, window=5, local_layers=(1,)),
        replace(TINY, sparse=Sparse("strided", local=2, stride=3, block=4)),
        replace(TINY, sparse=Sparse("fixed", local=1, stride=4, block=2)),
    ],
)
def test_keys_seen_are_those_that_the_mask_allows(config: ModelConfig) -> None:
    from lavra.model.attention import Mask

    for layer in range(config.layers):
        mask = Mask(causal=True, sparse=config.sparse)
        if config.is_local(layer):
            mask = mask.local(config.window, sinks=config.sinks)
        allowed = mask.dense(40, 40, config.heads, torch.device("cpu"))
        assert keys_seen(config, layer, 40) == int(allowed[0, 0, -1].sum())


def cache_numbers(model: Model, capacity: int) -> int:
    cache: Any = model.make_cache(capacity)
    if isinstance(cache, StateCache):
        return sum(part.numel() for state in cache.states for part in state)
    return sum(tensor.numel() for tensor in (*cache.keys, *cache.values))


@pytest.mark.parametrize("architecture", ["transformer", "lstm", "gru", "convolution"])
def test_the_cache_is_as_large_as_its_tensors(architecture: Any) -> None:
    config = TINY
    if architecture != "transformer":
        config = replace(TINY, architecture=architecture, positions="none", kernel_width=4)
    counted = count_cache(config, 40)
    assert counted.at_context + counted.state == cache_numbers(build(config), 40)
    assert counted.at_context == 40 * counted.per_token


def test_a_window_bounds_the_cache_and_an_encoder_has_none() -> None:
    config = replace(TINY, window=8, local_layers=(0, 2), context_length=4000)
    counted = count_cache(config, 4000)
    assert counted.local_layers == 2
    assert counted.at_context == cache_numbers(build(config), 4000) == 2 * 2 * 8 * (7 + 1024 + 4000 + 7 + 1024)
    assert counted.unbounded == 2 * 2 * 8 * 3 * 4000
    # What is seen from everywhere is nowhere in particular: beside sinks everything is kept, and counted.
    sinks = replace(config, sinks=2)
    assert count_cache(sinks, 4000).at_context == cache_numbers(build(sinks), 4000) == counted.unbounded
    assert count_cache(ENCODER, 40).at_context == 0


def test_the_cache_of_an_encoder_decoder_holds_the_source_too() -> None:
    model = build(SEQ2SEQ)
    assert isinstance(model, Transformer)
    cache = model.make_cache(10)
    ids = torch.zeros(1, 10, dtype=torch.long)
    model(ids[:, :1], source=model.encode(ids), cache=cache)
    held = sum(tensor.numel() for pair in cache.cross.values() for tensor in pair)
    assert count_cache(SEQ2SEQ, 10).cross == held


def saved_bytes(config: ModelConfig, dtype: torch.dtype) -> int:
    """What autograd keeps of a real forward pass."""
    model = build(config).to(dtype).train()
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in parameters:
            kept[address] = tensor
        return tensor

    ids = torch.zeros(2, 64, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        if config.encoder is not None:
            assert isinstance(model, Transformer)
            model(ids, source=model.encode(ids))
        else:
            model(ids)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@named
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_activations_are_about_what_autograd_keeps(config: ModelConfig, dtype: torch.dtype) -> None:
    """Kernels of this CPU keep some tensors less than the general ones that are counted."""
    counted = count_activations(config, 2, 64, dtype)
    assert 0.9 < counted.all / saved_bytes(config, dtype) < 1.35
    assert counted.checkpointed < counted.all


@pytest.mark.parametrize("architecture", ["lstm", "gru", "convolution"])
def test_activations_of_earlier_models_too(architecture: Any) -> None:
    config = replace(TINY, architecture=architecture, positions="none", kernel_width=4)
    counted = count_activations(config, 2, 64, torch.float32)
    assert 0.8 < counted.all / saved_bytes(config, torch.float32) < 1.25


MEASURE = """
import sys, json, torch
torch.set_num_threads(1)
from torch.utils.checkpoint import checkpoint
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.model.heads import cross_entropy
checkpointed, batch, context = json.loads(sys.argv[2])
config = ModelConfig(**json.loads(sys.argv[1]))

def kilobytes(key):
    # Not getrusage's: a new process begins with the peak of the one that started it.
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))

def run(config, batch, context, steps):
    model = build(config).train()
    initialise(model, 0)
    if checkpointed:
        for block in model.blocks:
            forward = block.forward
            block.forward = lambda *a, forward=forward: checkpoint(forward, *a, use_reentrant=False)
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.randint(0, config.vocabulary_size, (batch, context))
    for _ in range(steps):
        # Two micro-batches a step: gradients are there while activations are.
        for _ in range(2):
            hidden = model(ids)
            total, count = cross_entropy(model, hidden, ids)
            (total / count).backward()
        optimizer.step()
        optimizer.zero_grad()

from dataclasses import replace
run(replace(config, layers=1, width=48, head_width=8, hidden_width=80, vocabulary_size=99), 1, 8, 1)
before = kilobytes("VmRSS")
run(config, batch, context, 2)
print((kilobytes("VmHWM") - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("checkpointed", [False, True])
def test_memory_to_train_is_what_a_process_is_seen_to_need(checkpointed: bool) -> None:
    fields = {
        "vocabulary_size": 4_000, "context_length": 1024, "layers": 6, "width": 384, "heads": 6, "kv_heads": 2,
        "head_width": 64, "hidden_width": 1024, "causal": True, "norm": "rms", "norm_epsilon": 1e-5,
        "positions": "rotary", "activation": "silu", "gated": True,
    }  # fmt: skip
    batch, context = 4, 256
    described = describe_config(ModelConfig(**fields), name="small", context=context, batch=batch)
    expected = described.training["fp32, checkpointed" if checkpointed else "fp32"].all
    arguments = [json.dumps(fields), json.dumps([checkpointed, batch, context])]
    # glibc hands freed memory back at once: what is measured are tensors, not holes between them (which add a third).
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    assert done.returncode == 0, done.stderr
    assert 0.8 < expected / int(done.stdout) < 1.2


def test_what_no_model_can_do_is_refused() -> None:
    with pytest.raises(LavraError, match="learned positions for 512 tokens"):
        describe_config(ENCODER, name="x", context=513)
    with pytest.raises(LavraError, match="batch is 0"):
        describe_config(TINY, name="x", batch=0)


@named
def test_every_line_of_a_drawing_is_closed(config: ModelConfig) -> None:
    described = describe_config(config, name="x")
    text = described.as_text()
    assert text.count("┌") == text.count("┐") == text.count("└") == text.count("┘")
    assert max(map(len, text.splitlines())) <= 120
    json.dumps(described.as_json())


def test_a_decoder_with_an_encoder_is_drawn_beside_it() -> None:
    lines = describe_config(SEQ2SEQ, name="x").as_text().splitlines()
    arrow = next(line for line in lines if "▶" in line)
    assert "cross-attention" in arrow
