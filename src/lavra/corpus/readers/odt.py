"""OpenDocument text (LibreOffice Writer): headings, paragraphs, lists and tables of ``content.xml``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lavra.corpus.parts import Parts, TextBuilder, Unreadable, one_line
from lavra.corpus.readers.archives import Archive, local
from lavra.corpus.settings import ReadSettings

_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_HIDDEN = frozenset(("annotation", "annotation-end", "tracked-changes", "sequence-decls", "bookmark", "desc", "title"))
_MAX_REPEATED = 100


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document. Raises `Unreadable`, kind ``encrypted``."""
    archive = Archive(data)
    manifest = "META-INF/manifest.xml"
    if manifest in archive.names and b"encryption-data" in archive.member(manifest):
        raise Unreadable("encrypted", "it is protected by a password: save a copy without one")
    builder = TextBuilder()
    for body in archive.xml("content.xml").iter("{urn:oasis:names:tc:opendocument:xmlns:office:1.0}text"):
        _walk(body, builder, 0)
    title, metadata = "", {}
    if "meta.xml" in archive.names:
        for element in archive.xml("meta.xml").iter():
            if local(element) == "title":
                title = one_line(element.text or "")
            elif local(element) == "creator" and one_line(element.text or ""):
                metadata["author"] = one_line(element.text)
    return [builder.parts(title=title, metadata=metadata)]


def _walk(parent: Any, builder: TextBuilder, depth: int) -> None:
    for child in parent:
        tag = local(child)
        if tag == "h":
            level = child.get(f"{_TEXT}outline-level", "1")
            builder.heading(_text(child), int(level) if level.isdecimal() else 1)
        elif tag == "p":
            text = _text(child)
            if depth and text.strip():
                builder.write("  " * min(depth - 1, 8) + "- " + text.strip(), gap="\n", keep_indent=True)
            else:
                builder.write(text)
        elif tag == "table":
            builder.table(list(_rows(child)))
        elif tag == "list":
            _walk(child, builder, depth + 1)
        elif tag and tag not in _HIDDEN:
            _walk(child, builder, depth)


def _rows(table: Any) -> Iterator[list[str]]:
    for row in table.iter(f"{_TABLE}table-row"):
        cells: list[str] = []
        for cell in row:
            if local(cell) in ("table-cell", "covered-table-cell"):
                repeated = cell.get(f"{_TABLE}number-columns-repeated", "1")
                count = min(int(repeated), _MAX_REPEATED) if repeated.isdecimal() else 1
                cells.extend([" ".join(_text(p) for p in cell.iter(f"{_TEXT}p"))] * count)
        yield cells


def _text(element: Any) -> str:
    return "".join(_pieces(element))


def _pieces(element: Any) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        tag = local(child)
        if tag == "s":
            count = child.get(f"{_TEXT}c", "1")
            yield " " * (min(int(count), 100) if count.isdecimal() else 1)
        elif tag == "tab":
            yield "\t"
        elif tag == "line-break":
            yield "\n"
        elif tag == "note":
            body = next((n for n in child if local(n) == "note-body"), None)
            yield f" [{_text(body).strip()}]" if body is not None else ""
        elif tag and tag not in _HIDDEN:
            yield from _pieces(child)
        yield child.tail or ""
