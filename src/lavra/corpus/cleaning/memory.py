"""Memory that nobody holds any more, handed back to the system between the pieces of a long work.

Arrow's pool and the C library's heap keep what was freed for the next one who asks. Shards are of different sizes, so
that what one leaves seldom fits the next: a cleaning of 82 MB kept a quarter of a gigabyte that way.
"""

from __future__ import annotations

import ctypes


def hand_back() -> None:
    """Release what is free; some milliseconds. Where the C library cannot, only Arrow's."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        pass
