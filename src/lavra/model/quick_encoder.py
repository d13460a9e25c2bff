"""BERT's kind of encoder for many texts on a CPU: what lies between its matrix products in one pass each.

On a chip without AMX the products run at its limit, and an eager pass over short texts spends a quarter of its time
between them: a softmax that reads scores several times, a sum and then a norm, copies for heads. Here these are loops
over registers (``register_kernels.py``, compiled by numba), so that 128-token texts through MiniLM are embedded 1.2
times as fast (``benchmarks/embedding.py``). The same weights and formulas; sums that PyTorch rounds to bf16 stay in
float32, so results are a little nearer to float32's.

An option: where numba is absent, or a model or chip is another, the model itself does the work.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lavra.model.base import Model
from lavra.model.config import ModelConfig
from lavra.model.packing import is_packed
from lavra.model.precision import bf16_in_vectors
from lavra.model.transformer import Transformer

LONGEST = 1024
"""Tokens of a text; longer ones need attention in tiles."""
MOST_KNOWN = 1 << 27
"""Bytes for the first layer's products with all words of a vocabulary, which save 4% of a model of six layers."""
_KNOWN_LAYERS = 6
"""With twelve they save 1.4%, for 95 MB and most of a second at the start: not worth it."""
_MOST_SCORES = 3 << 18
"""Attention scores at once: 4 texts of 128 tokens with 12 heads. A quarter of it costs 5% more, twice as many 1%."""
_ROOM = 64
"""Keys are filled up to a multiple of this: what compiled loops take at once."""
_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_tanh": lambda x: torch.ops.aten.gelu_(x, approximate="tanh"),
    "relu": torch.relu_,
}


def quick_encoder(model: Model) -> QuickEncoder | None:
    """``model``, packed (``packing.py``: bf16, and never trained), for quick reading with the same weights; None where
    that cannot be had, or would not be quicker."""
    if not (isinstance(model, Transformer) and serves(model.config) and is_packed(model)):
        return None
    if not bf16_in_vectors():  # with AMX nothing was measured
        return None
    try:
        kernels = importlib.import_module("lavra.model.register_kernels")
    except (ImportError, RuntimeError):  # numba raises the second where it finds no place for what it compiled
        return None
    return QuickEncoder(model, kernels)


def serves(config: ModelConfig) -> bool:
    """Whether a config is of the kind that is written out here: LayerNorm after each sublayer, learned positions,
    every token sees every other, and a plain MLP."""
    norms = config.norm == "layer" and config.norm_position == "post" and config.embedding_norm
    sees_all = not config.causal and config.radius is None and config.sparse is None and config.relative == "none"
    plain_heads = config.heads == config.kv_heads and config.qk_norm == "none"
    plain_heads = plain_heads and config.attention_soft_cap is None and not config.sink_logits
    plain_mlp = not config.gated and config.activation in ("gelu", *_IN_PLACE) and config.experts is None
    unscaled = config.embedding_scale == 1.0 and config.residual_scale == 1.0
    one_stack = config.encoder is None and config.image is None and config.memory is None
    order = not config.parallel and config.first_norm and not config.final_norm and config.positions == "learned"
    return norms and sees_all and plain_heads and plain_mlp and unscaled and one_stack and order


