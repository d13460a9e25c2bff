"""Prompt and prefix tuning are peft's: the same logits, losses, gradients and files, in both directions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.model.adapter_files import CONFIG, load_adapter, save_adapter
from lavra.model.adapters import AdapterConfig, Adapters, attach
from lavra.model.attention import Mask
from lavra.model.base import Model
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.heads import logits
from lavra.model.virtual import has_virtual
from lavra.model.weights import load_model

TOKENS = 5
IDS = torch.arange(1, 41).view(2, 20) % 97
METHODS = ("prompt", "prefix")


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    return LlamaForCausalLM(LlamaConfig(vocab_size=97, num_attention_heads=4, num_key_value_heads=2, **shape))


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=32, n_layer=3, n_head=4, n_positions=64))


MODELS: dict[str, Callable[[], nn.Module]] = {"llama": llama, "gpt2": gpt2}


def peft_over(directory: Path, family: str, method: str) -> Any:
    """A model of transformers with virtual tokens of peft before it; the base is in ``directory``."""
    from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

    torch.manual_seed(0)
    model = MODELS[family]().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(directory)
    kind = PromptTuningConfig if method == "prompt" else PrefixTuningConfig
    made = get_peft_model(model, kind(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS))  # type: ignore[arg-type]
    for parameter in made.prompt_encoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made.eval()


def peft_logits(model: Any, ids_BT: Tensor, method: str, valid_BT: Tensor | None = None) -> Tensor:
    """Of the texts' own tokens."""
    attention = torch.ones_like(ids_BT) if valid_BT is None else valid_BT.long()
    more: dict[str, Any] = {}
    if valid_BT is not None:
        ahead = torch.ones(len(ids_BT), TOKENS, dtype=torch.long)
        places = (torch.cat((ahead, attention), 1).cumsum(1) - 1).clamp_min(0)
        more["position_ids"] = places if method == "prompt" else places[:, TOKENS:]
    found: Tensor = model(input_ids=ids_BT, attention_mask=attention, **more).logits
    return found[:, -ids_BT.shape[1] :]


