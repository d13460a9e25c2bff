"""Image towers and dual encoders, made and saved by transformers, compute the same when Lavra reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from judge import Record, assert_near, perturb
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from lavra.errors import LavraError
from lavra.model.dual import embed_image, embed_text, similarity
from lavra.model.families.layouts import out
from lavra.model.heads import classify, pooled
from lavra.model.images import read_preparation, resample
from lavra.model.placing import places
from lavra.model.transformer import Transformer
from lavra.model.weights import load_model, open_model
from lavra.model.writing import save_model

VOCABULARY, END = 99, 90
TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 20,
    "projection_dim": 24,
    "eos_token_id": END,
}
VISION: dict[str, Any] = {
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "image_size": 24,
    "patch_size": 8,
    "projection_dim": 24,
}
VIT = {key: value for key, value in VISION.items() if key != "projection_dim"}
# Large enough for a wrong weight to show.
BOLD = {"initializer_factor": 8.0, "initializer_range": 0.3}


def clip(text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None) -> CLIPModel:
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=TEXT | BOLD | (text or {}), vision_config=VISION | BOLD | (vision or {}), projection_dim=24
    )
    return made(CLIPModel(config))


def made(reference: nn.Module) -> Any:
    """Weights of a size at which every one of them shows in what comes out."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in reference.parameters():
            if parameter.dim() >= 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.25)
    return perturb(reference)


def saved(reference: Any, path: Path) -> Transformer:
    reference.save_pretrained(path)
    model = load_model(path, dtype=torch.float32)
    assert isinstance(model, Transformer)
    return model


