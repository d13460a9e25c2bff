"""What answers cost: energy, carbon dioxide, money. Each figure says whether it was measured or estimated.

Energy is *measured* where the processor's own counters (RAPL) can be read: what the whole processor drew meanwhile,
other programs' work included; what NVIDIA GPUs drew is added from theirs (NVML). Elsewhere it is *estimated*: seconds
of processor time by the watts of a busy core, as Green Algorithms do it (Lannelongue et al. 2021: about 12 W a core).
Memory, disks, screens, power supplies and cooling are in neither; what a server elsewhere draws is not known at all.

Carbon is energy by the country's mean intensity over a year, which hides hours and seasons. codecarbon was not taken:
it looks up where the machine is on the network, and its table is the one below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lavra.errors import LavraError
from lavra.evaluation.items import Reply
from lavra.store.energy import Cost

WATTS_A_CORE = 12.0
"""Of a busy core, where nobody declares another figure."""
JOULES_A_KWH = 3.6e6

INTENSITY = {
    "AO": 175, "AR": 354, "AT": 111, "AU": 549, "BE": 138, "BO": 532, "BR": 98, "CA": 170, "CH": 35, "CL": 291,
    "CN": 582, "CO": 260, "CV": 558, "CZ": 450, "DE": 381, "DK": 152, "EC": 150, "ES": 174, "FI": 79, "FR": 56,
    "GB": 238, "GR": 337, "GW": 625, "IE": 291, "IN": 713, "IT": 331, "JP": 485, "KR": 431, "MX": 507, "MZ": 136,
    "NL": 268, "NO": 30, "PE": 266, "PL": 662, "PT": 166, "PY": 24, "SE": 41, "SG": 471, "ST": 643, "TL": 667,
    "US": 369, "UY": 129, "VE": 186, "ZA": 708,
}  # fmt: skip
"""Grams of CO₂ equivalent a kilowatt-hour by ISO 3166 code, over the life cycle, 2023 (AO, CV, GW, MZ, ST, TL, VE:
2022): Ember and Energy Institute through Our World in Data (CC BY 4.0), as packaged by codecarbon 3.3."""
WORLD = 481
"""The mean of all countries in that table, weighted by what they generate."""


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules, and how they are known."""

    joules: float
    kind: Literal["measured", "estimated"]

    @property
    def kwh(self) -> float:
        return self.joules / JOULES_A_KWH

    def __add__(self, other: Energy) -> Energy:
        """A sum is measured only if both parts are."""
        return Energy(self.joules + other.joules, self.kind if self.kind == other.kind else "estimated")

    def __str__(self) -> str:
        amount = f"{self.kwh:.3g} kWh" if self.kwh >= 0.001 else f"{self.joules / 3.6:.3g} mWh"
        return f"{amount} ({self.kind})"


def energy(cost: Cost, watts: float = WATTS_A_CORE) -> Energy:
    """The energy of some work; ``watts``: of a busy core, for where it was not measured."""
    gpus = cost.gpu_joules or 0.0
    if cost.energy_joules is not None:
        return Energy(cost.energy_joules + gpus, "measured")
    return Energy(cost.cpu_seconds * watts + gpus, "estimated")


@dataclass(frozen=True, slots=True)
class Carbon:
    """Grams of CO₂ equivalent of some energy; as sure as the energy is."""

    grams: float
    intensity: float
    country: str
    """ISO 3166, or "" for the mean of the world."""
    kind: Literal["measured", "estimated"]


def carbon(spent: Energy, country: str = "") -> Carbon:
    """``country``: two letters, by ISO 3166; "" takes the mean of the world.

    Raises:
        LavraError: for a country that is not in the table.
    """
    code = country.strip().upper()
    if code and code not in INTENSITY:
        raise LavraError(
            f"there is no carbon intensity for the country {country!r}: write one of {', '.join(INTENSITY)}, or leave "
            "it out for the mean of the world."
        )
    intensity = INTENSITY.get(code, WORLD)
    return Carbon(spent.kwh * intensity, intensity, code, spent.kind)


@dataclass(frozen=True, slots=True)
class Prices:
    """What is paid, in one currency: as ``[prices]`` of ``lavra.toml`` says."""

    currency: str = "EUR"
    energy: float = 0.0
    """Of a kilowatt-hour."""
    machine: float = 0.0
    """Of an hour of this machine, its energy not included."""
    input: float = 0.0
    """Of a million tokens that a model on a server reads."""
    output: float = 0.0
    """Of a million tokens that it writes."""
    watts: float = WATTS_A_CORE


@dataclass(frozen=True, slots=True)
class Bill:
    """What 1,000 answers cost; ``money`` is the sum of its three parts."""

    money: float
    energy_money: float
    machine_money: float
    token_money: float
    energy: Energy
    carbon: Carbon
    currency: str


def per_thousand(
    replies: Sequence[Reply], cost: Cost, prices: Prices | None = None, country: str = "", *, remote: bool = False
) -> Bill:
    """What 1,000 answers like these cost, when ``cost`` was spent on all of them.

    Replies with an error were paid for as well. ``remote``: a server elsewhere answered, for tokens; what waiting for
    it cost this machine counts, what it drew does not.

    Raises:
        LavraError: without replies, or for an unknown country.
    """
    if not replies:
        raise LavraError("there are no replies, so nothing can be said of what one costs.")
    prices = prices or Prices()
    scale = 1000 / len(replies)
    spent = energy(cost, prices.watts)
    spent = Energy(spent.joules * scale, spent.kind)
    tokens = 0.0
    if remote:
        read, written = sum(r.prompt_tokens for r in replies), sum(r.completion_tokens for r in replies)
        tokens = (read * prices.input + written * prices.output) / 1e6 * scale
    parts = (spent.kwh * prices.energy, cost.seconds / 3600 * prices.machine * scale, tokens)
    return Bill(math.fsum(parts), *parts, spent, carbon(spent, country), prices.currency)
