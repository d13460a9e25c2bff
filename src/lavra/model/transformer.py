"""The transformer: embeddings, a stack of blocks, a last norm. It returns hidden states; heads live in ``heads.py``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.attention import KVCache, Mask
from lavra.model.blocks import Block, make_norm
from lavra.model.config import ModelConfig
from lavra.model.positions import RotaryCache


class Transformer(nn.Module):
    """Token ids to hidden states, as the config says: a Llama decoder and a BERT encoder are both this class."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary_size, config.width)
        learned = config.positions == "learned"
        self.position_embedding = nn.Embedding(config.context_length, config.width) if learned else None
        self.rotary = None if learned else RotaryCache(config.head_width, config.rope_theta)
        self.type_embedding = nn.Embedding(config.token_types, config.width) if config.token_types else None
        self.embedding_norm = make_norm(config) if config.embedding_norm else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.final_norm = make_norm(config) if config.final_norm else None
        own_head = config.language_head and not config.tied_embeddings
        self.unembedding = nn.Linear(config.width, config.vocabulary_size, bias=False) if own_head else None
        self.packed_unembedding: nn.Module | None = None  # set by packing.py, read by heads.py

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    def make_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """An empty cache of this model's dtype, for :meth:`forward`."""
        return KVCache(self.config, capacity, batch=batch, dtype=self.dtype, device=self.device)

    def forward(
        self,
        ids_BT: Tensor,
        *,
        mask: Mask | None = None,
        cache: KVCache | None = None,
        positions_BT: Tensor | None = None,
        types_BT: Tensor | None = None,
    ) -> Tensor:
        """Hidden states after the last norm, (B, T, C), in the model's dtype; never logits.

        ``mask``: by default what the config says (causal or not), without padding. ``cache``: the T tokens follow
        the ``cache.length`` ones already in it, and are added. ``positions_BT``: only where they are not simply
        consecutive (left padding, packed documents). ``types_BT``: segment ids, 0 by default. Raises LavraError
        when the tokens do not fit the cache or the table of learned positions.
        """
        time = ids_BT.shape[1]
        start = cache.length if cache is not None else 0
        if cache is not None:
            cache.room_for(time)
        if mask is None:
            mask = Mask(causal=self.config.causal)
        positions = slice(start, start + time) if positions_BT is None else positions_BT
        x = self.embedding(ids_BT)
        if self.position_embedding is not None:
            if start + time > self.config.context_length:
                raise LavraError(
                    f"{start + time} tokens do not fit a model of {self.config.context_length}; split the text"
                )
            x = x + self.position_embedding.weight[positions]
        if self.type_embedding is not None:
            x = x + (self.type_embedding.weight[0] if types_BT is None else self.type_embedding(types_BT))
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        rotary = self.rotary(positions, x.dtype, x.device) if self.rotary is not None else None
        for block in self.blocks:
            x = block(x, mask, rotary, cache)
        if cache is not None:
            cache.advance(time)
        return x if self.final_norm is None else self.final_norm(x)