def texts(end: int = END) -> tuple[Tensor, Tensor]:
    """Ids below the end token, the end at different places, then padding that says the same again; and what is real."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, END - 1, (3, 13), generator=generator)
    lengths = torch.tensor([13, 9, 4])
    valid = torch.arange(13)[None] < lengths[:, None]
    ids[torch.arange(3), lengths - 1] = end
    return ids.masked_fill(~valid, end), valid


def pixels(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 24, 24, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("text", "vision", "end"),
    [
        ({}, {}, END),
        ({"eos_token_id": 2}, {}, VOCABULARY - 1),  # the end is then the highest id, whatever the config says
        ({"hidden_act": "gelu", "layer_norm_eps": 1e-3}, {"hidden_act": "gelu"}, END),
        ({}, {"patch_size": 12}, END),
    ],
    ids=["quick gelu", "the highest id ends", "gelu", "larger patches"],
)
def test_a_clip_computes_what_transformers_computes(
    tmp_path: Path, record: Record, text: dict[str, Any], vision: dict[str, Any], end: int
) -> None:
    reference = clip(text, vision)
    model = saved(reference, tmp_path)
    ids, valid = texts(end)
    with torch.inference_mode():
        expected = reference(input_ids=ids, attention_mask=valid.long(), pixel_values=pixels())
        text_vectors, image_vectors = embed_text(model, ids, valid), embed_image(model, pixels())
        states = expected.text_model_output.last_hidden_state
        assert_near(model(ids)[valid], states[valid], record, "clip", "states")
        seen = reference.vision_model.post_layernorm(expected.vision_model_output.last_hidden_state)
        assert_near(model.vision(pixels_BIHW=pixels()), seen, record, "clip", "states")
        assert_near(text_vectors, expected.text_embeds, record, "clip", "embeddings")
        assert_near(embed_text(model, ids), expected.text_embeds, record, "clip", "embeddings")
        assert_near(image_vectors, expected.image_embeds, record, "clip", "embeddings")
        matrix = similarity(model, text_vectors, image_vectors)
        assert_near(matrix.T, expected.logits_per_image, record, "clip", "logits")
        assert_near(matrix, expected.logits_per_text, record, "clip", "logits")


def test_padding_before_a_text_changes_nothing(tmp_path: Path, record: Record) -> None:
    model = saved(clip(), tmp_path)
    ids, valid = texts()
    with torch.inference_mode():
        alone = embed_text(model, ids, valid)
        before = torch.cat((torch.full((3, 5), END), ids), 1)  # the padding looks like an end
        real = torch.cat((torch.zeros(3, 5, dtype=torch.bool), valid), 1)
        assert_near(embed_text(model, before, real), alone, record, "clip", "left padding")


def test_the_first_end_token_counts_and_not_a_higher_id_after_it(tmp_path: Path) -> None:
    model = saved(clip(), tmp_path)
    ids, _ = texts()
    longer = torch.cat((ids, torch.full((3, 2), END + 5)), 1)
    with torch.inference_mode():
        torch.testing.assert_close(embed_text(model, longer), embed_text(model, ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [CLIPTextModel, CLIPTextModelWithProjection])
def test_a_text_tower_alone_is_read(tmp_path: Path, record: Record, kind: Any) -> None:
    reference = made(kind(CLIPTextConfig(**TEXT)))
    model = saved(reference, tmp_path)
    ids, valid = texts()
    with torch.inference_mode():
        expected = reference(input_ids=ids, attention_mask=valid.long())
        assert_near(model(ids)[valid], expected.last_hidden_state[valid], record, "clip_text_model", "states")
        if kind is CLIPTextModelWithProjection:
            unit = nn.functional.normalize(expected.text_embeds, dim=-1)
            assert_near(embed_text(model, ids, valid), unit, record, "clip_text_model", "embeddings")
        else:
            with pytest.raises(LavraError, match="does not embed texts beside images"):
                embed_text(model, ids)


@pytest.mark.parametrize("kind", [CLIPVisionModel, CLIPVisionModelWithProjection])
def test_an_image_tower_alone_is_read(tmp_path: Path, record: Record, kind: Any) -> None:
    reference = made(kind(CLIPVisionConfig(**VISION)))
    model = saved(reference, tmp_path)
    with torch.inference_mode():
        expected = reference(pixel_values=pixels())
        if kind is CLIPVisionModelWithProjection:
            unit = nn.functional.normalize(expected.image_embeds, dim=-1)
            assert_near(embed_image(model, pixels()), unit, record, "clip_vision_model", "embeddings")
        else:
            state = pooled(model, model(pixels_BIHW=pixels()))
            assert_near(state, expected.pooler_output, record, "clip_vision_model", "states")


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (ViTModel, {}),
        (ViTModel, {"qkv_bias": False}),
        (ViTModel, {"pooler_act": "relu"}),
        (ViTModel, {"num_channels": 1, "hidden_act": "gelu_pytorch_tanh"}),
        (ViTForImageClassification, {"id2label": {0: "cat", 1: "dog", 2: "boat"}, "label2id": {}}),
    ],
    ids=["", "no bias", "relu pooler", "grey", "classifier"],
)
def test_a_vit_computes_what_transformers_computes(
    tmp_path: Path, record: Record, kind: Any, changes: dict[str, Any]
) -> None:
    reference = made(kind(ViTConfig(**(VIT | changes))))
    model = saved(reference, tmp_path)
    image = pixels()[:, : model.config.image.channels]  # type: ignore[union-attr]
    with torch.inference_mode():
        hidden = model(pixels_BIHW=image)
        if kind is ViTModel:
            expected = reference(pixel_values=image)
            assert_near(hidden, expected.last_hidden_state, record, "vit", "states")
            assert_near(pooled(model, hidden), expected.pooler_output, record, "vit", "pooled")
        else:
            assert model.config.labels == ("cat", "dog", "boat")
            assert_near(classify(model, hidden), reference(pixel_values=image).logits, record, "vit", "logits")


def every_kind() -> list[Any]:
    return [
        pytest.param(clip, id="clip"),
        pytest.param(lambda: clip({"eos_token_id": 2}), id="clip of 2022"),
        pytest.param(lambda: made(CLIPTextModel(CLIPTextConfig(**TEXT))), id="text"),
        pytest.param(lambda: made(CLIPTextModelWithProjection(CLIPTextConfig(**TEXT))), id="projected text"),
        pytest.param(lambda: made(CLIPVisionModel(CLIPVisionConfig(**VISION))), id="image"),
        pytest.param(lambda: made(CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION))), id="projected image"),
        pytest.param(lambda: made(ViTModel(ViTConfig(**VIT))), id="vit"),
        pytest.param(lambda: made(ViTForImageClassification(ViTConfig(**VIT, num_labels=4))), id="vit classifier"),
    ]


@pytest.mark.parametrize("make", every_kind())
def test_config_and_weights_go_back_as_they_came(tmp_path: Path, record: Record, make: Any) -> None:
    reference = make()
    model = saved(reference, tmp_path)
    family, config, source = open_model(tmp_path)
    assert family.write is not None
    assert family.read(json.loads(json.dumps(family.write(config))), source.shapes) == config
    written = type(reference.config).from_dict(family.write(config))
    same = {"projection_dim"} if "WithProjection" not in type(reference).__name__ else set()
    for name, value in vars(type(reference)(written).config).items():
        if name in ("hidden_size", "layer_norm_eps", "hidden_act", "eos_token_id", "image_size", "qkv_bias") and (
            name not in same
        ):
            assert value == getattr(reference.config, name), name
    stored = {
        name.removeprefix(family.prefix): tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()
    }
    seen = set()
    for _, parameter, parts in places(model, family):
        for place in parts:
            tensor = out(place.view(parameter), place.layout, config)
            assert torch.equal(tensor, stored[place.name]), place.name
            seen.add(place.name)
    assert seen == set(stored)
    record(config_name(tmp_path), "round trip", 0.0)


@pytest.mark.parametrize("make", every_kind())
def test_what_lavra_writes_transformers_loads(tmp_path: Path, make: Any) -> None:
    reference = make()
    model = saved(reference, tmp_path / "theirs")
    assert save_model(model, tmp_path / "ours") == config_name(tmp_path / "theirs")
    again, loading = type(reference).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(loading.values()), loading
    expected = reference.state_dict()
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def config_name(path: Path) -> str:
    return json.loads((path / "config.json").read_text())["model_type"]


def test_older_files_spell_the_towers_otherwise(tmp_path: Path) -> None:
    reference = clip()
    reference.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["text_config_dict"], config["text_config"] = config.pop("text_config"), None
    file.write_text(json.dumps(config))
    assert load_model(tmp_path, dtype=torch.float32).config.end_token == END


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": 25}, "patches of 8 pixels do not fill an image of 25"),
        ({"image_size": [24, 32]}, "images that are not square"),
        ({"num_attention_heads": 3}, "3 heads do not divide width 40"),
        ({"image_size": 48}, r"position_embedding.* has shape \(1, 10, 40\) where the config needs \(1, 37, 40\)"),
        ({"pooler_output_size": 17}, "a pooler of another width"),
        ({"pooler_act": "gelu"}, "pooler is 'gelu'"),
        ({"patch_size": 0}, "patch is 0"),
        ({"num_channels": "3"}, "channels is '3'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_config_that_contradicts_itself_or_the_file_is_refused(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    made(ViTModel(ViTConfig(**VIT))).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(LavraError, match=sentence):
        load_model(tmp_path, dtype=torch.float32)


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    model = saved(clip(), tmp_path)
    with pytest.raises(LavraError, match="resize them"):
        embed_image(model, torch.zeros(1, 3, 32, 32))


def photograph(height: int, width: int) -> np.ndarray:
    """Edges, gradients and noise: what resampling can get wrong."""
    generator = np.random.default_rng(height * width)
    y, x = np.mgrid[:height, :width]
    channels = [(x * 5 + y) % 256, 255 * ((x // 7 + y // 5) % 2), generator.integers(0, 256, (height, width))]
    return np.stack(channels, -1).astype(np.uint8)


@pytest.mark.parametrize("shape", [(60, 90), (47, 91), (24, 24), (11, 13), (20, 70)], ids=str)
@pytest.mark.parametrize(
    "processor",
    [
        CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}),
        CLIPImageProcessorPil(size={"shortest_edge": 17}, crop_size={"height": 24, "width": 21}, resample=2),
        CLIPImageProcessorPil(do_resize=False, crop_size={"height": 25, "width": 24}, do_normalize=False),
        ViTImageProcessorPil(size={"height": 24, "width": 32}),
        ViTImageProcessorPil(size={"height": 24, "width": 24}, resample=0, do_rescale=False),
        ViTImageProcessorPil(size={"height": 48, "width": 48}, resample=3),
    ],
    ids=["clip", "clip with black around", "crop only", "vit", "nearest", "bicubic"],
)
def test_an_image_is_prepared_as_transformers_prepares_it(
    tmp_path: Path, record: Record, processor: Any, shape: tuple[int, int]
) -> None:
    processor.save_pretrained(tmp_path)
    image = photograph(*shape)
    expected = torch.as_tensor(processor(image, return_tensors="pt", input_data_format="channels_last").pixel_values[0])
    preparation = read_preparation(tmp_path)
    got = preparation(image)
    assert got.shape == expected.shape
    # Every byte is Pillow's; what is left is the rounding of the normalisation.
    torch.testing.assert_close(got, expected.float(), atol=1e-6, rtol=1e-6)
    record("images", "preparation", (got - expected).abs().max().item())


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(24, 24), (32, 17), (200, 31), (91, 12), (45, 47), (91, 47)], ids=str)
def test_resampling_is_that_of_pillow_to_the_byte(kind: str, size: tuple[int, int]) -> None:
    """Pass by pass, since which goes first depends on Pillow's version."""
    number = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[kind]
    image = photograph(91, 47)
    rows = Image.fromarray(image).resize((size[1], 91), number)
    expected = torch.from_numpy(np.array(rows.resize((size[1], size[0]), number)))
    assert torch.equal(resample(torch.from_numpy(image).permute(2, 0, 1), size, kind).permute(1, 2, 0), expected)


