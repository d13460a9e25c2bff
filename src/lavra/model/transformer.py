"""The transformer: embeddings, a stack of blocks, a last norm. It returns hidden states; heads live in ``heads.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.model.attention import Mask
from lavra.model.base import Model
from lavra.model.blocks import Block, Pass, make_norm
from lavra.model.cache import KVCache
from lavra.model.config import Image, ModelConfig
from lavra.model.heads import Head
from lavra.model.memory import CompressiveMemory
from lavra.model.positions import Alibi, RelativeBuckets, RotaryCache, sinusoids
from lavra.model.tables import table


@dataclass(frozen=True)
class Source:
    """What a decoder attends to besides itself: an encoder's states (B, S, C), and which of them are real."""

    states_BSC: Tensor
    mask: Mask


class PatchEmbedding(nn.Module):
    """An image as a row of tokens: a class token, then its patches from left to right and down."""

    def __init__(self, image: Image, width: int) -> None:
        super().__init__()
        self.image = image
        self.projection = nn.Conv2d(image.channels, width, image.patch, image.patch, bias=image.bias)
        self.class_token = nn.Parameter(torch.zeros(width))

    def forward(self, pixels_BIHW: Tensor) -> Tensor:
        size, channels = self.image.size, self.image.channels
        if tuple(pixels_BIHW.shape[1:]) != (channels, size, size):
            raise LavraError(
                f"images of shape {tuple(pixels_BIHW.shape[1:])} do not fit a model made for "
                f"{(channels, size, size)}; resize them"
            )
        patches = self.projection(pixels_BIHW.to(self.class_token.dtype)).flatten(2).transpose(1, 2)
        return torch.cat((self.class_token.expand(len(patches), 1, -1), patches), 1)


