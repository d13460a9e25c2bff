"""The DataFrame engine that spreads batches over cores and machines: Daft, on this machine or on Ray.

The same code runs on both: ``LAVRA_RUNNER=ray`` sends it to the Ray cluster of ``RAY_ADDRESS`` (a local one where
none is named). What comes back is put in the order of the input, so that the bytes written do not depend on who worked.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from typing import Any

from lavra.corpus.cleaning.settings import Cleaning
from lavra.errors import LavraError

_BATCH = 512
"""Documents of one call. Small enough that a batch's texts stay near the cache, large enough to pay for the call."""


@cache
def engine() -> Any:
    """Daft, quiet and without telemetry. Raises LavraError, saying what to install, where it is absent."""
    os.environ["DAFT_ANALYTICS_ENABLED"] = "0"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    try:
        import daft
        import ftfy  # noqa: F401
        import numba  # noqa: F401
        import phonenumbers  # noqa: F401
        import stdnum  # noqa: F401
    except ImportError as error:
        raise LavraError(
            f"cleaning a corpus needs {error.name}: install what it takes with  pip install 'lavra[corpus]'."
        ) from None
    runner = os.environ.get("LAVRA_RUNNER", "local").lower()
    if runner == "ray":
        try:
            import ray  # noqa: F401
        except ImportError:
            raise LavraError("LAVRA_RUNNER=ray needs Ray: install it with  pip install 'lavra[cluster]'.") from None
        daft.set_runner_ray(os.environ.get("RAY_ADDRESS"), noop_if_initialized=True)
    elif runner == "local":
        # Said aloud: left to itself, Daft imports an installed Ray to see whether it runs (60 MB).
        with suppress(daft.exceptions.DaftCoreException):  # whoever has chosen one before keeps it
            daft.set_runner_native()
    else:
        raise LavraError(f"LAVRA_RUNNER is 'local' or 'ray', not {runner!r}.")
    return daft


def treat_shard(table: Any, settings: Cleaning, watched: Any) -> Any:
    """``batch.treat`` over an Arrow table of documents, spread by the engine: (N,) rows in the order of ``table``."""
    daft = engine()
    import pyarrow as pa

    from lavra.corpus.cleaning.batch import result_type, treat

    kind = daft.DataType.from_arrow_type(result_type())

    @daft.func.batch(return_dtype=kind, batch_size=_BATCH)
    def treated(text: Any, spans: Any, format: Any, language: Any) -> Any:
        return treat(_arrow(text), _arrow(spans), _arrow(format), _arrow(language), settings, watched)

    columns = table.select(["text", "spans", "format", "language"]).append_column("row", pa.array(range(len(table))))
    frame = daft.from_arrow(columns)
    if os.environ.get("LAVRA_RUNNER", "local").lower() == "ray":
        frame = frame.into_partitions(max(1, min(len(table) // _BATCH, 64)))
    frame = frame.select(
        frame["row"], treated(frame["text"], frame["spans"], frame["format"], frame["language"]).alias("done")
    )
    done = frame.to_arrow().sort_by("row")
    return done["done"].combine_chunks()


def _arrow(series: Any) -> Any:
    import pyarrow as pa

    values = series.to_arrow()
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
