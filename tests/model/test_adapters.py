"""Adapters are peft's: the same numbers, the same files, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lavra.errors import LavraError
from lavra.model.adapter_files import load_adapter, save_adapter
from lavra.model.adapters import AdapterConfig, attach, prove_merge
from lavra.model.base import Model
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.weights import load_model

IDS = torch.arange(1, 41).view(2, 20) % 97


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=97,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64))


def gpt_neox() -> nn.Module:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    return GPTNeoXForCausalLM(
        GPTNeoXConfig(vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], list[str], list[str]]] = {
    # model, targets of LoRA, targets of IA³ of which the last one is scaled at its input
    "llama": (llama, ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"], ["k_proj", "v_proj", "down_proj"]),
    "gpt2": (gpt2, ["c_attn", "c_fc"], ["c_attn", "mlp.c_proj"]),
    "gpt_neox": (gpt_neox, ["query_key_value", "dense_h_to_4h"], ["query_key_value", "dense_4h_to_h"]),
}


def peft_config(method: str, family: str) -> Any:
    from peft import IA3Config, LoraConfig

    _, lora, ia3 = MODELS[family]
    transposed = family == "gpt2"
    if method == "ia3":
        return IA3Config(
            target_modules=ia3, feedforward_modules=ia3[-1:], task_type="CAUSAL_LM", fan_in_fan_out=transposed
        )
    return LoraConfig(
        r=4,
        lora_alpha=12,
        target_modules=lora,
        use_rslora=method == "rslora",
        use_dora=method == "dora",
        task_type="CAUSAL_LM",
        fan_in_fan_out=transposed,
    )


@torch.no_grad()
def shake(module: nn.Module, wanted: str) -> None:
    """Numbers that are not what an adapter begins with."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in module.named_parameters():
        if wanted in name:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("method", ["lora", "rslora", "dora", "ia3"])
def test_an_adapter_of_peft_gives_the_same_states_and_comes_back_to_peft(
    tmp_path: Path, method: str, family: str
) -> None:
    from peft import PeftModel, get_peft_model

    torch.manual_seed(0)
    reference = MODELS[family][0]().eval()
    reference.save_pretrained(tmp_path / "base")  # type: ignore[operator]
    theirs = get_peft_model(reference, peft_config(method, family))  # type: ignore[arg-type]
    shake(theirs, "ia3_" if method == "ia3" else "lora_")
    theirs.eval().save_pretrained(tmp_path / "theirs")
    model = load_model(tmp_path / "base", dtype=torch.float32)
    adapters = load_adapter(model, BY_MODEL_TYPE[family], tmp_path / "theirs")
    with torch.no_grad():
        expected = theirs(IDS, output_hidden_states=True).hidden_states[-1]
        got = model(IDS)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)

    save_adapter(adapters, BY_MODEL_TYPE[family], tmp_path / "ours", base="base", base_sha256="1" * 64)
    again = PeftModel.from_pretrained(type(reference).from_pretrained(tmp_path / "base"), tmp_path / "ours").eval()  # type: ignore[attr-defined]
    with torch.no_grad():
        torch.testing.assert_close(
            again(IDS, output_hidden_states=True).hidden_states[-1], expected, atol=1e-5, rtol=1e-4
        )


def make(tmp_path: Path, dtype: torch.dtype = torch.float32) -> Model:
    torch.manual_seed(0)
    llama().save_pretrained(tmp_path / "base")  # type: ignore[operator]
    return load_model(tmp_path / "base", dtype=dtype)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_what_an_adapter_adds_at_first_is_nothing_and_only_it_is_trained(tmp_path: Path, method: Any) -> None:
    model = make(tmp_path)
    with torch.no_grad():
        before = model(IDS)
    adapters = attach(model, AdapterConfig(method=method, rank=4), BY_MODEL_TYPE["llama"])
    torch.testing.assert_close(model(IDS), before, atol=1e-6, rtol=1e-5)
    model(IDS).square().sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == adapters.parameters().keys()
    assert all(parameter.grad is not None for parameter in adapters.parameters().values())


