"""The workspace: a directory with ``lavra.toml`` and ``.lavra``, and the verbs that work on it.

``lavra.ingest(...)`` in Python and ``lavra ingest ...`` on the command line are the same verb.
"""
