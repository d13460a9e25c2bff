"""Image towers, and dual encoders of texts and images, of Hugging Face directories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavra.errors import LavraError
from lavra.model.config import Image, ModelConfig
from lavra.model.families.family import (
    Family,
    Rule,
    Shapes,
    Table,
    activation,
    activation_name,
    names,
    refuse,
    split_width,
)

# What transformers takes where a file is silent: older files hold only what differs.
_CLIP_TEXT: Mapping[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "attention_dropout": 0.0,
    "eos_token_id": 49407,
}
_CLIP_VISION: Mapping[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "attention_dropout": 0.0,
}
_PROJECTION = 512
_NO_END = 2
"""The id that files of 2021 and 2022 call the end of a text; theirs is the highest of the vocabulary."""


def _tower(hf: Mapping[str, Any], **different: Any) -> ModelConfig:
    """What the towers have in common: pre-norm, LayerNorm, learned positions, biases everywhere."""
    width, heads = hf["hidden_size"], hf["num_attention_heads"]
    fields: dict[str, Any] = {
        "layers": hf["num_hidden_layers"],
        "width": width,
        "heads": heads,
        "kv_heads": heads,
        "head_width": split_width(width, heads),
        "hidden_width": hf["intermediate_size"],
        "norm": "layer",
        "norm_epsilon": hf["layer_norm_eps"],
        "positions": "learned",
        "activation": activation(hf["hidden_act"]),
        "gated": False,
        "attention_bias": True,
        "output_bias": True,
        "mlp_bias": True,
        "head": "none",
    }
    return ModelConfig(**{**fields, **different})


def _clip_text(hf: Mapping[str, Any], **different: Any) -> ModelConfig:
    hf = {**_CLIP_TEXT, **hf}
    end = hf["eos_token_id"]
    refuse(not isinstance(end, int), "more than one token that ends a text")
    return _tower(
        hf,
        **{
            "vocabulary_size": hf["vocab_size"],
            "context_length": hf["max_position_embeddings"],
            "causal": True,
            "attention_dropout": hf["attention_dropout"],
            "pooling": "end",
            "end_token": None if end == _NO_END else end,
            **different,
        },
    )


def _clip_vision(hf: Mapping[str, Any], **different: Any) -> ModelConfig:
    hf = {**_CLIP_VISION, **hf}
    image = _image(hf, bias=False)
    return _tower(
        hf,
        **{
            "vocabulary_size": 0,
            "context_length": image.tokens,
            "causal": False,
            "image": image,
            "embedding_norm": True,
            "attention_dropout": hf["attention_dropout"],
            "pooling": "cls",
            **different,
        },
    )


def _image(hf: Mapping[str, Any], *, bias: bool) -> Image:
    return Image(_side(hf["image_size"], "images"), _side(hf["patch_size"], "patches"), hf["num_channels"], bias)


def _side(size: Any, what: str) -> Any:
    """Of a square, which some files spell twice."""
    if isinstance(size, (list, tuple)):
        refuse(len(size) != 2 or size[0] != size[1], f"{what} that are not square")
        return size[0]
    return size


def _read_clip(hf: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    width = hf.get("projection_dim", _PROJECTION)
    return _clip_text(
        _stack(hf, "text_config"),
        projection_width=width,
        vision=_clip_vision(_stack(hf, "vision_config"), projection_width=width),
    )


def _stack(hf: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The fields of one tower. In older files ``…_dict`` has them, and wins."""
    stack = hf.get(name + "_dict") or hf.get(name) or {}
    if not isinstance(stack, Mapping):
        raise LavraError(f"the config's {name} is not an object; download the model again")
    return stack


