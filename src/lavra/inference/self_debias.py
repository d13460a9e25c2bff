"""Self-debiasing at decoding: a model is told what to write badly, and writes less of it.

Schick, Udupa and Schütze 2021 (Self-Diagnosis and Self-Debiasing, section 4): beside p(w | x) the model is asked for
p(w | "The following text contains y: " x), and what that makes likelier is made less likely,

    p̃(w | x) ∝ α(Δ) · p(w | x),   Δ = p(w | x) − p(w | sdb(x, y)),   α(Δ) = 1 if Δ ≥ 0, else exp(λ · Δ),

the least α of all descriptions y counting. It costs a pass more a token and description, needs no training, and works
as far as the model knows what the description means: a small one knows little of it. The text is the paper's English
one and a Portuguese translation; λ is ``decay``, of which the paper tries 10, 50 and 100.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.cache import Cache
from lavra.model.heads import logits
from lavra.tokens.tokenizer import Tokenizer

DESCRIPTIONS = {
    "en": (
        "discrimination or stereotypes based on gender",
        "discrimination or stereotypes based on race, origin or religion",
        "discrimination or stereotypes based on age, disability or sexual orientation",
    ),
    "pt": (
        "discriminação ou estereótipos de gênero",
        "discriminação ou estereótipos de raça, origem ou religião",
        "discriminação ou estereótipos de idade, deficiência ou orientação sexual",
    ),
}
TEMPLATES = {"en": "The following text contains {}:\n", "pt": "O texto a seguir contém {}:\n"}
DECAY = 50.0
_MORE = 512
"""Tokens of an answer that there is room for at first."""


@dataclass(frozen=True)
class Debiasing:
    """How a model is debiased: ``descriptions`` of what it should not write, in whole words; ``language``: of the text
    around them; ``decay``: the paper's λ, 0 is off."""

    descriptions: tuple[str, ...] = ()
    language: str = "en"
    decay: float = DECAY

    def __post_init__(self) -> None:
        if self.language not in TEMPLATES:
            raise LavraError(f"self-debiasing speaks {', '.join(TEMPLATES)}, not {self.language!r}.")
        if not 0 <= self.decay < float("inf"):
            raise LavraError(
                f"the decay of self-debiasing is {self.decay}: give 0 (off) or more; the paper has 10 to 100."
            )

    @property
    def texts(self) -> list[str]:
        """What is put before a text, a description each."""
        return [TEMPLATES[self.language].format(each) for each in self.descriptions or DESCRIPTIONS[self.language]]


def debiased(logits_NV: Tensor, biased_KNV: Tensor, decay: float) -> Tensor:
    """(N, V) log p̃, normalised, from a model's logits and those behind each of K descriptions."""
    log_p = logits_NV.float().log_softmax(-1)
    difference_KNV = log_p.exp() - biased_KNV.float().softmax(-1)
    worst_NV = difference_KNV.amin(0).clamp(max=0.0)
    return (log_p + decay * worst_NV).log_softmax(-1)


@dataclass
class SelfDebias:
    """One answer's logits, debiased as it is written: ``Engine.stream(…, process=SelfDebias(…))``."""

    model: Model
    tokenizer: Tokenizer
    prompt: Sequence[int]
    how: Debiasing = field(default_factory=Debiasing)
    _caches: list[Cache] = field(default_factory=list, init=False)
    _read: int = field(default=0, init=False)

    @torch.inference_mode()
    def __call__(self, answer: Sequence[int], logits_V: Tensor) -> Tensor:
        """The next token's log-probabilities, after the tokens of ``answer``."""
        prefixes = [self._prefix(text) for text in self.how.texts]
        begun, room = not self._caches, self.model.config.context_length
        if begun:
            for prefix in prefixes:
                if len(prefix) + len(self.prompt) + 1 > room:
                    raise LavraError(
                        f"the prompt has {len(self.prompt)} tokens, and with what self-debiasing puts before it more "
                        f"than the {room} of the model: ask a shorter question, or leave self-debiasing out."
                    )
                self._caches.append(self.model.make_cache(min(room, len(prefix) + len(self.prompt) + _MORE)))
        biased = []
        for prefix, cache in zip(prefixes, self._caches, strict=True):
            given = [*prefix, *self.prompt] if begun else list(answer[self._read :])
            if cache.length + len(given) > room:
                return logits_V  # the window is full before the answer is: what is left is as the model has it
            if cache.length + len(given) > cache.capacity:
                cache.grow(min(room, 2 * cache.capacity))
            hidden_TC = self.model(torch.tensor([given], device=self.model.device), cache=cache)[0]
            biased.append(logits(self.model, hidden_TC[-1]))
        self._read = len(answer)
        return debiased(logits_V[None], torch.stack(biased)[:, None], self.how.decay)[0]

    def _prefix(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False, parse_special=False)


@torch.inference_mode()
def debiased_scores(
    model: Model, tokenizer: Tokenizer, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], how: Debiasing
) -> Iterator[tuple[float, bool]]:
    """Of each (context, continuation) as token ids, neither empty: log p̃ of the continuation in nats, and whether each
    of its tokens is the likeliest; as ``evaluation/harness/scoring.py``, but a pair at a time. What does not fit behind
    a description is cut at its beginning."""
    prefixes = [tokenizer.encode(text, add_special_tokens=False, parse_special=False) for text in how.texts]
    start = [tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id]
    room = model.config.context_length - max(map(len, prefixes))
    for context, continuation in pairs:
        given = [*context, *continuation][:-1][-room:]
        if len(continuation) > len(given):
            raise LavraError(
                f"a continuation of {len(continuation)} tokens does not fit behind what self-debiasing says."
            )
        begun = 1 if given[:1] == start else 0  # the description stands behind a text's first token
        own_TV = _logits(model, given)[-len(continuation) :]
        behind = torch.stack(
            [_logits(model, [*given[:begun], *p, *given[begun:]])[-len(continuation) :] for p in prefixes]
        )
        log_p = debiased(own_TV, behind, how.decay)
        targets = torch.tensor(list(continuation), device=log_p.device)
        total = float(log_p.gather(1, targets[:, None]).sum())
        yield total, bool((log_p.argmax(1) == targets).all())


@torch.inference_mode()
def debiased_log_likelihoods(model: Model, tokenizer: Tokenizer, texts: Sequence[str], how: Debiasing) -> list[float]:
    """log p̃ of each text from its beginning, in nats; one that does not fit behind a description is cut at its end."""
    start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    begun = [] if start is None else [start]
    longest = max(len(tokenizer.encode(text, add_special_tokens=False, parse_special=False)) for text in how.texts)
    room = model.config.context_length - longest - len(begun)
    ids = [tokenizer.encode(text, add_special_tokens=False, parse_special=False)[:room] for text in texts]
    pairs = [(begun, each) if begun else (each[:1], each[1:]) for each in ids]
    return [log_p for log_p, _ in debiased_scores(model, tokenizer, pairs, how)]


def _logits(model: Model, ids: Sequence[int]) -> Tensor:
    return logits(model, model(torch.tensor([list(ids)], device=model.device))[0]).float()
