"""Files of examples and documents become rows of tokens, and some are held out.

Nothing is dropped in silence: what has no place in the context, what a template refuses, and what would teach nothing
because every label of it is masked stands among the problems.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lavra.corpus.examples import Conversation, Pair, Problem, Text, read_examples
from lavra.corpus.examples import Example as Written
from lavra.corpus.representation.parts import Share, read_shares
from lavra.errors import LavraError
from lavra.objectives.packing import Example, PackedRows, Row, cut, make_row
from lavra.tokens.conversation import Labelled, Learn, encode_conversation, encode_text, learned_whole
from lavra.tokens.packed import TokenFiles
from lavra.tokens.tokenizer import Tokenizer
from lavra.workspace.tokenizing import source_of, tokens_of
from lavra.workspace.tuning.mixing import WeightedRows, as_figures, parts_of
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.workspace.tuning.settings import Sources, TuneSettings

_LEAST_ROW = 512
"""Rows are no shorter, so that short examples fill them up."""
_FEWEST_HELD = 20
"""Examples below which none is held out: neither part would be worth anything."""
_AS_IT_IS = Share("", 1.0)
_MOST_OLD = 128
"""Texts by which EWC weighs the weights. A pass each; the mean over some dozens hardly changes any more."""


@dataclass(frozen=True)
class Encoded:
    """A tokenised example; ``group``: what is never split between training and validation; ``part`` of its corpus'
    mixture, and how many ``times`` an epoch draws it."""

    labelled: Labelled
    source: str
    group: str
    written: Written | None = None
    """What it was made of; None for a document's piece."""
    part: str = ""
    times: float = 1.0

    @property
    def tokens(self) -> int:
        return len(self.labelled.ids)


Teach = Callable[[list[Encoded], list[Problem]], list[Encoded]]
"""Examples with other answers in place of theirs; what cannot be answered becomes a problem."""


@dataclass
class Loaded:
    """What was read: ``examples`` in their order, ``formats`` and ``problems`` for the user, ``hashes`` of the files
    and ``licences`` of the documents for the pedigree."""

    examples: list[Encoded] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    formats: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    licences: list[str] = field(default_factory=list)
    too_long: int = 0
    was_cut: int = 0
    hidden: int = 0
    """Documents that were left out because not everybody may read them."""
    inputs: dict[str, str] = field(default_factory=dict)
    """The corpora and token files of the documents, by what they are to the run."""

    @property
    def learned(self) -> int:
        return sum(example.labelled.learned for example in self.examples)


@dataclass(frozen=True)
class TuneData:
    """``rows`` to train on, ``replay`` beside them by weight, ``held`` out; ``length`` of a row; ``old``: a sample of
    what is not to be forgotten, a text a row."""

    loaded: Loaded
    training: list[Encoded]
    validation: list[Encoded]
    rows: PackedRows | WeightedRows
    held: PackedRows | None
    replay: tuple[tuple[PackedRows, float], ...]
    length: int
    old: tuple[Row, ...] = ()


def load_examples(
    paths: Sequence[Path], tokenizer: Tokenizer, *, learn: Learn, context: int, shorten: bool = False
) -> Loaded:
    """The examples of ``paths`` that fit ``context`` tokens and teach something."""
    found = read_examples(paths)
    loaded = Loaded(problems=list(found.problems), formats=dict(found.formats), hashes=dict(found.hashes))
    for written in found.examples:
        try:
            pieces = encode(written, tokenizer, learn)
        except LavraError as error:
            loaded.problems.append(Problem(written.source, str(error)))
            continue
        for piece in pieces:
            if len(piece.ids) > context + 1:
                if not shorten:
                    loaded.too_long += 1
                    what = f"{len(piece.ids):,} tokens do not fit the context of {context:,}; shorten it, raise "
                    loaded.problems.append(Problem(written.source, what + "--context, or let it be cut with --cut"))
                    continue
                loaded.was_cut += 1
                piece = Labelled(piece.ids[: context + 1], piece.weights[: context + 1])
            if not piece.learned:
                what = "every label of it is masked, so that nothing is learned; give it an answer"
                if shorten and len(piece.ids) == context + 1:
                    what = "what is left after cutting holds no answer, so that nothing is learned; shorten its prompt"
                loaded.problems.append(Problem(written.source, what))
                continue
            loaded.examples.append(Encoded(piece, written.source, _group(written), written))
    return loaded


def encode(written: Written, tokenizer: Tokenizer, learn: Learn) -> list[Labelled]:
    """The ids of an example, and what of it is learned."""
    if isinstance(written, Text):
        return [encode_text(tokenizer, written.text)]
    conversation = written.as_conversation() if isinstance(written, Pair) else written
    assert isinstance(conversation, Conversation)
    return encode_conversation(tokenizer, conversation.messages, tools=conversation.tools, learn=learn)


