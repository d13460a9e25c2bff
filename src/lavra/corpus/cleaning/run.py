"""A whole cleaning: shards through the engine, decisions over all, and the documents that stay written in order.

A shard is some row groups of the corpus as it was read. Each treated shard is a file that is there whole or not at all,
so a killed cleaning continues with the shards that are missing. What is finished is never done again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavra.corpus.cleaning.accounting import account
from lavra.corpus.cleaning.cutting import without_paragraphs
from lavra.corpus.cleaning.deciding import Decision, Facts, decide
from lavra.corpus.cleaning.gathering import facts_of, old_of, shingles_of
from lavra.corpus.cleaning.memory import hand_back
from lavra.corpus.cleaning.perplexity import Score, scored
from lavra.corpus.cleaning.report import CleaningReport, write_report
from lavra.corpus.cleaning.settings import Cleaning
from lavra.corpus.cleaning.stretches import stretches
from lavra.corpus.cleaning.summary import write_summary
from lavra.corpus.opting_out import opted_out
from lavra.corpus.quality.classifier import load_classifier
from lavra.corpus.storage import FILE_NAME, load_documents, open_corpus, schema
from lavra.errors import LavraError

DROPPED = "dropped.parquet"
_SHARD_BYTES = 8_000_000
"""Text of a shard: what is in memory at once, several times over."""

_BESIDE = (
    *("changes", "confidence", "broken", "personal", "keys", "overlaps", "overlapped", "seconds"),
    *("size", "paragraphs", "paragraph_sizes"),
)
"""What a treated document carries besides itself, until all is decided."""

Progress = Callable[[int, int, str], None]


def clean_corpus(
    source: Path,
    out: Path,
    settings: Cleaning,
    work: Path,
    *,
    against: Mapping[str, Path] | None = None,
    score: Score | None = None,
    progress: Progress | None = None,
) -> CleaningReport:
    """Clean the corpus at ``source`` into ``out``: ``documents.parquet``, ``dropped.parquet`` and the report.

    ``against``: other corpora by name; a document that is nearly the same as one of theirs is dropped.
    ``score``: how surprising texts are, to a model that the caller knows, for the stage ``perplexity``.
    ``work`` keeps what was treated, for a cleaning that is continued; the caller removes it at the end. Raises
    LavraError where an evaluation set cannot be read or what it needs is not installed.
    """
    from lavra.corpus.cleaning.engine import treat_shard

    began = time.perf_counter()
    settings.rule_sets()  # a mistake in a threshold is told before the work begins
    if settings.classifier is not None:
        load_classifier(Path(settings.classifier))
    watched = watched_sets(settings)
    work.mkdir(parents=True, exist_ok=True)
    shards: list[Path] = []
    with open_corpus(source) as file:
        groups = _shards(file)
        for number, rows in enumerate(groups):
            shard = work / f"{number:06}.parquet"
            shards.append(shard)
            if not shard.exists():
                _write_shard(shard, file, rows, lambda table: treat_shard(table, settings, watched))
                hand_back()
            if progress is not None:
                progress(number + 1, len(groups), "documents")
    facts, tally = facts_of(shards)
    others = list((against or {}).values()) if settings.has("near") else []
    decision = decide(
        facts,
        settings,
        lambda rows: shingles_of([*shards, *(other / FILE_NAME for other in others)], rows, settings.shingle_words),
        old_of(against or {}, settings) if others else None,
        lambda rows: _read_with(score, shards, rows, work, tally, progress),
    )
    _write(shards, facts, decision, settings, out)
    hand_back()
    made_of, mixture_weights = _representation(out, settings)
    report = account(facts, decision, tally, settings)
    report = replace(
        report, representation=made_of, mixture=mixture_weights, seconds=round(time.perf_counter() - began, 3)
    )
    write_report(report, out)
    write_summary(report, settings, out)
    return report


def _read_with(
    score: Score | None,
    shards: list[Path],
    rows: NDArray[np.int64],
    work: Path,
    tally: dict[str, Any],
    progress: Progress | None,
) -> NDArray[np.float64]:
    """Bits per byte of some documents, and the seconds of that."""
    if score is None:
        raise LavraError("perplexity_model names a model, and nobody brings what reads: use `lavra corpus clean`.")
    began = time.process_time()
    bits = scored(shards, rows, score, work, *([progress] if progress is not None else []))
    tally["seconds"]["perplexity"] = time.process_time() - began
    return bits


def _representation(out: Path, settings: Cleaning) -> tuple[dict[str, Any], dict[str, float]]:
    """What the documents that stay are made of, and the weights that balance it, where that is set."""
    from lavra.corpus.representation.counting import count, terms
    from lavra.corpus.representation.parts import write_parts
    from lavra.corpus.representation.topics import find_topics
    from lavra.corpus.representation.weighing import mixture

    found, texts, sizes = count(load_documents(out))
    clusters = find_topics(texts, sizes)
    found.topics = clusters.sizes
    values = asdict(found)
    values["references"] = {kind: groups["reference"] for kind, groups in terms()["people"].items()}
    if settings.balance is None:
        return values, {}
    write_parts(out, settings.balance, clusters.assign)
    return values, mixture({name: size for name, (_, size) in values[settings.balance].items()}, settings.balance_alpha)


def watched_sets(settings: Cleaning) -> Any:
    """What contamination is looked for, or None. Raises LavraError where a set cannot be read."""
    if not (settings.has("contamination") and settings.evaluation_sets):
        return None
    from lavra.corpus.cleaning.evaluation_sets import read_items
    from lavra.corpus.contamination import watch

    return watch({name: read_items(Path(path)) for name, path in settings.evaluation_sets.items()}, n=settings.overlap)


def _shards(file: Any) -> list[list[int]]:
    """Row groups together, up to a shard's size each."""
    text = file.schema_arrow.get_field_index("text")
    shards: list[list[int]] = []
    size = _SHARD_BYTES
    for group in range(file.num_row_groups):
        here = sum(
            file.metadata.row_group(group).column(column).total_uncompressed_size
            for column in range(file.metadata.num_columns)
            if file.metadata.row_group(group).column(column).path_in_schema == file.schema_arrow.names[text]
        )
        if size + here > _SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(group)
        size += here
    return shards


