"""HTML: main content with its headings, tables and code kept in place, page furniture left out.

A walk of our own over lxml's tree. General extractors score higher on news pages but flatten headings, drop
definition lists and code, and lose whole pages of manuals; citations need the structure. Menus, banners, footers and
lists that are all links go; where that would leave little of the page, the page stays whole.
"""

from __future__ import annotations

import re
from typing import Any

from lavra.corpus.encoding import decode
from lavra.corpus.opting_out import opted_out
from lavra.corpus.parts import Parts, TextBuilder, Unreadable, one_line
from lavra.corpus.readers.claims import claim
from lavra.corpus.settings import ReadSettings

_NEVER = frozenset(
    (
        *("script", "style", "template", "noscript", "iframe", "object", "embed", "svg", "canvas", "audio", "video"),
        *("map", "input", "select", "option", "button", "textarea", "datalist", "dialog"),
        *("head", "link", "meta", "base"),
    )
)
_FURNITURE = frozenset(("nav", "footer", "menu"))
_FURNITURE_ROLES = frozenset(("navigation", "banner", "contentinfo", "search", "complementary", "menu", "dialog"))
_FURNITURE_NAMES = re.compile(
    r"(?:^|[\s_-])(?:cookies?|consent|gdpr|lgpd|breadcrumbs?|nav(?:bar|igation|header|footer)?|menu|sidebar|sharing|"
    r"share|social|newsletter|adverts?|ads?|footer|masthead|skip-?(?:link|nav|to-content)|pagination|pager|"
    r"headerlink|mw-editsection|toc|localtoc|table-?of-?contents|noprint|rodape|rodapé|cabecalho|compartilhar)(?:$|[\s_-])",
    re.I,
)
_BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "center", "caption", "dd", "details", "dir", "div"),
        *("dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup", "hr", "html"),
        *("legend", "li", "main", "menu", "nav", "ol", "p", "section", "summary", "table", "tbody", "td", "tfoot"),
        *("th", "thead", "tr", "ul"),
    )
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]{2,40})""", re.I)
_SELF_CLOSED = re.compile(r"<(title|script|style|iframe|textarea|a|div|span|p|i|b|em|strong|td|th|li)\b([^<>]*)/>")
"""Empty elements as XHTML writes them; to an HTML parser ``<title/>`` opens a title that never ends."""
_MAX_ELEMENTS = 2_000_000


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document; the page's own language, author, description and licence link become claims."""
    match = _CHARSET.search(data[:4096])
    text, _ = decode(data, match[1].decode("ascii") if match else None)
    tree = parse(text)
    builder = TextBuilder()
    write(tree, builder)
    parts = builder.parts(title=_title(tree))
    claim(parts, _claims(tree))
    return [parts]


def parse(text: str) -> Any:
    """The root element of an HTML text. Raises `Unreadable` where there is none."""
    from lxml import etree, html

    text = text.replace("\x00", "")
    if "http://www.w3.org/1999/xhtml" in text[:2000]:
        text = _SELF_CLOSED.sub(r"<\1\2></\1>", text)
    if not text.strip():
        raise Unreadable("empty", "there is no text in it")
    try:
        # Text goes in as UTF-8 bytes: then the page's own (wrong, by now) declaration is not consulted.
        parser = html.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
        root = html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError) as error:
        raise Unreadable("corrupt", f"the HTML cannot be parsed ({error})") from None
    return root


def write(root: Any, builder: TextBuilder, *, whole: bool = False) -> None:
    """Write the content below ``root``; ``whole`` keeps the furniture too (a book's chapter has none)."""
    body = root.find("body") if root.tag == "html" else root
    if body is None:
        body = root
    if not whole:
        sizes = _Sizes(body)
        main = _main(body, sizes)
        furniture = _furniture(main, sizes)
        outermost = (e for e in furniture if not any(above in furniture for above in e.iterancestors()))
        if sizes.text[main] - sum(sizes.text[e] for e in outermost) >= 0.25 * sizes.text[body]:
            _Walk(builder, furniture).run(main)
            return
    _Walk(builder, frozenset()).run(body)


