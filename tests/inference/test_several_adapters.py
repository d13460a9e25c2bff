"""Several adapters over one base: each answers as it does alone, in whatever order and from however many threads."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from lavra.errors import LavraError
from lavra.inference.engine import PREFILL_CHUNK, Engine
from lavra.inference.sampling import Sampling
from lavra.model.adapter_files import save_adapter
from lavra.model.adapters import AdapterConfig, attach
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.weights import load_model
from lavra.tokens.tokenizer import Tokenizer

CONFIGS = {
    "low": AdapterConfig(rank=4, targets=("q_proj", "v_proj", "up_proj", "o_proj")),
    "wide": AdapterConfig(rank=8, rank_stabilised=True),
    "dora": AdapterConfig(method="dora", rank=4),
    "ia3": AdapterConfig(method="ia3", targets=("k_proj", "v_proj", "down_proj")),
    "prompt": AdapterConfig(method="prompt", tokens=5),
    "prefix": AdapterConfig(method="prefix", tokens=7),
}
PROMPT = "the height of the waves, written into a book every morning; " * (PREFILL_CHUNK // 40)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("several") / "base"
    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "attention_bias": True}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=320, num_attention_heads=4, num_key_value_heads=2, **shape))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.25)
    model.save_pretrained(directory)
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>"]
    backend = Backend(models.BPE({text: index for index, text in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "</s>"])
    Tokenizer(backend, bos_id=256, eos_ids=frozenset({257})).save(directory)
    return directory


@pytest.fixture(scope="module")
def paths(base: Path) -> dict[str, Path]:
    """Random adapters, far from adding nothing."""
    for seed, (name, config) in enumerate(CONFIGS.items()):
        torch.manual_seed(seed)
        adapters = attach(load_model(base, dtype=torch.float32), config, BY_MODEL_TYPE["llama"], seed=seed)
        for parameter in adapters.parameters().values():
            parameter.data += (4.0 if name in ("prompt", "prefix") else 0.3) * torch.randn_like(parameter)
        save_adapter(adapters, BY_MODEL_TYPE["llama"], base.parent / name)
    return {name: base.parent / name for name in CONFIGS}


@pytest.fixture(scope="module")
def engine(base: Path, paths: dict[str, Path]) -> Engine:
    return Engine.load(str(base), dtype=torch.float32, named=paths)


def answer(engine: Engine) -> list[int]:
    """To a prompt of several chunks, to one that shares some of them, and to a short one."""
    prompts = [engine.tokenizer.encode(text) for text in (PROMPT, PROMPT[:-40] + "storm", "tide")]
    sampling = Sampling(temperature=0, max_tokens=16)
    return [step.token_id for ids in prompts for step in engine.stream(ids, sampling)]


@pytest.fixture(scope="module")
def alone(base: Path, paths: dict[str, Path]) -> dict[str, list[int]]:
    """What the base answers, and each adapter merged into it or, if it has virtual tokens, alone before it."""
    plain = answer(Engine.load(str(base), dtype=torch.float32))
    found = {name: answer(Engine.load(str(base), dtype=torch.float32, adapters=(p,))) for name, p in paths.items()}
    return {"base": plain, **found}


def test_each_answers_as_it_does_alone_whatever_was_asked_before(engine: Engine, alone: dict[str, list[int]]) -> None:
    using = {"base": engine, **{name: engine.using(name) for name in engine.adapters}}
    assert engine.adapters == tuple(CONFIGS)
    assert len({tuple(ids) for ids in alone.values()}) == len(alone)  # no two of them say the same
    for name in (*using, *reversed(using), *using):
        assert answer(using[name]) == alone[name], name


def test_threads_that_ask_different_ones_get_what_they_would_get_alone(
    engine: Engine, alone: dict[str, list[int]]
) -> None:
    found: dict[str, list[int]] = {}

    def ask(name: str) -> None:
        found[name] = answer(engine if name == "base" else engine.using(name))

    threads = [threading.Thread(target=ask, args=(name,)) for name in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


def test_in_the_machines_own_numbers_too(base: Path, paths: dict[str, Path]) -> None:
    """bf16 where it computes in it, packed: as near to the merged ones as rounding allows."""
    engine = Engine.load(str(base), dtype=torch.bfloat16, named=paths)
    exact = Engine.load(str(base), dtype=torch.float32, named=paths)
    ids = torch.tensor([engine.tokenizer.encode("the waves")])
    for name in CONFIGS:
        states = []
        for one in (engine.using(name), exact.using(name)):
            one._choice.name = name
            with torch.inference_mode():
                states.append(one._reader(ids, cache=one._reader.make_cache(64)).float())
        assert (states[0] - states[1]).norm() / states[1].norm() < 0.05, name


def test_weights_are_there_once(engine: Engine, base: Path) -> None:
    def held(model: nn.Module) -> int:
        storages = {tensor.untyped_storage()._cdata: tensor.nbytes for tensor in model.parameters()}
        return sum(storages.values())

    plain = Engine.load(str(base), dtype=torch.float32)
    assert held(engine._model) == held(plain._model)
    assert all(engine.using(name)._model is engine._model for name in CONFIGS)


def test_the_window_is_shorter_by_the_virtual_tokens(base: Path, paths: dict[str, Path]) -> None:
    engine = Engine.load(str(base), dtype=torch.float32, named=paths)
    assert engine.using("low").context_length == engine.context_length
    assert engine.using("prefix").context_length == engine.context_length - 7
    assert Engine.load(str(base), adapters=(paths["prompt"],)).context_length == engine.context_length - 5


def test_an_unknown_name_is_a_sentence(engine: Engine) -> None:
    with pytest.raises(LavraError, match="no adapter is called 'high' over base; there are low, wide"):
        engine.using("high")


def test_an_adapter_that_changes_its_base_is_refused(base: Path, tmp_path: Path) -> None:
    model = load_model(base, dtype=torch.float32)
    config = AdapterConfig(rank=2, whole=("norm",))
    save_adapter(attach(model, config, BY_MODEL_TYPE["llama"]), BY_MODEL_TYPE["llama"], tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "adapter_config.json").read_text())["modules_to_save"]
    with pytest.raises(LavraError, match="cannot share it with others; serve it alone"):
        Engine.load(str(base), named={"whole": tmp_path / "whole"})