def both(directory: Path, family: str, method: str) -> tuple[Any, Model, Adapters]:
    theirs = peft_over(directory / "base", family, method)
    theirs.save_pretrained(directory / "adapter")
    ours = load_model(directory / "base", dtype=torch.float32)
    adapters = load_adapter(ours, BY_MODEL_TYPE[family], directory / "adapter")
    return theirs, ours, adapters


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_of_peft_gives_the_same_logits_and_comes_back_to_peft(
    tmp_path: Path, family: str, method: str
) -> None:
    from peft import PeftModel

    theirs, ours, adapters = both(tmp_path, family, method)
    with torch.no_grad():
        wanted, found = peft_logits(theirs, IDS, method), logits(ours, ours(IDS))
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        with adapters.switched_off():
            assert not torch.allclose(logits(ours, ours(IDS)), wanted, atol=1e-2)
        save_adapter(adapters, BY_MODEL_TYPE[family], tmp_path / "back", base="a base")
        again = PeftModel.from_pretrained(MODELS[family]().from_pretrained(tmp_path / "base"), tmp_path / "back").eval()
        torch.testing.assert_close(peft_logits(again, IDS, method), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_losses_and_gradients_are_pefts(tmp_path: Path, method: str) -> None:
    """The first token has a prediction in peft's prompt tuning, by the last virtual one; as a prompt's it is masked."""
    theirs, ours, adapters = both(tmp_path, "llama", method)
    trained = next(p for p in theirs.prompt_encoder.parameters()).requires_grad_()
    theirs.active_peft_config.inference_mode = False
    labels = IDS.clone()
    labels[:, :4] = -100
    wanted = theirs(input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=labels).loss
    wanted.backward()
    ours.train()
    mine = adapters.parameters()
    found = F.cross_entropy(logits(ours, ours(IDS))[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    found.backward()
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    (parameter,) = mine.values()
    torch.testing.assert_close(parameter.grad, trained.grad.view_as(parameter), atol=1e-5, rtol=1e-4)
    assert [name for name, p in ours.named_parameters() if p.requires_grad] == list(mine)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("method", METHODS)
def test_every_text_of_a_row_has_the_virtual_tokens_before_it(tmp_path: Path, family: str, method: str) -> None:
    theirs, ours, _ = both(tmp_path, family, method)
    lengths = ((7, 9, 2), (12, 3))
    segments_BT = torch.zeros(2, 20, dtype=torch.int32)  # padding where nothing is written
    with torch.no_grad():
        for row, sizes in enumerate(lengths):
            segments_BT[row, : sum(sizes)] = torch.repeat_interleave(
                torch.arange(1, len(sizes) + 1), torch.tensor(sizes)
            )
        found = logits(ours, ours(IDS, mask=Mask(causal=True, segments_BS=segments_BT)))
        for row, sizes in enumerate(lengths):
            for text, at in zip(
                IDS[row].split([*sizes, 20 - sum(sizes)]), [0, *torch.tensor(sizes).cumsum(0)], strict=False
            ):
                if at < sum(sizes):
                    wanted = peft_logits(theirs, text[None], method)[0]
                    torch.testing.assert_close(found[row, at : at + len(text)], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cached", [False, True])
def test_padding_at_the_left_changes_nothing(tmp_path: Path, method: str, cached: bool) -> None:
    _, ours, _ = both(tmp_path, "llama", method)
    valid_BT = torch.ones(2, 20, dtype=torch.bool)
    valid_BT[1, :6] = False
    with torch.no_grad():
        cache = ours.make_cache(20, batch=2) if cached else None
        found = ours(IDS, mask=Mask(causal=True, valid_BS=valid_BT), cache=cache)
        torch.testing.assert_close(found[:1], ours(IDS[:1]), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found[1:, 6:], ours(IDS[1:, 6:]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("method", METHODS)
def test_a_cache_begins_with_them(tmp_path: Path, family: str, method: str) -> None:
    _, ours, _ = both(tmp_path, family, method)
    with torch.no_grad():
        whole = ours(IDS)
        cache = ours.make_cache(20, batch=2)
        assert cache.length == TOKENS
        parts = [ours(part, cache=cache) for part in IDS.split([8, 1, 1, 10], 1)]
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-4)
        cache.truncate(cache.reusable(TOKENS))
        torch.testing.assert_close(ours(IDS, cache=cache), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_what_they_begin_as_are_words(tmp_path: Path, method: Any) -> None:
    """A prefix begins as the keys and values that words have: the model reads on as if they stood there."""
    peft_over(tmp_path, "llama", "prompt")
    plain = load_model(tmp_path, dtype=torch.float32)
    ours = load_model(tmp_path, dtype=torch.float32)
    attach(ours, AdapterConfig(method=method, tokens=TOKENS), BY_MODEL_TYPE["llama"], seed=3)
    words = torch.randint(0, 97, (1, TOKENS), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = plain(torch.cat((words.expand(2, -1), IDS), 1))[:, TOKENS:]
        torch.testing.assert_close(ours(IDS), wanted, atol=1e-5, rtol=1e-4)


def test_detached_the_model_is_as_it_was(tmp_path: Path) -> None:
    _, ours, adapters = both(tmp_path, "llama", "prefix")
    plain = load_model(tmp_path / "base", dtype=torch.float32)
    with torch.no_grad():
        assert has_virtual(ours)
        assert torch.equal(adapters.detach()(IDS), plain(IDS))
    assert not has_virtual(ours)
    assert {name for name, _ in ours.named_parameters()} == {name for name, _ in plain.named_parameters()}


def test_what_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    _, ours, adapters = both(tmp_path, "llama", "prompt")
    with pytest.raises(LavraError, match="cannot be merged"):
        adapters.merge()
    with pytest.raises(LavraError, match="already"):
        attach(ours, AdapterConfig(method="prefix"), BY_MODEL_TYPE["llama"])
    with pytest.raises(LavraError, match="from 1 to 4096"):
        AdapterConfig(method="prompt", tokens=0)
    adapters.detach()
    fields = json.loads((tmp_path / "adapter" / CONFIG).read_text())
    (tmp_path / "adapter" / CONFIG).write_text(json.dumps(fields | {"num_virtual_tokens": TOKENS + 1}))
    with pytest.raises(LavraError, match="shape"):
        load_adapter(ours, BY_MODEL_TYPE["llama"], tmp_path / "adapter")
    assert not has_virtual(ours)
