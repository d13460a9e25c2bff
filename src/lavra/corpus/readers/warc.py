"""WARC and WET, the archives of web crawls (ISO 28500): pages and texts, record by record.

Framed by the house (`warc_records`) instead of by a library, because those end at the first damaged member and lose
what follows. Responses with HTML are given on to `webpage`; responses with plain text and ``conversion`` records (WET)
are texts. Requests, redirects, errors, pictures and the like are passed over. What the files of
sites say of training (`site_files`) holds for their pages.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator

from lavra.corpus.encoding import decode
from lavra.corpus.packing import Stream
from lavra.corpus.parts import BadRecord, Inner, Parts, Record, Unreadable, normalise, one_line
from lavra.corpus.readers.warc_records import Framed, frames, word
from lavra.corpus.settings import ReadSettings
from lavra.corpus.site_files import CrawledSites, is_place

_MAX_HEADER = 256_000
"""Of a response."""
_KEPT = {
    "warc-target-uri": "url",
    "warc-date": "date",
    "warc-payload-digest": "payload_digest",
    "warc-identified-content-language": "identified_language",
    "warc-truncated": "truncated",
}
"""Fields of a record that become metadata, by their names there."""
_HTTP_KEPT = {
    "content-language": "content_language",
    "last-modified": "last_modified",
    "x-robots-tag": "x_robots_tag",
    "tdm-reservation": "tdm_reservation",
    "tdm-policy": "tdm_policy",
}
_CODECS = {"br": "brotli", "zstd": "zstd"}
"""Content encodings besides gzip and deflate, as Arrow calls them."""
_HTML = ("text/html", "application/xhtml+xml")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{2,40})", re.I)


class _Bad(Exception):
    def __init__(self, kind: str, reason: str) -> None:
        self.kind, self.reason = kind, reason


def look_ahead(file: Stream, settings: ReadSettings) -> CrawledSites:
    """What the sites in the crawl say of training, in files of theirs that may stand behind the pages."""
    sites = CrawledSites()
    limit = settings.max_record_megabytes * 1_000_000
    try:
        for framed in frames(file, settings.max_record_megabytes):
            if not isinstance(framed, Framed) or framed.fields.get("warc-type") != "response":
                continue
            address = framed.fields.get("warc-target-uri", "").strip("<>")
            if not is_place(address):
                continue
            try:
                status, headers, content = _http(framed.content)
                if status == 200:
                    sites.add(address, _decoded(headers, content, limit).decode("utf-8", "replace"))
            except _Bad:
                continue
    except Unreadable:
        pass  # reading will say it
    return sites


def stream(
    file: Stream, settings: ReadSettings, sites: CrawledSites | None = None
) -> Iterator[tuple[Record, int, str]]:
    """Each page or text with its size in bytes and its SHA-256; what cannot be read is named by its number.

    What ``sites`` say of a page becomes metadata; their own files are no documents.
    """
    limit = settings.max_record_megabytes * 1_000_000
    for number, framed in enumerate(frames(file, settings.max_record_megabytes), 1):
        if not isinstance(framed, Framed):
            kind, reason, size = framed
            yield BadRecord(str(number), kind, reason), size, ""
            continue
        if framed.fields.get("warc-type") not in ("response", "conversion"):
            continue
        content = framed.content
        try:
            record = _record(framed.fields, content, number, limit)
        except (_Bad, Unreadable) as error:
            yield BadRecord(str(number), error.kind, error.reason), 0, ""
            continue
        if isinstance(record, (Parts, Inner)) and sites is not None:
            about = record if isinstance(record, Parts) else record.about
            if sites.has(about.metadata["url"]):
                continue
            about.metadata |= {
                key: value for key, value in sites.said(about.metadata["url"]).items() if key not in about.metadata
            }
        if record is not None:
            yield record, len(content), hashlib.sha256(content).hexdigest()


def _record(fields: dict[str, str], content: bytes, number: int, limit: int) -> Record | None:
    """A page or text, named by its address; None for what is neither."""
    metadata = {name: fields[key][:1000] for key, name in _KEPT.items() if fields.get(key)}
    address = metadata["url"] = metadata.get("url", "").strip("<>")
    about = Parts("", record=address[:300] or str(number), metadata=metadata)
    declared = _CHARSET.search(fields.get("content-type", ""))
    kind = fields.get("content-type", "").split(";")[0].strip().lower()
    if fields.get("warc-type") == "response":
        if kind != "application/http" or not address.lower().startswith(("http:", "https:")):
            return None
        status, headers, content = _http(content)
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if status != 200 or kind not in (*_HTML, "text/plain"):
            return None
        declared = _CHARSET.search(headers.get("content-type", ""))
        metadata |= {name: headers[key][:500] for key, name in _HTTP_KEPT.items() if headers.get(key)}
        content = _decoded(headers, content, limit)
    elif kind != "text/plain":
        return None
    if kind in _HTML:
        if not content.strip():
            return BadRecord(about.record, "empty", "there is no text in it")
        # The server's word on the encoding goes before the page's, but after the bytes themselves.
        if declared and not _is_utf8(content):
            content = decode(content, declared[1])[0].encode("utf-8", "replace")
        return Inner("webpage", content, about)
    text = normalise(decode(content, declared[1] if declared else None)[0]).strip()
    if not text:
        return BadRecord(about.record, "empty", "there is no text in it")
    about.text = text
    about.title = one_line(text.split("\n", 1)[0][:200])
    return about


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _http(content: bytes) -> tuple[int, dict[str, str], bytes]:
    """The status, the headers (those that come twice joined) and the body of a response."""
    end = re.search(rb"\r?\n\r?\n", content[:_MAX_HEADER])
    if end is None:
        raise _Bad("corrupt", "its HTTP header has no end")
    lines = content[: end.start()].split(b"\n")
    status = re.match(rb"HTTP/[\d.]+ +(\d{3})", lines[0])
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        key = name.strip().lower().decode("latin-1")
        headers[key] = f"{headers[key]}, {word(value)}" if key in headers else word(value)
    return int(status[1]) if status else 0, headers, content[end.end() :]


def _decoded(headers: dict[str, str], body: bytes, limit: int) -> bytes:
    """The body without its transfer and content encodings (Common Crawl has taken them off already)."""
    if "chunked" in headers.get("transfer-encoding", "").lower() and re.match(rb"[0-9a-fA-F]{1,8}[ \t;\r\n]", body):
        body = _unchunked(body)
    for encoding in reversed(headers.get("content-encoding", "").lower().split(",")):
        encoding = encoding.strip()
        if encoding in ("gzip", "x-gzip") and not body.startswith(b"\x1f\x8b"):
            continue  # taken off already
        if encoding in ("gzip", "x-gzip", "deflate"):
            try:
                raw = encoding == "deflate" and body[:1] != b"\x78"
                inflater = zlib.decompressobj(-15 if raw else 47)
                body = inflater.decompress(body, limit)
            except zlib.error as error:
                raise _Bad("corrupt", f"its {encoding} body is damaged ({error})") from None
            if inflater.unconsumed_tail:
                raise _Bad("too_large", _unpacks(limit))
        elif encoding in _CODECS and not _is_utf8(body[:4000].rsplit(b" ", 1)[0]):
            body = _by_codec(_CODECS[encoding], body, limit)
    return body


def _by_codec(codec: str, body: bytes, limit: int) -> bytes:
    """A body that Arrow's libraries unpack, as a stream: no more than ``limit`` bytes of it."""
    import pyarrow as pa

    if not pa.Codec.is_available(codec):
        raise _Bad("unsupported", f"its body is compressed with {codec}, which this pyarrow was built without")
    try:
        made = bytes(pa.CompressedInputStream(pa.BufferReader(body), codec).read(limit + 1))
    except OSError as error:
        raise _Bad("corrupt", f"its {codec} body is damaged ({one_line(str(error))[:80]})") from None
    if len(made) > limit:
        raise _Bad("too_large", _unpacks(limit))
    return made


def _unpacks(limit: int) -> str:
    return f"its body unpacks to more than {limit / 1e6:,.0f} MB: raise `max_record_megabytes`"


def _unchunked(body: bytes) -> bytes:
    pieces = []
    at = 0
    while (end := body.find(b"\n", at, at + 1000)) >= 0:
        size = body[at:end].split(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size) or not (length := int(size, 16)):
            break
        pieces.append(body[end + 1 : end + 1 + length])
        at = end + 1 + length
        at += 2 if body[at : at + 2] == b"\r\n" else 1
    return b"".join(pieces)
