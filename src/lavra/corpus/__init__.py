"""From any pile of files to documents that can be cited: readers, sources, language, ingest.

``reading.read_paths`` walks folders and yields a `Document` for whatever can be read and a `Skipped`, with its
reason, for whatever cannot; ``ingest.build_corpus`` writes them as one Parquet file with a report. Files are
untrusted: the formats with complicated parsers are read in worker processes (`pool`), under limits of time, memory
and size. Nothing heavy is imported by importing this package.
"""
