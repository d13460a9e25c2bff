"""PDF through PDFium: text page by page, pages by their number, headings by outline or size (`pdf_headings`).

PDFium places words better than the pure Python readers (measured on TeX papers and financial reports). A PDF that is
pictures of pages is told apart from an empty one; reading pictures (OCR) is not done here.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

from lavra.corpus.parts import Parts, TextBuilder, Unreadable, one_line, ordered
from lavra.corpus.readers.pdf_headings import Line, from_outline, from_sizes
from lavra.corpus.settings import ReadSettings

_HYPHENS = re.compile("[\x02\ufffe]")  # PDFium's mark for a hyphen at a line's end: the word is whole without it
_MAX_OUTLINE = 5_000
_SCANNED_LETTERS_A_PAGE = 8  # a scanner's stamp or page number is not a text layer


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document with a span a page. Raises `Unreadable`: ``encrypted``, ``scanned``, ``corrupt``, ``too_large``."""
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == 4 or "password" in str(error).lower():
            raise Unreadable("encrypted", "it is protected by a password: save a copy without one") from None
        raise Unreadable("corrupt", f"the PDF file is damaged or cut off ({error})") from None
    try:
        parts = _document(pdf, settings)
        parts.metadata |= _reserved(data)
        return [parts]
    finally:
        pdf.close()


def _document(pdf: Any, settings: ReadSettings) -> Parts:
    pages = len(pdf)
    if pages > settings.max_pages:
        raise Unreadable(
            "too_large", f"it has {pages:,} pages, over the limit of {settings.max_pages:,}: raise `max_pages`"
        )
    builder = TextBuilder()
    lines: list[Line] = []
    without_text, pictures = [], 0
    for index in range(pages):
        written, has_picture = _page(pdf, index)
        with builder.within("page", str(index + 1)):
            place = builder.write("\n".join(text for text, _ in written))
        pictures += has_picture
        if place is None:
            without_text.append(index + 1)
            continue
        start = place[0]
        for text, size in written:
            lines.append(Line(index, start, start + len(text), text, size))
            start += len(text) + 1
    parts = builder.parts()
    letters = sum(map(str.isalnum, parts.text[: pages * _SCANNED_LETTERS_A_PAGE * 4]))
    if letters < pages * _SCANNED_LETTERS_A_PAGE and pictures:
        raise Unreadable(
            "scanned",
            f"it has no text layer (its {pages:,} page(s) are pictures): run it through OCR first, "
            "for example with OCRmyPDF",
        )
    parts.spans = ordered([*parts.spans, *(from_outline(_entries(pdf), lines) or from_sizes(lines))])
    _describe(pdf, parts)
    parts.metadata["pages"] = str(pages)
    if without_text:
        parts.metadata["note"] = f"no text on page(s) {_ranges(without_text)} of {pages}: pictures need OCR"
    return parts


def _page(pdf: Any, index: int) -> tuple[list[tuple[str, float]], bool]:
    """The lines of a page with the size of their letters, and whether it is rather a picture.

    A damaged page is an empty one.
    """
    import pypdfium2

    try:
        page = pdf[index]
    except pypdfium2.PdfiumError:
        return [], False
    try:
        text_page = page.get_textpage()
        try:
            lines = _lines(text_page)
        finally:
            text_page.close()
        picture = False
        if sum(len(text) for text, _ in lines) < 200:
            image = pypdfium2.raw.FPDF_PAGEOBJ_IMAGE
            picture = any(True for _ in islice(page.get_objects(filter=[image], max_depth=3), 1))
        return lines, picture
    except pypdfium2.PdfiumError:
        return [], False
    finally:
        page.close()


def _lines(text_page: Any) -> list[tuple[str, float]]:
    """Normalised lines, without empty ones at either end, each with its size in points (to a half; 0: not known)."""
    from pypdfium2 import raw

    text = text_page.get_text_range()
    # PDFium counts characters; only where it counts as Python does can a line's letters be asked for by their place.
    aligned = len(text) == text_page.count_chars()
    lines = []
    place = 0
    for piece in text.split("\r\n"):
        line = one_line(_HYPHENS.sub("", piece))
        size = 0.0
        if aligned and line:
            first = place + next((i for i, c in enumerate(piece) if c.isalnum()), 0)
            last = place + len(piece.rstrip()) - 1
            spots = (first, (first + last) // 2, last)
            size = round(2 * min(raw.FPDFText_GetFontSize(text_page, spot) for spot in spots)) / 2
        lines.append((line, size))
        place += len(piece) + 2
    while lines and not lines[0][0]:
        del lines[0]
    while lines and not lines[-1][0]:
        del lines[-1]
    return lines


def _entries(pdf: Any) -> list[tuple[str, int, int | None]]:
    """Title, depth and page index of the outline's entries; what is read before it breaks, if it does."""
    import pypdfium2

    entries = []
    try:
        for entry in islice(pdf.get_toc(max_depth=6), _MAX_OUTLINE):
            destination = entry.get_dest()
            index = destination.get_index() if destination is not None else None
            entries.append((one_line(entry.get_title()), entry.level, index))
    except (pypdfium2.PdfiumError, ValueError, RecursionError):
        pass
    return entries


_NO_TITLE = re.compile(
    r"untitled|anonymous|unspecified|microsoft word - |\.(?:docx?|indd|tex|dvi|qxd|pdf)$|^slide 1$", re.I
)


_TDM = re.compile(rb"\btdm:(reservation|policy)(?:>|\s*=\s*[\"'])\s*([^<>\"']{1,500})")


def _describe(pdf: Any, parts: Parts) -> None:
    """Title and author from the file's information, where a person and not a program wrote them."""
    information = pdf.get_metadata_dict(skip_empty=True)
    title = one_line(information.get("Title", ""))
    if title and not _NO_TITLE.search(title):
        parts.title = title[:300]
    else:
        first = parts.text.split("\n", 1)[0].strip()
        parts.title = first if 3 <= len(first) <= 120 else ""
    author = one_line(information.get("Author", ""))
    if author and not _NO_TITLE.search(author):
        parts.metadata["author"] = author[:300]


def _reserved(data: bytes) -> dict[str, str]:
    """What the XMP packet, which is never packed, says of text and data mining (TDM Reservation Protocol)."""
    found: dict[str, str] = {}
    for name, value in _TDM.findall(data):
        found.setdefault(f"tdm_{name.decode()}", one_line(value.decode("utf-8", "replace")))
    return found


def _ranges(numbers: list[int]) -> str:
    """``[1, 2, 3, 7]`` as ``1-3, 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [f"{a}-{b}" if b > a else str(a) for a, b in runs[:20]]
    return ", ".join(shown) + (" …" if len(runs) > 20 else "")
