"""What a study concludes: it recommends the best, says ties, and prefers the cheaper only where that is shown."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from lavra.evaluation.items import Reply
from lavra.evaluation.measuring import Scores
from lavra.store.energy import Cost
from lavra.workspace.studying.budget import Spending, parse_budget
from lavra.workspace.studying.deciding import decide
from lavra.workspace.studying.grid import Candidate
from lavra.workspace.studying.race import Entry, OverBudget, _Deadline
from lavra.workspace.studying.replies import Kept
from lavra.workspace.studying.report.pictures import Point, pareto
from lavra.workspace.studying.report.verdict import verdict
from lavra.workspace.studying.scoring import Result
from lavra.workspace.studying.ways import WAYS

EMPTY = Scores((), (), MappingProxyType({}))


def result(name: str, quality: list[float] | np.ndarray, seconds: float = 1.0, of: int | None = None) -> Result:
    """A way with these qualities, of the first of ``of`` questions."""
    entry = Entry(Candidate(name, WAYS["prompt"], "", {}))
    kept = [Kept(Reply(str(number), "x", seconds=seconds), Cost(seconds, seconds)) for number in range(len(quality))]
    padded = np.full(of or len(quality), np.nan)
    padded[: len(quality)] = quality
    return Result(entry, kept, EMPTY, padded)


def seconds(result: Result) -> float:
    return result.kept[0].reply.seconds


@pytest.fixture(scope="module")
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_what_is_clearly_better_is_chosen_and_nothing_is_tied(random: np.random.Generator) -> None:
    good, bad = random.binomial(1, 0.9, 100), random.binomial(1, 0.3, 100)
    decision = decide([result("bad", bad, 0.1), result("good", good, 9.0)], seconds)
    assert decision is not None
    assert (decision.chosen, decision.best, decision.tied) == ("good", "good", ())


def test_a_difference_that_few_questions_cannot_tell_is_a_tie_with_the_number_that_would(
    random: np.random.Generator,
) -> None:
    decision = decide([result("a", [1, 1, 1, 0, 1, 0]), result("b", [1, 0, 1, 0, 0, 1])], seconds)
    assert decision is not None
    (other,) = decision.tied
    assert decision.chosen == "a"
    assert other.name == "b"
    assert other.difference.needed is not None
    assert other.difference.needed > 6


def test_one_lucky_way_among_many_is_no_winner(random: np.random.Generator) -> None:
    """Of 20 ways that are all alike, the best wins a test uncorrected for their number too often."""
    won = corrected = 0
    for _ in range(20):
        ways = [result(str(number), random.binomial(1, 0.5, 40).astype(float)) for number in range(20)]
        decision = decide(ways, seconds)
        assert decision is not None
        won += any(other.difference.p < 0.05 for other in decision.against)
        corrected += len(decision.tied) < len(decision.against)
    assert won > 15
    assert corrected < won / 2


def test_a_cheaper_way_is_taken_only_if_it_is_shown_to_be_hardly_worse() -> None:
    best = [1.0] * 180 + [0.0] * 120
    near = [1.0] * 179 + [0.0] * 121
    decision = decide([result("best", best, 5.0), result("near", near, 1.0)], seconds)
    assert decision is not None
    assert (decision.chosen, decision.best, decision.cheaper) == ("near", "best", True)
    few = decide([result("best", [1, 1, 0, 1], 5.0), result("near", [1, 1, 0, 0], 1.0)], seconds)
    assert few is not None
    assert few.chosen == "best"  # a tie of four questions shows nothing
    dearer = decide([result("best", best, 1.0), result("near", near, 5.0)], seconds)
    assert dearer is not None
    assert dearer.chosen == "best"


def test_a_way_that_was_dropped_early_cannot_win_by_its_few_questions() -> None:
    few = result("lucky", [1.0] * 8, of=20)
    many = result("steady", [1.0] * 15 + [0.0] * 5)
    decision = decide([few, many], seconds)
    assert decision is not None
    assert decision.best == "steady"
    assert decision.against[0].difference.count == 8


def test_where_nothing_is_right_nothing_is_recommended() -> None:
    assert decide([], seconds) is None
    assert decide([result("a", [0, 0]), result("b", [0, 0])], seconds) is None
    said = verdict({"decision": None})
    assert all(len(sentences) == 3 and all(s.endswith(".") for s in sentences) for sentences in said.values())


def test_a_training_stops_when_its_share_of_the_budget_is_spent(tmp_path: Any) -> None:
    path = tmp_path / "spent.jsonl"
    path.write_text('{"seconds": 29.0, "cpu_seconds": 1.0, "energy_joules": null, "fees": 0.0}')
    from lavra.evaluation.costs import Prices
    from lavra.training.callbacks import Step

    step = Step(3, 9, 1.0, 0.1, 1.0, 1, 1, 1.0, 0.1, 1)
    _Deadline(Spending(path, Prices(), parse_budget("1 min", "EUR")), 0.5).step(step)
    path.write_text('{"seconds": 31.0, "cpu_seconds": 1.0, "energy_joules": null, "fees": 0.0}')
    with pytest.raises(OverBudget, match="at step 3 of 9"):
        _Deadline(Spending(path, Prices(), parse_budget("1 min", "EUR")), 0.5).step(step)


def test_the_picture_joins_the_front_alone_and_stays_inside_its_frame() -> None:
    points = [
        Point("fast & <poor>", 0.05, 0.2, 0.1, 0.3, True),
        Point("fair", 2.0, 0.6, 0.5, 0.7, True, chosen=True),
        Point("dear", 40.0, 0.5, 0.4, 0.6, False),
        Point("free", 0.0, 0.5, 0.4, 0.6, False),  # has no place on a logarithmic axis
    ]
    drawn = ElementTree.fromstring(pareto(points, x_name="s", y_name="q"))
    named = {tag: [e for e in drawn.iter() if e.tag.endswith(tag)] for tag in ("circle", "polyline", "text")}
    assert len(named["circle"]) == 3
    (line,) = named["polyline"]
    corners = [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]
    circles = [(float(c.get("cx", 0)), float(c.get("cy", 0))) for c in named["circle"]]
    assert corners[0] == circles[0]
    assert corners[-1] == circles[1]
    assert "fast & <poor>" in [text.text for text in named["text"]]
    assert all(0 <= x <= 760 and 0 <= y <= 380 for x, y in circles)
    assert pareto([points[-1]], x_name="s", y_name="q") == ""
