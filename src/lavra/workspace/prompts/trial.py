"""Asking a variant of a prompt its questions, and measuring what it replies; every reply is kept, and asked once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lavra.assistants.events import Answering
from lavra.assistants.examples import Examples, Pair, fixed, nearest
from lavra.evaluation.items import Question, Reply
from lavra.evaluation.measuring import measure
from lavra.prompting import PromptTemplate
from lavra.prompting.search import Variant, as_recipe
from lavra.store.files import digest
from lavra.workspace.studying.replies import Replies, ask, replies_path
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.inference.sampling import Sampling

_RIGHT = 0.5
"""Of a measure between 0 and 1: above it a reply is right enough to be shown as an example."""


@dataclass
class Trial:
    """``kind``: ``direct`` or ``grounded``; ``language``: of the questions, whose text of ``present`` is varied;
    ``examples``: what may be shown, never a question that is measured."""

    workspace: Workspace
    present: PromptTemplate
    kind: str
    language: str
    measure: str
    sampling: Sampling
    examples: Sequence[Question] = ()
    roles: frozenset[str] = frozenset({"public"})
    progress: Progress = silent
    _own: dict[str, list[Pair]] = field(default_factory=dict)

    def template(self, variant: Variant) -> PromptTemplate:
        """The prompt of a variant, without its examples."""
        own: Mapping[str, str] = {**self.present.texts[self.language], "system": variant.instruction}
        return replace(self.present, texts={**self.present.texts, self.language: own})

    def pairs(self, variant: Variant) -> list[Pair]:
        """What a variant may show."""
        if variant.answers == "own":
            return self.own_answers(variant)
        return [(question.text, question.answers[0]) for question in self.examples]

    def own_answers(self, variant: Variant) -> list[Pair]:
        """What the model itself replied to the examples' questions, under the variant's instruction and shown nothing,
        where it was right (Khattab et al. 2024, DSPy, section 4: bootstrapped demonstrations)."""
        if variant.instruction not in self._own:
            bare = Variant(variant.instruction)
            values, replies = self.values(bare, self.examples), self.replies(bare, self.examples)
            self._own[variant.instruction] = [
                (question.text, reply.text)
                for question, reply, value in zip(self.examples, replies, values, strict=True)
                if value > _RIGHT
            ]
        return self._own[variant.instruction]

    def values(self, variant: Variant, questions: Sequence[Question]) -> np.ndarray:
        """A value of the measure a question."""
        return measure(questions, self.replies(variant, questions)).values[self.measure]

    def replies(self, variant: Variant, questions: Sequence[Question]) -> list[Reply]:
        kept = Replies(replies_path(self.workspace.store.root, self._recipe(variant)))
        what = variant.origin if not variant.shown else f"{variant.origin}, {variant.said}"
        ask(
            lambda: self._assistant(variant),
            questions,
            kept,
            self.roles,
            progress=lambda done, total: self.progress(f"Asking ({what})", done, total),
        )
        return [replace(kept.of([question])[0].reply, question=question.id) for question in questions]

    def _recipe(self, variant: Variant) -> dict[str, Any]:
        found = as_recipe(variant)
        if variant.shown:
            found["pairs"] = digest(self.pairs(variant))[:16]
        return {"made by": "prompts improve", "prompt": self.present.hash, "variant": found, **self._shared}

    @cached_property
    def _shared(self) -> dict[str, Any]:
        """All else that replies depend on."""
        generator = self.workspace.generator
        found: dict[str, Any] = {
            "model": generator.model.sha256,
            "tuned": generator.artifact.id if generator.artifact is not None else "",
            "sampling": asdict(self.sampling),
            "language": self.language,
            "kind": self.kind,
        }
        if self.kind == "grounded":
            section = self.workspace.settings.answer
            found |= {"index": self.workspace.ready().id, "roles": sorted(self.roles)}
            found |= {"read": section.read, "passages": section.passages, "grounding": section.grounding}
            found["threshold"] = section.threshold
        return found

    def _shown(self, variant: Variant) -> Examples:
        pairs = self.pairs(variant)
        if not variant.shown or not pairs:
            return lambda question: ()
        if variant.choice == "fixed":
            return fixed(pairs, variant.shown, variant.seed)
        last = variant.order == "nearest last"
        return nearest(pairs, variant.shown, self.workspace.embedder, nearest_last=last)

    def _assistant(self, variant: Variant) -> Answering:
        template, examples = self.template(variant), self._shown(variant)
        spoken: Callable[[str], str] = lambda text: self.language  # noqa: E731
        if self.kind == "grounded":
            from lavra.assistants.assistant import Assistant
            from lavra.workspace.answering import answer_settings

            settings = replace(answer_settings(self.workspace.settings.answer), sampling=self.sampling)
            engine, index = self.workspace.engine, self.workspace.live_index
            return Assistant(self.workspace.name, engine, index, template, settings, language=spoken, examples=examples)
        from lavra.assistants.prompted import Prompted
        from lavra.assistants.voices import Local

        voice = Local(self.workspace.engine)
        return Prompted(self.workspace.name, voice, template, self.sampling, language=spoken, examples=examples)
