"""Learning from a larger model: by its logits, place by place, or by the answers that it writes (distillation).

Logits say more, but only a teacher with the very same tokenizer can give them. Answers (Kim and Rush 2016,
Sequence-Level Knowledge Distillation, section 3.2) can be anybody's: the teacher writes one to each prompt, always the
likeliest words, and the student is tuned on them. What is held out keeps the answers that people wrote, so that both
are measured by the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lavra.corpus.examples import Conversation, Pair, Problem
from lavra.errors import LavraError
from lavra.inference.batch_sampling import sample_batch
from lavra.inference.sampling import Sampling
from lavra.model.adapted import load_adapted
from lavra.model.base import Model
from lavra.model.precision import compute_dtype
from lavra.model.weights import open_model
from lavra.store.files import digest
from lavra.tokens.conversation import encode_conversation
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer
from lavra.workspace.generators import Generator, find_generator
from lavra.workspace.tuning.data import Encoded

if TYPE_CHECKING:
    from lavra.workspace.tuning.base import Base
    from lavra.workspace.tuning.settings import TuneSettings
    from lavra.workspace.workspace import Workspace

FOLDER = "teaching"
_AT_ONCE = 16  # answers that are written together
Progress = Callable[[str, int, int], None]


def find_teacher(workspace: Workspace, settings: TuneSettings, base: Base) -> Generator | None:
    """The model to learn from. Raises LavraError for one that cannot write, or whose logits mean other words."""
    if settings.teacher is None:
        return None
    found = find_generator(workspace, settings.teacher)
    if found.model.kind != "decoder":
        raise LavraError(f"the teacher {found.name} does not write: give a decoder.")
    if settings.teach == "logits" and not _same_words(load_tokenizer(found.model.path), base.tokenizer):
        raise LavraError(
            f"{found.name} and {base.name} have not the same tokenizer, so that logits of the one mean nothing to the "
            "other: learn from its answers with --teach answers."
        )
    longest = open_model(found.model.path)[1].context_length
    if settings.teach == "logits" and longest < base.context:
        raise LavraError(f"the teacher {found.name} reads {longest:,} tokens: give --context {longest}.")
    return found


def load_teacher(teacher: Generator, device: str | torch.device = "cpu") -> Model:
    """Its weights, adapters merged, frozen."""
    model = teacher.model
    loaded = load_adapted(
        model.path, teacher.adapters, dtype=compute_dtype(str(device)), device=device, base_sha256=model.sha256
    )
    return loaded.requires_grad_(False)


def identity(teacher: Generator) -> str:
    """What the recipe says of it."""
    return teacher.artifact.id if teacher.artifact is not None else teacher.model.sha256


def _same_words(one: Tokenizer, other: Tokenizer) -> bool:
    return one.backend.get_vocab() == other.backend.get_vocab()


class TeachersAnswers:
    """``teach(examples, problems)``: the examples with the answers of ``teacher``, which are kept as they come, so
    that a run that was stopped asks for none twice."""

    def __init__(
        self, workspace: Workspace, teacher: Generator, settings: TuneSettings, student: Tokenizer, context: int,
        *, progress: Progress = lambda what, done, total: None,
    ) -> None:  # fmt: skip
        self.teacher, self.settings, self.student, self.context = teacher, settings, student, context
        self.progress = progress
        self.tokenizer = load_tokenizer(teacher.model.path)
        key = digest([identity(teacher), settings.answer_tokens])[:16]
        self.path = workspace.store.root / FOLDER / f"{key}.jsonl"

    def __call__(self, examples: list[Encoded], problems: list[Problem]) -> list[Encoded]:
        asked = {number: _asked(example) for number, example in enumerate(examples) if example.written is not None}
        asked = {number: chat for number, chat in asked.items() if chat is not None}
        if not asked:
            raise LavraError("a teacher answers prompts, and the data has none: learn from its logits.")
        said = self._answers([chat for chat in asked.values() if chat is not None])
        found: list[Encoded] = []
        for number, example in enumerate(examples):
            chat = asked.get(number)
            if chat is None:
                found.append(example)  # a text, which is read on as it is
                continue
            answer, fault = said[_key(chat)]
            if not fault:
                taught = self._encoded(example, chat, answer)
                fault = (
                    "" if taught is not None else f"the teacher's answer does not fit the context of {self.context:,}"
                )
                found += [taught] if taught is not None else []
            if fault:
                problems.append(Problem(example.source, fault))
        return found

    def _encoded(self, example: Encoded, chat: Conversation, answer: str) -> Encoded | None:
        messages = [*chat.messages, {"role": "assistant", "content": answer}]
        labelled = encode_conversation(self.student, messages, tools=chat.tools, learn="last")[-1]
        if len(labelled.ids) > self.context + 1 or not labelled.learned:
            return None
        return replace(example, labelled=labelled, written=replace(chat, messages=tuple(messages)))

    def _answers(self, chats: Sequence[Conversation]) -> Mapping[str, tuple[str, str]]:
        """An answer, or why there is none, by the key of what was asked."""
        said = {line["key"]: (line["answer"], line["fault"]) for line in _lines(self.path)}
        missing = {_key(chat): chat for chat in chats if _key(chat) not in said}
        if missing:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                for key, answer, fault in self._written(missing):
                    said[key] = answer, fault
                    line = {"key": key, "answer": answer, "fault": fault}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    file.flush()
        return said

    def _written(self, chats: Mapping[str, Conversation]) -> Iterable[tuple[str, str, str]]:
        """(key, answer, fault), prompts of like lengths together."""
        model = load_teacher(self.teacher, "cuda" if torch.cuda.is_available() else "cpu")
        most = self.settings.answer_tokens
        prompts: list[tuple[str, list[int]]] = []
        for key, chat in chats.items():
            ids = self.tokenizer.encode_chat(chat.messages, tools=chat.tools)
            if len(ids) + most > model.config.context_length:
                yield (
                    key,
                    "",
                    f"its prompt and an answer do not fit the teacher's {model.config.context_length:,} tokens",
                )
            else:
                prompts.append((key, ids))
        prompts.sort(key=lambda prompt: len(prompt[1]))
        sampling, ends = Sampling(temperature=0.0, max_tokens=most), self.tokenizer.eos_ids
        for start in range(0, len(prompts), _AT_ONCE):
            self.progress("Teacher answers", start, len(prompts))
            group = prompts[start : start + _AT_ONCE]
            for (key, _), [ids] in zip(
                group, sample_batch(model, [p for _, p in group], sampling, ends=ends), strict=True
            ):
                yield key, *self._judged(ids)
        self.progress("Teacher answers", len(prompts), len(prompts))

    def _judged(self, ids: Sequence[int]) -> tuple[str, str]:
        if not ids or ids[-1] not in self.tokenizer.eos_ids:
            return "", f"the teacher's answer is longer than {len(ids):,} tokens; raise --answer-tokens"
        answer = self.tokenizer.decode(ids[:-1]).strip()
        return answer, "" if answer else "the teacher's answer is empty"


def _asked(example: Encoded) -> Conversation | None:
    """The conversation up to its last answer; None for what asks nothing."""
    written = example.written
    chat = written.as_conversation() if isinstance(written, Pair) else written
    if not isinstance(chat, Conversation) or not chat.answers:
        return None
    return replace(chat, messages=chat.messages[: chat.answers[-1]])


def _key(chat: Conversation) -> str:
    return digest([[dict(message) for message in chat.messages], [dict(tool) for tool in chat.tools]])[:32]


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return []
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:  # a kill cut it short
            continue
    return found
