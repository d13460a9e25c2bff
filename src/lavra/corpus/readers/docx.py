"""Word: paragraphs, headings by style or outline level, lists, tables and footnotes, in reading order.

python-docx opens the package and its styles; the body is walked here, because its own iteration passes over content
controls (``w:sdt``: cover pages, forms), text boxes and inserted revisions. Deleted revisions and comments are left
out, automatic numbers of lists and headings are not computed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from lavra.corpus.parts import Parts, TextBuilder, one_line
from lavra.corpus.readers.archives import local
from lavra.corpus.settings import ReadSettings

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_HIDDEN = frozenset(("del", "moveFrom", "Fallback", "txbxContent", "delText", "instrText", "rPr", "pPr", "sectPr"))
_LETTERS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "softHyphen": ""}
_HEADING = re.compile(r"heading (\d)", re.I)


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document; the title is the file's property, else the first paragraph in the style *Title*."""
    import docx

    package = docx.Document(io.BytesIO(data))
    styles = _Styles(package.styles.element)
    builder = TextBuilder()
    title = ""
    footnotes = _footnotes(package)
    for block in _blocks(package.element.body):
        if local(block) == "tbl":
            _table(block, builder)
            continue
        text = _text(block)
        style = _style(block)
        level = styles.level(style, block)
        if level == 0:
            title = title or one_line(text)
        if level is not None and one_line(text):
            builder.heading(text, max(level, 1))
        elif styles.is_list(style, block):
            indent = block.find(f"{_W}pPr/{_W}numPr/{_W}ilvl")
            depth = int(indent.get(f"{_W}val", "0")) if indent is not None else 0
            builder.write(
                "  " * min(depth, 8) + "- " + one_line(text), gap="\n", keep_indent=True
            ) if text.strip() else None
        else:
            builder.write(text)
        for box in block.iter(f"{_W}txbxContent"):
            if not any(local(above) == "Fallback" for above in box.iterancestors()):
                for inner in _blocks(box):
                    _table(inner, builder) if local(inner) == "tbl" else builder.write(_text(inner))
    for number, note in footnotes.items():
        builder.write(f"[{number}] {note}", gap="\n")
    properties = package.core_properties
    metadata = {"author": author} if (author := one_line(properties.author or "")) and author != "python-docx" else {}
    return [builder.parts(title=one_line(properties.title or "") or title, metadata=metadata)]


def _blocks(parent: Any) -> Iterator[Any]:
    """Paragraphs and tables below ``parent`` in order, those inside content controls and revisions too."""
    for child in parent:
        tag = local(child)
        if tag in ("p", "tbl"):
            yield child
        elif tag in ("sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag"):
            yield from _blocks(child)


def _text(element: Any) -> str:
    return "".join(_pieces(element))


def _pieces(element: Any) -> Iterator[str]:
    for child in element:
        tag = local(child)
        if tag == "t":
            yield child.text or ""
        elif tag in _LETTERS:
            yield _LETTERS[tag]
        elif tag in ("footnoteReference", "endnoteReference"):
            yield f"[{child.get(f'{_W}id', '')}]"
        elif tag and tag not in _HIDDEN:
            yield from _pieces(child)


def _table(table: Any, builder: TextBuilder) -> None:
    """A table of data as a table; one of a single column is a frame around paragraphs."""
    rows = []
    for row in table.iter(f"{_W}tr"):
        if next(row.iterancestors(f"{_W}tbl")) is not table:
            continue  # of a table inside a cell: its text comes with the cell
        cells: list[str] = []
        for cell in row.iter(f"{_W}tc"):
            if next(cell.iterancestors(f"{_W}tr")) is not row:
                continue
            merged = cell.find(f"{_W}tcPr/{_W}vMerge")
            continued = merged is not None and merged.get(f"{_W}val", "continue") == "continue"
            cells.append("" if continued else "\n".join(_text(p) for p in cell.iter(f"{_W}p")))
            span = cell.find(f"{_W}tcPr/{_W}gridSpan")
            width = span.get(f"{_W}val", "1") if span is not None else "1"
            cells.extend([""] * (min(int(width), 100) - 1 if width.isdecimal() else 0))
        rows.append(cells)
    if max(map(len, rows), default=0) <= 1:
        for cells in rows:
            builder.write("".join(cells))
    else:
        builder.table(rows)


def _style(paragraph: Any) -> str:
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    return style.get(f"{_W}val", "") if style is not None else ""


def _footnotes(package: Any) -> dict[str, str]:
    """Footnotes and endnotes by number, those that say something."""
    from lxml import etree

    notes: dict[str, str] = {}
    for relation in package.part.rels.values():
        if relation.is_external or not relation.reltype.endswith(("/footnotes", "/endnotes")):
            continue
        parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True)
        for note in etree.fromstring(relation.target_part.blob, parser):
            text = one_line(" ".join(_text(p) for p in note.iter(f"{_W}p")))
            if text:
                notes.setdefault(note.get(f"{_W}id", ""), text)
    return notes


class _Styles:
    """What the styles of a document mean. Names are English in the file whatever the language of Word."""

    def __init__(self, element: Any) -> None:
        self._styles = {style.get(f"{_W}styleId", ""): style for style in element.iter(f"{_W}style")}
        self._levels: dict[str, int | None] = {}

    def level(self, style: str, paragraph: Any) -> int | None:
        """1 to 6 for headings, 0 for the title, None for text."""
        own = paragraph.find(f"{_W}pPr/{_W}outlineLvl")
        if own is not None:
            return _outline_level(own)
        if style not in self._levels:
            self._levels[style] = self._find(style)
        return self._levels[style]

    def is_list(self, style: str, paragraph: Any) -> bool:
        """Whether a paragraph is a list's item."""
        return paragraph.find(f"{_W}pPr/{_W}numPr") is not None or self._name(style).startswith("list ")

    def _name(self, style: str) -> str:
        name = self._styles[style].find(f"{_W}name") if style in self._styles else None
        return name.get(f"{_W}val", "").lower() if name is not None else style.lower()

    def _find(self, style: str) -> int | None:
        for _ in range(20):  # a chain of styles based on styles
            name = self._name(style)
            if match := _HEADING.fullmatch(name):
                return int(match[1])
            if name == "title":
                return 0
            if style not in self._styles:
                return None
            level = self._styles[style].find(f"{_W}pPr/{_W}outlineLvl")
            if level is not None:
                return _outline_level(level)
            base = self._styles[style].find(f"{_W}basedOn")
            if base is None:
                return None
            style = base.get(f"{_W}val", "")
        return None


def _outline_level(element: Any) -> int | None:
    value = element.get(f"{_W}val", "9")
    return int(value) + 1 if value.isdecimal() and int(value) < 6 else None
