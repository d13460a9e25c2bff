"""Dumps of wikis: every article a document in plain text, damaged pages named, the rest read all the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from dump_files import packed, read, wiki_page

from lavra.corpus.document import Document
from lavra.corpus.reading import read_bytes
from lavra.corpus.settings import ReadSettings

WIKI_HEAD = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="pt">\n  <siteinfo>\n'
    "    <sitename>Wikipédia</sitename>\n    <base>https://pt.wikipedia.org/wiki/P%C3%A1gina</base>\n  </siteinfo>\n"
)
LISBON = """{{Info/Cidade|nome=Lisboa|brasão={{flagicon|PT}}}}
'''Lisboa''' é a [[capital]] de [[Portugal|Portugal continental]],<ref name="a">{{citar web|url=http://x}}</ref> às \
margens do rio&nbsp;[[Tejo]].<!-- nota -->

== História ==
Os [[Fenícios|fenícios]] chegaram ''cedo'', segundo a [http://exemplo.org câmara].
* primeiro
* segundo

=== Sem texto ===

== População ==
{| class="wikitable"
|+ Censos
! Ano !! Pessoas
|-
| 2011 || 547 733
|}

== Referências ==
<references />
[[Categoria:Cidades]]
[[Ficheiro:Lisboa.jpg|thumb|Uma [[legenda]]]]
"""


WIKI = (
    WIKI_HEAD
    + wiki_page("Lisboa", LISBON)
    + wiki_page("Lissabon", "#REDIRECIONAMENTO [[Lisboa]]", more='    <redirect title="Lisboa" />\n')
    + wiki_page("Discussão:Lisboa", "Não concordo.", ns=1)
    + wiki_page("Porto & Gaia", "Duas cidades <nowiki>[[assim]]</nowiki> à beira do [[Douro]].")
    + "</mediawiki>\n"
)


@pytest.mark.parametrize("name", ["ptwiki-20260101-pages-articles.xml.bz2", "wiki.xml", "wiki.xml.gz"])
def test_a_wikis_dump_gives_its_articles_as_plain_text(tmp_path: Path, name: str) -> None:
    data = WIKI.encode()
    (tmp_path / name).write_bytes(packed(data, name.rpartition(".")[2]) if name.endswith(("bz2", "gz")) else data)
    documents, skipped = read(tmp_path / name)
    assert not skipped
    assert list(documents) == ["Lisboa", "Porto & Gaia"]
    lisbon = documents["Lisboa"]
    assert lisbon.text == (
        "Lisboa é a capital de Portugal continental, às margens do rio Tejo.\n\n"
        "História\n\nOs fenícios chegaram cedo, segundo a câmara.\n- primeiro\n- segundo\n\n"
        "População\n\nCensos\n\n| Ano | Pessoas |\n| --- | --- |\n| 2011 | 547 733 |"
    )
    assert [(s.kind, s.label) for s in lisbon.spans] == [
        ("heading", "História"),
        ("heading", "População"),
        ("table", "Censos"),
    ]
    assert (lisbon.title, lisbon.language, lisbon.format) == ("Lisboa", "pt", "mediawiki")
    assert lisbon.metadata["url"] == "https://pt.wikipedia.org/wiki/Lisboa"
    assert (lisbon.metadata["date"], lisbon.metadata["site"]) == ("2026-02-03T04:05:06Z", "Wikipédia")
    assert documents["Porto & Gaia"].text == "Duas cidades [[assim]] à beira do Douro."


def test_damaged_and_huge_pages_of_a_dump_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    data = (
        WIKI_HEAD
        + wiki_page("Um", "Primeiro texto.")
        + wiki_page("Dois", "x").replace("</title>", "<title>")
        + wiki_page("Três", "y" * 2_000_000)
        + wiki_page("Quatro", "&e;").replace("&amp;e;", "&e;")
        + wiki_page("Cinco", "{{" * 3000 + "{{{" * 3000 + "}}}" * 3000 + "texto")
        + wiki_page("Seis", "Sexto texto.")
        + "  <page>\n    <title>Sete</title>\n"
    )
    path = tmp_path / "wiki.xml"
    path.write_bytes(data.encode())
    documents, skipped = read(path, max_record_megabytes=1)
    assert {"Um", "Seis"} <= set(documents) <= {"Um", "Cinco", "Seis"}
    assert {name: s.kind for name, s in skipped.items() if name != "Cinco"} == {
        "2": "corrupt",
        "3": "too_large",
        "4": "corrupt",
        "7": "corrupt",
    }
    assert "`max_record_megabytes`" in skipped["3"].reason


def test_a_dump_is_known_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    """bzip2 gives nothing of a block before all of it is there."""
    noise = random.Random(3).randbytes(60_000).hex()
    data = (WIKI_HEAD + wiki_page("Longa", f"Texto {noise}") + wiki_page("Outra", "Outro.") + "</mediawiki>\n").encode()
    (tmp_path / "dump.xml.bz2").write_bytes(packed(data, "bz2"))
    documents, _ = read(tmp_path / "dump.xml.bz2")
    assert list(documents) == ["Longa", "Outra"]
    uploaded = read_bytes("dump.xml.bz2", (tmp_path / "dump.xml.bz2").read_bytes(), ReadSettings())
    assert [document.title for document in uploaded if isinstance(document, Document)] == ["Longa", "Outra"]
