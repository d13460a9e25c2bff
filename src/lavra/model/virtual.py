"""Virtual tokens: vectors that are trained, before texts that are not. Prompt tuning (Lester et al. 2021) puts
embeddings before a text's own; prefix tuning (Li and Liang 2021) puts keys and values before those of each layer.

Both stand at the first positions of every text: of each one in a packed row, and at the beginning of every cache, where
they cost an answer nothing after the first. While training, a row gets a place for each of them before each of its
texts; the model's caller sees the states of its own tokens alone. No weight changes, so there is nothing to merge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.adapters import AdapterConfig, Adapters
from lavra.model.attention import Mask
from lavra.model.base import Model
from lavra.model.cache import Cache, KVCache
from lavra.model.quantised import Storage
from lavra.model.tiles import begins
from lavra.model.transformer import Transformer


class VirtualTokens(nn.Module):
    """``vectors``: (tokens, C) of a prompt; (tokens, layers · 2 · K · D) of a prefix, each layer's keys (positions
    turned in already) before its values. The names and the order are peft's."""

    def __init__(self, model: Transformer, config: AdapterConfig) -> None:
        super().__init__()
        shape = model.config
        self.config, self.active = config, True
        each = 2 * shape.kv_heads * shape.head_width
        width = shape.width if config.method == "prompt" else shape.layers * each
        self.vectors = nn.Parameter(torch.zeros(config.tokens, width, device=model.device))
        self.model: Transformer
        self.__dict__["model"] = model  # no submodule of its own submodule
        self._forward: Callable[..., Tensor] = model.forward
        self._make_cache: Callable[..., Cache] = model.make_cache

    def forward(
        self,
        ids_BT: Tensor | None = None,
        *,
        mask: Mask | None = None,
        cache: Cache | None = None,
        **more: Any,
    ) -> Tensor:
        """What the model's own pass gives for its tokens, (B, T, C), with the virtual ones before each text."""
        if not self.active:
            return self._forward(ids_BT, mask=mask, cache=cache, **more)
        if cache is not None:  # which begins with them
            if mask is not None and mask.valid_BS is not None:
                mask, more = self._behind(mask, mask.valid_BS, ids_BT, more)
            return self._forward(ids_BT, mask=mask, cache=cache, **more)
        if ids_BT is None or any(value is not None for value in more.values()):
            raise LavraError("virtual tokens stand before token ids; this model was given something else to read")
        row = _Row(ids_BT, mask, self.config.tokens)
        if self.config.method == "prompt":
            assert self.model.embedding is not None
            words = self.model.embedding(row.ids_BT)
            own = self.vectors.to(words.dtype)[row.index_BT.clamp_min(0)]
            inputs = torch.where((row.index_BT >= 0)[:, :, None], own, words)
            return row.back(self._forward(inputs_BTC=inputs, mask=row.mask))
        return row.back(self._forward(row.ids_BT, mask=row.mask, before=self._putter(row.index_BT)))

    def _putter(self, index_BT: Tensor) -> Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Puts the prefix where it belongs among a layer's keys and values, whatever the places hold."""
        here, index = (index_BT >= 0)[:, None, :, None], index_BT.clamp_min(0)

        def put(layer: int, k_BKTD: Tensor, v_BKTD: Tensor) -> tuple[Tensor, Tensor]:
            keys, values = (part[:, index].transpose(0, 1) for part in self.of_layer(layer, k_BKTD.dtype))
            return torch.where(here, keys, k_BKTD), torch.where(here, values, v_BKTD)

        return put

    def of_layer(self, layer: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A prefix's keys and values of one layer, (K, tokens, D) each."""
        shape = self.model.config
        held = self.vectors.view(self.config.tokens, shape.layers, 2, shape.kv_heads, shape.head_width)
        keys, values = held[:, layer].to(dtype).permute(1, 2, 0, 3)
        return keys, values

    def make_cache(self, capacity: int, batch: int = 1) -> Cache:
        """A cache with room for ``capacity`` tokens after the virtual ones, which are in it: its length is theirs."""
        if not self.active:
            return self._make_cache(capacity, batch)
        cache = self._make_cache(capacity + self.config.tokens, batch)
        with torch.no_grad():
            self._begin(cache, batch)
        cache.mark()
        return cache

    def _begin(self, cache: Cache, batch: int) -> None:
        if self.config.method == "prompt":
            self._forward(inputs_BTC=self.vectors.to(self.model.dtype).expand(batch, -1, -1), cache=cache)
            return
        assert isinstance(cache, KVCache)
        for layer in range(self.model.config.layers):
            keys, values = self.of_layer(layer, self.model.dtype)
            cache.update(layer, keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1))
        cache.advance(self.config.tokens)

    def _behind(
        self, mask: Mask, valid_BS: Tensor, ids_BT: Tensor | None, more: dict[str, Any]
    ) -> tuple[Mask, dict[str, Any]]:
        """``mask`` of a cache whose first positions its maker does not know of; and the positions, for padding now
        stands between virtual tokens and text."""
        ahead = valid_BS.new_ones(len(valid_BS), self.config.tokens)
        mask = replace(mask, valid_BS=torch.cat((ahead, valid_BS), 1))
        if ids_BT is not None and more.get("positions_BT") is None:
            more = more | {"positions_BT": mask.ranks()[:, -ids_BT.shape[1] :]}
        return mask, more


