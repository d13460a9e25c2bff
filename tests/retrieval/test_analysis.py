"""Claims about the words of a text: what a person types finds what an author wrote."""

from __future__ import annotations

import time

import pytest
import snowballstemmer
from hypothesis import given
from hypothesis import strategies as st

from lavra.retrieval.analysis import analyse, analyse_query, fold, query_words, words


def finds(query: str, text: str, language: str) -> bool:
    """Whether every stem of the query is a stem of the text."""
    return set(analyse(query, language).split()) <= set(analyse(text, language).split())


@pytest.mark.parametrize(
    ("language", "query", "text"),
    [
        ("pt", "licitacao", "As licitações públicas"),
        ("pt", "licitação", "as LICITACOES"),
        ("pt", "rescisão", "rescisões"),
        ("pt", "rescisoes", "a rescisão"),
        ("pt", "rescisao", "das rescisões contratuais"),
        ("pt", "cidadãos", "o cidadao"),
        ("pt", "alemães", "alemão"),
        ("pt", "imoveis", "um imóvel"),
        ("pt", "papel", "papéis"),
        ("pt", "facil", "fáceis"),
        ("pt", "civis", "civil"),
        ("pt", "barril", "barris"),
        ("pt", "lençol", "lençóis"),
        ("pt", "item", "itens"),
        ("pt", "valor", "valores"),
        ("pt", "mês", "meses"),
        ("pt", "vezes", "vez"),
        ("pt", "lei", "leis"),
        ("pt", "análises", "analise"),
        ("pt", "crise", "crises"),
        ("pt", "árvores", "arvore"),
        ("pt", "implantado", "a implantação"),
        ("pt", "frequencias", "a frequência"),
        ("es", "licitaciones", "licitación"),
        ("es", "nacion", "las naciones"),
        ("es", "luz", "luces"),
        ("es", "canciones", "cancion"),
        ("es", "capaces", "capaz"),
        ("es", "intereses", "interés"),
        ("en", "contracts", "The contract's terms"),
        ("en", "companies", "a company"),
        ("en", "running", "run"),
        ("en", "naive", "naïve"),
    ],
)
def test_inflection_and_accents_do_not_hide_a_word(language: str, query: str, text: str) -> None:
    assert finds(query, text, language)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("lei 8666", "Lei nº 8.666/1993"),
        ("8.666/1993", "a Lei 8666/1993"),
        ("8666/93", "Lei 8.666/93"),
        ("art 5", "Art. 5º da Constituição"),
        ("artigo 5o", "artigo 5º"),
        ("12345678000190", "CNPJ 12.345.678/0001-90"),
        ("12.345.678/0001-90", "cnpj: 12345678000190"),
        ("1234567", "R$ 1.234.567,00 e 1,234,567"),
        ("3.14", "vale 3,14"),
        ("iso9001", "norma ISO-9001"),
        ("9001", "norma ISO 9001"),
        ("EUA", "os E.U.A. decidiram"),
        ("licitação", "a licita-\nção foi"),
        ("final", "a versão \ufb01nal"),
    ],
)
def test_numbers_and_codes_are_found_however_they_are_punctuated(query: str, text: str) -> None:
    shared = set(analyse(query, "pt").split()) & set(analyse(text, "pt").split())
    assert max(analyse(query, "pt").split(), key=len) in shared


def test_different_words_stay_different() -> None:
    for left, right in [("mais", "mal"), ("pais", "pal"), ("mães", "mão"), ("depois", "depol"), ("dois", "dol")]:
        assert analyse(left, "pt") != analyse(right, "pt")
    assert analyse("Lei 8.666", "pt") != analyse("Lei 8.667", "pt")


def test_english_words_without_apostrophes_are_stemmed_as_snowball_does() -> None:
    text = "The committees were considering several amendments to organizational regulations happily"
    stemmer = snowballstemmer.stemmer("english")
    assert analyse(text, "en").split() == stemmer.stemWords(text.lower().split())


def test_a_language_without_rules_is_folded_and_loses_a_plural_s() -> None:
    assert analyse("Les Événements célèbres", "fr") == "les evenement celebre"
    assert analyse("глас", "ru") == "глас"


def test_a_query_carries_the_stems_of_every_language_of_the_corpus_once() -> None:
    assert analyse_query("licitações", "pt", ["pt"]) == analyse("licitações", "pt")
    mixed = analyse_query("licitações públicas", "pt", ["pt", "es", "en", "und"]).split()
    assert len(mixed) == len(set(mixed))
    for language in ("pt", "es", "en", "und"):
        assert set(analyse("licitações públicas", language).split()) <= set(mixed)
    assert analyse_query("contracts", "en") == analyse("contracts", "en")


def test_the_words_of_a_question_keep_their_order_and_their_stems() -> None:
    assert query_words("o prazo das licitações", "pt") == [("o",), ("praz",), ("das",), ("licit",)]
    (both,) = query_words("contratos", corpus_languages=["pt", "und"])
    assert both == ("contrat", "contrato")


@pytest.mark.parametrize(
    ("question", "language", "searched"),
    [
        ("Qual é o prazo para recurso?", "pt", "prazo recurso"),
        ("QUAL É O PRAZO PARA RECURSO?", "pt", "prazo recurso"),
        ("qual e o prazo para recurso", "pt", "prazo recurso"),
        ("Qual é a capital do Pará?", "pt", "capital Pará"),
        ("Quanto recebe um DAS 4?", "pt", "recebe DAS 4"),
        ("Não é permitido?", "pt", "Não permitido"),
        ("¿Cuántos días hay para apelar?", "es", "días apelar"),
        ("How many days are there to appeal?", "en", "days appeal"),
        ("O que é isso?", "pt", "O que é isso"),
        ("", "pt", ""),
    ],
)
def test_a_question_is_searched_without_its_function_words(question: str, language: str, searched: str) -> None:
    assert analyse_query(question, language).split() == list(dict.fromkeys(analyse(searched, language).split()))


@given(st.text(max_size=300), st.sampled_from(["pt", "es", "en", "und"]))
def test_any_text_gives_clean_tokens(text: str, language: str) -> None:
    tokens = analyse(text, language).split(" ")
    assert tokens == [""] or all(tokens)
    assert fold(fold(text)) == fold(text)


def test_accents_never_matter_to_words() -> None:
    assert words("Licitação é ação pública, São João") == words("licitacao e acao publica, sao joao")


def test_a_megabyte_is_analysed_in_seconds() -> None:
    text = "A licitação destina-se a garantir a observância do princípio constitucional da isonomia. " * 11_500
    started = time.process_time()
    analyse(text, "pt")
    assert time.process_time() - started < 3  # 0.15 on the machine it was written on
