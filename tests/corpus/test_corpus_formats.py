"""Every format gives its text, and every span is where it says."""

from __future__ import annotations

import json
from pathlib import Path

import corpus_files as files
import pytest

from lavra.corpus.document import Document
from lavra.corpus.reading import Skipped, read_bytes, read_paths
from lavra.corpus.settings import ReadSettings


def read(path: Path, **settings: object) -> Document:
    """The one document of a file."""
    (document,) = read_all(path, **settings)
    assert isinstance(document, Document), document
    return document


def read_all(path: Path, **settings: object) -> list[Document | Skipped]:
    found = list(read_paths([path], ReadSettings(**settings)))  # type: ignore[arg-type]
    for document in found:
        if isinstance(document, Document):
            for span in document.spans:
                assert 0 <= span.start < span.end <= len(document.text)
                assert document.text[span.start : span.end].strip() == document.text[span.start : span.end]
            assert list(document.spans) == sorted(document.spans, key=lambda s: (s.start, -s.end, s.kind))
    return found


def spans(document: Document, kind: str) -> list[tuple[str, str]]:
    return [(s.label, document.text[s.start : s.end]) for s in document.spans if s.kind == kind]


def test_a_pdf_gives_its_pages_by_number_and_its_outline_as_headings(tmp_path: Path) -> None:
    path = tmp_path / "manual.pdf"
    path.write_bytes(
        files.pdf("Férias\nO prazo é de 30 dias.", "Licença\nSeis meses de licença.", outline=("Férias", "Licença"))
    )
    document = read(path)
    assert spans(document, "page") == [
        ("1", "Férias\nO prazo é de 30 dias."),
        ("2", "Licença\nSeis meses de licença."),
    ]
    assert spans(document, "heading") == [("Férias", "Férias"), ("Licença", "Licença")]
    assert (document.format, document.title, document.metadata["pages"]) == ("pdf", "Férias", "2")


def test_a_pdf_without_an_outline_gives_its_larger_lines_as_headings(tmp_path: Path) -> None:
    body = "\n".join(["O servidor tem direito a trinta dias de descanso por ano."] * 12)
    pages = [f"!Casa Grande\n!!Manual de\n!!Pessoal\n!Férias\n{body}", f"!Casa Grande\n{body}\n!Licença\n{body}"]
    path = tmp_path / "manual.pdf"
    path.write_bytes(files.pdf(*pages, f"!Casa Grande\n{body}"))
    document = read(path)
    assert [(s.label, s.level) for s in document.spans if s.kind == "heading"] == [
        ("Manual de Pessoal", 1),
        ("Férias", 2),
        ("Licença", 2),
    ]
    assert spans(document, "heading")[0][1] == "Manual de\nPessoal"


