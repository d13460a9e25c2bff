"""The generation engine: a prompt's token ids in, tokens and text out, one at a time.

One model, one KV cache, one request at a time; others wait their turn. The cache outlives its request: what the next
prompt shares with the last one (a system prompt, usually) is not computed again. Only positions that a prefill
computed are reused, never those of generated tokens: a matrix times one vector and times a block of them round
differently in bf16, and an answer must not depend on what was asked before it.

Over one model there may be several adapters to choose from (:meth:`Engine.using`): each is an engine of its own to
those who ask it, with its own cache; the weights and the turn they share.

Several requests in one batch (continuous batching) are not here yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.inference.fourbit import narrow
from lavra.inference.sampler import Sampler
from lavra.inference.sampling import Sampling
from lavra.inference.stopping import StopFilter
from lavra.model.adapted import load_adapted, named_as
from lavra.model.base import Model
from lavra.model.cache import Cache
from lavra.model.heads import logits
from lavra.model.hub import ResolvedModel, resolve
from lavra.model.known import KIND_WORDS
from lavra.model.packing import pack
from lavra.model.precision import compute_dtype
from lavra.model.switching import Adaptations, Choice, read_adapters
from lavra.model.virtual import VirtualTokens, virtual_tokens
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

FinishReason = Literal["stop", "length", "cancelled"]

PREFILL_CHUNK = 256
"""Prompt tokens a pass, counted from the prompt's beginning, and the unit in which a shared prefix is reused: what is
left is then computed by the very passes that a fresh prompt would take, so that not even the last bit differs. 256
rows keep the matrix units busy, and bound what a long prompt needs in activations."""

_SMALLEST_CACHE = 1024
_NO_TOKEN = -1


@dataclass(frozen=True, slots=True)
class Generated:
    """One step of an answer.

    ``text`` is what the token lets us show, possibly nothing: half a character, or the beginning of what may be a
    stop string, waits for the next. ``finish_reason`` is set on the last one: ``stop`` (end token or stop string),
    ``length``, or ``cancelled``. A request that is cancelled before its first token has ``token_id`` -1.
    """

    token_id: int
    text: str
    finish_reason: FinishReason | None = None


Process = Callable[[Sequence[int], Tensor], Tensor]
"""What the next token's logits (V,) become, after the tokens of the answer so far."""
MakeProcess = Callable[[Model, Tokenizer, Sequence[int]], Process]
"""For the model, its tokenizer and a prompt; see ``self_debias.py``."""


def never() -> bool:
    """Not cancelled."""
    return False


