"""The account of a set as one HTML page: no script, nothing from elsewhere, fit to be printed."""

from __future__ import annotations

from markdown_it import MarkdownIt

_STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#111827;background:#fff}
h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.15rem;margin:1.8rem 0 .4rem}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
td,th{padding:.25rem .6rem .25rem 0;text-align:left;border-bottom:1px solid #e5e7eb;overflow-wrap:anywhere}
@page{size:A4;margin:14mm}@media print{body{max-width:none;margin:0;font-size:10pt}tr{break-inside:avoid}}
"""


def page(markdown: str) -> str:
    """The page of a report. What it quotes stays text: no HTML of a file's gets into it."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>A set of examples</title><style>{_STYLE}</style></head>'
        f"<body>{body}</body></html>\n"
    )
