"""SentencePiece models (Kudo and Richardson 2018), Unigram and BPE, as ``tokenizers`` objects.

A ``.model`` file is a protocol buffer; of its format only what this needs is parsed here: numbers, floats and strings
behind field numbers (sentencepiece_model.proto). What GGUF files hold of such a model goes through :func:`build` too.

One thing is not as SentencePiece has it: ``tokenizers`` normalises a letter and the accents that follow it together,
so text whose accents are separate characters can lose some; transformers' tokenizers do the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from lavra.errors import LavraError

SPACE = "▁"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_LARGEST = 1 << 28  # bytes; the largest vocabularies take 5 MB


@dataclass(frozen=True)
class Pieces:
    """What a SentencePiece model knows. ``charsmap``: its compiled table of replaced characters, empty for none;
    ``prefix``: a space is put before the text; ``collapses``: runs of spaces become one, those at the ends none."""

    kind: Literal["unigram", "bpe"]
    texts: list[str]
    scores: list[float]
    types: list[int]
    unknown_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    pad_id: int = -1
    charsmap: bytes = b""
    prefix: bool = True
    collapses: bool = True

    @property
    def falls_back(self) -> bool:
        """Whether a character that is no piece becomes its bytes."""
        return BYTE in self.types


def read_sentencepiece(path: Path) -> Pieces:
    """Raises LavraError for what is not a whole SentencePiece model of one of the two kinds."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is larger than any vocabulary")
        return _parse(path.read_bytes())
    except OSError as error:
        raise LavraError(f"{path} could not be read ({error.strerror or error}); check the path") from error
    except (ValueError, IndexError, struct.error, OverflowError) as error:  # UnicodeDecodeError is a ValueError
        raise LavraError(f"{path.name} is not a whole SentencePiece model ({error}); download it again") from error


def build(pieces: Pieces) -> tokenizers.Tokenizer:
    """A backend that cuts text as the model does. Raises LavraError when its pieces contradict each other."""
    try:
        backend = _unigram(pieces) if pieces.kind == "unigram" else _bpe(pieces)
    except LavraError:
        raise
    except BaseException as error:  # tokenizers raises bare Exceptions, and panics for a damaged table of characters
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise LavraError(f"the tokenizer's pieces contradict each other ({error}); download it again") from error
    # A piece that spells spaces is found in text whose spaces are spelled; see _bpe.
    backend.add_tokens(
        [
            AddedToken(text, special=kind == CONTROL, normalized=SPACE in text and not pieces.prefix)
            for text, kind in zip(pieces.texts, pieces.types, strict=True)
            if kind in (CONTROL, USER_DEFINED)
        ]
    )
    return backend


def surround(backend: tokenizers.Tokenizer, before: str | None, after: str | None) -> None:
    """Put these tokens around every text, where they are given."""
    first, last = [before] if before else [], [after] if after else []
    if first or last:
        backend.post_processor = processors.TemplateProcessing(
            single=[*first, "$A", *last],
            special_tokens=[(text, backend.token_to_id(text)) for text in dict.fromkeys(first + last)],
        )


def _unigram(pieces: Pieces) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(
        models.Unigram(
            list(zip(pieces.texts, pieces.scores, strict=True)), pieces.unknown_id, byte_fallback=pieces.falls_back
        )
    )
    if any(SPACE in text[1:].rstrip(SPACE) for text in pieces.texts) or not pieces.collapses:
        backend.normalizer = normalizers.Sequence(_normalisers(pieces) + _spelled(pieces))  # pieces may cross words
    else:
        if steps := _normalisers(pieces):
            backend.normalizer = normalizers.Sequence(steps)
        scheme = "always" if pieces.prefix else "never"
        backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme)
    backend.decoder = _decoder(pieces)
    return backend