class Transformer(Model):
    """Token ids to hidden states, as the config says: a Llama decoder and a BERT encoder are both this class.

    ``encoder``: the stack whose states this one attends to, in an encoder-decoder; it reads this one's embedding.
    ``vision``: the image tower of a dual encoder. ``head``: parameters only; functions of ``heads.py`` apply it.
    """

    def __init__(self, config: ModelConfig, *, embeds: bool = True) -> None:
        super().__init__()
        self.config = config
        self.patches = PatchEmbedding(config.image, config.width) if config.image else None
        self.embedding = table(config.vocabulary_size, config.width) if embeds and config.image is None else None
        rows = config.context_length + config.position_offset
        self.position_embedding = table(rows, config.width) if config.positions == "learned" else None
        self.rotary = self.local_rotary = None
        if config.positions == "rotary":
            self.rotary = RotaryCache(config.turning, config.rope_theta, config.rope_scaling)
            if config.local_rope_theta is not None:
                self.local_rotary = RotaryCache(config.turning, config.local_rope_theta)
        self.relative_bias = RelativeBuckets(config) if config.relative == "buckets" else None
        self.alibi = Alibi(config) if config.relative == "alibi" else None
        self.type_embedding = table(config.token_types, config.width) if config.token_types else None
        self.embedding_norm = make_norm(config) if config.embedding_norm else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.final_norm = make_norm(config) if config.final_norm else None
        self.head = Head(config)
        self.encoder = Transformer(config.encoder, embeds=False) if config.encoder is not None else None
        self.vision = Transformer(config.vision) if config.vision is not None else None

    def make_cache(self, capacity: int, batch: int = 1) -> KVCache | CompressiveMemory:
        """An empty cache of this model's dtype, for :meth:`forward`; a compressive memory where the config has one,
        which is of one size whatever the ``capacity``."""
        if self.config.memory is not None:
            return CompressiveMemory(self.config, batch=batch, dtype=self.dtype, device=self.device)
        return KVCache(self.config, capacity, batch=batch, dtype=self.dtype, device=self.device)

    def encode(self, ids_BS: Tensor, *, mask: Mask | None = None) -> Source:
        """What :meth:`forward` takes as ``source``: an encoder's states of ``ids_BS``, whose padding ``mask`` names."""
        if self.encoder is None or self.embedding is None:
            raise LavraError("this model has no encoder to read a source with; pick an encoder-decoder")
        states = self.encoder(inputs_BTC=self.embedding(ids_BS), mask=mask)
        seen = Mask(causal=False, cross=True)
        if mask is not None:
            seen = replace(seen, valid_BS=mask.valid_BS, segments_BS=mask.segments_BS)
        return Source(states, seen)

    def forward(
        self,
        ids_BT: Tensor | None = None,
        *,
        inputs_BTC: Tensor | None = None,
        pixels_BIHW: Tensor | None = None,
        mask: Mask | None = None,
        cache: KVCache | CompressiveMemory | None = None,
        positions_BT: Tensor | None = None,
        types_BT: Tensor | None = None,
        source: Source | None = None,
        before: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """Hidden states after the last norm, (B, T, C), in the model's dtype; never logits.

        Of token ids, of embedded ``inputs_BTC``, or of an image tower's ``pixels_BIHW``. ``mask``: padding and
        segments; windows and other patterns come from the config. ``cache``: the T tokens follow the ``cache.length``
        ones already in it, and are added; into a compressive memory as one segment. ``positions_BT``: by default each
        text's own count, whatever padding or packing puts before it. ``types_BT``: segment ids of BERT, 0 by default.
        ``source``: from :meth:`encode`; with a cache only the first step reads it. ``before``: may change a
        layer's keys and values, (B, K, T, D) each, before attention sees them (``virtual.py``). Raises LavraError when
        the tokens do not fit the cache or the table of learned positions.
        """
        config = self.config
        x = self._embed(ids_BT, inputs_BTC, pixels_BIHW)
        time = x.shape[1]
        start = cache.length if cache is not None else 0
        if cache is not None:
            cache.room_for(time)
        mask = self._patterned(mask)
        if positions_BT is None:
            positions_BT = mask.positions(time)
        positions = slice(start, start + time) if positions_BT is None else positions_BT
        x = self._add_positions(x, positions, start + time)
        if self.type_embedding is not None:
            x = x + (self.type_embedding.weight[0] if types_BT is None else self.type_embedding(types_BT))
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        if config.dropout and self.training:
            x = F.dropout(x, config.dropout)
        at = self._pass(mask, positions, x, start + time, cache, source)
        at.before = before
        for block in self.blocks:
            x = block(x, at)
        if cache is not None:
            cache.advance(time)
        return x if self.final_norm is None else self.final_norm(x)

    def _embed(self, ids_BT: Tensor | None, inputs_BTC: Tensor | None, pixels_BIHW: Tensor | None) -> Tensor:
        if self.patches is not None:
            assert pixels_BIHW is not None, "an image tower reads pixels"
            return self.patches(pixels_BIHW)
        if inputs_BTC is None:
            assert ids_BT is not None
            assert self.embedding is not None
            inputs_BTC = self.embedding(ids_BT)
        scale = self.config.embedding_scale
        # Rounded to the model's own precision first, as Gemma was trained.
        return inputs_BTC if scale == 1.0 else inputs_BTC * torch.tensor(scale, dtype=inputs_BTC.dtype)

    def _patterned(self, mask: Mask | None) -> Mask:
        """The caller's mask (padding, segments) with the config's own pattern."""
        config = self.config
        if mask is None:
            return Mask(causal=config.causal, sparse=config.sparse)
        if config.sparse is not None and mask.sparse is None:
            return replace(mask, sparse=config.sparse)
        return replace(mask)

    def _add_positions(self, x: Tensor, positions: slice | Tensor, end: int) -> Tensor:
        config = self.config
        if self.position_embedding is not None:
            if isinstance(positions, slice) and end > config.context_length:
                raise LavraError(f"{end} tokens do not fit a model of {config.context_length}; split the text")
            offset = config.position_offset
            if isinstance(positions, slice):
                return x + self.position_embedding.weight[positions.start + offset : positions.stop + offset]
            if end > config.context_length and int(positions.max()) >= config.context_length:
                longest = int(positions.max()) + 1
                raise LavraError(f"{longest} tokens do not fit a model of {config.context_length}; split the text")
            return x + self.position_embedding(positions + offset)
        if config.positions == "sinusoidal":
            return x + sinusoids(end, config.width).to(x)[positions]
        return x

    def _pass(
        self,
        mask: Mask,
        positions: slice | Tensor,
        x: Tensor,
        keys: int,
        cache: KVCache | CompressiveMemory | None,
        source: Source | None,
    ) -> Pass:
        config, time = self.config, x.shape[1]
        length = 0 if cache is None else cache.capacity
        at = Pass(mask, mask)
        if isinstance(cache, CompressiveMemory):
            cache.accept(mask)
            positions, length = cache.positions(time, x.device), cache.reach + time
            at.memory, cache = cache, None
        at.cache = cache
        if config.window is not None or config.radius is not None:
            at.local_mask = mask.local(config.window or config.radius, sinks=config.sinks)
            if cache is not None and cache.seen(local=True) < cache.length:
                at.local_mask = at.local_mask.last(cache.seen(local=True) + time)
        if self.rotary is not None:
            at.rotary = at.local_rotary = self.rotary(positions, x.dtype, x.device, length)
        if self.local_rotary is not None:
            at.local_rotary = self.local_rotary(positions, x.dtype, x.device)
        if self.relative_bias is not None:
            at.bias = self.relative_bias(time, keys)
        elif self.alibi is not None:
            at.bias = self.alibi(time, keys, x.device)
        if config.encoder is not None and source is None and (cache is None or not cache.cross):
            raise LavraError("this decoder reads a source beside its own text; give it what encode() makes of one")
        if source is not None:
            at.source_BSC, at.source_mask = source.states_BSC, source.mask
            if source.mask.segments_BS is not None and mask.segments_BS is not None:
                own = mask.segments_BS[:, keys - time : keys]
                at.source_mask = replace(source.mask, query_segments_BT=own)
        if cache is not None:
            # Later steps attend to the same source, whose keys and values the cache has.
            if source is not None:
                cache.source_mask = at.source_mask
            at.source_mask = cache.source_mask
        return at
