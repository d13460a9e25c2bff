"""One file a format: ``read(data, name, settings) -> list[Parts]``, raising `Unreadable` for what cannot be read."""

from __future__ import annotations

from importlib import import_module

from lavra.corpus.detect import inside_zip, old_office
from lavra.corpus.parts import BadRecord, Parts, Unreadable, one_line
from lavra.corpus.settings import ReadSettings

_MODULES = {
    "pdf": "pdf",
    "docx": "docx",
    "pptx": "pptx",
    "xlsx": "xlsx",
    "odt": "odt",
    "epub": "epub",
    "html": "html",
    "markdown": "markdown",
    "text": "plain",
    "code": "code",
    "json": "records",
    "jsonl": "records",
    "csv": "delimited",
    "mail": "mail",
    "notebook": "notebook",
}


def read(kind: str, data: bytes, name: str, settings: ReadSettings) -> tuple[str, list[Parts | BadRecord]]:
    """Read a whole file of format ``kind`` (`detect.detect`'s answer): its final format and its documents.

    Raises `Unreadable`; whatever else a parser raises on a damaged file is turned into one, kind ``corrupt``.
    """
    if kind == "zip":
        kind = inside_zip(data, name, settings)
    if kind == "ole":
        raise old_office(data)
    limit = settings.megabytes(kind)
    if len(data) > limit * 1_000_000:
        raise too_large(kind, len(data), limit)
    module = import_module(f"lavra.corpus.readers.{_MODULES[kind]}")
    try:
        documents = module.read(data, name, settings)
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # parsers raise anything on damaged files
        said = one_line(str(error).split("\n")[0][:200]) or type(error).__name__
        raise Unreadable("corrupt", f"the {kind} file is damaged or cut off ({said})") from error
    documents = [parts for parts in documents if isinstance(parts, BadRecord) or parts.text.strip()]
    if not documents:
        raise Unreadable("empty", "there is no text in it")
    characters = sum(len(parts.text) for parts in documents if isinstance(parts, Parts))
    if characters > settings.max_text_megabytes * 1_000_000:
        raise Unreadable(
            "too_large",
            f"it holds {characters / 1e6:,.0f} million characters of text, over the limit of "
            f"{settings.max_text_megabytes:,}: raise `max_text_megabytes` or split it",
        )
    return kind, documents


def too_large(kind: str, size: int, limit: int) -> Unreadable:
    """The reason for a file over its format's limit, which says what to raise."""
    return Unreadable(
        "too_large",
        f"it has {size / 1e6:,.0f} MB, over the limit of {limit:,} MB for {kind} files: "
        "raise `max_megabytes` to read it, or split it",
    )
