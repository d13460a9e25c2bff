"""A page of the web, out of a crawl: its main content, without what the site puts around it.

trafilatura (Apache-2.0) does this best on pages from anywhere; where it is not installed, or finds nothing, the
house's own reader does. What the page says of itself, opt-outs included, is read by the house either way.
"""

from __future__ import annotations

import re
from typing import Any

from lavra.corpus.encoding import decode
from lavra.corpus.parts import Parts, TextBuilder
from lavra.corpus.readers import html
from lavra.corpus.settings import ReadSettings

_LONGEST = 2_000_000
"""Characters of a page that are given to trafilatura, whose time grows faster than a page does."""


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document; its metadata says which extractor read it."""
    (house,) = html.read(data, name, settings)
    house.metadata["extractor"] = "lavra"
    text, _ = decode(data)
    parts = _extracted(text, house) if len(text) <= _LONGEST else None
    return [parts or house]


def _extracted(text: str, house: Parts) -> Parts | None:
    """What trafilatura takes for the main content, with the house's title and claims."""
    try:
        import trafilatura
    except ImportError:
        return None
    try:
        made = trafilatura.extract(text, output_format="html", fast=True, include_comments=False, include_tables=True)
    except Exception:  # it raises anything on pages that are broken enough
        return None
    if not made:
        return None
    tree = html.parse(made)
    _inline_code(tree)
    builder = TextBuilder()
    html.write(tree, builder, whole=True)
    parts = builder.parts(title=house.title)
    if not parts.text:
        return None
    for claim in ("licence", "owner", "language"):
        setattr(parts, claim, getattr(house, claim))
    parts.metadata = {**house.metadata, "extractor": f"trafilatura {trafilatura.__version__}"}
    return parts


def _inline_code(tree: Any) -> None:
    """It writes ``<code>`` inside a sentence as ``<pre>``, which would tear the sentence."""
    for element in list(tree.iter("pre")):
        above = element.getparent()
        if above is None:
            continue
        if above.tag == "pre":
            element.drop_tag()
        elif re.search(r"\S", above.text or "") and "\n" not in (element.text or ""):
            element.tag = "code"
