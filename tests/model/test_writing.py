"""What Lavra writes, transformers loads as it is; and the weights that were read are the weights that are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import zoo
from safetensors.torch import load_file
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from lavra.errors import LavraError
from lavra.model.packing import pack
from lavra.model.weights import load_model
from lavra.model.writing import save_model
from lavra.tokens.chat import ChatTemplate
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

IDS = torch.randint(3, 90, (3, 21), generator=torch.Generator().manual_seed(1))


def tensors(directory: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in directory.glob("*.safetensors"):
        found |= load_file(file)
    return found


def made(kind: str, directory: Path, **changes: Any) -> Any:
    """A model of the family with every parameter random, saved by transformers."""
    reference = zoo.make(kind, **changes)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    reference.save_pretrained(directory)
    return reference


def computed(model: Any, kind: str) -> torch.Tensor:
    with torch.inference_mode():
        if kind in ("t5", "mt5", "bart", "mbart"):
            return model(input_ids=IDS, decoder_input_ids=IDS[:, :5]).logits
        if kind in ("vit", "clip_vision_model"):
            return model(pixel_values=torch.ones(2, 3, 32, 32)).last_hidden_state
        if kind == "clip":
            return model(input_ids=IDS, pixel_values=torch.ones(2, 3, 32, 32)).logits_per_text
        out = model(input_ids=IDS)
        return out.logits if "logits" in out else out.last_hidden_state


@pytest.mark.parametrize("kind", zoo.ZOO)
def test_a_model_that_is_read_and_written_is_the_same_bit_for_bit(tmp_path: Path, kind: str, record: Any) -> None:
    reference = made(kind, tmp_path / "theirs")
    model = load_model(tmp_path / "theirs", dtype=torch.float32)
    assert save_model(model, tmp_path / "ours", family=kind) == kind
    theirs, ours = tensors(tmp_path / "theirs"), tensors(tmp_path / "ours")
    # What Lavra has no use for (a pooler, say) is not there; everything that is there is equal.
    assert ours
    assert set(ours) <= set(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    loader = type(reference)
    again, report = loader.from_pretrained(tmp_path / "ours", output_loading_info=True)
    unexpected = [name for name in report["missing_keys"] if "pooler" not in name]
    assert not unexpected
    difference = (computed(again.eval(), kind) - computed(reference, kind)).abs().max().item()
    record(kind, "round trip", difference)
    assert difference < 1e-5


@pytest.mark.parametrize("kind", ["llama", "bert", "gpt2", "gemma3_text", "t5", "qwen2", "olmo2"])
def test_without_a_hint_some_family_is_found_that_can_say_what_the_model_is(tmp_path: Path, kind: str) -> None:
    reference = made(kind, tmp_path / "theirs")
    written = save_model(load_model(tmp_path / "theirs", dtype=torch.float32), tmp_path / "ours")
    name, _ = zoo.ZOO[written]
    again = getattr(transformers, name).from_pretrained(tmp_path / "ours").eval()
    torch.testing.assert_close(computed(again, kind), computed(reference, kind))


def test_shards_have_an_index_and_hold_each_tensor_once(tmp_path: Path) -> None:
    reference = made("llama", tmp_path / "theirs")
    model = load_model(tmp_path / "theirs", dtype=torch.float32)
    save_model(model, tmp_path / "ours", family="llama", max_shard_bytes=40_000)
    index = json.loads((tmp_path / "ours" / "model.safetensors.index.json").read_text())
    files = sorted(file.name for file in (tmp_path / "ours").glob("*.safetensors"))
    assert len(files) > 3
    assert sorted(set(index["weight_map"].values())) == files
    sizes = [tensor.nbytes for tensor in tensors(tmp_path / "ours").values()]
    assert index["metadata"]["total_size"] == sum(sizes)
    again = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert torch.equal(computed(again, "llama"), computed(reference, "llama"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_can_be_rounded_on_the_way_out(tmp_path: Path, dtype: torch.dtype) -> None:
    made("llama", tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs", dtype=torch.float32), tmp_path / "ours", dtype=dtype, family="llama")
    theirs, ours = tensors(tmp_path / "theirs"), tensors(tmp_path / "ours")
    assert all(torch.equal(ours[name], theirs[name].to(dtype)) for name in ours)
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").dtype == dtype


def word_tokenizer() -> Tokenizer:
    words = ["<unk>", "<s>", "</s>", "hello", "world"]
    backend = Backend(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    template = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}\n{% endfor %}"
    return Tokenizer(
        backend, bos_id=1, eos_ids=frozenset({2, 4}), chat_template=ChatTemplate(template, special), special=special
    )


def test_the_tokenizer_its_template_and_what_ends_a_text_go_along(tmp_path: Path) -> None:
    made("llama", tmp_path / "theirs")
    model, tokenizer = load_model(tmp_path / "theirs", dtype=torch.float32), word_tokenizer()
    save_model(model, tmp_path / "ours", tokenizer=tokenizer, licence="Apache-2.0", card="# Mine\n", family="llama")
    again = load_tokenizer(tmp_path / "ours")
    assert again.eos_ids == {2, 4}
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    messages = [{"role": "user", "content": "hello world"}]
    assert theirs.apply_chat_template(messages, tokenize=False) == tokenizer.render(messages)
    assert theirs("hello world")["input_ids"] == tokenizer.encode("hello world") == [3, 4]
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert loaded.generation_config.eos_token_id == [2, 4]
    assert loaded.config.bos_token_id == 1
    assert (tmp_path / "ours" / "README.md").read_text() == "---\nlicense: apache-2.0\n---\n# Mine\n"


def test_an_existing_directory_is_refused_or_replaced_whole(tmp_path: Path) -> None:
    made("llama", tmp_path / "theirs")
    model = load_model(tmp_path / "theirs", dtype=torch.float32)
    target = tmp_path / "ours"
    target.mkdir()
    save_model(model, target, family="llama")  # an empty directory is no obstacle
    (target / "mine.txt").write_text("precious")
    with pytest.raises(LavraError, match="exists already"):
        save_model(model, target, family="llama")
    assert (target / "mine.txt").read_text() == "precious"
    save_model(model, target, family="llama", overwrite=True)
    assert not (target / "mine.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made("llama", tmp_path / "theirs")
    model = load_model(tmp_path / "theirs", dtype=torch.float32)
    save_model(model, tmp_path / "ours", family="llama")
    before = {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lavra.model.writing.write_safetensors", full)
    with pytest.raises(LavraError, match="No space left on device"):
        save_model(model, tmp_path / "ours", family="llama", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs"]


def test_what_no_family_can_say_is_refused_with_the_reason(tmp_path: Path) -> None:
    made("qwen3", tmp_path / "theirs")
    model = load_model(tmp_path / "theirs", dtype=torch.float32)
    with pytest.raises(LavraError, match=r"of type llama cannot be this one: .*(query_norm|qk_norm)"):
        save_model(model, tmp_path / "ours", family="llama")
    with pytest.raises(LavraError, match="does not write models of type 'mamba'"):
        save_model(model, tmp_path / "ours", family="mamba")
    with pytest.raises(LavraError, match=r"not written as torch\.int8"):
        save_model(model, tmp_path / "ours", dtype=torch.int8)
    assert not (tmp_path / "ours").exists()


def test_a_packed_model_is_not_written(tmp_path: Path) -> None:
    made("llama", tmp_path / "theirs")
    packed = pack(load_model(tmp_path / "theirs", dtype=torch.bfloat16))
    if packed.head.packed is None:
        pytest.skip("this processor has no bf16 kernels to pack for")
    with pytest.raises(LavraError, match="packed for inference cannot be written"):
        save_model(packed, tmp_path / "ours")
