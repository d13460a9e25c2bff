"""Images as an image tower reads them: resized, cropped, scaled and normalised as ``preprocessor_config.json`` says.

An image is (height, width, channels) bytes; opening files is the caller's. Resampling is Pillow's, byte for byte, rows
before columns as in all its versions that towers were trained with (13 begins with the columns where that is less
work). PyTorch's own antialiased bicubic is up to 9 levels of 255 away beside edges: Pillow rounds to bytes in between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lavra.errors import LavraError

_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_LARGEST = 1 << 14  # pixels a side: no tower reads more, and a hostile file may ask for any


@dataclass(frozen=True)
class Preparation:
    """What is done to an image, in this order. ``shortest``: the shorter side becomes so many pixels and the other
    keeps the proportion; ``size``: (height, width), whatever the proportion; one of them, or neither. ``crop``:
    (height, width) from the middle, with black around an image that is smaller. Bytes times ``factor``, less
    ``mean``, over ``deviation``, a channel each."""

    shortest: int | None = None
    size: tuple[int, int] | None = None
    resampling: str = "bicubic"
    crop: tuple[int, int] | None = None
    factor: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __call__(self, image_HWI: np.ndarray | Tensor) -> Tensor:
        """(I, H, W) float32 of an image of bytes. Raises LavraError for anything else."""
        image = torch.as_tensor(image_HWI)
        channels = len(self.mean)
        if image.dtype != torch.uint8 or image.dim() != 3 or image.shape[2] != channels or not image.numel():
            raise LavraError(
                f"an image of shape {tuple(image.shape)} and type {image.dtype} is not (height, width, {channels}) "
                "bytes; convert it"
            )
        image = self._resize(image.permute(2, 0, 1))
        if self.crop is not None:
            image = _crop(image, *self.crop)
        mean, deviation = (torch.tensor(numbers)[:, None, None] for numbers in (self.mean, self.deviation))
        return (image.float() * self.factor - mean) / deviation

    def batch(self, images: Sequence[np.ndarray | Tensor]) -> Tensor:
        """(B, I, H, W) of several. Raises LavraError where what comes out is not of one size."""
        prepared = [self(image) for image in images]
        if len({image.shape for image in prepared}) > 1:
            raise LavraError("images of several sizes make no batch; prepare them with a size or a crop")
        return torch.stack(prepared)

    def _resize(self, image_IHW: Tensor) -> Tensor:
        height, width = image_IHW.shape[1:]
        size = self.size
        if self.shortest is not None:
            long = int(self.shortest * max(height, width) / min(height, width))
            if long > _LARGEST:
                raise LavraError(f"an image of {width} × {height} pixels is too long and thin; crop it")
            size = (long, self.shortest) if width <= height else (self.shortest, long)
        if size is None or size == (height, width):
            return image_IHW
        if self.resampling == "nearest":
            return F.interpolate(image_IHW[None], size, mode="nearest-exact")[0]
        return resample(image_IHW, size, self.resampling)


def resample(image_IHW: Tensor, size: tuple[int, int], kind: str) -> Tensor:
    """Bytes of another (height, width), ``bilinear`` or ``bicubic``, as Pillow resizes: rows first, then columns."""
    for axis, length in ((2, size[1]), (1, size[0])):
        if image_IHW.shape[axis] != length:
            weight = _weights(image_IHW.shape[axis], length, kind)
            lines = image_IHW.movedim(axis, -1)
            # Whole numbers below 2^53: exact in float64 in any order. By channel, for memory's sake.
            passed = [((line.double() @ weight.T + _HALF) / _ONE).floor().clamp(0, 255).byte() for line in lines]
            image_IHW = torch.stack(passed).movedim(-1, axis)
    return image_IHW


_ONE, _HALF = float(1 << 22), float(1 << 21)  # Pillow's fixed point for bytes


def _weights(before: int, after: int, kind: str) -> Tensor:
    """(after, before) float64: the whole numbers that Pillow weighs ``before`` pixels with (its Resample.c)."""
    reach = {"bilinear": 1.0, "bicubic": 2.0}[kind]
    step = before / after
    stretch = max(step, 1.0)  # a smaller image averages over as many pixels as became one
    centre = (torch.arange(after, dtype=torch.float64) + 0.5)[:, None] * step
    pixel = torch.arange(before, dtype=torch.float64)[None]
    first = (centre - reach * stretch + 0.5).long().clamp_min(0)
    last = (centre + reach * stretch + 0.5).long().clamp_max(before)
    distance = ((pixel - centre + 0.5) / stretch).abs()
    if kind == "bilinear":
        weight = (1 - distance).clamp_min(0)
    else:  # Keys 1981 with a = -1/2
        near = (1.5 * distance - 2.5) * distance * distance + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weight = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    weight = torch.where((pixel >= first) & (pixel < last), weight, 0.0)
    weight = weight / weight.sum(1, keepdim=True) * _ONE
    return (weight + torch.where(weight < 0, -0.5, 0.5)).trunc()


def _crop(image_IHW: Tensor, height: int, width: int) -> Tensor:
    """The middle; where the image is smaller, zeros around it. Halves of a pixel as transformers rounds them."""
    have_height, have_width = image_IHW.shape[1:]
    padded_height, padded_width = max(height, have_height), max(width, have_width)
    top, left = ceil((padded_height - have_height) / 2), ceil((padded_width - have_width) / 2)
    around = (left, padded_width - have_width - left, top, padded_height - have_height - top)
    if any(around):
        image_IHW = F.pad(image_IHW, around)
    top, left = (have_height - height) // 2 + top, (have_width - width) // 2 + left
    return image_IHW[:, top : top + height, left : left + width]


def read_preparation(path: Path) -> Preparation:
    """The preparation of the model directory ``path``, by its ``preprocessor_config.json``.

    Raises LavraError where the file is absent or damaged, or asks for what Lavra does not do.
    """
    file = path / "preprocessor_config.json"
    try:
        fields = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise LavraError(f"{path.name} has no {file.name}; give a complete model directory") from None
    except (OSError, ValueError, RecursionError) as error:
        raise LavraError(f"{file} is not readable JSON ({error}); download it again") from error
    if not isinstance(fields, dict):
        raise LavraError(f"{file} does not hold a JSON object; download it again")
    try:
        return _from_fields(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise LavraError(f"{file} has a field that is missing or of the wrong type ({error})") from error


def _from_fields(fields: Mapping[str, Any]) -> Preparation:
    shortest, size, crop = None, None, None
    if fields.get("do_resize", True):
        asked = fields["size"]
        if isinstance(asked, Mapping) and "shortest_edge" in asked and "longest_edge" not in asked:
            shortest = _pixels(asked["shortest_edge"])
        elif isinstance(asked, int) and fields.get("do_center_crop"):  # CLIP's, before sizes had names
            shortest = _pixels(asked)
        else:
            size = _sides(asked)
    if fields.get("do_center_crop", False):
        crop = _sides(fields["crop_size"])
    number = fields.get("resample", 2)
    if number not in _RESAMPLING:
        raise LavraError(f"images resampled by Pillow's method {number!r} are not supported; Lavra knows 0, 2 and 3")
    normalised, scaled = fields.get("do_normalize", True), fields.get("do_rescale", True)
    mean = _numbers(fields["image_mean"]) if normalised else (0.0, 0.0, 0.0)
    deviation = _numbers(fields["image_std"]) if normalised else (1.0,) * len(mean)
    if len(mean) != len(deviation) or not mean or not all(deviation):
        raise LavraError("image_mean and image_std must be as many numbers, none of the latter zero")
    factor = float(fields.get("rescale_factor", 1 / 255)) if scaled else 1.0
    return Preparation(shortest, size, _RESAMPLING[number], crop, factor, mean, deviation)


def _sides(asked: Any) -> tuple[int, int]:
    if isinstance(asked, Mapping):
        return _pixels(asked["height"]), _pixels(asked["width"])
    return _pixels(asked), _pixels(asked)


def _pixels(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= _LARGEST:
        raise LavraError(f"an image side of {value!r} pixels is none; it must be a whole number up to {_LARGEST}")
    return value


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
