"""Files of every format, made with the libraries that organisations' own software uses."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

HOLIDAYS = "As férias são de trinta dias corridos e devem ser pedidas com antecedência ao chefe imediato."


def pdf(*pages: str, password: str | None = None, outline: tuple[str, ...] = ()) -> bytes:
    """A PDF with a page for each text, lines parted by newlines; ``outline`` names each page's bookmark."""
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    encrypt = StandardEncryption(password, ownerPassword="owner") if password else None
    canvas = Canvas(buffer, encrypt=encrypt, invariant=True)
    for number, page in enumerate(pages):
        if number < len(outline):
            canvas.bookmarkPage(f"page{number}")
            canvas.addOutlineEntry(outline[number], f"page{number}", level=0)
        for line, text in enumerate(page.split("\n")):
            # A line that begins with "!" is set larger, one with "!!" larger still.
            canvas.setFont("Helvetica", 12 + 4 * (len(text) - len(text.lstrip("!"))))
            text = text.lstrip("!")
            canvas.drawString(72, 760 - 16 * line, text)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def scanned_pdf(pages: int = 2, *, text: str = "") -> bytes:
    """A PDF whose pages are pictures, as a scanner makes it; ``text`` is written on the first one."""
    from PIL import Image
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, invariant=True)
    for number in range(pages):
        picture = Image.new("L", (200, 280), 200 + number)
        canvas.drawImage(ImageReader(picture), 0, 0, 595, 842)
        if not number:
            canvas.drawString(72, 700, text)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def epub(chapters: list[str], *, title: str = "Um livro", language: str = "pt-BR") -> bytes:
    """An EPUB 3 whose chapters are given as the inside of ``<body>``."""
    buffer = io.BytesIO()
    items = "".join(
        f'<item id="c{i}" href="text/c{i}.xhtml" media-type="application/xhtml+xml"/>' for i in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{i}"/>' for i in range(len(chapters)))
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        )
        archive.writestr(
            "OEBPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
            f"<dc:title>{title}</dc:title><dc:language>{language}</dc:language><dc:creator>Machado</dc:creator>"
            f"<dc:rights>https://creativecommons.org/licenses/by/4.0/</dc:rights></metadata>"
            f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
        )
        # Written backwards: the order of the spine counts, not the zip's.
        for i, chapter in reversed(list(enumerate(chapters))):
            archive.writestr(
                f"OEBPS/text/c{i}.xhtml",
                '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml">'
                f"<head><title/></head><body>{chapter}</body></html>",
            )
    return buffer.getvalue()


def odt(body: str) -> bytes:
    """An OpenDocument text with ``body`` inside ``<office:text>``."""
    buffer = io.BytesIO()
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text", "table")
    )
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr(
            "content.xml",
            f"<office:document-content {spaces}><office:body><office:text>{body}</office:text></office:body>"
            "</office:document-content>",
        )
    return buffer.getvalue()


def zipped(members: dict[str, bytes], *, deflate: bool = True) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def docx(path: Path) -> Path:
    """A Word file with a title, headings, a list, a table, a deleted revision, a content control and a merged cell."""
    import docx as word
    from docx.oxml import parse_xml

    document = word.Document()
    document.core_properties.title = ""
    document.add_heading("Manual de Pessoal", 0)
    document.add_heading("Férias", 1)
    document.add_paragraph(HOLIDAYS)
    document.add_paragraph("primeiro", style="List Bullet")
    document.add_paragraph("segundo", style="List Bullet")
    table = document.add_table(rows=3, cols=3)
    for row, cells in enumerate((("Cargo", "Dias", "Nota"), ("Analista", "30", "a|b"), ("", "20", ""))):
        for column, cell in enumerate(cells):
            table.cell(row, column).text = cell
    table.cell(1, 0).merge(table.cell(2, 0))
    document.add_heading("Depois da tabela", 2)
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    body = document.element.body
    body.insert(
        len(body) - 1,
        parse_xml(f"<w:sdt {space}><w:sdtContent><w:p><w:r><w:t>no controle</w:t></w:r></w:p></w:sdtContent></w:sdt>"),
    )
    body.insert(
        len(body) - 1,
        parse_xml(
            f"<w:p {space}><w:del><w:r><w:delText>apagado</w:delText></w:r></w:del>"
            "<w:ins><w:r><w:t>inserido</w:t></w:r></w:ins></w:p>"
        ),
    )
    document.save(path)
    return path


def pptx(path: Path) -> Path:
    """Two slides, with notes and a table."""
    from pptx import Presentation
    from pptx.util import Inches

    presentation = Presentation()
    first = presentation.slides.add_slide(presentation.slide_layouts[1])
    first.shapes.title.text = "Orçamento 2026"
    first.placeholders[1].text = "Receita em alta\nDespesa estável"
    first.notes_slide.notes_text_frame.text = "Lembrar da reserva de contingência"
    second = presentation.slides.add_slide(presentation.slide_layouts[5])
    second.shapes.title.text = "Números"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for row, cells in enumerate((("Mês", "Valor"), ("Janeiro", "100"))):
        for column, cell in enumerate(cells):
            table.cell(row, column).text = cell
    presentation.save(path)
    return path


def xlsx(path: Path, rows: int = 3) -> Path:
    """Two sheets; the first with a header, ``rows`` rows, dates and an empty column before the table."""
    import datetime

    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Vendas"
    sheet.append([None, "Data", "Produto", "Valor"])
    for row in range(rows):
        sheet.append([None, datetime.datetime(2026, 1, 1 + row % 28), f"produto {row}", 10.5 + row])
    book.create_sheet("Vazia")
    other = book.create_sheet("Metas")
    other["A1"], other["B1"], other["A2"], other["B2"] = "Meta", "Ano", "crescer", 2026
    book.save(path)
    return path
