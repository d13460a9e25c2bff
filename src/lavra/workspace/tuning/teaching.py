"""Learning from a larger model: by its logits, place by place, or by the answers that it writes (distillation).

Logits say more, but only a teacher with the very same tokenizer can give them. Answers (Kim and Rush 2016,
Sequence-Level Knowledge Distillation, section 3.2) can be anybody's: the teacher writes one to each prompt, always the
likeliest words, and the student is tuned on them. What is held out keeps the answers that people wrote, so that both
are measured by the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

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


@dataclass(frozen=True)
class Said:
    """``answer`` to what has the ``key``; or ``fault``, why there is none."""

    key: str
    answer: str = ""
    fault: str = ""


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
        """Texts, which ask nothing, stay as they are. What cannot be answered becomes a problem."""
        chats = [_asked(example) for example in examples]
        asked = {_key(chat): chat for chat in chats if chat is not None}
        if not asked:
            raise LavraError("a teacher answers prompts, and the data has none: learn from its logits.")
        said = self._answers(asked)
        found: list[Encoded] = []
        for example, chat in zip(examples, chats, strict=True):
            if chat is None:
                found.append(example)
            elif (answer := said.pop(_key(chat), None)) is not None:  # a conversation in pieces is answered once
                taught = self._encoded(example, chat, answer)
                if isinstance(taught, Problem):
                    problems.append(taught)
                else:
                    found.append(taught)
        return found

    def _encoded(self, example: Encoded, chat: Conversation, said: Said) -> Encoded | Problem:
        """The example with the teacher's answer at its end."""
        if said.fault:
            return Problem(example.source, said.fault)
        messages = [*chat.messages, {"role": "assistant", "content": said.answer}]
        labelled = encode_conversation(self.student, messages, tools=chat.tools, learn="last")[-1]
        if len(labelled.ids) > self.context + 1:
            return Problem(example.source, f"the teacher's answer does not fit the context of {self.context:,}")
        return replace(example, labelled=labelled, written=replace(chat, messages=tuple(messages)))

    def _answers(self, asked: Mapping[str, Conversation]) -> dict[str, Said]:
        """By key: those that were kept, and the rest written now."""
        said = {one.key: one for one in _kept(self.path) if one.key in asked}
        missing = {key: chat for key, chat in asked.items() if key not in said}
        if missing:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                for one in self._written(missing):
                    said[one.key] = one
                    # The line break comes first: a kill may have cut the line before.
                    file.write("\n" + json.dumps(asdict(one), ensure_ascii=False))
                    file.flush()
        return said

    def _written(self, chats: Mapping[str, Conversation]) -> Iterator[Said]:
        """By the teacher; prompts of like lengths together."""
        model = load_teacher(self.teacher, "cuda" if torch.cuda.is_available() else "cpu")
        room = model.config.context_length - self.settings.answer_tokens
        prompts = [(key, self.tokenizer.encode_chat(chat.messages, tools=chat.tools)) for key, chat in chats.items()]
        yield from (
            Said(key, fault=f"its prompt leaves the teacher no room for {self.settings.answer_tokens:,} tokens")
            for key, ids in prompts
            if len(ids) > room
        )
        fitting = sorted(((key, ids) for key, ids in prompts if len(ids) <= room), key=lambda prompt: len(prompt[1]))
        sampling = Sampling(temperature=0.0, max_tokens=self.settings.answer_tokens)
        for start in range(0, len(fitting), _AT_ONCE):
            self.progress("Teacher answers", start, len(fitting))
            group = fitting[start : start + _AT_ONCE]
            answers = sample_batch(model, [ids for _, ids in group], sampling, ends=self.tokenizer.eos_ids)
            yield from (self._judged(key, ids) for (key, _), [ids] in zip(group, answers, strict=True))
        self.progress("Teacher answers", len(fitting), len(fitting))

    def _judged(self, key: str, ids: Sequence[int]) -> Said:
        if not ids or ids[-1] not in self.tokenizer.eos_ids:
            return Said(key, fault=f"the teacher's answer is longer than {len(ids):,} tokens; raise --answer-tokens")
        answer = self.tokenizer.decode(ids[:-1]).strip()
        return Said(key, answer, "" if answer else "the teacher's answer is empty")


def _asked(example: Encoded) -> Conversation | None:
    """The conversation up to its last answer; None for what asks nothing."""
    written = example.written
    chat = written.as_conversation() if isinstance(written, Pair) else written
    if not isinstance(chat, Conversation) or not chat.answers:
        return None
    return replace(chat, messages=chat.messages[: chat.answers[-1]])


def _key(chat: Conversation) -> str:
    return digest([[dict(message) for message in chat.messages], [dict(tool) for tool in chat.tools]])[:32]


def _kept(path: Path) -> Iterator[Said]:
    """The whole lines of a file of answers."""
    if not path.is_file():
        return
    for line in path.read_text("utf-8").split("\n"):
        try:
            yield Said(**json.loads(line))
        except (ValueError, TypeError):  # empty, or cut short by a kill
            continue