def _write_shard(path: Path, file: Any, groups: list[int], treat: Callable[[Any], Any]) -> None:
    """The treated shard, beside its name first: there whole, or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    table = file.read_row_groups(groups)
    done = treat(table)
    before = pa.compute.binary_length(table["text"])
    for name in ("text", "spans", "language"):
        column = table.schema.get_field_index(name)
        value = done.field(name)
        table = table.set_column(
            column, pa.field(name, table.schema.field(name).type), value.cast(table.schema.field(name).type)
        )
    for name in _BESIDE:
        table = table.append_column(f"_{name}", done.field(name))
    table = table.append_column("_bytes", before).append_column("_hash", done.field("hash"))
    signals = [opted_out(dict(metadata or ())) for metadata in table["metadata"].to_pylist()]
    table = table.append_column("_opted_out", pa.array(signals, pa.string()))
    partial = path.with_suffix(".partial")
    parquet.write_table(table, partial, compression="zstd", compression_level=1)
    os.replace(partial, path)


def _write(shards: list[Path], facts: Facts, decision: Decision, settings: Cleaning, out: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    out.mkdir(parents=True, exist_ok=True)
    stays = decision.stays
    partial = out / f"{FILE_NAME}.partial"
    with parquet.ParquetWriter(partial, schema(), compression="zstd", compression_level=3) as writer:
        for first, table in stretches(shards):
            kept = table.filter(pa.array(stays[first : first + len(table)]))
            if len(kept):
                if decision.cut.any():
                    kept = _cut(
                        kept, first + np.flatnonzero(stays[first : first + len(table)]), facts, decision, settings
                    )
                hashes = kept["_hash"]
                kept = kept.select(schema().names)
                kept = kept.set_column(kept.schema.get_field_index("hash"), "hash", hashes)
                writer.write_table(kept.cast(schema()))
    os.replace(partial, out / FILE_NAME)
    gone = np.flatnonzero(~stays)
    dropped = pa.table(
        {
            "source": pa.array([facts.sources[row] for row in gone], pa.string()),
            "licence": pa.array([facts.licences[row] for row in gone], pa.string()),
            "language": pa.array([facts.languages[row] for row in gone], pa.string()),
            "bytes": pa.array(facts.characters[gone], pa.int64()),
            "stage": pa.array([decision.stage[row] for row in gone], pa.string()),
            "reason": pa.array([decision.reason[row] for row in gone], pa.string()),
        }
    )
    parquet.write_table(dropped, out / DROPPED, compression="zstd")


def _cut(table: Any, rows: NDArray[np.int64], facts: Facts, decision: Decision, settings: Cleaning) -> Any:
    """The documents ``rows`` without the paragraphs that others keep."""
    here = np.concatenate([np.arange(*facts.paragraph_ends[[row, row + 1]]) for row in rows])
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.diff(facts.paragraph_ends)[rows])])
    return without_paragraphs(table, decision.cut[here], ends, settings.paragraph_words)
