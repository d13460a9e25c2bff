"""The search finds what is better, asks little of what is worse, and never loses the prompt there is."""

from __future__ import annotations

import math
from random import Random

from lavra.prompting.pool import house, labels_of
from lavra.prompting.search import Found, Variant, as_recipe, examples_stage, halve, order_stage, search


class Asked:
    """Each variant is right with its own probability, question by question; counts what it is asked."""

    def __init__(self, chances: dict[str, float], bonus: float = 0.0, seed: int = 0) -> None:
        self.chances, self.bonus, self.seed, self.counts = chances, bonus, seed, dict.fromkeys(chances, 0)

    def __call__(self, variant: Variant, count: int) -> list[float]:
        self.counts[variant.instruction] = max(self.counts.get(variant.instruction, 0), count)
        chance = self.chances[variant.instruction] + self.bonus * math.log2(variant.shown + 1)
        random = Random(f"{self.seed} {variant}")
        return [float(random.random() < chance) for _ in range(count)]


CHANCES = {"present": 0.4, "better": 0.75, **{f"bad {number}": 0.1 for number in range(10)}}


def test_the_better_instruction_is_found_nearly_always() -> None:
    pool = [("house", text) for text in CHANCES if text != "present"]
    best = [search(Variant("present"), pool, Asked(CHANCES, seed=n), 64, counts=()).best for n in range(50)]
    assert sum(variant.instruction == "better" for variant in best) >= 48


def test_bad_ones_are_asked_a_quarter_of_the_questions_and_the_present_one_all() -> None:
    asked = Asked(CHANCES)
    variants = [Variant(text) for text in CHANCES]
    found = halve(variants, asked, 64, "instructions")
    assert asked.counts["present"] == 64
    assert asked.counts["better"] == 64
    assert sum(asked.counts.values()) < 0.6 * 64 * len(CHANCES)
    assert len(found.tried) == len(CHANCES)
    assert found.tried[-1].variant == found.best


def test_nothing_better_leaves_the_present_prompt() -> None:
    pool = [("house", text) for text in CHANCES if text.startswith("bad")]
    found = search(Variant("present"), pool, Asked(CHANCES), 64, counts=())
    assert found.best == Variant("present")


def test_examples_and_their_order_are_searched_after_the_instruction() -> None:
    asked = Asked({"present": 0.2, "better": 0.4}, bonus=0.15)
    found: Found = search(Variant("present"), [("yours", "better")], asked, 64, counts=(2, 8))
    assert found.best.instruction == "better"
    assert found.best.shown == 8
    stages = [one.stage for one in found.tried]
    assert stages == sorted(stages, key=["instructions", "examples", "order"].index)


def test_each_part_tries_what_it_says() -> None:
    base = Variant("x")
    tried = examples_stage(base, (2, 4), own=True)
    assert base in tried
    assert {(one.shown, one.choice, one.answers) for one in tried if one.shown} == {
        (n, choice, answers) for n in (2, 4) for choice, answers in
        (("nearest", "given"), ("nearest", "own"), ("fixed", "given"))
    }  # fmt: skip
    nearest = Variant("x", shown=2)
    assert [one.order for one in order_stage(nearest)] == ["nearest last", "nearest first"]
    assert len({as_recipe(one)["seed"] for one in order_stage(Variant("x", shown=2, choice="fixed", seed=1))}) == 4
    assert order_stage(base) == [base]


def test_the_house_names_the_labels_where_answers_are_labels() -> None:
    answers = ["bom", "ruim"] * 10
    assert labels_of(answers) == ["bom", "ruim"]
    assert labels_of([f"answer {number}" for number in range(20)]) == []
    texts = [text for _, text in house("direct", "pt", answers)]
    assert "bom, ruim" in texts[0]
    assert not any("{labels}" in text for text in texts)
    assert all("{labels}" not in text for _, text in house("direct", "pt", ["a b c d e f"] * 3))


def test_the_house_s_instructions_have_no_warning() -> None:
    from lavra.prompting.lint import lint_text
    from lavra.prompting.pool import DIRECT, GROUNDED, LABELS

    for table in (DIRECT, GROUNDED, LABELS):
        for language, texts in table.items():
            for text in filter(None, texts):
                found = lint_text(text.replace("{labels}", "a, b"), language=language)
                assert [one for one in found if one.severity != "note"] == [], text
