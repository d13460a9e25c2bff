"""A sentence is supported where a source says it; a citation is right where the place it cites does."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lavra.evaluation.grounding import Grounds, ground, split
from lavra.evaluation.items import Evidence, Question, Reply, Source
from lavra.evaluation.measuring import measure

LEAVE = (
    "O servidor tem direito a trinta dias de férias por ano. As férias podem ser divididas em três períodos. "
    "O pedido é feito ao chefe imediato com antecedência de 30 dias."
)
TRAVEL = "As diárias de viagem são pagas em até cinco dias úteis. O valor para capitais é de R$ 320,00 por dia."
ASKED = Question("q", "Como são as férias?", ("em três períodos",), (Source("a.md", LEAVE),), language="pt")


def supported(text: str, *passages: str) -> list[bool | None]:
    checked = Grounds(passages or (LEAVE, TRAVEL), "pt").check(split(text))
    return [sentence.supported if sentence.checkable else None for sentence in checked]


def test_what_a_source_says_is_supported_in_other_words_too() -> None:
    assert supported("As férias podem ser divididas em três períodos.") == [True]
    assert supported("Em três períodos podem-se dividir as férias do servidor.") == [True]
    assert supported("Trinta dias.") == [True]


def test_what_no_source_says_is_not() -> None:
    assert supported("A lua é feita de queijo suíço.") == [False]
    # Its words stand in the passage, but not together.
    assert supported("O servidor faz o pedido das diárias em três períodos ao chefe.", LEAVE + " " + TRAVEL) == [False]


def test_a_number_that_is_missing_and_a_denial_are_never_supported() -> None:
    assert supported("O servidor tem direito a 45 dias de férias por ano.") == [False]
    assert supported("As férias não podem ser divididas em três períodos.") == [False]
    assert supported("O valor para capitais é de R$ 320,00 por dia.") == [True]


def test_what_says_nothing_is_not_counted() -> None:
    assert supported("As fontes dizem:\n\n# Férias\n\nSim.") == [None, None, None]
    assert supported("Quantas luas tem Júpiter?") == [False]


@pytest.mark.parametrize("text", ["Um [1]. Dois [2, 3].", "Um. [1] Dois. [2] [3]", "Um [1].\nDois [2][3]."])
def test_markers_belong_to_the_sentence_before_them(text: str) -> None:
    assert [(sentence.text, sentence.markers) for sentence in split(text)] == [("Um.", (1,)), ("Dois.", (2, 3))]


def test_a_list_is_read_item_by_item() -> None:
    said = split("1. Trinta dias de férias [1]\n2. Três períodos [2]")
    assert [(sentence.text, sentence.markers) for sentence in said] == [
        ("Trinta dias de férias", (1,)),
        ("Três períodos", (2,)),
    ]


def test_citations_are_right_where_the_place_supports_the_sentence() -> None:
    text = "As férias podem ser divididas em três períodos [1]. As diárias são pagas em até cinco dias [1, 2]. Lua [7]."
    passages = (Evidence("a.md", LEAVE), Evidence("b.md", TRAVEL))
    found = ground(ASKED, Reply("q", text, passages=passages, cited=passages))
    assert found.cited == ((True,), (False, True), (False,))
    values = found.values(evidence=True, cites=True)
    assert values["citation_precision"] == 2 / 4
    assert values["citation_recall"] == pytest.approx(2 / 3)
    assert values["grounded"] == pytest.approx(2 / 3)
    assert values["grounded_in_source"] == pytest.approx(1 / 3)
    assert values["hallucinated"] == 1


def test_the_numbers_of_a_text_may_be_others_than_the_order() -> None:
    reply = Reply(
        "q", "As diárias são pagas em até cinco dias úteis [2].", cited=(Evidence("b.md", TRAVEL),), numbers=(2,)
    )
    assert ground(ASKED, reply).cited == ((True,),)


def test_one_call_measures_what_rests_on_what() -> None:
    leave, nothing = ASKED, Question("n", "Quem inventou as férias?", language="pt")
    passages = (Evidence("a.md", LEAVE),)
    said = Reply("q", "As férias podem ser divididas em três períodos [1].", passages=passages, cited=passages)
    refused = Reply("n", "Nada encontrei.", refused=True, passages=passages)
    invented = Reply("n", "Foi Napoleão, em Paris.", passages=passages)
    values = measure([leave, nothing], [said, refused]).values
    assert [values[name][0] for name in ("grounded", "citation_recall", "citation_precision", "hallucinated")] == [
        1,
        1,
        1,
        0,
    ]
    assert math.isnan(values["grounded"][1])
    assert measure([leave, nothing], [said, invented]).values["hallucinated"][1] == 1
    # Without sources, a tuned model's answer is measured against those of the question.
    alone = measure([leave, nothing], [Reply("q", "Em três períodos."), Reply("n", "Napoleão.")]).values
    assert np.isnan(alone["grounded"]).all()
    assert np.isnan(alone["citation_recall"]).all()
    assert alone["grounded_in_source"][0] == 1
    assert list(alone["hallucinated"]) == [0, 1]


def test_it_tells_what_people_found_attributable(shared: Path) -> None:
    """On BEGIN's Topical Chat, which nothing was chosen on; `benchmarks/grounding.py` has all sets."""
    path = shared / "eval" / "hallucination" / "begin" / "topicalchat" / "begin_dev_tc.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[:200]
    judged, found = [], []
    for row in rows:
        checked = [
            one.support for one in Grounds([row["knowledge"]], "en").check(split(row["response"])) if one.checkable
        ]
        if checked and row["begin_label"] != "Generic":
            found.append(sum(checked) / len(checked))
            judged.append(row["begin_label"] == "Fully attributable")
    assert roc_auc_score(judged, found) > 0.88


@pytest.mark.slow
def test_where_languages_differ_meaning_decides(pulled: Callable[[str], Path]) -> None:
    from lavra.inference.embedder import Embedder
    from lavra.model.hub import resolve

    pulled("e5-small-enpt")
    embedder = Embedder.load(resolve("e5-small-enpt"))
    passages = [
        "Employees have a right to thirty days of paid leave a year, which may be taken in up to three periods.",
        "The museum of modern art in the old harbour shows paintings of the nineteenth century until the end of May.",
    ]
    said = split("Os empregados têm direito a trinta dias de férias por ano. O motor do navio queima óleo pesado.")
    assert [one.supported for one in Grounds(passages, "pt").check(said)] == [False, False]
    first, second = Grounds(passages, "pt", embedder).check(said)
    assert (first.supported, first.by_meaning, first.passage) == (True, True, 0)
    assert not second.supported