def test_a_pdf_in_one_size_has_no_headings(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(files.pdf("!Tudo\n!em letras\n!grandes", "!Também aqui"))
    assert spans(read(path), "heading") == []


def test_a_word_hyphenated_at_a_lines_end_in_a_pdf_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(files.pdf("a adminis-\ntração pública"))
    assert read(path).text == "a administração pública"


def test_a_pdf_with_some_pages_scanned_says_which(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(files.scanned_pdf(3, text="Um texto longo que alguém acrescentou a uma página digitalizada"))
    assert read(path).metadata["note"] == "no text on page(s) 2-3 of 3: pictures need OCR"


def test_word_gives_headings_lists_tables_in_reading_order(tmp_path: Path) -> None:
    document = read(files.docx(tmp_path / "manual.docx"))
    assert document.title == "Manual de Pessoal"
    assert spans(document, "heading") == [
        ("Manual de Pessoal", "Manual de Pessoal"),
        ("Férias", "Férias"),
        ("Depois da tabela", "Depois da tabela"),
    ]
    assert [s.level for s in document.spans if s.kind == "heading"] == [1, 1, 2]
    ((_, table),) = spans(document, "table")
    assert table == "| Cargo | Dias | Nota |\n| --- | --- | --- |\n| Analista | 30 | a\\|b |\n|  | 20 |  |"
    order = [
        "Férias",
        files.HOLIDAYS,
        "- primeiro\n- segundo",
        "| Cargo",
        "Depois da tabela",
        "no controle",
        "inserido",
    ]
    places = [document.text.index(piece) for piece in order]
    assert places == sorted(places)
    assert "apagado" not in document.text


def test_powerpoint_gives_slides_notes_and_tables(tmp_path: Path) -> None:
    document = read(files.pptx(tmp_path / "a.pptx"))
    (first, first_text), (second, second_text) = spans(document, "slide")
    assert (first, second, document.title) == ("1", "2", "Orçamento 2026")
    assert "Receita em alta\nDespesa estável" in first_text
    assert "Lembrar da reserva de contingência" in first_text
    assert "| Janeiro | 100 |" in second_text
    assert [label for label, _ in spans(document, "heading")] == ["Orçamento 2026", "Números"]


def test_excel_gives_a_table_a_sheet_with_dates_and_numbers_as_people_write_them(tmp_path: Path) -> None:
    document = read(files.xlsx(tmp_path / "a.xlsx"))
    assert [label for label, _ in spans(document, "sheet")] == ["Vendas", "Metas"]
    assert spans(document, "table")[0][1].split("\n")[:3] == [
        "| Data | Produto | Valor |",
        "| --- | --- | --- |",
        "| 2026-01-01 | produto 0 | 10.5 |",
    ]


def test_a_large_sheet_is_cut_at_the_limit_and_says_so(tmp_path: Path) -> None:
    document = read(files.xlsx(tmp_path / "a.xlsx", rows=500), max_cells=100)
    assert document.text.count("\n") < 60
    assert "left out after 100 cells" in document.metadata["note"]


HTML = """<!doctype html><html lang="pt-BR"><head><title>Prazo de férias</title><meta name=author content="RH">
<link rel=license href="https://creativecommons.org/licenses/by-sa/4.0/deed.pt"></head><body>
<header><a href=/>Início</a></header><nav><ul><li><a href=1>Um</a><li><a href=2>Dois</a></ul></nav>
<div class="cookie-banner">Usamos cookies para melhorar a sua experiência</div>
<main><h1>Férias <a class="headerlink" href="#f">¶</a></h1><p>O prazo é <b>de</b> trinta
dias,<br>contados do pedido.</p><ul><li>um<li>dois</ul>
<table><caption>Prazos</caption><tr><th>Cargo<th>Dias</tr><tr><td>Analista<td>30</tr></table>
<h2>Exemplo</h2><pre><code class="language-python">if a:
    b()</code></pre><dl><dt>Abono<dd>Um terço</dl><aside>Atenção</aside>
<script>alert(1)</script><style>p{}</style></main>
<aside>Notícias da semana</aside><footer>Todos os direitos reservados</footer></body></html>"""


def test_html_keeps_headings_tables_and_code_and_leaves_the_furniture(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(HTML, encoding="utf-8")
    document = read(path)
    assert document.text == (
        "Férias\n\nO prazo é de trinta dias,\ncontados do pedido.\n\n- um\n- dois\n\nPrazos\n\n"
        "| Cargo | Dias |\n| --- | --- |\n| Analista | 30 |\n\nExemplo\n\nif a:\n    b()"
        "\n\nAbono\n\nUm terço\n\nAtenção"
    )
    assert spans(document, "heading") == [("Férias", "Férias"), ("Exemplo", "Exemplo")]
    assert spans(document, "table")[0][0] == "Prazos"
    assert spans(document, "code") == [("python", "if a:\n    b()")]
    assert (document.title, document.language, document.licence, document.owner) == (
        "Prazo de férias",
        "pt",
        "CC-BY-SA-4.0",
        "RH",
    )


def test_an_html_page_that_is_all_links_is_kept_whole(tmp_path: Path) -> None:
    links = "".join(f"<li><a href={i}>Capítulo {i}</a></li>" for i in range(20))
    path = tmp_path / "indice.html"
    path.write_text(f"<html><body><h1>Índice</h1><ul>{links}</ul></body></html>", encoding="utf-8")
    assert "- Capítulo 7\n- Capítulo 8" in read(path).text


def test_html_in_an_old_encoding_is_read_by_what_it_declares(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    text = "<html><head><meta charset=iso-8859-2><title>x</title></head><body><p>Zażółć gęślą jaźń</p></body></html>"
    path.write_bytes(text.encode("iso-8859-2"))
    assert read(path).text == "Zażółć gęślą jaźń"


MARKDOWN = """---
title: Política de férias
licence: CC-BY-4.0
author: Recursos Humanos
roles: [rh, chefia]
language: pt-BR
version: 3
---

# Férias e *licenças* {#ferias}

Texto.

## [Prazos](#x) `30`

| Cargo | Dias |
|---|---|
| Analista | 30 |

```python
# not a heading
```

Segundo
=======
"""


def test_markdown_stays_as_written_with_its_structure_located(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(MARKDOWN, encoding="utf-8")
    document = read(path)
    assert document.text.startswith("# Férias e *licenças* {#ferias}\n\nTexto.\n\n## [Prazos](#x) `30`")
    assert spans(document, "heading") == [
        ("Férias e licenças", "# Férias e *licenças* {#ferias}"),
        ("Prazos 30", "## [Prazos](#x) `30`"),
        ("Segundo", "Segundo\n======="),
    ]
    assert spans(document, "table") == [("", "| Cargo | Dias |\n|---|---|\n| Analista | 30 |")]
    assert spans(document, "code") == [("python", "```python\n# not a heading\n```")]
    assert (document.title, document.licence, document.owner) == (
        "Política de férias",
        "CC-BY-4.0",
        "Recursos Humanos",
    )
    assert (document.roles, document.language, document.metadata["version"]) == (("rh", "chefia"), "pt", "3")


@pytest.mark.parametrize(
    "front", ["---\n[unclosed\n---\n", "---\n- a\n- b\n---\n", "---\nno end\n", "---\n!!python/x\n---\n"]
)
def test_broken_front_matter_is_text(tmp_path: Path, front: str) -> None:
    path = tmp_path / "a.md"
    path.write_text(front + "# Título\n\nTexto.\n", encoding="utf-8")
    document = read(path)
    assert "Texto." in document.text
    assert document.text.startswith("---")


def test_yaml_that_multiplies_itself_is_harmless(tmp_path: Path) -> None:
    bomb = "\n".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(12))
    path = tmp_path / "a.md"
    path.write_text(f"---\na0: &a0 x\n{bomb}\nroles: *a12\ntitle: *a12\n---\nTexto.\n", encoding="utf-8")
    document = read(path)
    assert document.text == "Texto."
    assert document.roles == ("public",)


def test_plain_text_gives_its_underlined_titles(tmp_path: Path) -> None:
    path = tmp_path / "a.rst"
    path.write_text("Guia\n====\n\nTexto.\n\nInstalação\n----------\n\nMais.\n", encoding="utf-8")
    document = read(path)
    assert [(s.label, s.level) for s in document.spans] == [("Guia", 1), ("Instalação", 2)]


def test_json_lines_give_a_document_a_record_and_name_the_broken_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    records = [
        json.dumps({"id": "q1", "text": "Primeiro texto", "title": "Um", "licence": "CC0-1.0", "roles": ["rh"]}),
        '{"id": "broken", "text": ',
        json.dumps({"content": "Segundo texto", "year": 2026}),
        json.dumps({"nothing": 1}),
        json.dumps({"id": "q1", "body": "Com o mesmo id"}),
        "",
        json.dumps({"text": "x" * 1_200_000}),
        json.dumps({"text": "O último"}),
    ]
    path.write_text("\n".join(records), encoding="utf-8")
    found = read_all(path, max_record_megabytes=1)
    assert [(d.source, d.text) for d in found if isinstance(d, Document)] == [
        ("a.jsonl#q1", "Primeiro texto"),
        ("a.jsonl#3", "Segundo texto"),
        ("a.jsonl#q1~2", "Com o mesmo id"),
        ("a.jsonl#8", "O último"),
    ]
    assert [(s.source, s.kind) for s in found if isinstance(s, Skipped)] == [
        ("a.jsonl#2", "corrupt"),
        ("a.jsonl#4", "no_text"),
        ("a.jsonl#7", "too_large"),
    ]
    first = found[0]
    assert isinstance(first, Document)
    assert (first.title, first.licence, first.roles) == ("Um", "CC0-1.0", ("rh",))
    assert len({d.id for d in found if isinstance(d, Document)}) == 4


def test_json_is_records_where_it_has_texts_and_code_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": 1, "data": [{"text": "um texto"}, {"text": "outro"}]}))
    assert [d.source for d in read_all(path)] == ["a.json#1", "a.json#2"]
    path.write_text('{"port": 8080}')
    assert spans(read(path), "code") == [("json", '{"port": 8080}')]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_csv_with_a_text_column_gives_a_document_a_row(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "a.csv"
    rows = ["id{0}titulo{0}texto", '7{0}Um{0}"Com {0} dentro\ne uma linha"', "8{0}Dois{0}Simples"]
    path.write_text("\n".join(row.format(mark) for row in rows), encoding="utf-8")
    first = read_all(path)[0]
    assert isinstance(first, Document)
    assert (first.source, first.title, first.text) == ("a.csv#7", "Um", f"Com {mark} dentro\ne uma linha")


def test_csv_without_one_gives_a_table_in_latin_1_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("Município;População\nSão Paulo;11.451.999\nGoiânia;1.437.366\n".encode("latin-1"))
    document = read(path)
    assert spans(document, "table")[0][1].split("\n")[2] == "| São Paulo | 11.451.999 |"


def test_epub_gives_its_chapters_in_the_order_of_the_spine(tmp_path: Path) -> None:
    path = tmp_path / "livro.epub"
    path.write_bytes(files.epub([f"<h1>Capítulo {i}</h1><p>Texto&#160;{i}. <i/>Fim.</p>" for i in range(12)]))
    document = read(path)
    assert [label for label, _ in spans(document, "heading")] == [f"Capítulo {i}" for i in range(12)]
    assert "Texto 3. Fim." in document.text
    assert (document.title, document.language, document.licence) == ("Um livro", "pt", "CC-BY-4.0")
    assert document.metadata["author"] == "Machado"


def test_open_document_gives_headings_lists_and_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.odt"
    path.write_bytes(
        files.odt(
            '<text:h text:outline-level="2">Férias</text:h>'
            '<text:p>São<text:s text:c="1"/>trinta<text:tab/>dias.</text:p>'
            "<text:list><text:list-item><text:p>um</text:p></text:list-item></text:list>"
            "<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell>"
            "<text:p>b</text:p></table:table-cell></table:table-row></table:table>"
        )
    )
    document = read(path)
    assert document.text == "Férias\n\nSão trinta\tdias.\n- um\n\n| a | b |\n| --- | --- |"
    assert [(s.kind, s.level) for s in document.spans] == [("heading", 2), ("table", 0)]


def test_source_code_is_one_block_in_its_language(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("def f():\n    return 'ação'\n", encoding="utf-8")
    document = read(path)
    assert spans(document, "code") == [("python", document.text)]
    assert (document.format, document.metadata["code"], document.language) == ("code", "python", "und")


def test_a_notebook_gives_its_cells_without_their_outputs(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Análise\n", "Texto."]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"text": "SEGREDO"}]},
    ]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "cells": cells}))
    document = read(path)
    assert document.text == "# Análise\nTexto.\n\n```python\nprint(1)\n```"
    assert [s.kind for s in document.spans] == ["heading", "code"]


def test_an_e_mail_gives_subject_people_and_body(tmp_path: Path) -> None:
    from email.message import EmailMessage

    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Reunião de terça", "ana@example.org", "rui@example.org"
    message.set_content("Às dez horas, na sala três.")
    message.add_alternative("<p>HTML</p>", subtype="html")
    message.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="ata.pdf")
    path = tmp_path / "a.eml"
    path.write_bytes(message.as_bytes())
    document = read(path)
    assert (
        document.text == "Reunião de terça\n\nFrom: ana@example.org\nTo: rui@example.org\n\nÀs dez horas, na sala três."
    )
    assert document.metadata["note"] == "attachments not read: ata.pdf"


def test_an_upload_is_read_like_a_file(tmp_path: Path) -> None:
    data = files.pdf("Férias de 30 dias", "Licença")
    (tmp_path / "a.pdf").write_bytes(data)
    (uploaded,) = read_bytes("C:\\Users\\ana\\a.pdf", data, ReadSettings())
    assert isinstance(uploaded, Document)
    assert (uploaded.source, uploaded.text) == ("uploads/a.pdf", read(tmp_path / "a.pdf").text)
    (markdown,) = read_bytes("../../etc/x.md", b"# Um\n", ReadSettings(roles=("rh",)))
    assert isinstance(markdown, Document)
    assert (markdown.source, markdown.roles) == ("uploads/x.md", ("rh",))
    assert [(s.source, s.kind) for s in read_bytes("..", b"", ReadSettings()) if isinstance(s, Skipped)] == [
        ("uploads/..", "empty")
    ]