@dataclass
class VirtualAdapters(Adapters):
    """Virtual tokens, to those who know adapters."""

    virtual: VirtualTokens = field(kw_only=True)

    def parameters(self) -> dict[str, nn.Parameter]:
        return {"virtual.vectors": self.virtual.vectors}

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        before, self.virtual.active = self.virtual.active, False
        try:
            yield
        finally:
            self.virtual.active = before

    def quantise(self, storage: Storage) -> None:
        raise LavraError("no weights lie under virtual tokens; load the model with a storage instead")

    def detach(self) -> Model:
        del self.model.virtual, self.model.__dict__["forward"], self.model.__dict__["make_cache"]
        return self.model

    def merge(self) -> Model:
        """Raises LavraError."""
        raise LavraError(
            "virtual tokens change no weights and cannot be merged into them; keep the adapter beside its base"
        )


class _Row:
    """Rows with ``count`` places before each of their texts. ``ids_BT``: 0 there; ``index_BT``: which virtual token
    stands at a place, -1 for a text's own; ``mask``: texts with theirs as segments."""

    def __init__(self, ids_BT: Tensor, mask: Mask | None, count: int) -> None:
        batch, time = ids_BT.shape
        segments = torch.ones_like(ids_BT)
        if mask is not None and mask.segments_BS is not None:
            segments = mask.segments_BS.long()
        if mask is not None and mask.valid_BS is not None:
            segments = segments * mask.valid_BS
        starts = begins(segments) & (segments != 0)
        self.places_BT = torch.arange(time, device=ids_BT.device) + count * starts.long().cumsum(1)
        length = time + count * int(starts.sum(1).max())
        row, start = starts.nonzero(as_tuple=True)
        virtual = torch.arange(count, device=ids_BT.device)
        slots = self.places_BT[row, start][:, None] - count + virtual
        self.ids_BT = ids_BT.new_zeros(batch, length).scatter(1, self.places_BT, ids_BT)
        self.index_BT = ids_BT.new_full((batch, length), -1)
        self.index_BT[row[:, None], slots] = virtual
        numbers = segments.new_zeros(batch, length).scatter(1, self.places_BT, segments)
        numbers[row[:, None], slots] = segments[row, start][:, None]
        given = Mask(causal=True) if mask is None else mask
        alone = mask is None or (mask.segments_BS is None and mask.valid_BS is None)
        self.mask = replace(given, valid_BS=None, segments_BS=None if alone else numbers)

    def back(self, hidden_BTC: Tensor) -> Tensor:
        """The states of the texts' own tokens, where they stood."""
        return hidden_BTC.gather(1, self.places_BT[:, :, None].expand(-1, -1, hidden_BTC.shape[2]))


def attach_virtual(model: Model, config: AdapterConfig, *, seed: int = 0) -> VirtualAdapters:
    """Freeze ``model`` and put virtual tokens before its texts: at first those of random words, which is where a prompt
    (Lester et al. 2021, section 3.2) and a prefix (Li and Liang 2021, section 7.4) begin best.

    Raises LavraError for a model that is no decoder with a KV cache, or has such tokens already.
    """
    shape = model.config
    if not isinstance(model, Transformer) or not shape.causal or shape.encoder is not None or shape.memory is not None:
        raise LavraError("virtual tokens stand before the texts of a decoder; this model is none; train a LoRA adapter")
    if shape.relative != "none":
        raise LavraError(
            "virtual tokens need positions of their own, and this model's are relative; train LoRA instead"
        )
    if config.method == "prompt" and shape.embedding_scale != 1.0:
        raise LavraError(
            "this model scales its embeddings, and programs differ in whether they scale a prompt's; use prefix tuning"
        )
    if has_virtual(model):
        raise LavraError("the model has virtual tokens already; detach them first")
    model.requires_grad_(False)
    virtual = VirtualTokens(model, config)
    words = torch.randint(0, shape.vocabulary_size, (1, config.tokens), generator=torch.Generator().manual_seed(seed))
    _begin_with(virtual, words.to(model.device))
    model.virtual = virtual
    model.forward = virtual.forward  # type: ignore[method-assign]
    model.make_cache = virtual.make_cache  # type: ignore[method-assign, assignment]
    return VirtualAdapters(model, config, {}, {}, {}, virtual=virtual)


def has_virtual(model: Model) -> bool:
    """Whether virtual tokens stand before its texts."""
    return isinstance(getattr(model, "virtual", None), VirtualTokens)


def virtual_tokens(model: Model) -> int:
    """How many stand before its texts."""
    return model.virtual.config.tokens if has_virtual(model) else 0  # type: ignore[union-attr, return-value]


@torch.no_grad()
def _begin_with(virtual: VirtualTokens, words_BT: Tensor) -> None:
    model: Transformer = virtual.model
    assert model.embedding is not None
    if virtual.config.method == "prompt":
        virtual.vectors.copy_(model.embedding(words_BT)[0])
        return
    cache = KVCache(model.config, words_BT.shape[1], dtype=model.dtype, device=model.device)
    training = model.training
    model.eval()(words_BT, cache=cache)
    model.train(training)
    held = torch.stack([torch.stack((k[0], v[0])) for k, v in zip(cache.keys, cache.values, strict=True)])
    virtual.vectors.copy_(held.permute(3, 0, 1, 2, 4).flatten(1))  # layers, 2, K, tokens, D → tokens, the rest
