"""What autograd would keep from the forward pass until the backward pass, seen without computing anything.

The model runs on tensors without memory (PyTorch's ``meta`` device) and every tensor that is saved is counted once, so
that the count follows the code. A few kernels have no form there, or another one than with data, and are stood in for:
fused attention keeps what FlashAttention does (Dao et al. 2022, section 3.1), a recurrent layer what oneDNN does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lavra.model.base import Model
from lavra.model.config import ModelConfig
from lavra.model.placing import empty_model
from lavra.model.transformer import Transformer

_WORKSPACE = {"lstm": 15, "gru": 6}
"""Numbers that a recurrent layer keeps for a token beside its output, in widths of its state: measured on a CPU."""


@dataclass(frozen=True)
class Activations:
    """Bytes."""

    all: int
    checkpointed: int
    """If each block keeps only its input and computes the rest again (Chen et al. 2016)."""


def count_activations(config: ModelConfig, batch: int, context: int, dtype: torch.dtype) -> Activations:
    """Of ``batch`` texts of ``context`` tokens computed in ``dtype``, without the loss. An image tower reads ``batch``
    images, an encoder-decoder a source and a target of ``context`` tokens each."""
    model = empty_model(_unpatterned(config)).to(dtype).train()
    ledger = _Ledger({parameter.untyped_storage()._cdata for parameter in model.parameters()})
    share = _Share(ledger)
    with ExitStack() as stack:
        for owner in (model, *(getattr(model, name, None) for name in ("encoder", "vision"))):
            for block in owner.blocks if owner is not None else ():
                stack.callback(block.register_forward_pre_hook(share.enter).remove)
                stack.callback(block.register_forward_hook(share.leave).remove)
        stack.enter_context(saved_tensors_hooks(ledger.pack, lambda tensor: tensor))
        stack.enter_context(_Kernels())
        _pass(model, batch, context)
    return Activations(ledger.total, share.checkpointed)


def _unpatterned(config: ModelConfig) -> ModelConfig:
    """Without what changes who sees whom: those kernels make scores again on the way back, and keep no more."""
    return replace(
        config,
        window=None,
        radius=None,
        local_layers=None,
        local_rope_theta=None,
        sinks=0,
        sparse=None,
        memory=None,
        attention_soft_cap=None,
        sink_logits=False,
        encoder=_unpatterned(config.encoder) if config.encoder is not None else None,
        vision=_unpatterned(config.vision) if config.vision is not None else None,
    )


class _Ledger:
    """Storages that were saved, each once."""

    def __init__(self, parameters: set[int]) -> None:
        self.total = 0
        self._parameters = parameters
        self._held: dict[int, Tensor] = {}  # held, so that no other storage gets its address

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._parameters and storage._cdata not in self._held:
            self._held[storage._cdata] = tensor
            self.total += storage.nbytes()
        return tensor


class _Share:
    """How much of it within each of some modules."""

    def __init__(self, ledger: _Ledger) -> None:
        self.inputs = 0
        self.each: list[int] = []
        self._ledger, self._before = ledger, 0

    def enter(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        self._before = self._ledger.total
        self.inputs += arguments[0].nbytes

    def leave(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        self.each.append(self._ledger.total - self._before)

    @property
    def checkpointed(self) -> int:
        """All, if these modules keep their inputs only; while one is computed again, its own is there too."""
        return self._ledger.total - sum(self.each) + self.inputs + max(self.each, default=0)


def _pass(model: Model, batch: int, context: int) -> None:
    """One forward pass of everything there is."""
    image = model.config.image
    with torch.device("meta"):
        if image is not None:
            model(pixels_BIHW=torch.empty(batch, image.channels, image.size, image.size, dtype=model.dtype))
            return
        ids = torch.zeros(batch, context, dtype=torch.long)
        if not isinstance(model, Transformer):
            model(ids)
            return
        model(ids, source=model.encode(ids) if model.encoder is not None else None)
        if model.vision is not None:
            _pass(model.vision, batch, context)


class _Keeps(torch.autograd.Function):
    """An operation of which only the shapes are known: the output's, and what is saved beside it."""

    @staticmethod
    def forward(ctx: Any, shape: tuple[int, ...], more: int, *saved: Tensor) -> Tensor:
        out = saved[0].new_empty(shape)
        ctx.save_for_backward(*saved, out, saved[0].new_empty(more))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise NotImplementedError


def _singles(x: Tensor) -> int:
    """One float32 number a row, in numbers of the dtype of ``x``."""
    return x.shape[:-1].numel() * 4 // x.dtype.itemsize


class _Kernels(TorchFunctionMode):
    """Stands in for the operations that do not run without data."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if function is F.scaled_dot_product_attention:
            q, k, v, *bias = args
            kept = [tensor for tensor in (q, k, v, *bias) if isinstance(tensor, Tensor)]
            return _Keeps.apply(q.shape, _singles(q), *kept)
        if function is F.rms_norm:
            return _Keeps.apply(args[0].shape, _singles(args[0]), args[0])
        if name in ("grouped_mm", "_grouped_mm"):
            rows, weights = args[:2]
            return _Keeps.apply((len(rows), weights.shape[-1]), 0, rows)
        if function is torch.bincount:  # its length depends on the values
            return torch.empty(kwargs["minlength"], dtype=torch.long, device=args[0].device)
        if name in _WORKSPACE:
            return self._recur(name, *args)
        return function(*args, **kwargs)

    @staticmethod
    def _recur(name: str, x_BTC: Tensor, state: Any, *rest: Any) -> tuple[Tensor, ...]:
        last = state if isinstance(state, Tensor) else state[0]
        shape = (*x_BTC.shape[:2], last.shape[-1])
        out = _Keeps.apply(shape, _WORKSPACE[name] * torch.Size(shape).numel(), x_BTC)
        return (out, last, last)[: 2 if name == "gru" else 3]