class _Sizes:
    """Characters of text, of linked text, and links below every element, in one pass from the leaves up."""

    def __init__(self, root: Any) -> None:
        self.elements = list(root.iter())
        if len(self.elements) > _MAX_ELEMENTS:
            raise Unreadable("too_large", f"it has more than {_MAX_ELEMENTS:,} elements")
        self.text = dict.fromkeys(self.elements, 0)
        self.linked = dict.fromkeys(self.elements, 0)
        self.links = dict.fromkeys(self.elements, 0)
        for element in reversed(self.elements):
            if isinstance(element.tag, str) and element.tag not in _NEVER:
                self.text[element] += len((element.text or "").strip())
            else:
                self.text[element] = self.linked[element] = self.links[element] = 0
            if element.tag == "a":
                self.linked[element], self.links[element] = self.text[element], 1
            if element is not root:
                above = element.getparent()
                self.text[above] += self.text[element] + len((element.tail or "").strip())
                self.linked[above] += self.linked[element]
                self.links[above] += self.links[element]


def _main(body: Any, sizes: _Sizes) -> Any:
    """The one element that says it is the main content, if it holds a good part of it."""
    for path in (".//main", ".//*[@role='main']", ".//article"):
        found = body.findall(path)
        if len(found) == 1 and sizes.text[found[0]] > 0.3 * sizes.text[body]:
            return found[0]
    return body


def _furniture(main: Any, sizes: _Sizes) -> frozenset[Any]:
    """Elements that are about the site, not of the page: by what they say they are, or because all is links."""
    found = set()
    for element in main.iter():
        if not isinstance(element.tag, str) or element is main or element.tag in ("main", "article"):
            continue
        if _marked(element):
            if sizes.text[element] < 0.5 * max(sizes.text[main], 1):
                found.add(element)
        elif element.tag in ("ul", "ol", "div", "table", "td") and 5 <= sizes.links[element] <= 500:
            linked = sizes.linked[element]
            if linked > 0.85 * sizes.text[element] and linked < 30 * sizes.links[element]:
                found.add(element)
    return frozenset(found)


def _marked(element: Any) -> bool:
    above = element.getparent()
    return (
        element.tag in _FURNITURE
        or element.get("role", "").lower() in _FURNITURE_ROLES
        or element.get("aria-hidden") == "true"
        or element.get("hidden") is not None
        or "display:none" in element.get("style", "").replace(" ", "").lower()
        or (element.tag == "header" and above is not None and above.tag == "body")
        # Inside the content an aside is a note to the reader, beside it a column of the site.
        or (element.tag == "aside" and not any(e.tag in ("main", "article") for e in element.iterancestors()))
        or bool(_FURNITURE_NAMES.search(f"{element.get('class', '')} {element.get('id', '')}"))
    )


class _Walk:
    """Writes the text of a tree in reading order. Iterative: a page may nest deeper than Python recurses."""

    def __init__(self, builder: TextBuilder, furniture: frozenset[Any]) -> None:
        self._builder = builder
        self._furniture = furniture
        self._inline: list[str] = []
        self._lists: list[int | None] = []
        self._prefix = ""
        self._tight = False

    def run(self, root: Any) -> None:
        stack: list[tuple[Any, bool]] = [(root, False)]
        while stack:
            element, leaving = stack.pop()
            if leaving:
                self._leave(element)
                if element is not root and element.tail:
                    self._inline.append(element.tail)
                continue
            if self._enter(element):
                stack.append((element, True))
                stack.extend((child, False) for child in reversed(element))
            elif element is not root and element.tail:
                self._inline.append(element.tail)
        self._flush()

    def _enter(self, element: Any) -> bool:
        """Handle an element's start; False where what is inside it has been dealt with."""
        tag = element.tag
        if not isinstance(tag, str) or tag in _NEVER or element in self._furniture:
            return False
        if tag in _HEADINGS:
            self._flush()
            self._builder.heading(_text(element), _HEADINGS[tag])
            return False
        if tag == "pre":
            self._flush()
            label = re.search(r"(?:language|lang|highlight)-(\w+)", " ".join(_classes(element)))
            self._builder.block("code", _text(element, keep_lines=True), label[1] if label else "")
            return False
        if tag == "table" and (rows := _rows(element)) is not None:
            self._flush()
            caption = element.find("caption")
            if caption is not None:
                self._builder.write(one_line(_text(caption)))
            self._builder.table(rows, one_line(_text(caption)) if caption is not None else "")
            return False
        if tag == "br":
            self._inline.append("\x00")
        elif tag in _BLOCKS:
            self._flush()
            if tag in ("ul", "ol"):
                self._lists.append(0 if tag == "ol" else None)
            elif tag == "li":
                self._item()
        elif tag in ("td", "th"):
            self._inline.append(" ")
        if element.text:
            self._inline.append(element.text)
        return True

    def _leave(self, element: Any) -> None:
        tag = element.tag
        if tag in _BLOCKS:
            self._flush()
            if tag in ("ul", "ol") and self._lists:
                self._lists.pop()
                self._tight = bool(self._lists)
            elif tag == "li":
                self._prefix = ""

    def _item(self) -> None:
        indent = "  " * max(len(self._lists) - 1, 0)
        if self._lists and self._lists[-1] is not None:
            self._lists[-1] += 1
            self._prefix = f"{indent}{self._lists[-1]}. "
        else:
            self._prefix = f"{indent}- "

    def _flush(self) -> None:
        text = "\n".join(one_line(line) for line in "".join(self._inline).split("\x00")).strip()
        self._inline.clear()
        if not text:
            return
        is_item = bool(self._prefix)
        self._builder.write(self._prefix + text, gap="\n" if is_item and self._tight else "\n\n", keep_indent=is_item)
        self._prefix = ""
        self._tight = is_item


