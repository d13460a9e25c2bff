"""Crawls, dumps and compressed files, written by hand: the readers are judged by the formats and not by a library."""

from __future__ import annotations

import bz2
import gzip
import html
import lzma
from pathlib import Path

import pyarrow as pa

from lavra.corpus.document import Document
from lavra.corpus.reading import Skipped, read_paths
from lavra.corpus.settings import ReadSettings

PARAGRAPH = (
    "O prazo para pedir férias é de trinta dias, contados da data em que o servidor completa um ano de exercício, "
    "e o pedido deve ser feito por escrito ao chefe imediato, que responde em cinco dias úteis. "
)


def read(path: Path, **settings: object) -> tuple[dict[str, Document], dict[str, Skipped]]:
    """Documents and what was skipped, by the name of the record (the file's own is empty)."""
    found = list(read_paths([path], ReadSettings(**settings)))  # type: ignore[arg-type]
    for item in found:
        for span in getattr(item, "spans", ()):
            assert 0 <= span.start < span.end <= len(item.text)
    documents = {d.source.partition("#")[2]: d for d in found if isinstance(d, Document)}
    return documents, {s.source.partition("#")[2]: s for s in found if isinstance(s, Skipped)}


def packed(data: bytes, how: str) -> bytes:
    if how == "zst":
        return pa.Codec("zstd").compress(data, asbytes=True)
    return {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[how](data)


def warc(kind: str, url: str, content: bytes, mime: str = "application/http; msgtype=response", **more: str) -> bytes:
    fields = {
        "WARC-Type": kind,
        "WARC-Record-ID": "<urn:uuid:00000000-0000-0000-0000-000000000000>",
        "WARC-Target-URI": url,
        "WARC-Date": "2026-01-02T03:04:05Z",
        "WARC-Payload-Digest": "sha1:ABC",
        "Content-Type": mime,
        **{name.replace("_", "-"): value for name, value in more.items()},
        "Content-Length": str(len(content)),
    }
    header = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return b"WARC/1.0\r\n" + header.encode() + b"\r\n" + content + b"\r\n\r\n"


def http(body: bytes, *headers: str, mime: str = "text/html; charset=utf-8", status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {mime}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def page(title: str, text: str = PARAGRAPH, head: str = "") -> bytes:
    return (
        f"<!doctype html><html lang=pt-BR><head><meta charset=utf-8><title>{title}</title>{head}</head><body>"
        "<nav><ul><li><a href=/a>Início</a><li><a href=/b>Contato</a><li><a href=/c>Sobre nós</a></ul></nav>"
        f"<article><h1>{title}</h1><p>Um: {text}</p><h2>Exceções</h2><p>Dois: {text}</p><p>Três: {text}</p></article>"
        "<footer>© 2026 Todos os direitos reservados</footer></body></html>"
    ).encode()


def wiki_page(title: str, text: str, ns: int = 0, more: str = "") -> str:
    return f"""\
  <page>
    <title>{title.replace("&", "&amp;")}</title>
    <ns>{ns}</ns>
    <id>7</id>
{more}    <revision>
      <id>9</id>
      <timestamp>2026-02-03T04:05:06Z</timestamp>
      <model>wikitext</model>
      <text bytes="1" xml:space="preserve">{html.escape(text, quote=False)}</text>
    </revision>
  </page>
"""
