"""What a study may spend: minutes, kilowatt-hours or money; and what it has spent, over all its sittings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from lavra.errors import LavraError
from lavra.evaluation.costs import Prices, energy
from lavra.store.energy import Cost, Meter, both

Unit = Literal["minutes", "kWh", "money"]
_MINUTES = {"s": 1 / 60, "second": 1 / 60, "min": 1.0, "m": 1.0, "minute": 1.0, "h": 60.0, "hour": 60.0}
_SIGNS = {"€": "EUR", "$": "USD", "R$": "BRL", "£": "GBP"}


@dataclass(frozen=True)
class Budget:
    """``amount`` of a ``unit``."""

    amount: float
    unit: Unit
    text: str


def parse_budget(text: str, currency: str) -> Budget:
    """``15 min``, ``2 h``, ``0.5 kWh``, ``3 EUR`` or ``3`` of the currency's sign.

    Raises:
        LavraError: for anything else, for nothing at all, and for a currency whose prices are not known.
    """
    match = re.fullmatch(r"\s*(R\$|[€$£])?\s*(\d+(?:[.,]\d+)?)\s*([A-Za-zµ]*|[€$£])\s*", text)
    if match is None or not (match[1] or match[3]):
        raise LavraError(f"the budget {text!r} is not understood: write it as 15 min, 0.5 kWh or 3 {currency}.")
    amount, word = float(match[2].replace(",", ".")), match[1] or match[3]
    if amount <= 0:
        raise LavraError(f"the budget is {text}: give more than nothing.")
    minutes = _MINUTES.get(word.lower().removesuffix("s") or "s")
    if minutes is not None:
        return Budget(amount * minutes, "minutes", text.strip())
    if word.lower() in ("kwh", "wh"):
        return Budget(amount / (1000 if word.lower() == "wh" else 1), "kWh", text.strip())
    if _SIGNS.get(word, word.upper()) != currency:
        raise LavraError(
            f"the budget is in {word}, and [prices] of lavra.toml has {currency}: write 15 min, 0.5 kWh or "
            f"3 {currency}."
        )
    return Budget(amount, "money", text.strip())


def money_of(cost: Cost, prices: Prices) -> float:
    """Of the energy, and of the machine's time."""
    return energy(cost, prices.watts).kwh * prices.energy + cost.seconds / 3600 * prices.machine


class Spending:
    """What a study spends, written down as it goes, so that a study that continues knows what is left."""

    def __init__(self, path: Path, prices: Prices, budget: Budget | None) -> None:
        self.path, self.prices, self.budget = path, prices, budget
        self.before = Cost(0.0, 0.0)
        self.fees = 0.0  # what others were paid for their answers
        self._meter: Meter | None = None
        for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
            try:
                values = json.loads(line)
                self.fees += float(values.pop("fees"))
                self.before = _sum(self.before, Cost(**values))
            except (ValueError, TypeError, KeyError):  # cut short by a kill
                continue

    @contextmanager
    def on(self) -> Iterator[None]:
        """Whatever happens inside is spent, however it ends."""
        self._meter = Meter()
        try:
            yield
        finally:
            self._keep(self._meter.read(), 0.0)
            self._meter = None

    def pay(self, fees: float) -> None:
        """Money for answers of others."""
        if fees:
            self._keep(Cost(0.0, 0.0), fees)

    def _keep(self, cost: Cost, fees: float) -> None:
        self.before, self.fees = _sum(self.before, cost), self.fees + fees
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({**asdict(cost), "fees": fees}))

    @property
    def cost(self) -> Cost:
        """All that was spent until now."""
        return _sum(self.before, self._meter.read()) if self._meter is not None else self.before

    @property
    def share(self) -> float:
        """Of the budget that is spent; 0 where there is none."""
        if self.budget is None:
            return 0.0
        cost = self.cost
        spent = {
            "minutes": cost.seconds / 60,
            "kWh": energy(cost, self.prices.watts).kwh,
            "money": money_of(cost, self.prices) + self.fees,
        }[self.budget.unit]
        return spent / self.budget.amount


def _sum(one: Cost, other: Cost) -> Cost:
    """Energy is known only where both are; an empty cost changes nothing."""
    if not one.seconds:
        return other
    if not other.seconds:
        return one
    joules = None
    if one.energy_joules is not None and other.energy_joules is not None:
        joules = one.energy_joules + other.energy_joules
    gpus = both(one.gpu_joules, other.gpu_joules)
    return Cost(one.seconds + other.seconds, one.cpu_seconds + other.cpu_seconds, joules, gpus)