def _classes(element: Any) -> list[str]:
    return [node.get("class", "") for node in (element, *element.iter("code"))]


def _text(element: Any, *, keep_lines: bool = False) -> str:
    """The text inside an element, ``<br>`` as a newline, without anchors that only carry a pilcrow."""
    pieces: list[str] = []
    for node in element.iter():
        tag = node.tag
        shown = isinstance(tag, str) and tag not in _NEVER
        if tag == "br":
            pieces.append("\n" if keep_lines else " ")
        elif shown and node.text and not (tag == "a" and node.text.strip() in ("¶", "#", "§", "")):
            pieces.append(node.text)
        if node is not element:
            following = node.getnext()
            apart = tag == "code" and keep_lines and following is not None and following.tag == "code"
            if apart or tag in ("p", "div", "li", "td", "th", "tr"):
                pieces.append("\n" if keep_lines else " ")
            if node.tail:
                pieces.append(node.tail)
    return "".join(pieces)


def _rows(table: Any) -> list[list[str]] | None:
    """The cells of a table of data; None for one that only lays out the page."""
    if table.get("role") in ("presentation", "none") or table.find(".//table") is not None:
        return None
    if any(table.find(f".//{tag}") is not None for tag in ("h1", "h2", "h3", "pre", "article", "form")):
        return None
    rows: list[list[str]] = []
    for row in table.iter("tr"):
        cells: list[str] = []
        for cell in row:
            if cell.tag in ("td", "th"):
                cells.append(_text(cell))
                span = cell.get("colspan", "1")
                cells.extend([""] * (min(int(span), 100) - 1 if span.isdecimal() else 0))
        rows.append(cells)
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    if table.find(".//th") is None and (len(filled) < 2 or max(map(len, filled)) < 2):
        return None
    longest = max((len(cell) for row in filled for cell in row), default=0)
    return filled if longest < 5_000 else None


def _title(tree: Any) -> str:
    for path in (".//title", ".//h1"):
        element = tree.find(path)
        if element is not None and (text := one_line(_text(element))):
            return text[:300]
    return ""


def _claims(tree: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    if language := tree.get("lang") or tree.get("{http://www.w3.org/XML/1998/namespace}lang"):
        found["language"] = language
    for meta in tree.iter("meta"):
        key = (meta.get("name") or meta.get("property") or "").lower()
        if key in ("author", "description", "dcterms.rights", "dc.rights") and meta.get("content"):
            found.setdefault({"dcterms.rights": "licence", "dc.rights": "licence"}.get(key, key), meta.get("content"))
        if key in ("tdm-reservation", "tdm-policy") and meta.get("content"):
            found.setdefault(key.replace("-", "_"), meta.get("content"))
        if key == "robots" and opted_out({"robots": meta.get("content") or ""}):
            found.setdefault("robots", meta.get("content"))
    for element in tree.iter("a", "link"):
        if "license" in (element.get("rel") or "").lower().split() and element.get("href"):
            found["licence"] = element.get("href")
            break
    return found
