"""EPUB: the chapters in the order of the spine, each through the HTML walk."""

from __future__ import annotations

from typing import Any

from lavra.corpus.encoding import decode
from lavra.corpus.parts import Parts, TextBuilder, Unreadable, one_line
from lavra.corpus.readers import html
from lavra.corpus.readers.archives import Archive, beside, local
from lavra.corpus.readers.claims import claim
from lavra.corpus.settings import ReadSettings

_CHAPTERS = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document; title, language, rights and author from the package. Raises `Unreadable`, kind ``encrypted``."""
    archive = Archive(data)
    opf = next(
        (e.get("full-path") for e in archive.xml("META-INF/container.xml").iter() if local(e) == "rootfile"), None
    )
    if not opf:
        raise Unreadable("corrupt", "the EPUB file does not say where its package is")
    package = archive.xml(opf)
    chapters = _spine(package, opf)
    if locked := _encrypted(archive).intersection(chapters):
        raise Unreadable("encrypted", f"{len(locked)} of its chapters are protected (DRM)")
    builder = TextBuilder()
    for chapter in chapters:
        if chapter in archive.names:
            content = archive.member(chapter)
            if content.strip():
                html.write(html.parse(decode(content)[0]), builder, whole=True)
    metadata: dict[str, str] = {}
    reserved: dict[str, str] = {}
    for element in package.iter():
        if local(element) == "meta" and element.get("property") in ("tdm:reservation", "tdm:policy"):
            reserved.setdefault(str(element.get("property")).replace(":", "_"), one_line(element.text or "")[:500])
        if isinstance(element.tag, str) and element.tag.startswith("{http://purl.org/dc/"):
            metadata.setdefault(local(element), one_line(element.text or ""))
    fields = {key: metadata.get(key, "") for key in ("title", "language", "rights", "date", "publisher")}
    parts = builder.parts(title=fields["title"])
    claim(parts, {key: value for key, value in fields.items() if value})
    if author := metadata.get("creator"):
        parts.metadata["author"] = author[:300]
    parts.metadata |= {key: value for key, value in reserved.items() if value}
    return [parts]


def _spine(package: Any, opf: str) -> list[str]:
    """The members that are chapters, in reading order."""
    items = {
        e.get("id"): beside(opf, e.get("href", ""))
        for e in package.iter()
        if local(e) == "item" and e.get("media-type") in _CHAPTERS and "nav" not in (e.get("properties") or "").split()
    }
    order = [items[e.get("idref")] for e in package.iter() if local(e) == "itemref" and e.get("idref") in items]
    return list(dict.fromkeys(order))


def _encrypted(archive: Archive) -> set[str]:
    name = "META-INF/encryption.xml"
    if name not in archive.names:
        return set()
    return {beside("", e.get("URI", "")) for e in archive.xml(name).iter() if local(e) == "CipherReference"}