def _bpe(pieces: Pieces) -> tokenizers.Tokenizer:
    vocabulary = {text: index for index, text in enumerate(pieces.texts)}
    if len(vocabulary) != len(pieces.texts):
        raise LavraError("the tokenizer lists a piece twice; download it again")
    backend = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges(pieces, vocabulary),
            unk_token=pieces.texts[pieces.unknown_id],
            fuse_unk=True,
            byte_fallback=pieces.falls_back,
        )
    )
    backend.normalizer = normalizers.Sequence(_normalisers(pieces) + _spelled(pieces))
    backend.decoder = _decoder(pieces)
    return backend


def _normalisers(pieces: Pieces) -> list[Any]:
    steps: list[Any] = [normalizers.Precompiled(pieces.charsmap)] if pieces.charsmap else []
    if pieces.collapses:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    return steps


def _spelled(pieces: Pieces) -> list[Any]:
    """Spaces as SentencePiece spells them, and one before the text."""
    return [*([normalizers.Prepend(SPACE)] if pieces.prefix else []), normalizers.Replace(" ", SPACE)]


def _decoder(pieces: Pieces) -> Any:
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if pieces.prefix else steps)


def _merges(pieces: Pieces, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """SentencePiece joins the neighbours whose union has the best score; ``tokenizers`` wants pairs in that order.

    The union of a pair is one piece, so its pairs go by the piece's score, and among themselves by their ids.
    """
    known = {text for text, kind in zip(pieces.texts, pieces.types, strict=True) if kind in (NORMAL, USER_DEFINED)}
    found: list[tuple[float, int, int, str, str]] = []
    for text, score, kind in zip(pieces.texts, pieces.scores, pieces.types, strict=True):
        if kind != NORMAL or len(text) > 512:
            continue
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in known and right in known:
                found.append((-score, vocabulary[left], vocabulary[right], left, right))
    found.sort()
    return [(left, right) for *_, left, right in found]


def _parse(data: bytes) -> Pieces:
    texts: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    trainer: dict[int, Any] = {}
    normaliser: dict[int, Any] = {}
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            piece = dict(_fields(value))
            texts.append(_bytes(piece.get(1, b"")).decode("utf-8"))
            scores.append(_float(piece.get(2, 0.0)))
            types.append(int(piece.get(3, NORMAL)))
        elif number == 2:
            trainer |= dict(_fields(_bytes(value)))
        elif number == 3:
            normaliser |= dict(_fields(_bytes(value)))
    kinds: dict[int, Literal["unigram", "bpe"]] = {1: "unigram", 2: "bpe"}
    kind = trainer.get(3, 1)
    if kind not in kinds:
        raise ValueError("it cuts text into words or characters, not into pieces")
    if trainer.get(24, 0):
        raise ValueError("it treats spaces as suffixes")
    if not normaliser.get(5, 1):
        raise ValueError("it keeps spaces as they are")
    unknown = [index for index, kind in enumerate(types) if kind == UNKNOWN]
    if len(unknown) != 1:
        raise ValueError(f"it has {len(unknown)} unknown pieces")

    def id_of(number: int, usual: int) -> int:
        index = _signed(trainer.get(number, usual))
        return index if -1 <= index < len(texts) and (index < 0 or types[index] == CONTROL) else -1

    return Pieces(
        kinds[kind],
        texts,
        scores,
        types,
        unknown_id=unknown[0],
        bos_id=id_of(41, 1),
        eos_id=id_of(42, 2),
        pad_id=id_of(43, -1),
        charsmap=_bytes(normaliser.get(2, b"")),
        prefix=bool(normaliser.get(3, 1)),
        collapses=bool(normaliser.get(4, 1)),
    )


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a message: an int, a float's four bytes, or bytes; nested messages are not entered."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value: Any
            value, at = _varint(data, at)
        else:
            if kind == 2:
                length, at = _varint(data, at)
            else:
                length = {1: 8, 5: 4}.get(kind, -1)
            if not 0 <= length <= end - at:
                raise ValueError("it ends within a field" if length >= 0 else f"it has a field of kind {kind}")
            value, at = data[at : at + length], at + length
        yield number, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]  # IndexError at the end
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("it has a number of more than 64 bits")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field has an unexpected type")
    return value


def _float(value: Any) -> float:
    return value if isinstance(value, float) else struct.unpack("<f", _bytes(value))[0]
