"""GRPO: answers that did better than others to the same prompt become more probable (Shao et al. 2024, section 4.1).

No value model: a group of answers to one prompt is its own baseline. What is good is said by a function that checks
(a result, a format, a test that passes) or by a reward model. Where answers come from is ``training/rollouts.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.objectives.answers import Metrics, Remembered, Text, by_text, in_a_row, mean_of, token_log_probabilities
from lavra.objectives.objective import IGNORE, Batch

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rollout:
    """An answer that the model gave, its ``reward`` and its ``advantage`` over its group.

    ``old``: log p of each of the answer's tokens when it was given; None while it is first learned from, for the model
    is then the one that gave it. ``reference``: log p under the model before training; None where no KL counts.
    """

    text: Text
    reward: float
    advantage: float
    old: Floats | None = None
    reference: Floats | None = None

    @property
    def answer_tokens(self) -> int:
        return len(self.text.ids) - self.text.answer


def advantages(rewards: Sequence[float], *, scaled: bool = True) -> list[float]:
    """(r - mean) / (standard deviation + 1e-4) over a group; not ``scaled``: r - mean (Liu et al. 2025, Dr. GRPO, which
    finds that dividing favours prompts on which the group nearly agrees)."""
    values = np.asarray(rewards, dtype=np.float64)
    if len(values) < 2:
        raise LavraError("GRPO compares answers to one prompt; sample at least two")
    if not np.isfinite(values).all():
        raise LavraError("a reward is not a number; let the reward function give one for every answer")
    found = values - values.mean()
    return (found / (values.std(ddof=1) + 1e-4) if scaled else found).tolist()


@dataclass
class GRPO:
    """-min(ρ A, clip(ρ, 1 - ε, 1 + ε) A) + β · k3, where ρ = p / p_old (eq. 3) and k3 = p_ref / p - log(p_ref / p) - 1
    estimates KL(model ‖ reference) without bias (eq. 4; Schulman 2020).

    ``clip_high``: ε upwards, where it differs (Yu et al. 2025, DAPO). ``average`` "token": over all tokens of a step
    (DAPO, section 3.3); "answer": over each answer's first (the paper; long bad answers then cost too little).
    """

    beta: float = 0.0
    clip: float = 0.2
    clip_high: float | None = None
    average: Literal["token", "answer"] = "token"
    _remembered: Remembered = field(default_factory=Remembered, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (self.beta >= 0 and math.isfinite(self.beta)) or not 0 < self.clip < 1:
            raise LavraError("GRPO: beta must not be negative, and clip lies between 0 and 1")
        if self.average not in ("token", "answer"):
            raise LavraError(f"GRPO averages over each token or each answer, not {self.average!r}")

    def collate(self, examples: Sequence[Rollout]) -> Batch:
        batch = in_a_row([rollout.text for rollout in examples])
        assert batch.targets_BT is not None
        extra = {
            "advantage_S": torch.tensor([rollout.advantage for rollout in examples], dtype=torch.float32),
            "reward_S": torch.tensor([rollout.reward for rollout in examples], dtype=torch.float32),
        }
        kept_BT = batch.targets_BT != IGNORE
        for name in ("old", "reference"):
            given = [getattr(rollout, name) for rollout in examples]
            if all(values is not None for values in given):
                values_BT = torch.zeros(kept_BT.shape)
                values_BT[kept_BT] = torch.from_numpy(np.concatenate(given))
                extra[f"{name}_BT"] = values_BT
        if self.beta and "reference_BT" not in extra:
            raise LavraError(
                "a KL to the reference counts (beta > 0) and the answers come without the reference's log p"
            )
        return Batch(batch.ids_BT, batch.targets_BT, batch.segments_BT, extra=extra)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        log_p_BT = token_log_probabilities(model, batch)
        assert batch.targets_BT is not None
        assert batch.segments_BT is not None
        kept_BT = batch.targets_BT != IGNORE
        advantage_BT = batch.extra["advantage_S"][batch.segments_BT.long() - 1]
        # Without an older model, p_old is p: the ratio is 1 and its gradient is that of log p.
        ratio_BT = (log_p_BT - batch.extra.get("old_BT", log_p_BT.detach())).exp()
        high = self.clip if self.clip_high is None else self.clip_high
        clipped_BT = ratio_BT.clamp(1 - self.clip, 1 + high)
        losses_BT = -torch.minimum(ratio_BT * advantage_BT, clipped_BT * advantage_BT)
        found = self._metrics(batch, kept_BT, ratio_BT, clipped_BT, advantage_BT)
        if "reference_BT" in batch.extra:
            k3_BT = k3(log_p_BT, batch.extra["reference_BT"])
            losses_BT = losses_BT + self.beta * k3_BT
            found["kl"] = mean_of(k3_BT[kept_BT])
        self._remembered.keep(batch, found)
        losses_BT = torch.where(kept_BT, losses_BT, 0.0)
        if self.average == "token":
            return losses_BT.sum(), kept_BT.sum()
        answers = len(batch.extra["advantage_S"])
        lengths = by_text(kept_BT.to(losses_BT.dtype), batch, answers)
        return (by_text(losses_BT, batch, answers) / lengths).sum(), torch.tensor(answers, device=losses_BT.device)

    def metrics(self, model: nn.Module, batch: Batch) -> Metrics:
        """``reward`` and ``answer_tokens``, means over answers; ``clipped``: the share of tokens at which the clip
        bounds the step; ``kl``: k3 a token, where there is a reference."""
        if self._remembered.of(batch) is None:
            with torch.no_grad():
                self.loss(model, batch)
        return self._remembered.of(batch) or {}

    @torch.no_grad()
    def _metrics(
        self, batch: Batch, kept_BT: Tensor, ratio_BT: Tensor, clipped_BT: Tensor, advantage_BT: Tensor
    ) -> Metrics:
        bound_BT = clipped_BT * advantage_BT < ratio_BT * advantage_BT
        reward_S = batch.extra["reward_S"]
        return {
            "reward": mean_of(reward_S),
            "answer_tokens": (kept_BT.sum().float(), torch.tensor(float(len(reward_S)), device=kept_BT.device)),
            "clipped": mean_of(bound_BT[kept_BT]),
        }


def k3(log_p: Tensor, reference: Tensor) -> Tensor:
    """r - log r - 1 with r = p_reference / p: never below 0, and KL(p ‖ reference) in the mean over p's own tokens."""
    log_ratio = reference - log_p
    return log_ratio.exp() - log_ratio - 1


@torch.no_grad()
def token_scores(model: nn.Module, texts: Sequence[Text]) -> list[Floats]:
    """log p of each of the answers' tokens, a text at a time, without dropout."""
    training = model.training
    model.eval()
    try:
        batch = in_a_row(texts).to(next(model.parameters()).device)
        assert batch.targets_BT is not None
        found = token_log_probabilities(model, batch)[batch.targets_BT != IGNORE].float().cpu().numpy()
    finally:
        model.train(training)
    cuts = np.cumsum([len(text.ids) - text.answer for text in texts])[:-1]
    return np.split(found, cuts)
