"""An answer's sentences are cited by what supports them, and by nothing else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lavra.assistants.citing import Citer, Sources
from lavra.assistants.sentences import sentences

LEAVE = (
    "O servidor tem direito a trinta dias de férias por ano. As férias podem ser divididas em três períodos. "
    "O pedido é feito ao chefe imediato com antecedência de 30 dias."
)
TRAVEL = "As diárias de viagem são pagas em até cinco dias úteis. O valor para capitais é de R$ 320,00 por dia."


def run(text: str, sources: Sources, size: int) -> tuple[str, Citer]:
    citer = Citer(sources)
    shown = "".join(piece for start in range(0, len(text), size) for piece in citer.push(text[start : start + size]))
    return shown + "".join(citer.close()), citer


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_each_sentence_is_followed_by_the_source_that_supports_it(size: int) -> None:
    sources = Sources([LEAVE, TRAVEL], "pt")
    text = "As férias podem ser divididas em três períodos. O valor das diárias para capitais é de R$ 320,00 por dia."
    shown, citer = run(text, sources, size)
    assert shown == (
        "As férias podem ser divididas em três períodos. [1] "
        "O valor das diárias para capitais é de R$ 320,00 por dia. [2]"
    )
    support = citer.cited[0]
    assert support.source == 0
    assert LEAVE[support.start : support.end] == "As férias podem ser divididas em três períodos."


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_a_marker_of_the_model_that_nothing_supports_is_dropped(size: int) -> None:
    shown, citer = run(
        "A lua é feita de queijo suíço [1]. O pagamento ocorre em Paris [2, 7].", Sources([LEAVE, TRAVEL], "pt"), size
    )
    assert shown == "A lua é feita de queijo suíço. O pagamento ocorre em Paris."
    assert citer.cited == []
    assert citer.unsupported == 2


def test_a_marker_of_the_model_decides_between_sources_that_support_equally() -> None:
    shown, _ = run("As férias podem ser divididas em três períodos [2].", Sources([LEAVE, LEAVE], "pt"), 5)
    assert shown == "As férias podem ser divididas em três períodos. [2]"


def test_a_number_that_the_source_does_not_have_is_not_supported() -> None:
    shown, citer = run("O servidor tem direito a 45 dias de férias por ano.", Sources([LEAVE], "pt"), 9)
    assert "[1]" not in shown
    assert citer.unsupported == 1


def test_a_sentence_that_denies_what_the_source_says_is_not_supported() -> None:
    for sentence in (
        "As férias não podem ser divididas em três períodos.",
        "O pedido nunca é feito ao chefe imediato.",
    ):
        assert "[1]" not in run(sentence, Sources([LEAVE], "pt"), 9)[0]


def strict(text: str, question: str = "", cut: bool = False) -> str:
    citer = Citer(Sources([LEAVE, TRAVEL], "pt"), strict=True, question=question)
    return "".join([*citer.push(text), *citer.close(cut=cut)])


def test_strict_shows_only_what_is_supported_and_new() -> None:
    good = "As férias podem ser divididas em três períodos."
    assert strict(f"A lua é de queijo. {good} {good} Mercúrio gira devagar.") == f"{good} [1]"
    assert strict("Como é feito o pedido ao chefe imediato?") == ""
    assert strict("O pedido é feito ao chefe imediato.", "O pedido é feito ao chefe imediato, sim?") == ""


def test_strict_leaves_out_a_sentence_that_the_limit_cut() -> None:
    text = "As férias podem ser divididas em três períodos. As diárias de viagem são pagas em"
    assert strict(text, cut=True) == "As férias podem ser divididas em três períodos. [1]"
    assert strict("As diárias de viagem são pagas", cut=True) == ""
    assert strict("As diárias de viagem são pagas", cut=False) == "As diárias de viagem são pagas [2]"


def test_strict_refuses_a_sentence_that_goes_round_in_circles() -> None:
    assert strict("As diárias de viagem e as diárias de viagem e as diárias de viagem são pagas.") == ""


def test_strict_knows_when_going_on_is_pointless() -> None:
    citer = Citer(Sources([LEAVE], "pt"), strict=True)
    list(citer.push("A lua é de queijo. O sol é de vidro frio. Marte tem rios de tinta azul. E"))
    assert citer.stuck


def test_what_says_nothing_checkable_is_not_cited() -> None:
    shown, citer = run("Sim. Claro!", Sources([LEAVE], "pt"), 3)
    assert shown == "Sim. Claro!"
    assert (citer.supported, citer.unsupported) == (0, 0)


@given(st.text(alphabet="ab .!?[]12,\n", max_size=60), st.integers(1, 8))
def test_streaming_shows_the_same_text_however_it_is_cut(text: str, size: int) -> None:
    sources = Sources(["ab ba. a b! bb aa ab", "12 ab"], "und")
    assert run(text, sources, size)[0].rstrip() == run(text, sources, 1000)[0].rstrip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("O art. 5º vale. Já o Dr. Silva, não!", ["O art. 5º vale.", "Já o Dr. Silva, não!"]),
        ("Em 1.999,50 reais. Fim", ["Em 1.999,50 reais.", "Fim"]),
        ("Disse “vá embora.” E foi.", ["Disse “vá embora.”", "E foi."]),
        ("Title\n\nFirst. Second… Third?", ["Title", "First.", "Second…", "Third?"]),
        ("- one\n- two", ["- one", "- two"]),
        (
            "## Heading\nText here. More.\n```\ncode.sh\n```\n",
            ["## Heading", "Text here.", "More.", "```", "code.sh", "```"],
        ),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == expected


@given(st.text(max_size=200))
def test_sentences_lose_nothing_but_white_space(text: str) -> None:
    spans = sentences(text)
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
