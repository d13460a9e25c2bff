"""A model that is asked without documents: by a prompt, and by examples where there are any.

Examples stand before the question as turns of the conversation (Brown et al. 2020, section 2), the nearest to it last,
where a model heeds them most (Liu et al. 2022, What Makes Good In-Context Examples for GPT-3?, section 3: nearest by
embedding are better than random ones).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from lavra.assistants.assistant import exchange, last_question
from lavra.assistants.events import Answer, Event, Message
from lavra.assistants.examples import Examples
from lavra.assistants.voices import Voice
from lavra.errors import LavraError
from lavra.inference.sampling import Sampling
from lavra.prompting import PromptTemplate, Turn, load_template
from lavra.retrieval.analysis import fold

TEXTS = ("system", "user", "refusal", "refusals")


def direct() -> PromptTemplate:
    """The prompt that comes with Lavra for asking without documents."""
    return load_template("direct", TEXTS)


class Prompted:
    """Asks a ``voice`` by ``prompt``, with ``examples`` before the question."""

    def __init__(
        self,
        name: str,
        voice: Voice,
        prompt: PromptTemplate,
        sampling: Sampling,
        *,
        language: Callable[[str], str] = lambda text: "und",
        examples: Examples = lambda question: (),
    ) -> None:
        self.name = name
        self.voice = voice
        self.prompt = prompt
        self.sampling = sampling
        self._language = language
        self._examples = examples

    @property
    def context_length(self) -> int:
        return self.voice.context_length

    def answer(
        self,
        messages: Sequence[Message],
        *,
        roles: frozenset[str],
        sampling: Sampling | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Event]:
        """Answer the last message. ``roles`` are for assistants with documents, of which this has none."""
        started = time.perf_counter()
        question, history = last_question(messages)
        sampling = sampling or self.sampling
        language = self.prompt.language(self._language(question))
        turns = self._fit(question, history, language, sampling.max_tokens)
        for event in self.voice.say(turns, sampling, cancelled, started):
            if isinstance(event, Answer) and refuses(event.text, self.prompt, language):
                event = replace(event, answerable=False)
            yield event

    def _fit(self, question: str, history: Sequence[Turn], language: str, reserve: int) -> list[Turn]:
        """The conversation with as many examples, the last ones, as the window leaves room for."""
        examples = list(self._examples(question))
        while True:
            shown = [turn for asked, answer in examples for turn in exchange(asked, answer)]
            turns = self.prompt.turns(question, (), language=language, history=[*shown, *history])
            if self.voice.tokens(turns) + reserve <= self.context_length:
                return turns
            if examples:
                examples = examples[1:]
            elif history:
                history = history[2:]
            else:
                raise LavraError(
                    f"the question leaves no room for an answer of {reserve} tokens in the window of "
                    f"{self.voice.name}, {self.context_length}: ask a shorter question or lower max_tokens."
                )


def refuses(text: str, prompt: PromptTemplate, language: str) -> bool:
    """Whether a reply begins by saying that it does not know, in the prompt's words for it; so does an empty one."""
    said = _plain(text)
    return not said or any(said.startswith(_plain(line)) for line in prompt.render("refusals", language).splitlines())


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", fold(text)))