def load_texts(
    workspace: Workspace, sources: Sources, tokenizer: Tokenizer, length: int, progress: Progress = silent
) -> Loaded:
    """Documents, each a stream that is cut where a row ends. Their ids stay in the token files."""
    loaded = Loaded()
    for files, shares in _token_files(workspace, sources, tokenizer, loaded, progress):
        for owner in files.owners():
            if not {*owner.roles} & {*sources.roles}:
                loaded.hidden += 1
                continue
            if owner.licence:
                loaded.licences.append(owner.licence)
            share = shares.get(owner.id, _AS_IT_IS)
            for piece in cut([Example(files.ids(owner.number))], length):
                if piece.places > 0:
                    loaded.examples.append(
                        Encoded(
                            learned_whole(piece.ids), owner.source, owner.source, part=share.part, times=share.times
                        )
                    )
            loaded.formats["documents"] = loaded.formats.get("documents", 0) + 1
    if not loaded.examples:
        hidden = f"; {loaded.hidden} may not be read by {', '.join(sources.roles)} (--role)" if loaded.hidden else ""
        raise LavraError(f"there is no document to learn from{hidden}.")
    return loaded


def _token_files(
    workspace: Workspace, sources: Sources, tokenizer: Tokenizer, loaded: Loaded, progress: Progress
) -> Iterator[tuple[TokenFiles, Mapping[str, Share]]]:
    """The token files of the workspace's corpus and of each of the texts, with the mixture of cleaned corpora."""
    wanted: dict[str, Path | None] = {"corpus": None} if sources.corpus else {}
    wanted |= {f"text-{number}": path for number, path in enumerate(sources.texts, 1)}
    for role, path in wanted.items():
        made = tokens_of(workspace, source_of(workspace, path), tokenizer, progress=progress)
        corpus = made.artifact.manifest.inputs.get("corpus")
        loaded.inputs |= ({role: corpus} if corpus else {}) | {f"{role} tokens": made.artifact.id}
        if path is not None:
            loaded.hashes[str(path)] = made.artifact.id
        mixed = corpus if sources.mixture and path is not None else None
        yield made.files, read_shares(workspace.store.artifacts / mixed) if mixed else {}


def hold_out(examples: Sequence[Encoded], share: float) -> tuple[list[Encoded], list[Encoded]]:
    """Training and validation: whole groups, the same whatever else is in the data, until ``share`` of the examples
    is held out. With too few examples none is."""
    groups: dict[str, int] = {}
    for example in examples:
        groups[example.group] = groups.get(example.group, 0) + 1
    if share <= 0 or len(examples) < _FEWEST_HELD or len(groups) < 2:
        return list(examples), []
    held: set[str] = set()
    count = 0
    for group in sorted(groups, key=_draw):
        if count >= max(1.0, share * len(examples)) or len(held) == len(groups) - 1:
            break
        held.add(group)
        count += groups[group]
    return [e for e in examples if e.group not in held], [e for e in examples if e.group in held]


def take_share(examples: Sequence[Encoded], share: float) -> list[Encoded]:
    """So many of the groups; a larger share holds all of a smaller one."""
    if share >= 1:
        return list(examples)
    groups = sorted({example.group for example in examples}, key=lambda group: _draw("share " + group))
    kept = set(groups[: max(1, round(share * len(groups)))])
    return [example for example in examples if example.group in kept]


def _group(written: Written) -> str:
    """The document that an example was made from, else what it asks first: asked again, it is no news."""
    if written.document:
        return written.document
    if isinstance(written, Conversation):
        return next(str(message["content"]) for message in written.messages if message["role"] == "user")
    return written.prompt if isinstance(written, Pair) else written.text


def _draw(group: str) -> str:
    """A place in line that depends on the group alone."""
    return hashlib.sha256(group.encode()).hexdigest()


def prepare(
    workspace: Workspace,
    sources: Sources,
    settings: TuneSettings,
    tokenizer: Tokenizer,
    context: int,
    *,
    teach: Teach | None = None,
    progress: Progress = silent,
) -> TuneData:
    """Everything that a run learns from. ``teach`` gives the examples that are trained on a teacher's answers.

    Raises LavraError where nothing is left.
    """
    loaded = _read(workspace, sources, settings, tokenizer, context, progress)
    training, validation = _divide(loaded, sources, settings, tokenizer, context)
    training = take_share(training, settings.share)
    if teach is not None:
        training = teach(training, loaded.problems)
        if not training:
            raise LavraError(f"the teacher answered nothing that can be learned: {loaded.problems[-1]}.")
    replay = [(_beside(path, loaded, settings, tokenizer, context), weight) for path, weight in sources.replay]
    length = row_length([*training, *validation, *(one for examples, _ in replay for one in examples)], context)
    return TuneData(
        loaded=loaded,
        training=training,
        validation=validation,
        rows=pack_by_times(training, length),
        held=pack(validation, length) if validation else None,
        replay=tuple((pack(examples, length), weight) for examples, weight in replay),
        length=length,
        old=_old(sources, settings, loaded, tokenizer, context) if settings.ewc else (),
    )


