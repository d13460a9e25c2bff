"""MediaWiki dumps (``pages-articles.xml``): an article a document; redirects and other namespaces are left out.

Framed by the lines that the dump's writer puts around a page, then each page parsed alone: a dump of any size takes
the memory of its largest page, and one damaged page costs that page. (``<`` is escaped inside a page's text, so the
frame cannot be imitated there.)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from lavra.corpus.packing import Damaged, Stream
from lavra.corpus.parts import BadRecord, Inner, Parts, Record, Unreadable, one_line
from lavra.corpus.settings import ReadSettings

_PIECE = 1 << 16
_REDIRECT = re.compile(r"\s*#\s*\w{4,20}\s*:?\s*\[\[")
_ARTICLES = "0"


def stream(file: Stream, settings: ReadSettings) -> Iterator[tuple[Record, int, str]]:
    """Each article with the size and SHA-256 of its XML; damaged pages are named by their number in the file."""
    if find_spec("mwparserfromhell") is None:
        raise Unreadable("unsupported", "reading a MediaWiki dump needs mwparserfromhell: pip install 'lavra[corpus]'")
    site: dict[str, str] = {}
    for number, page in enumerate(_pages(file, settings.max_record_megabytes, site), 1):
        if isinstance(page, bytes):
            record = _article(page, number, site)
        else:
            record = BadRecord(str(number), page.kind, page.reason)
        if record is not None:
            data = page if isinstance(page, bytes) else b""
            yield record, len(data), hashlib.sha256(data).hexdigest() if data else ""


def _pages(file: Stream, megabytes: int, site: dict[str, str]) -> Iterator[bytes | Unreadable]:
    """The XML of each page, or why it cannot be had; what stands before the first one fills ``site``."""
    limit = megabytes * 1_000_000
    page: list[bytes] = []
    size = 0
    inside = False
    head = b""
    while True:
        try:
            line = file.readline(_PIECE)
        except Damaged as error:
            inside = False
            page.clear()
            yield error
            continue
        if not line:
            break
        mark = line.strip()
        if mark == b"<page>":
            if inside:
                yield Unreadable("corrupt", "the page has no end")
            if not site:
                site.update(_site(head))
            inside, size = True, 0
            page.clear()
        if inside:
            size += len(line)
            if size <= limit:
                page.append(line)
            if mark == b"</page>":
                inside = False
                if size <= limit:
                    yield b"".join(page)
                else:
                    reason = f"the page has {size / 1e6:,.0f} MB, over the limit of {megabytes} MB"
                    yield Unreadable("too_large", f"{reason}: raise `max_record_megabytes`")
                page.clear()
        elif not site and len(head) < 1_000_000:
            head += line
    if inside:
        yield Unreadable("corrupt", "the dump ends inside the page")


def _site(head: bytes) -> dict[str, str]:
    """The wiki's name and language."""
    text = head.decode("utf-8", "replace")
    found = {"site": re.search(r"<sitename>([^<]{1,200})</sitename>", text), "dump": None}
    found["address"] = re.search(r"<base>([^<]{1,500})</base>", text)
    found["language"] = re.search(r"<mediawiki\b[^>]*\bxml:lang=[\"']([\w-]{2,20})[\"']", text)
    return {name: one_line(match[1]) for name, match in found.items() if match} or {"site": ""}


def _article(page: bytes, number: int, site: dict[str, str]) -> Record | None:
    """An article's wikitext, to be read by `wikitext`; None for redirects and other namespaces."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=True)
    try:
        root = etree.fromstring(page, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        return BadRecord(str(number), "corrupt", f"page {number} is not valid XML ({one_line(str(error))[:100]})")
    if (root.findtext("ns") or "0").strip() != _ARTICLES or root.find("redirect") is not None:
        return None
    title = one_line(root.findtext("title") or "")
    revisions: list[Any] = root.findall("revision")
    if not revisions or not title:
        return BadRecord(title or str(number), "corrupt", f"page {number} has no title or no revision")
    revision = max(revisions, key=lambda one: one.findtext("timestamp") or "")
    text = revision.findtext("text") or ""
    model = (revision.findtext("model") or "wikitext").strip()
    if model != "wikitext" or _REDIRECT.match(text):
        return None
    if not text.strip():
        return BadRecord(title, "empty", f"page {number}: there is no text in it")
    metadata = {
        "page": root.findtext("id"),
        "revision": revision.findtext("id"),
        "date": revision.findtext("timestamp"),
    }
    about = Parts("", title=title, record=title[:300])
    about.metadata = {name: one_line(value) for name, value in metadata.items() if value}
    about.metadata |= {name: site[name] for name in ("site",) if site.get(name)}
    if base := re.match(r"(https?://[^/]+)", site.get("address", "")):
        about.metadata["url"] = f"{base[1]}/wiki/{title.replace(' ', '_')}"
    code = site.get("language", "").lower().split("-")[0]
    about.language = code if re.fullmatch("[a-z]{2,3}", code) and code != "simple" else None
    return Inner("wikitext", text.encode("utf-8", "replace"), about)
