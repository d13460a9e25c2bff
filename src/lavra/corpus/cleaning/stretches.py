"""Files of many documents, read a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def stretches(shards: Sequence[Path], columns: list[str] | None = None) -> Iterator[tuple[int, Any]]:
    """Every stretch of every shard, with the row at which it begins."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    first = 0
    for shard in shards:
        with parquet.ParquetFile(shard) as file:
            for batch in file.iter_batches(batch_size=1_000, columns=columns):
                table = pa.Table.from_batches([batch])
                yield first, table
                first += len(table)