def test_gradients_are_those_of_the_plain_expression(tmp_path: Path) -> None:
    """The written-out backward pass against autograd, which dropout of almost nothing makes it take."""
    gradients = []
    for dropout in (0.0, 1e-12):
        model = make(tmp_path)
        adapters = attach(model, AdapterConfig(rank=4, dropout=dropout), BY_MODEL_TYPE["llama"], seed=1)
        shake(model, ".up.")
        (model.train()(IDS) * torch.linspace(-1, 1, 32)).sum().backward()
        gradients.append({name: p.grad for name, p in adapters.parameters().items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_merging_ends_in_the_same_states_or_not_at_all(tmp_path: Path, method: Any) -> None:
    model = make(tmp_path)
    adapters = attach(model, AdapterConfig(method=method, rank=4), BY_MODEL_TYPE["llama"])
    shake(model, ".scales." if method == "ia3" else ".up.")
    with torch.no_grad():
        expected = model(IDS)
    with adapters.switched_off(), torch.no_grad():
        assert not torch.allclose(model(IDS), expected, atol=1e-3)
    with pytest.raises(LavraError, match="nothing was merged"):
        prove_merge(adapters, IDS, tolerance=0.0)
    with torch.no_grad():
        torch.testing.assert_close(model(IDS), expected)
    prove_merge(adapters, IDS)
    assert {type(module) for module in model.modules() if "qkv" in type(module).__name__.lower()} == set()
    assert all("base" not in name for name, _ in model.named_parameters())
    with torch.no_grad():
        torch.testing.assert_close(model(IDS), expected, atol=1e-5, rtol=1e-4)


def test_modules_trained_whole_travel_with_the_adapter(tmp_path: Path) -> None:
    model = make(tmp_path)
    config = AdapterConfig(rank=2, targets=("q_proj",), whole=("embedding", "norm"))
    adapters = attach(model, config, BY_MODEL_TYPE["llama"])
    shake(model, "norm")
    shake(model, "embedding")
    save_adapter(adapters, BY_MODEL_TYPE["llama"], tmp_path / "adapter")
    again = load_model(tmp_path / "base", dtype=torch.float32)
    load_adapter(again, BY_MODEL_TYPE["llama"], tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(again(IDS), model(IDS))


def test_an_adapter_for_another_base_is_refused_by_hash(tmp_path: Path) -> None:
    model = make(tmp_path)
    adapters = attach(model, AdapterConfig(rank=2), BY_MODEL_TYPE["llama"])
    save_adapter(adapters, BY_MODEL_TYPE["llama"], tmp_path / "adapter", base="first", base_sha256="a" * 64)
    other = load_model(tmp_path / "base", dtype=torch.float32)
    with pytest.raises(LavraError, match=r"made for first \(aaaaaaaaaaaa\), not for this one \(bbbbbbbbbbbb\)"):
        load_adapter(other, BY_MODEL_TYPE["llama"], tmp_path / "adapter", base_sha256="b" * 64)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"targets": ("w_proj",)}, "no map of the model is called 'w_proj'; it has down_proj, gate_proj"),
        ({"rank": 0}, "rank is 0"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"whole": ("pooler",)}, "no module of the model is called pooler"),
    ],
)
def test_a_wrong_setting_is_a_sentence(tmp_path: Path, config: dict[str, Any], sentence: str) -> None:
    model = make(tmp_path)
    with pytest.raises(LavraError, match=sentence):
        attach(model, AdapterConfig(**config), BY_MODEL_TYPE["llama"])


def test_a_damaged_adapter_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = make(tmp_path)
    with torch.no_grad():
        before = model(IDS)
    adapters = attach(model, AdapterConfig(rank=2), BY_MODEL_TYPE["llama"])
    save_adapter(adapters, BY_MODEL_TYPE["llama"], tmp_path / "adapter")
    adapters.detach()
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(LavraError, match="not a whole safetensors file"):
        load_adapter(model, BY_MODEL_TYPE["llama"], tmp_path / "adapter")
    with torch.no_grad():
        assert torch.equal(model(IDS), before)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_over_a_base_in_four_bits_gradients_are_those_over_the_weights_it_stands_for(
    tmp_path: Path, method: Any
) -> None:
    gradients = []
    for dense in (False, True):
        model = make(tmp_path)
        adapters = attach(model, AdapterConfig(method=method, rank=4), BY_MODEL_TYPE["llama"], seed=1)
        adapters.quantise("nf4")
        shake(model, ".scales." if method == "ia3" else ".up.")
        if dense:
            for adapted in adapters.by_path.values():
                plain = nn.Linear(adapted.base.in_features, adapted.base.out_features, bias=False)
                plain.weight.data = adapted.base.dense_weight()  # type: ignore[operator]
                adapted.base = plain.requires_grad_(False)
        (model(IDS) * torch.linspace(-1, 1, 32)).sum().backward()
        gradients.append({name: p.grad for name, p in adapters.parameters().items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-4, rtol=1e-4)