def _read_clip_text(hf: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    return _clip_text(hf, projection_width=_projected(hf, shapes, "text_projection.weight"))


def _read_clip_vision(hf: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    return _clip_vision(hf, projection_width=_projected(hf, shapes, "visual_projection.weight"))


def _projected(hf: Mapping[str, Any], shapes: Shapes, name: str) -> Any:
    """A tower is saved with its projection or without; the config is the same."""
    return hf.get("projection_dim", _PROJECTION) if name in shapes else 0


def _read_vit(hf: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    image = _image(hf, bias=True)
    labels: tuple[str, ...] = ()
    if "classifier.weight" in shapes:
        named = hf.get("id2label") or {str(label): f"LABEL_{label}" for label in range(hf.get("num_labels", 2))}
        labels = tuple(str(named[str(label)]) for label in range(len(named)))
    pooler = hf.get("pooler_act", "tanh") if "pooler.dense.weight" in shapes else "none"
    refuse(hf.get("pooler_output_size") not in (None, hf["hidden_size"]), "a pooler of another width")
    return _tower(
        hf,
        vocabulary_size=0,
        context_length=image.tokens,
        causal=False,
        image=image,
        attention_bias=hf.get("qkv_bias", True),
        dropout=hf.get("hidden_dropout_prob", 0.0),
        attention_dropout=hf.get("attention_probs_dropout_prob", 0.0),
        pooling="cls",
        pooler=pooler,
        head="sequence" if labels else "none",
        head_bias=bool(labels),
        labels=labels,
    )


def _write_tower(config: ModelConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden_width,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": activation_name(config.activation),
    }


def _write_image(image: Image | None) -> dict[str, Any]:
    if image is None:
        raise LavraError("an image tower reads images, which this model does not; write it as another family")
    return {"image_size": image.size, "patch_size": image.patch, "num_channels": image.channels}


def _write_clip_text(config: ModelConfig) -> dict[str, Any]:
    return {
        **_write_tower(config),
        "architectures": ["CLIPTextModelWithProjection" if config.projection_width else "CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": config.context_length,
        "attention_dropout": config.attention_dropout,
        "projection_dim": config.projection_width or _PROJECTION,
        "eos_token_id": _NO_END if config.end_token is None else config.end_token,
    }


def _write_clip_vision(config: ModelConfig) -> dict[str, Any]:
    return {
        **_write_tower(config),
        **_write_image(config.image),
        "architectures": ["CLIPVisionModelWithProjection" if config.projection_width else "CLIPVisionModel"],
        "model_type": "clip_vision_model",
        "attention_dropout": config.attention_dropout,
        "projection_dim": config.projection_width or _PROJECTION,
    }


def _write_clip(config: ModelConfig) -> dict[str, Any]:
    if config.vision is None:
        raise LavraError("a CLIP has two towers and this model one; write it as another family")
    towers = {"text_config": _write_clip_text(config), "vision_config": _write_clip_vision(config.vision)}
    for tower in towers.values():
        del tower["architectures"]
    return {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": config.projection_width, **towers}


def _write_vit(config: ModelConfig) -> dict[str, Any]:
    fields = {
        **_write_tower(config),
        **_write_image(config.image),
        "architectures": ["ViTForImageClassification" if config.labels else "ViTModel"],
        "model_type": "vit",
        "qkv_bias": config.attention_bias,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "pooler_output_size": config.width,
        "pooler_act": "tanh" if config.pooler == "none" else config.pooler,
    }
    if config.labels:
        fields["id2label"] = {str(number): label for number, label in enumerate(config.labels)}
        fields["label2id"] = {label: number for number, label in enumerate(config.labels)}
    return fields


_B = "blocks.{layer}."


def _clip_blocks(stem: str) -> Table:
    layer = stem + "encoder.layers.{layer}."
    return {
        _B + "attention_norm": layer + "layer_norm1",
        _B + "attention.qkv": tuple(layer + f"self_attn.{x}_proj" for x in "qkv"),
        _B + "attention.output": layer + "self_attn.out_proj",
        _B + "mlp_norm": layer + "layer_norm2",
        _B + "mlp.up": layer + "mlp.fc1",
        _B + "mlp.down": layer + "mlp.fc2",
    }


def _clip_text_names(stem: str) -> Table:
    return {
        "embedding": stem + "embeddings.token_embedding",
        "position_embedding": stem + "embeddings.position_embedding",
        "final_norm": stem + "final_layer_norm",
        "head.projection": "text_projection",
        **_clip_blocks(stem),
    }


def _clip_vision_names(stem: str) -> Table:
    return {
        "patches.projection": stem + "embeddings.patch_embedding",
        "patches.class_token": stem + "embeddings.class_embedding",
        "position_embedding": stem + "embeddings.position_embedding",
        "embedding_norm": stem + "pre_layrnorm",  # so spelled in every file
        "final_norm": stem + "post_layernorm",
        "head.projection": "visual_projection",
        **_clip_blocks(stem),
    }


_L = "encoder.layer.{layer}."
VIT_NAMES: Table = {
    "patches.projection": "embeddings.patch_embeddings.projection",
    "patches.class_token": Rule(("embeddings.cls_token",), layouts=("leading_two",)),
    "position_embedding.weight": Rule(("embeddings.position_embeddings",), layouts=("leading_one",)),
    _B + "attention_norm": _L + "layernorm_before",
    _B + "attention.qkv": tuple(_L + f"attention.attention.{x}" for x in ("query", "key", "value")),
    _B + "attention.output": _L + "attention.output.dense",
    _B + "mlp_norm": _L + "layernorm_after",
    _B + "mlp.up": _L + "intermediate.dense",
    _B + "mlp.down": _L + "output.dense",
    "final_norm": "layernorm",
    "head.pooler": "pooler.dense",
    "head.classifier": "classifier",
}

VISION: Mapping[str, Family] = {
    "clip": Family(
        read=_read_clip,
        write=_write_clip,
        names={
            **names(_clip_text_names("text_model.")),
            **names(_clip_vision_names("vision_model."), "vision."),
            "head.log_scale": Rule(("logit_scale",)),
        },
        ignored=("embeddings.position_ids",),
    ),
    "clip_text_model": Family(
        read=_read_clip_text,
        write=_write_clip_text,
        names=names(_clip_text_names("")),
        prefix="text_model.",
        heads=("text_projection",),
        ignored=("embeddings.position_ids",),
    ),
    "clip_vision_model": Family(
        read=_read_clip_vision,
        write=_write_clip_vision,
        names=names(_clip_vision_names("")),
        prefix="vision_model.",
        heads=("visual_projection",),
        ignored=("embeddings.position_ids",),
    ),
    "vit": Family(
        read=_read_vit,
        write=_write_vit,
        names=names(VIT_NAMES),
        prefix="vit.",
        heads=("classifier",),
        ignored=("embeddings.mask_token",),
    ),
}