class Engine:
    """A decoder that writes. Safe to use from several threads: requests are served one after another."""

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        *,
        name: str = "model",
        sha256: str = "",
        context_length: int | None = None,
    ) -> None:
        """``context_length``: tokens of prompt and answer together; at most, and by default, what the model was
        made for. Raises ``LavraError`` when it is more."""
        self._reader: Model | VirtualTokens = model
        self._ahead = virtual_tokens(model)  # which the cache begins with
        longest = model.config.context_length - self._ahead
        if context_length is not None and not 1 <= context_length <= longest:
            raise LavraError(f"context_length is {context_length}; the model {name} takes 1 to {longest} tokens")
        self.name, self.sha256, self.tokenizer = name, sha256, tokenizer
        self.context_length = context_length or longest
        self._model = model
        self._adapter: str | None = None
        self._make_process: MakeProcess | None = None
        self._choice, self._adaptations = Choice(), Adaptations()
        self._turn = threading.Lock()  # not re-entrant, and released by whichever thread finishes the stream
        self._cache: Cache | None = None
        self._cached_ids: list[int] = []  # what a prefill put into the cache

    @classmethod
    def load(
        cls,
        reference: str | ResolvedModel,
        *,
        dtype: torch.dtype | None = None,
        context_length: int | None = None,
        adapters: Sequence[Path] = (),
        named: Mapping[str, Path] | None = None,
    ) -> Engine:
        """An engine over a local model (``resolve`` with ``pull=True`` first to fetch one).

        ``dtype``: by default bf16 where this machine computes in it, else float32. ``adapters``: directories, merged
        in as they are loaded. ``named``: directories of adapters to choose from, over that. Raises ``LavraError`` where
        the model is absent, damaged, or an encoder.
        """
        found = reference if isinstance(reference, ResolvedModel) else resolve(reference)
        if found.kind != "decoder":
            raise LavraError(f"the model {found.name} is {KIND_WORDS[found.kind]}; choose a decoder")
        path = Path(found.path)
        model = load_adapted(path, adapters, dtype=dtype or compute_dtype(), base_sha256=found.sha256)
        laid = Adaptations()
        if named:
            laid = read_adapters(model, named_as(model, path)[1], named, base_sha256=found.sha256)
        narrow(model)  # before packing, which packs what serves many rows as well
        pack(model)
        engine = cls(model, load_tokenizer(path), name=found.name, sha256=found.sha256, context_length=context_length)
        engine._choice, engine._adaptations = laid.lay(model), laid
        return engine

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names that :meth:`using` takes."""
        return self._adaptations.names

    def using(self, adapter: str) -> Engine:
        """The same model with one of :attr:`adapters` over it. Raises ``LavraError`` for another name."""
        if adapter not in self.adapters:
            known = ", ".join(self.adapters) or "none"
            raise LavraError(f"no adapter is called {adapter!r} over {self.name}; there are {known}")
        other = copy(self)
        other.name, other._adapter = adapter, adapter
        other._cache, other._cached_ids = None, []
        virtual = self._adaptations.virtual.get(adapter)
        if virtual is not None:
            other._reader, other._ahead = virtual, virtual.config.tokens
            other.context_length = min(self.context_length, self._model.config.context_length - other._ahead)
        return other

    def processed(self, make: MakeProcess) -> Engine:
        """The same model, whose logits go through what ``make`` makes for each prompt before a token is drawn.

        Raises LavraError over virtual tokens, which such a process does not know of.
        """
        if self._ahead:
            raise LavraError(f"{self.name} has virtual tokens before its texts: its logits cannot be processed")
        other = copy(self)
        other._make_process, other._cache, other._cached_ids = make, None, []
        return other

    def stream(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        *,
        cancelled: Callable[[], bool] = never,
    ) -> Iterator[Generated]:
        """Continue ``prompt``. ``cancelled`` is asked before every token and every chunk of the prompt.

        The answer ends early, with ``length``, where the window is full. Raises ``LavraError`` at once (not at the
        first token) for settings out of range, an empty prompt, and one that leaves no room for an answer. Closing
        the iterator ends the request.
        """
        ids = [int(token) for token in prompt]
        if not ids:
            raise LavraError("the prompt is empty; give at least one token")
        if len(ids) >= self.context_length:
            raise LavraError(
                f"the prompt has {len(ids)} tokens and the window of {self.name} {self.context_length}; shorten the "
                "prompt, or ask for fewer sources"
            )
        vocabulary = self._model.config.vocabulary_size
        if not all(0 <= token < vocabulary for token in ids):
            raise LavraError(f"the prompt holds token ids outside 0 to {vocabulary - 1}; it is for another tokenizer")
        return self._generate(ids, Sampler(sampling, ids), cancelled)

    def _generate(self, ids: list[int], sampler: Sampler, cancelled: Callable[[], bool]) -> Iterator[Generated]:
        while not self._turn.acquire(timeout=0.1):
            if cancelled():
                yield Generated(_NO_TOKEN, "", "cancelled")
                return
        try:
            self._choice.name = self._adapter
            yield from self._generate_in_turn(ids, sampler, cancelled)
        finally:
            self._turn.release()

    def _generate_in_turn(self, ids: list[int], sampler: Sampler, cancelled: Callable[[], bool]) -> Iterator[Generated]:
        hidden_C = self._prefill(ids, cancelled)
        if hidden_C is None:
            yield Generated(_NO_TOKEN, "", "cancelled")
            return
        decoder = self.tokenizer.stream()
        stops = StopFilter(sampler.sampling.stop)
        last = min(sampler.sampling.max_tokens, self.context_length - len(ids))
        process = self._make_process and self._make_process(self._model, self.tokenizer, ids)
        answer: list[int] = []
        for count in range(1, last + 1):
            logits_V = self._logits(hidden_C)
            token = sampler.draw(process(answer, logits_V) if process else logits_V)
            answer.append(token)
            finish: FinishReason | None = None
            text = ""
            if token in self.tokenizer.eos_ids:
                finish = "stop"
            else:
                text = stops.push(decoder.push(token))
                if stops.stopped:
                    finish = "stop"
                elif count == last:
                    finish = "length"
                elif cancelled():
                    finish = "cancelled"
            if finish:
                yield Generated(token, text + stops.push(decoder.flush()) + stops.flush(), finish)
                return
            yield Generated(token, text)
            hidden_C = self._forward([token])[-1]

    def _prefill(self, ids: list[int], cancelled: Callable[[], bool]) -> Tensor | None:
        """Bring the cache to hold exactly the prompt; the hidden state after its last token, or None if cancelled."""
        cache = self._room(len(ids) + 1)
        shared = _common_prefix(self._cached_ids, ids[:-1])
        kept = cache.reusable(self._ahead + shared - shared % PREFILL_CHUNK)
        if kept < self._ahead:  # a window has passed over the virtual tokens
            self._cache = None
            cache, kept = self._room(len(ids) + 1), self._ahead
        cache.truncate(kept)
        shared = kept - self._ahead
        self._cached_ids = self._cached_ids[:shared]
        hidden_C = None
        for start in range(shared, len(ids), PREFILL_CHUNK):
            if cancelled():
                return None
            chunk = ids[start : start + PREFILL_CHUNK]
            hidden_C = self._forward(chunk)[-1]
            cache.mark()
            self._cached_ids += chunk
        return hidden_C

    @torch.inference_mode()
    def _forward(self, ids: Sequence[int]) -> Tensor:
        """Hidden states (T, C) of the tokens that follow those in the cache; they join it."""
        assert self._cache is not None
        self._room(self._cache.length - self._ahead + len(ids))
        return self._reader(torch.tensor([ids]), cache=self._cache)[0]

    @torch.inference_mode()
    def _logits(self, hidden_C: Tensor) -> Tensor:
        return logits(self._model, hidden_C)

    def _room(self, tokens: int) -> Cache:
        """The cache, grown by doubling to hold ``tokens``: a window of 8,192 is not paid for by a short question."""
        capacity = max(_SMALLEST_CACHE, 1 << (tokens - 1).bit_length())
        capacity = min(capacity, max(self.context_length, tokens))
        scaling = self._model.config.rope_scaling
        if scaling is not None and scaling.by_length:  # such a cache cannot grow, nor may an answer depend on the last
            capacity = max(self.context_length, tokens)
        with torch.inference_mode():
            if self._cache is None:
                self._cache = self._reader.make_cache(capacity)
            elif self._cache.capacity < self._ahead + tokens:
                self._cache.grow(self._ahead + capacity)
        return self._cache


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading tokens are equal."""
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    return count
