"""Costs are arithmetic on what was measured, and say what was not."""

from __future__ import annotations

import pytest

from lavra.errors import LavraError
from lavra.evaluation.costs import INTENSITY, WORLD, Energy, Prices, carbon, energy, per_thousand
from lavra.evaluation.items import Reply
from lavra.store.energy import Cost

REPLIES = [Reply(str(n), "x", prompt_tokens=500, completion_tokens=100) for n in range(10)]


def test_energy_says_how_it_is_known() -> None:
    assert energy(Cost(10, 20, 300.0)) == Energy(300.0, "measured")
    assert energy(Cost(10, 20), watts=15) == Energy(300.0, "estimated")
    assert (energy(Cost(1, 1, 5.0)) + energy(Cost(1, 1))).kind == "estimated"
    assert str(Energy(7.2e6, "measured")) == "2 kWh (measured)"
    assert str(Energy(36, "estimated")) == "10 mWh (estimated)"


def test_carbon_is_the_countrys() -> None:
    spent = Energy(3.6e6, "estimated")
    assert carbon(spent, "br").grams == pytest.approx(INTENSITY["BR"])
    assert carbon(spent).grams == pytest.approx(WORLD)
    assert carbon(spent, "FR").grams < carbon(spent, "PL").grams
    with pytest.raises(LavraError, match=r"country 'Brazil': write one of AO, "):
        carbon(spent, "Brazil")


def test_a_thousand_answers_are_a_hundred_times_ten() -> None:
    prices = Prices("EUR", energy=0.20, machine=1.5, input=2.0, output=8.0, watts=10)
    bill = per_thousand(REPLIES, Cost(seconds=72, cpu_seconds=360), prices, "PT")
    assert bill.energy == Energy(360_000.0, "estimated")  # 0.1 kWh
    assert bill.energy_money == pytest.approx(0.02)
    assert bill.machine_money == pytest.approx(3.0)  # two hours
    assert bill.token_money == 0
    assert bill.money == pytest.approx(3.02)
    assert bill.carbon.grams == pytest.approx(INTENSITY["PT"] / 10)


def test_a_server_is_paid_by_tokens() -> None:
    prices = Prices(input=2.0, output=8.0)
    bill = per_thousand(REPLIES, Cost(1, 0), prices, remote=True)
    assert bill.token_money == pytest.approx((500_000 * 2 + 100_000 * 8) / 1e6)
    assert bill.money == bill.token_money
    with pytest.raises(LavraError, match="no replies"):
        per_thousand([], Cost(1, 1))