class QuickEncoder:
    """Reads token ids as the model does. Safe to use from several threads: it keeps nothing between calls."""

    def __init__(self, model: Transformer, kernels: Any) -> None:
        assert model.embedding is not None
        assert model.position_embedding is not None
        self._model, self._kernels = model, kernels
        self._words, self._places = _bits(model.embedding.weight), _bits(model.position_embedding.weight)
        kind = model.type_embedding
        self._kind = np.zeros(model.config.width, np.float32) if kind is None else _floats(kind.weight[0])
        self._first = _norm(model.embedding_norm)
        self._blocks: list[Any] = list(model.blocks)
        knows = model.config.layers <= _KNOWN_LAYERS and _Known.size(model.config) <= MOST_KNOWN
        self._known = _Known(model) if knows else None
        self._norms = [(_norm(block.attention_norm), _norm(block.mlp_norm)) for block in self._blocks]

    def reads(self, ids_BT: Tensor) -> bool:
        """Whether these ids are for this class: short enough, and in the table, for loops here check no index."""
        config, time = self._model.config, ids_BT.shape[1]
        short = time <= min(LONGEST, config.context_length, len(self._places) - config.position_offset)
        return short and ids_BT.numel() > 0 and int(ids_BT.min()) >= 0 and int(ids_BT.max()) < len(self._words)

    @torch.inference_mode()
    def __call__(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Hidden states after the last norm, (B, T, C), of texts that :meth:`reads` accepts, the first ``lengths_B``
        tokens of each. What stands at the places of padding is unspecified but finite."""
        config, (batch, time) = self._model.config, ids_BT.shape
        states_NC = torch.empty(batch * time, config.width, dtype=torch.bfloat16)
        ids, x_NC, inverse_BT = ids_BT.numpy(), _bits(states_NC), np.empty((batch, time), np.float32)
        places = self._places[config.position_offset :]
        self._kernels.embed(ids, self._words, places, self._kind, *self._first, x_NC, inverse_BT)
        keys_M, memory = np.repeat(lengths_B.numpy(), config.heads), _Memory(config, batch, time)
        for layer, (block, (attention_norm, mlp_norm)) in enumerate(zip(self._blocks, self._norms, strict=True)):
            if layer == 0 and self._known is not None:
                split = partial(self._split_known, self._known, ids, inverse_BT)
            else:
                split = partial(self._split, _bits(block.attention.qkv(states_NC).view(memory.joined)))
            mixed_NC = self._attend(split, block.attention.scale, keys_M, memory).view(len(states_NC), -1)
            self._kernels.add_and_normalise(x_NC, _bits(block.attention.output(mixed_NC)), *attention_norm)
            hidden_NF = block.mlp.up(states_NC)
            if config.activation == "gelu":
                self._kernels.gelu(_bits(hidden_NF).reshape(-1))
            else:
                _IN_PLACE[config.activation](hidden_NF)
            self._kernels.add_and_normalise(x_NC, _bits(block.mlp.down(hidden_NF)), *mlp_norm)
        return states_NC.view(batch, time, -1)

    def _split(self, qkv_BTMHD: np.ndarray, texts: slice, *heads: np.ndarray) -> None:
        self._kernels.split(qkv_BTMHD[texts], *heads)

    def _split_known(
        self, known: _Known, ids_BT: np.ndarray, inverse_BT: np.ndarray, texts: slice, *heads: np.ndarray
    ) -> None:
        self._kernels.split_known(ids_BT[texts], known.words, known.places, known.rest, inverse_BT[texts], *heads)

    def _attend(self, split: Callable[..., None], scale: float, keys_M: np.ndarray, memory: _Memory) -> Tensor:
        """What attention's output projection reads, (B, T, H, D); a few texts at a time, which stay in the cache.

        ``split`` (texts, q, k, v) gives the heads of some texts.
        """
        kernels, mixed_BTHD = self._kernels, _bits(memory.mixed)
        batch, _, heads, _ = mixed_BTHD.shape
        for start in range(0, batch, memory.texts):
            texts = slice(start, min(start + memory.texts, batch))
            q, k, v, inverse = (x[: texts.stop - start] for x in (memory.q, memory.k, memory.v, memory.inverse))
            split(texts, _bits(q), _bits(k), _bits(v))
            q_MTD, k_MDU, v_MUD = q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), v.flatten(0, 1)
            keys, inverse_MT = keys_M[start * heads :], inverse.flatten(0, 1).numpy()
            for first in range(0, len(q_MTD), len(memory.scores)):
                some = slice(first, first + len(memory.scores))
                scores = memory.scores[: len(q_MTD) - first]
                torch.bmm(q_MTD[some], k_MDU[some], out=scores)
                kernels.weigh(_bits(scores), keys[some], scale, inverse_MT[some])
                torch.bmm(scores, v_MUD[some], out=q_MTD[some])  # its queries have been read
            kernels.merge(_bits(q), inverse.numpy(), mixed_BTHD[texts])
        return memory.mixed


class _Known:
    """The first layer's queries, keys and values, known up to a factor and a sum.

    With W its weights, and word and place less their means, LayerNorm's input to it gives W (weight · (word + place) /
    deviation + bias): the product falls apart into one a word and one a place, made once.
    """

    def __init__(self, model: Transformer) -> None:
        config = model.config
        assert model.embedding is not None
        assert model.position_embedding is not None
        norm: Any = model.embedding_norm
        joined: Any = model.blocks[0].attention.qkv  # type: ignore[union-attr]

        @torch.inference_mode()
        def of(rows: Tensor) -> Tensor:
            centred = rows.float() - rows.float().mean(-1, keepdim=True)
            return joined.product((centred * norm.weight.float()).bfloat16()).unflatten(-1, (3, config.heads, -1))

        words = [of(rows) for rows in model.embedding.weight.detach().split(4096)]
        places = model.position_embedding.weight.detach()[config.position_offset :].float()
        if model.type_embedding is not None:
            places = places + model.type_embedding.weight[0].detach().float()
        self.words, self.places = _bits(torch.cat(words)), _floats(of(places))
        rest = torch.zeros(self.words[0].size)
        with torch.inference_mode():
            if norm.bias is not None:
                rest = rest + joined.product(norm.bias.detach()[None])[0].float()
            if joined.bias is not None:
                rest = rest + joined.bias.detach().float()
        self.rest = rest.numpy().reshape(self.words[0].shape)

    @staticmethod
    def size(config: ModelConfig) -> int:
        """Bytes that it takes."""
        return config.vocabulary_size * 3 * config.heads * config.head_width * 2


class _Memory:
    """What all layers of a pass use in turn: U ≥ T keys, of which the last are zeros."""

    def __init__(self, config: ModelConfig, batch: int, time: int) -> None:
        heads, width = config.heads, config.head_width
        room = -(-time // _ROOM) * _ROOM
        self.joined = batch, time, 3, heads, width
        self.texts = texts = min(batch, max(1, _MOST_SCORES // (heads * time * room)))
        at_once = min(texts * heads, max(1, _MOST_SCORES // (time * room)))
        self.scores = torch.empty(at_once, time, room, dtype=torch.bfloat16)
        self.q = torch.empty(texts, heads, time, width, dtype=torch.bfloat16)
        self.k, self.v = torch.zeros(2, texts, heads, room, width, dtype=torch.bfloat16)
        self.inverse = torch.empty(texts, heads, time)
        self.mixed = torch.empty(batch, time, heads, width, dtype=torch.bfloat16)


def _bits(x: Tensor) -> np.ndarray:
    """A bf16 tensor's memory."""
    return x.detach().view(torch.uint16).numpy()


def _floats(x: Tensor) -> np.ndarray:
    return x.detach().float().numpy()


def _norm(norm: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """A LayerNorm's weight, bias and epsilon."""
    weight = _floats(norm.weight)
    return weight, np.zeros_like(weight) if norm.bias is None else _floats(norm.bias), norm.eps
