"""What is done to each document alone: a batch of Arrow columns in, a batch of Arrow columns out.

Pure: the same batch and settings give the same answer on any core or machine. Nothing is dropped here; what would drop
a document is only said, so that every stage can be counted over all documents.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lavra.corpus.cleaning.settings import Cleaning
from lavra.corpus.document import Span

TIMED = ("normalise", "language", "quality", "personal", "near", "contamination", "paragraphs")


@cache
def result_type() -> Any:
    """The Arrow struct that `treat` gives a document."""
    import pyarrow as pa

    from lavra.corpus.storage import schema

    return pa.struct(
        [
            ("text", pa.large_string()),
            ("spans", schema().field("spans").type),
            ("changes", pa.map_(pa.string(), pa.int32())),
            ("language", pa.string()),
            ("confidence", pa.float32()),
            ("broken", pa.list_(pa.string())),
            ("personal", pa.map_(pa.string(), pa.int32())),
            ("hash", pa.string()),
            ("keys", pa.list_(pa.uint64())),
            ("overlaps", pa.int32()),
            ("overlapped", pa.string()),
            ("size", pa.int64()),
            ("paragraphs", pa.list_(pa.uint64())),
            ("paragraph_sizes", pa.list_(pa.int64())),
            ("seconds", pa.list_(pa.float32())),
        ]
    )


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TIMED, 0.0))

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.seconds[stage] += time.thread_time() - began


def treat(texts: Any, spans: Any, formats: Any, stated: Any, settings: Cleaning, watched: Any = None) -> Any:
    """A struct array (`result_type`) for N documents.

    texts, spans, formats, stated: Arrow arrays of the corpus' columns ``text``, ``spans``, ``format``, ``language``;
    watched: `contamination.Watched`, where contamination is looked for. ``seconds`` (of `TIMED`, CPU of this thread)
    stands at the batch's first document.
    """
    import pyarrow as pa

    clock = _Clock()
    raw = texts.to_pylist()
    places = spans.to_pylist()
    changes: list[list[tuple[str, int]]] = [[] for _ in raw]
    with clock.of("normalise"):
        if settings.has("normalise"):
            raw, places, changes = _normalised(raw, places, formats.to_pylist())
    with clock.of("language"):
        languages, confidences = _languages(raw, stated.to_pylist(), settings)
    counts: list[list[tuple[str, int]]] = [[] for _ in raw]
    with clock.of("personal"):
        if settings.has("personal"):
            raw, places, counts = _personal(raw, places, settings)
    column = pa.array(raw, pa.large_string())
    broken: list[list[str]] = [[] for _ in raw]
    with clock.of("quality"):
        if settings.has("quality"):
            broken = _broken(column, languages, settings)
            if settings.classifier is not None:
                _judge(raw, broken, settings.classifier, settings.classifier_threshold)
    keys = pa.array([[] for _ in raw], pa.list_(pa.uint64()))
    with clock.of("near"):
        if settings.has("near"):
            keys = _keys(column, settings)
    overlaps, overlapped = [0] * len(raw), [None] * len(raw)
    with clock.of("contamination"):
        if settings.has("contamination") and watched is not None and watched.names:
            overlaps, overlapped = _overlaps(column, watched)
    nothing = pa.array([[] for _ in raw], pa.list_(pa.uint64()))
    hashes, sizes = nothing, nothing.cast(pa.list_(pa.int64()))
    with clock.of("paragraphs"):
        if settings.has("paragraphs"):
            hashes, sizes = _paragraphs(column, settings)
    seconds = [list(clock.seconds.values())] + [[] for _ in raw[1:]]
    values = (
        column,
        places,
        changes,
        languages,
        confidences,
        broken,
        counts,
        [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in raw],
        keys,
        overlaps,
        overlapped,
        pa.compute.binary_length(column),
        hashes,
        sizes,
        seconds if raw else [],
    )
    kind = result_type()
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value, kind.field(index).type)
        for index, value in enumerate(values)
    ]
    return pa.StructArray.from_arrays(arrays, fields=[kind.field(index) for index in range(kind.num_fields)])


def _span(values: dict[str, Any]) -> Span:
    return Span(**values)


def _plain(span: Span) -> dict[str, Any]:
    return {"kind": span.kind, "start": span.start, "end": span.end, "label": span.label, "level": span.level}


def _normalised(texts: list[str], places: list[Any], formats: list[str]) -> tuple[list[str], list[Any], list[Any]]:
    from lavra.corpus.normalising import normalise

    made, moved, changes = [], [], []
    for text, spans, kind in zip(texts, places, formats, strict=True):
        result = normalise(text or "", [_span(span) for span in spans or ()], paged=kind == "pdf")
        made.append(result.text)
        moved.append([_plain(span) for span in result.spans])
        changes.append(sorted(result.changes.items()))
    return made, moved, changes


def _languages(texts: list[str], stated: list[str], settings: Cleaning) -> tuple[list[str], list[float]]:
    """What each text is in; what the corpus already says stands, unless the stage is on and says otherwise."""
    if not settings.has("language"):
        return stated, [1.0] * len(texts)
    from lavra.corpus.cleaning.languages import identify_all

    return identify_all(texts, settings.languages)


def _personal(texts: list[str], places: list[Any], settings: Cleaning) -> tuple[list[str], list[Any], list[Any]]:
    import pyarrow as pa

    from lavra.corpus.normalising import apply, move
    from lavra.corpus.personal.finding import find_at, suspects
    from lavra.corpus.personal.kinds import KINDS, chosen, own_kind, placeholders

    kinds = KINDS if settings.personal_kinds is None else chosen(settings.personal_kinds)
    kinds = (*kinds, *(own_kind(name, pattern) for name, pattern in sorted(settings.personal_patterns.items())))
    words = placeholders(kinds)
    made, moved, counts = list(texts), list(places), [[] for _ in texts]  # type: ignore[var-annotated]
    for row, where in suspects(pa.array(texts, pa.large_string()), kinds).items():
        found = find_at(texts[row], where)
        if not found:
            continue
        counts[row] = sorted(Counter(finding.kind for finding in found).items())
        if settings.personal == "replace":
            edits = [(finding.start, finding.end, words[finding.kind]) for finding in found]
            made[row] = apply(texts[row], edits)
            moved[row] = [_plain(span) for span in move([_span(span) for span in places[row] or ()], edits)]
    return made, moved, counts


def _broken(column: Any, languages: list[str], settings: Cleaning) -> list[list[str]]:
    """The rules that each text breaks, judged by the words of its language."""
    import pyarrow as pa

    from lavra.corpus.quality.batch import measure_texts
    from lavra.corpus.quality.rules import broken

    out: list[list[str]] = [[] for _ in languages]
    for language in sorted(set(languages)):
        rows = np.flatnonzero([code == language for code in languages])
        figures = measure_texts(column.take(pa.array(rows)), language).figures
        for rules in settings.rule_sets():
            for name, hit in broken(rules, figures).items():
                if language == "und" and name.endswith("stop_words"):
                    continue  # nobody knows the words of an unknown language
                for row in rows[hit].tolist():
                    out[row].append(name)
    return out


@cache
def _classifier(folder: str) -> Any:
    from lavra.corpus.quality.classifier import load_classifier

    return load_classifier(Path(folder))


def _judge(texts: list[str], broken: list[list[str]], folder: str, threshold: float) -> None:
    """Adds ``classifier`` to what the texts break that it thinks bad."""
    for row in np.flatnonzero(_classifier(folder).probabilities(texts) < threshold).tolist():
        broken[row].append("classifier")


def _keys(column: Any, settings: Cleaning) -> Any:
    import pyarrow as pa

    from lavra.corpus.duplicates.minhash import band_keys
    from lavra.corpus.quality.batch import buffers

    offsets, data = buffers(column)
    keys = band_keys(offsets, data, n=settings.shingle_words, bands=settings.bands, rows=settings.rows)
    ends = pa.array(np.arange(0, keys.size + 1, settings.bands), pa.int32())
    return pa.ListArray.from_arrays(ends, pa.array(keys.reshape(-1), pa.uint64()))


def _paragraphs(column: Any, settings: Cleaning) -> tuple[Any, Any]:
    """Hashes and bytes of the paragraphs of each text."""
    import pyarrow as pa

    from lavra.corpus.duplicates.paragraphs import paragraphs
    from lavra.corpus.quality.batch import buffers

    hashes, sizes, _, _, ends = paragraphs(*buffers(column), words=settings.paragraph_words)
    places = pa.array(ends, pa.int32())
    return pa.ListArray.from_arrays(places, pa.array(hashes)), pa.ListArray.from_arrays(places, pa.array(sizes))


def _overlaps(column: Any, watched: Any) -> tuple[list[int], list[Any]]:
    from lavra.corpus.contamination import matches
    from lavra.corpus.quality.batch import buffers

    counts, first = matches(watched, *buffers(column))
    return counts.tolist(), [watched.names[item] if item >= 0 else None for item in first.tolist()]
