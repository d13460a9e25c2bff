"""What the answers of a way cost: energy, carbon dioxide, and money where ``[prices]`` says any."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavra.evaluation.costs import Prices, carbon, energy
from lavra.workspace.studying.budget import money_of
from lavra.workspace.studying.grid import Candidate
from lavra.workspace.studying.replies import Kept
from lavra.workspace.studying.scoring import Result
from lavra.workspace.workspace import Workspace

Fees = Callable[[Candidate, Sequence[Kept]], float]


@dataclass(frozen=True)
class Pricing:
    """``prices`` of the workspace; ``fees``: what others charge for replies, all together; ``country``:
    whose electricity; ``priced``: whether money can be told."""

    prices: Prices
    fees: Fees
    country: str = ""
    priced: bool = False

    def per_answer(self, result: Result) -> dict[str, Any]:
        """Energy, CO₂ and money of an answer. What a server draws elsewhere is not known: it has no energy."""
        count = len(result.kept)
        money = (
            sum(money_of(kept.cost, self.prices) for kept in result.kept)
            + self.fees(result.entry.candidate, result.kept)
        ) / count
        found: dict[str, Any] = {"money_1000": money * 1000 if self.priced else None}
        if not result.entry.candidate.way.over_models:
            return {**found, "kwh": None, "kind": None, "co2_grams": None}
        spent = [energy(kept.cost, self.prices.watts) for kept in result.kept]
        whole = sum(spent[1:], start=spent[0])
        grams = carbon(whole, self.country).grams / count
        return {**found, "kwh": whole.kwh / count, "kind": whole.kind, "co2_grams": grams}

    def cost(self, result: Result) -> float:
        """Of an answer: money where prices are known, else the seconds that one waits."""
        return float(self.per_answer(result)["money_1000"]) if self.priced else float(seconds_of(result))


def seconds_of(result: Result) -> float:
    """The median of the seconds that an answer takes; infinite where none came."""
    seconds = [kept.reply.seconds for kept in result.kept if not kept.reply.error]
    return float(np.median(seconds)) if seconds else math.inf


def pricing_of(workspace: Workspace) -> Pricing:
    """As ``[prices]`` of ``lavra.toml`` has it."""
    section = workspace.settings.prices
    prices = Prices(section.currency, section.energy, section.machine, watts=section.watts)
    return Pricing(prices, _fees(workspace), section.country, bool(section.energy or section.machine or section.models))


def _fees(workspace: Workspace) -> Fees:
    """What a server's model costs, by its tokens and the price table."""

    def fees(candidate: Candidate, kept: Sequence[Kept]) -> float:
        price = workspace.settings.prices.models.get(str(candidate.settings.get("model") or ""))
        if candidate.way.over_models or price is None:
            return 0.0
        tokens = [(one.reply.prompt_tokens, one.reply.completion_tokens) for one in kept]
        return sum(asked * price.input + written * price.output for asked, written in tokens) / 1e6

    return fees
