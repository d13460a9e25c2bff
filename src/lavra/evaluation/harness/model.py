"""A model of Lavra's as the harness sees one: text in; log-likelihoods, or text, out.

What a request means (where a context ends, what stands before an empty one, how a long text is cut into windows, what
ends an answer) is the harness's own, as its class for transformers has it; that class is the judge in the tests. How it
is computed is Lavra's: ``scoring.py`` and ``generating.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from lavra.errors import LavraError
from lavra.evaluation.harness.generating import generate
from lavra.evaluation.harness.kept import Heard, Kept
from lavra.evaluation.harness.prefixes import Ids
from lavra.evaluation.harness.room import longest_text
from lavra.evaluation.harness.scoring import Score, score
from lavra.inference.sampling import Sampling
from lavra.inference.self_debias import Debiasing, debiased_scores
from lavra.model.base import Model
from lavra.tokens.tokenizer import Tokenizer

Progress = Callable[[str, int, int], None]
_ANSWER = 256
"""Tokens of an answer where a task does not say; the harness's own default."""


def silent(what: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


class HarnessModel(TemplateLM):
    """``cut``: how many requests lost their beginning because they did not fit the model's context."""

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        *,
        name: str = "model",
        parameters: int | None = None,
        seed: int = 0,
        progress: Progress = silent,
        kept: Kept | None = None,
        debiasing: Debiasing | None = None,
    ) -> None:
        """``parameters``: how many, where the model is packed and does not say so itself. ``kept``: what was answered
        before, and is from now on. ``debiasing``: how likelihoods are debiased, if they are."""
        super().__init__()
        start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
        if start is None or tokenizer.eos_id is None:
            raise LavraError(f"the tokenizer of {name} has no token that ends a text; evaluate another model.")
        self.model, self.words, self.name, self.seed = model, tokenizer, name, seed
        self._start, self._end, self._progress = start, tokenizer.eos_id, progress
        self._kept, self._debiasing = kept, debiasing
        self._parameters = parameters or count_parameters(model)
        self.cut = 0

    @property
    def eot_token_id(self) -> int:
        return self._end

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context."""
        return self._start

    @property
    def max_length(self) -> int:
        return longest_text(self.model)

    @property
    def tokenizer_name(self) -> str:
        return self.name.replace("/", "__")

    # ── text and tokens ──────────────────────────────────────────────────────────────────────────────────────────

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        return self._encode([string], add_special_tokens)[0]

    def _encode(self, texts: Sequence[str], special: bool | None = None) -> list[list[int]]:
        """Control tokens in the text are read as such: a chat template has written them. A text that begins with the
        start token gets no second one."""
        if special is not None:
            return self.words.encode_batch(texts, special, parse_special=True)
        start = self.words.decode([self._start], skip_special_tokens=False)
        found = self.words.encode_batch(texts, True, parse_special=True)
        again = [number for number, text in enumerate(texts) if start and text.startswith(start)]
        for number, ids in zip(
            again, self.words.encode_batch([texts[n] for n in again], False, parse_special=True), strict=True
        ):
            found[number] = ids
        return found

    def chat_template(self, chat_template: bool | str = False) -> str:
        template = self.words.chat_template
        return template.source if chat_template and template is not None else ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        text = self.words.render(chat_history, add_generation_prompt=add_generation_prompt)
        if add_generation_prompt:
            return text
        begun = chat_history[-1]["content"]  # an answer's beginning, which the model goes on from
        return text[: text.rindex(begun) + len(begun)]

    # ── what tasks ask ───────────────────────────────────────────────────────────────────────────────────────────

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Score]:
        return self._score(self._pairs([request.args for request in requests]), "Scoring")

    def _pairs(self, given: Sequence[tuple[str, str]]) -> list[tuple[Ids, Ids]]:
        """As ``TemplateLM.loglikelihood`` makes them, each text tokenized once and all of them together."""
        moved = [_to_continuation(context, continuation) for context, continuation in given]
        alone = list({context for context, _ in moved if context})
        whole = list({context + continuation for context, continuation in moved if context})
        bare = list({continuation for context, continuation in moved if not context})
        contexts = dict(zip(alone, self._encode(alone), strict=True))
        wholes = dict(zip(whole, self._encode(whole), strict=True))
        bares = dict(zip(bare, self._encode(bare, False), strict=True))
        found: list[tuple[Ids, Ids]] = []
        for context, continuation in moved:
            if context:
                before, both = contexts[context], wholes[context + continuation]
                cut = min(len(before), len(both) - 1)  # a continuation that melts into the context has its last token
                found.append((tuple(before[:cut]), tuple(both[cut:])))
            else:
                ids = tuple(bares[continuation])
                found.append((ids[:1], ids[1:]) if ids[0] == self._start and len(ids) > 1 else ((self._start,), ids))
        return found

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        owners: list[int] = []
        pairs: list[tuple[Ids, Ids]] = []
        texts = [request.args[0] for request in requests]
        for number, ids in enumerate(self._encode(texts)):
            for window in get_rolling_token_windows(ids, self._start, self.max_length, 1):
                context, continuation = make_disjoint_window(window)
                owners.append(number)
                pairs.append((tuple(context), tuple(continuation)))
        found = [0.0] * len(requests)
        for number, (log_p, _) in zip(owners, self._score(pairs, "Reading"), strict=True):
            found[number] += log_p
        return found

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[Score]:
        return self._score([(tuple(context), tuple(ids)) for _, context, ids in requests], "Scoring")

    def _score(self, pairs: Sequence[tuple[Ids, Ids]], what: str) -> list[Score]:
        self.cut += sum(len(context) + len(ids) > self.max_length + 1 for context, ids in pairs)

        def ask(missing: list[tuple[Ids, Ids]], heard: Heard) -> None:
            if self._debiasing is None:
                score(self.model, missing, heard=heard)
                return
            for place, given in enumerate(debiased_scores(self.model, self.words, missing, self._debiasing)):
                heard([(place, given)])

        kept = self._kept or Kept()
        found = kept.once("score", pairs, ask, lambda count: self._progress(what, count, len(pairs)))
        return [(float(log_p), bool(greedy)) for log_p, greedy in found]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items())), []).append(number)
        found = [""] * len(requests)
        count = 0

        def heard(more: int) -> None:
            nonlocal count
            count += more
            self._progress("Writing", count, len(requests))

        for numbers in groups.values():
            given = [requests[number] for number in numbers]
            for number, text in zip(numbers, self._write(given, heard), strict=True):
                found[number] = text
        return found

    def _write(self, requests: Sequence[Instance], heard: Callable[[int], None]) -> list[str]:
        """Answers to requests with the same settings."""
        if self._debiasing is not None:
            raise LavraError(f"{requests[0].task_name} wants written answers: --self-debias is for choices and texts.")
        prompts = [tuple(ids) for ids in self._encode([request.args[0] for request in requests])]
        sampling, until = read_settings(requests[0].args[1], self.seed)
        if sampling.max_tokens >= self.max_length:
            raise LavraError(
                f"{requests[0].task_name} wants answers of {sampling.max_tokens} tokens and {self.name} takes "
                f"{self.max_length}: leave that task out, or take a model with a longer context."
            )
        self.cut += sum(len(ids) + sampling.max_tokens > self.max_length for ids in prompts)
        kept = Kept() if sampling.temperature or self._kept is None else self._kept
        keys = kept.keys("write", [[ids, sampling.max_tokens, until] for ids in prompts])
        if sampling.temperature:  # the same question again may have another answer
            keys = [f"{number}" for number in range(len(prompts))]
        new = list(dict(zip(reversed(keys), reversed(range(len(keys))), strict=True)).values())
        new = sorted(number for number in new if keys[number] not in kept)
        heard(len(prompts) - len(new))

        def told(batch: list[tuple[int, list[int]]]) -> None:
            kept.put([(keys[new[place]], answer) for place, answer in batch])
            heard(len(batch))

        ends, stopped = self.words.eos_ids, self._stops(until)
        generate(self.model, [prompts[n] for n in new], sampling, ends=ends, stopped=stopped, heard=told)
        return [_before(until, self.words.decode(kept[key])) for key in keys]

    def _stops(self, until: Sequence[str]) -> Callable[[list[int]], bool]:
        """Whether an answer has come to one of ``until``, which its last tokens say."""
        longest = 4 * max(map(len, until), default=0) + 4  # a character may be four tokens

        def stopped(ids: list[int]) -> bool:
            if not until:
                return False
            text = self.words.decode(ids[-longest:])
            return any(stop in text for stop in until)

        return stopped

    def get_model_info(self) -> dict[str, Any]:
        """For the harness's ``config``."""
        dtype = str(self.model.dtype).removeprefix("torch.")
        return {"model_num_parameters": self._parameters, "model_dtype": dtype}


def count_parameters(model: Model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _before(until: Sequence[str], text: str) -> str:
    for stop in until:
        text = text.split(stop)[0]
    return text


def _to_continuation(context: str, continuation: str) -> tuple[str, str]:
    """Spaces at a context's end belong to the next word."""
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


def read_settings(given: dict[str, Any], seed: int) -> tuple[Sampling, list[str]]:
    """Decoding settings and stop strings of a task's ``generation_kwargs``, by the harness's rules: sampled only where
    ``do_sample`` says so or a temperature is given, and ``do_sample: false`` wins."""
    until = given.get("until") or []
    until = [until] if isinstance(until, str) else list(until)
    temperature = float(given.get("temperature") or 0.0)
    sampled = bool(given.get("do_sample", temperature > 0))
    most = next((given[name] for name in _TOKENS if given.get(name) is not None), _ANSWER)
    sampling = Sampling(
        temperature=(temperature or 1.0) if sampled else 0.0,
        top_k=int(given.get("top_k") or 0),
        top_p=float(given.get("top_p") or 1.0),
        max_tokens=int(most),
        seed=seed,
    )
    return sampling, [stop for stop in until if stop]
