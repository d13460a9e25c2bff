"""From a config to a model: which class it is, and what its parameters are before any training."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor, nn

from lavra.model.base import Model
from lavra.model.blocks import RMSNormPlusOne
from lavra.model.config import ModelConfig
from lavra.model.recurrent import Recurrent
from lavra.model.transformer import Transformer

STANDARD_DEVIATION = 0.02
_RESIDUAL = re.compile(r"(^|\.)blocks\.\d+\..*\b(output|down|experts_down|shared_down)(\.weight)?$")


def build(config: ModelConfig) -> Model:
    """A model of ``config``, whose ``architecture`` decides the class; :func:`initialise` or a file fills it."""
    return Transformer(config) if config.architecture == "transformer" else Recurrent(config)


@torch.no_grad()
def initialise(model: Model, seed: int) -> None:
    """Fill ``model`` for training from scratch; the same seed gives the same numbers on every device.

    As GPT-2 (Radford et al. 2019, section 2.3, and its code): weights and embeddings normal with a standard deviation
    of 0.02, those that write into the residual divided by the square root of how many do; biases 0, norms 1. The
    recurrent matrices of an LSTM or GRU are orthogonal (Saxe et al. 2013), an LSTM's forget gate begins open (bias 1;
    Jozefowicz et al. 2015); the temperature of a dual encoder begins at 0.07 (Radford et al. 2021, section 2.5).
    """
    generator = torch.Generator().manual_seed(seed)
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full = f"{path}.{name}" if path else name
            value = _start(module, name, full, model.config, parameter, generator)
            parameter.copy_(value)


def _start(
    module: nn.Module, name: str, full: str, config: ModelConfig, parameter: Tensor, generator: torch.Generator
) -> Tensor:
    shape = tuple(parameter.shape)
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and name == "weight":
        return torch.ones(shape)
    if isinstance(module, RMSNormPlusOne) or name in ("bias", "sink_logits"):
        return torch.zeros(shape)
    if name == "log_scale":
        return torch.tensor(math.log(1 / 0.07))
    if isinstance(module, (nn.LSTM, nn.GRU)):
        return _start_recurrence(module, name, shape, generator)
    deviation = STANDARD_DEVIATION
    if _RESIDUAL.search(full):
        deviation /= math.sqrt(_residuals(stack_of(config, full)))
    return torch.empty(shape).normal_(0.0, deviation, generator=generator)


def _start_recurrence(
    module: nn.LSTM | nn.GRU, name: str, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    width = module.hidden_size
    if name.startswith("bias"):
        bias = torch.zeros(shape)
        if isinstance(module, nn.LSTM) and name.startswith("bias_ih"):  # PyTorch adds two biases; one is enough
            bias[width : 2 * width] = 1.0
        return bias
    if name.startswith("weight_hh"):
        gates = torch.empty(shape).normal_(generator=generator).view(-1, width, width)
        return torch.linalg.qr(gates).Q.reshape(shape)
    # What it reads is normalised: unit variance in, unit variance out.
    return torch.empty(shape).normal_(0.0, shape[1] ** -0.5, generator=generator)


def _residuals(config: ModelConfig) -> int:
    """How many projections of a stack write into the residual."""
    if config.architecture != "transformer":
        return config.layers
    return config.layers * (2 if config.encoder is None else 3)


def stack_of(config: ModelConfig, name: str) -> ModelConfig:
    """The config of the stack that a parameter belongs to."""
    if name.startswith("encoder.") and config.encoder is not None:
        return config.encoder
    if name.startswith("vision.") and config.vision is not None:
        return config.vision
    return config
