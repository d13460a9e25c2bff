"""Wikitext to plain text: headings, tables and lists kept in place; templates, references, files and categories gone.

Parsed by mwparserfromhell (MIT), whose nodes are walked here. What a template would have written is not in a dump, so
templates leave nothing behind, as in every other extractor; a heading with nothing under it goes too.
"""

from __future__ import annotations

import re
from typing import Any

from lavra.corpus.parts import Parts, TextBuilder, Unreadable, one_line
from lavra.corpus.settings import ReadSettings

_GONE = frozenset(
    ("ref", "references", "gallery", "imagemap", "timeline", "templatestyles", "section", "score", "graph", "mapframe")
)
_CODE = frozenset(("syntaxhighlight", "source", "pre"))
_NOT_TEXT = re.compile(
    r"\s*(?:file|image|media|category|ficheiro|arquivo|imagem|categoria|archivo|imagen|fichier|datei|kategorie|"
    r"catégorie)\s*:",
    re.I,
)
_OTHER_LANGUAGE = re.compile(r"\s*[a-z]{2,3}(?:-[a-z-]{2,10})?\s*:\S")
_QUOTES = re.compile(r"'{2,5}")
_MAGIC = re.compile(r"__[A-ZÀ-Ü]{3,30}__")
_ITEM = re.compile(r"^(?:- )+[ \t]*")
_BREAK = re.compile(r"\n[ \t]*\n")
_BOXES = re.compile(r"infobox|navbox|metadata|ambox|toccolours|noprint", re.I)
_MAX_DEPTH = 60


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document."""
    try:
        import mwparserfromhell
    except ImportError:
        raise Unreadable(
            "unsupported", "reading wikitext needs mwparserfromhell: pip install 'lavra[corpus]'"
        ) from None

    tree = mwparserfromhell.parse(data.decode("utf-8", "replace"), skip_style_tags=True)
    writer = _Writer()
    writer.run(tree)
    return [writer.builder.parts()]


class _Writer:
    """Writes the text of a page in reading order."""

    def __init__(self) -> None:
        self.builder = TextBuilder()
        self._inline: list[str] = []
        self._headings: list[tuple[str, int]] = []

    def run(self, tree: Any) -> None:
        self._nodes(tree, 0)
        self._flush()

    def _nodes(self, code: Any, depth: int) -> None:
        for node in code.nodes:
            kind = type(node).__name__
            if kind == "Heading":
                self._flush()
                while self._headings and self._headings[-1][1] >= node.level:
                    self._headings.pop()
                if title := one_line(_inline(node.title)):
                    self._headings.append((title, max(node.level - 1, 1)))
            elif kind == "Tag" and str(node.tag).strip().lower() == "table":
                self._flush()
                self._table(node)
            elif kind == "Tag" and str(node.tag).strip().lower() in _CODE:
                self._flush()
                self._open()
                label = str(node.get("lang").value) if node.has("lang") else ""
                self.builder.block("code", str(node.contents or ""), one_line(label)[:30])
            elif kind == "Tag" and not node.wiki_markup and _holds_blocks(node) and depth < _MAX_DEPTH:
                self._nodes(node.contents, depth + 1)
            else:
                self._inline.append(_inline_node(node, 0))

    def _open(self) -> None:
        for title, level in self._headings:
            self.builder.heading(title, level)
        self._headings.clear()

    def _flush(self) -> None:
        text = _MAGIC.sub("", "".join(self._inline))
        self._inline.clear()
        for paragraph in _BREAK.split(text):
            lines = [_ITEM.sub("- ", line.rstrip()) for line in paragraph.split("\n")]
            if kept := "\n".join(line for line in lines if re.sub(r"^[-#\s.\d]+", "", line)):
                self._open()
                self.builder.write(kept)

    def _table(self, table: Any) -> None:
        if table.has("class") and _BOXES.search(str(table.get("class").value)):
            return
        caption = ""
        rows: list[list[str]] = [[]]
        for node in table.contents.nodes if table.contents else ():
            tag = str(getattr(node, "tag", "")).strip().lower()
            if tag == "tr":
                rows.append([_inline(cell.contents) for cell in _cells(node)])
            elif tag in ("td", "th"):
                cell = _inline(node.contents)
                if cell.startswith("+") and not rows[-1] and not caption:
                    caption = one_line(cell[1:])  # the parser takes "|+" for a cell
                else:
                    rows[-1].append(cell)
        if any(cell.strip() for row in rows for cell in row):
            self._open()
            if caption:
                self.builder.write(caption)
            self.builder.table(rows, caption)


def _cells(row: Any) -> list[Any]:
    if row.contents is None:
        return []
    return [node for node in row.contents.nodes if str(getattr(node, "tag", "")).strip().lower() in ("td", "th")]


def _holds_blocks(tag: Any) -> bool:
    return bool(tag.contents) and str(tag.tag).strip().lower() in (
        "div",
        "center",
        "blockquote",
        "section",
        "onlyinclude",
    )


def _inline(code: Any, depth: int = 0) -> str:
    if code is None or depth > _MAX_DEPTH:
        return ""
    return "".join(_inline_node(node, depth + 1) for node in code.nodes)


def _inline_node(node: Any, depth: int) -> str:
    """The text of one node, empty for what is not text."""
    kind = type(node).__name__
    if kind == "Text":
        return _QUOTES.sub("", str(node.value))
    if kind == "HTMLEntity":
        return str(node.normalize()) if node.value != "nbsp" else " "
    if kind == "Wikilink":
        title = str(node.title)
        if _NOT_TEXT.match(title) or (node.text is None and _OTHER_LANGUAGE.match(title)):
            return ""
        return _inline(node.text, depth) if node.text is not None else title.strip().lstrip(":").replace("_", " ")
    if kind == "ExternalLink":
        return _inline(node.title, depth) if node.title is not None else ("" if node.brackets else str(node.url))
    if kind == "Heading":
        return f"\n\n{_inline(node.title, depth)}\n\n"
    if kind != "Tag":
        return ""
    return _tag(node, str(node.tag).strip().lower(), depth)


def _tag(node: Any, tag: str, depth: int) -> str:
    if tag in _GONE or tag == "table":
        return ""
    if tag == "br":
        return "\n"
    if tag == "nowiki":
        return str(node.contents or "")
    if tag == "math":
        return f"${one_line(str(node.contents or ''))}$"
    if node.wiki_markup and tag in ("li", "dt", "dd", "hr"):
        return {"*": "- ", "#": "- "}.get(str(node.wiki_markup), "")
    inside = _inline(node.contents, depth)
    return f"\n{inside}\n" if tag in ("li", "p", "div", "blockquote", "center", "dd", "dt", "tr") else inside