def _read(
    workspace: Workspace,
    sources: Sources,
    settings: TuneSettings,
    tokenizer: Tokenizer,
    context: int,
    progress: Progress,
) -> Loaded:
    """Files of examples, then documents."""
    loaded = Loaded()
    if sources.data:
        loaded = load_examples(
            sources.data, tokenizer, learn=settings.learn, context=context, shorten=settings.cut
        )  # fmt: skip
        if not loaded.examples:
            raise LavraError(f"there is no usable example in the data: {loaded.problems[0]}.")
    if sources.texts or sources.corpus:
        texts = load_texts(workspace, sources, tokenizer, context, progress)
        loaded.examples += texts.examples
        loaded.formats |= texts.formats
        loaded.hashes |= texts.hashes
        loaded.licences, loaded.hidden, loaded.inputs = texts.licences, texts.hidden, texts.inputs
    return loaded


def _divide(
    loaded: Loaded, sources: Sources, settings: TuneSettings, tokenizer: Tokenizer, context: int
) -> tuple[list[Encoded], list[Encoded]]:
    """What is trained on, and what is held out: a share, or a file of its own."""
    if sources.validation is None:
        return hold_out(loaded.examples, settings.validation)
    apart = load_examples([sources.validation], tokenizer, learn=settings.learn, context=context)
    loaded.hashes |= apart.hashes
    loaded.problems += apart.problems
    _require_apart(loaded.examples, apart.examples, sources.validation)
    return loaded.examples, apart.examples


def _beside(path: Path, loaded: Loaded, settings: TuneSettings, tokenizer: Tokenizer, context: int) -> list[Encoded]:
    """The examples of another file, its hash and problems noted in ``loaded``."""
    other = load_examples([path], tokenizer, learn=settings.learn, context=context, shorten=settings.cut)
    if not other.examples:
        raise LavraError(f"there is no usable example in {path}: {other.problems[0]}.")
    loaded.hashes |= other.hashes
    loaded.problems += other.problems
    return other.examples


def _old(
    sources: Sources, settings: TuneSettings, loaded: Loaded, tokenizer: Tokenizer, context: int
) -> tuple[Row, ...]:
    """A sample of what EWC holds a model to, always the same one; each text alone in a row."""
    paths = sources.old or tuple(path for path, _ in sources.replay)
    if not paths:
        raise LavraError(
            "ewc needs texts that are not to be forgotten: give a file of examples with --old, or --replay."
        )
    examples = [example for path in paths for example in _beside(path, loaded, settings, tokenizer, context)]
    chosen = sorted(examples, key=lambda example: _draw("old " + example.group))[:_MOST_OLD]
    return tuple(make_row([Example(e.labelled.ids, e.labelled.weights)], e.tokens - 1) for e in chosen)


def _require_apart(training: Iterable[Encoded], validation: Sequence[Encoded], path: Path) -> None:
    """What is learned may not be what is measured on."""
    learned = {_key(example) for example in training}
    same = [example for example in validation if _key(example) in learned]
    if same:
        raise LavraError(
            f"{len(same)} of {len(validation)} examples in {path} are also trained on (first {same[0].source}): "
            "take them out of one of the two."
        )


def _key(example: Encoded) -> bytes:
    """Its ids, whatever type they are kept in."""
    return hashlib.sha256(example.labelled.ids.astype(np.int64).tobytes()).digest()


def row_length(examples: Sequence[Encoded], context: int) -> int:
    """Long enough for the longest example, and for packing short ones."""
    longest = max((example.tokens - 1 for example in examples), default=1)
    return min(context, max(_LEAST_ROW, longest))


def pack(examples: Sequence[Encoded], length: int) -> PackedRows:
    rows = [Example(e.labelled.ids, e.labelled.weights, number) for number, e in enumerate(examples)]
    return PackedRows(rows, length)


def pack_by_times(examples: Sequence[Encoded], length: int) -> PackedRows | WeightedRows:
    """As :func:`pack`, where some are drawn more often than others."""
    if all(example.times == 1 for example in examples):
        return pack(examples, length)
    rows = [Example(e.labelled.ids, e.labelled.weights, number) for number, e in enumerate(examples)]
    return WeightedRows(rows, [example.times for example in examples], length)


def as_facts(loaded: Loaded, data: TuneData) -> dict[str, Any]:
    """For the report and the manifest."""
    return {
        "examples": len(data.training),
        "held out": len(data.validation),
        "tokens": sum(e.tokens for e in data.training),
        "learned": sum(e.labelled.learned for e in data.training),
        "left out": len(loaded.problems),
    } | ({"mixture": as_figures(parts)} if (parts := parts_of(data.training)) else {})