def test_a_tall_image_is_prepared_nearly_as_the_newest_pillow_would(tmp_path: Path) -> None:
    processor = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    processor.save_pretrained(tmp_path)
    image = photograph(91, 47)
    expected = torch.as_tensor(processor(image, return_tensors="pt", input_data_format="channels_last").pixel_values[0])
    preparation = read_preparation(tmp_path)
    level = preparation.factor / min(preparation.deviation)
    assert (preparation(image) - expected).abs().mean() < level / 2


def test_the_oldest_clip_preparation_is_understood(tmp_path: Path) -> None:
    CLIPImageProcessorPil().save_pretrained(tmp_path)
    new = read_preparation(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    fields = json.loads(file.read_text()) | {"size": 224, "crop_size": 224}
    file.write_text(json.dumps(fields))
    assert read_preparation(tmp_path) == new


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"size": {"shortest_edge": 10**9}}, "1000000000 pixels"),
        ({"size": {"shortest_edge": True}}, "True pixels"),
        ({"size": {}}, "missing or of the wrong type"),
        ({"resample": 1}, "Pillow's method 1"),
        ({"resample": [3]}, "wrong type"),
        ({"image_std": [1, 0, 1]}, "none of the latter zero"),
        ({"image_mean": "grey"}, "wrong type"),
    ],
    ids=str,
)
def test_a_preparation_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    CLIPImageProcessorPil().save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(LavraError, match=sentence):
        read_preparation(tmp_path)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_image_is_refused(tmp_path: Path, image: np.ndarray) -> None:
    CLIPImageProcessorPil().save_pretrained(tmp_path)
    with pytest.raises(LavraError, match="bytes; convert it"):
        read_preparation(tmp_path)(image)
