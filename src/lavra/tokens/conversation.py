"""A conversation as a model is to learn it: its ids, and which of them are answers.

Trained and served must be the same to the id, or a model learns a layout that it never meets. So there is one way to
ids, :meth:`Tokenizer.encode_chat`, and an answer is *by definition* what follows the prompt that serving would send:
the prompt of turn i is ``encode_chat(messages[:i])`` with the generation prompt, the answer is what
``encode_chat(messages[:i + 1])`` has beyond it, up to and including the token that ends a generation.

A template may lay out an earlier turn otherwise once later ones follow (some drop their reasoning). Such a turn becomes
an example of its own, as it was when it was answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from lavra.errors import LavraError
from lavra.tokens.tokenizer import Tokenizer

Learn = Literal["answers", "all", "last"]
"""Which tokens count: all answers, everything, or the last answer."""
LEARN: tuple[Learn, ...] = get_args(Learn)
Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Labelled:
    """``ids`` (n,), and ``weights`` (n,) float32: what each counts as a target, 0 where it is only read."""

    ids: npt.NDArray[np.integer]
    weights: npt.NDArray[np.float32]

    @property
    def learned(self) -> int:
        """Targets that count; nothing predicts the first token."""
        return int((self.weights[1:] > 0).sum())


def encode_conversation(
    tokenizer: Tokenizer, messages: Messages, *, tools: Sequence[Mapping[str, Any]] = (), learn: Learn = "answers"
) -> list[Labelled]:
    """The examples that ``messages`` make: one, but for templates that lay out earlier turns otherwise.

    An answer's ``weight`` is what its tokens count. A model without a template reads the prompt, a new line, and the
    answer, which ends with its end token. Raises LavraError where the template has no place for tools that are
    given, refuses the messages, or begins an answer otherwise than it prompts for one.
    """
    turns = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    if not turns:
        raise LavraError("nobody answers: there is no assistant message; add one")
    template = tokenizer.chat_template
    if template is None:
        return [_untold(tokenizer, messages, learn)]
    if tools and not template.takes_tools:
        raise LavraError("the model's chat template has no place for tools; pick a model that calls them")
    if any(message.get("tool_calls") for message in messages) and not template.takes_calls:
        raise LavraError("the model's chat template has no place for tool calls; pick a model that makes them")
    if learn == "all":
        return [labelled(tokenizer.encode_chat(messages, False, tools))]
    found: list[tuple[list[int], npt.NDArray[np.float32]]] = []
    for number in reversed(turns if learn == "answers" else turns[-1:]):
        prompt, answer = _turn(tokenizer, messages[: number + 1], tools)
        both = prompt + answer
        home = next((example for example in found if example[0][: len(both)] == both), None)
        if home is None:
            home = both, np.zeros(len(both), np.float32)
            found.append(home)
        home[1][len(prompt) : len(both)] = messages[number].get("weight", 1.0)
    return [Labelled(np.asarray(ids, np.int32), weights) for ids, weights in reversed(found)]


def encode_text(tokenizer: Tokenizer, text: str) -> Labelled:
    """A document, between the tokens that the model expects around one; all of it is learned."""
    ids = tokenizer.encode(text, parse_special=False)
    if tokenizer.eos_id is not None and ids[-1:] != [tokenizer.eos_id]:
        ids.append(tokenizer.eos_id)
    return labelled(ids)


def labelled(ids: Sequence[int]) -> Labelled:
    """All of ``ids`` to be learned."""
    return Labelled(np.asarray(ids, np.int32), np.ones(len(ids), np.float32))


def learned_whole(ids: npt.NDArray[np.integer]) -> Labelled:
    """As :func:`labelled`, without a copy of the ids or a weight for each: of token files, which may be large."""
    return Labelled(ids, np.broadcast_to(np.float32(1), ids.shape))


def _turn(tokenizer: Tokenizer, messages: Messages, tools: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[int]]:
    """Ids of the prompt for the last of ``messages``, and of that message, through its end token."""
    prompt = tokenizer.encode_chat(messages[:-1], True, tools)
    whole = tokenizer.encode_chat(messages, False, tools)
    if whole[: len(prompt)] == prompt:
        answer = whole[len(prompt) :]
    else:
        answer = _joined_otherwise(tokenizer, messages, tools)
    ends = [place for place, index in enumerate(answer) if index in tokenizer.eos_ids]
    if ends:
        return prompt, answer[: ends[0] + 1]
    return prompt, answer + ([] if tokenizer.eos_id is None else [tokenizer.eos_id])


def _joined_otherwise(tokenizer: Tokenizer, messages: Messages, tools: Sequence[Mapping[str, Any]]) -> list[int]:
    """The answer's ids where the text agrees but a token reaches over the end of the prompt: a model that is served
    begins a token of its own there."""
    prompt, whole = tokenizer.render(messages[:-1], True, tools), tokenizer.render(messages, False, tools)
    if not whole.startswith(prompt):
        raise LavraError(
            "the model's chat template begins an answer otherwise than it prompts for one, so what is trained would "
            "not be what is served; give the model a template whose prompt is the beginning of the answer"
        )
    rest = whole[len(prompt) :]
    said = messages[-1]["content"]
    if any(token in said for token in tokenizer.special_tokens):
        raise LavraError("the answer spells a control token right where the prompt ends; reword it")
    return tokenizer.encode(rest, add_special_tokens=False)


def _untold(tokenizer: Tokenizer, messages: Messages, learn: Learn) -> Labelled:
    """Of a model without a template: the prompt, a new line, the answer."""
    roles = [message["role"] for message in messages if message["role"] != "system"]
    if roles != ["user", "assistant"]:
        raise LavraError(
            "the model has no chat template and can learn one question and its answer, not more turns; pick an "
            "instruction-tuned model"
        )
    *before, last = [message["content"] for message in messages]
    around = tokenizer.encode("")
    start = [tokenizer.bos_id] if tokenizer.bos_id is not None and tokenizer.bos_id in around else []
    prompt = start + tokenizer.encode("\n\n".join(before) + "\n", add_special_tokens=False, parse_special=False)
    answer = tokenizer.encode(last, add_special_tokens=False, parse_special=False)
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    found = labelled(prompt + answer + end)
    if learn != "all":
        found.weights[: len(prompt)] = 0
        found.weights[len(prompt) :] = messages[-1].get("weight", 1.0)
    return found
