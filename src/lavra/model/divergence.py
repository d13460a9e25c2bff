"""How far a model's next-token distribution is from a teacher's, without the logits of either.

As in ``chunked.py``, logits exist for a chunk of positions, and become their own gradient on the way forward. Twice the
vocabulary is gone through, so a step of distillation costs the teacher's pass and one more unembedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.heads import before_words, unembedding_weight
from lavra.model.vocabulary_chunks import (
    Gradients,
    autocast,
    capped,
    chunks,
    given_back,
    linear,
    precise_dtype,
    row_blocks,
)

Kind = Literal["forward", "reverse", "jsd"]
Teacher = Callable[[slice], Tensor]
"""The teacher's logits, or log-probabilities, of some of the positions: (n, V). -inf where it gives no chance."""


@dataclass(frozen=True)
class Divergence:
    """Between a student q and a teacher p, both at ``temperature``.

    ``kind`` "forward": KL(p ‖ q), the student covers all that the teacher does (Hinton et al. 2015, without their T²);
    "reverse": KL(q ‖ p), it does nothing that the teacher would not (Gu et al. 2023, MiniLLM); "jsd":
    β KL(p ‖ m) + (1 - β) KL(q ‖ m), m = β p + (1 - β) q, between the two (Agarwal et al. 2023, eq. 1).
    """

    kind: Kind = "forward"
    temperature: float = 1.0
    mixture: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in ("forward", "reverse", "jsd"):
            raise LavraError(f"a divergence is forward, reverse or jsd, not {self.kind!r}")
        if not (self.temperature > 0 and math.isfinite(self.temperature)) or not 0 < self.mixture < 1:
            raise LavraError("a divergence needs a temperature above 0, and a mixture between 0 and 1")

    def of(self, q_log: Tensor, p_log: Tensor) -> tuple[Tensor, Tensor]:
        """Of rows of log-probabilities, (n, V): the divergence of each, (n,), and its gradient by the student's logits
        after the temperature, (n, V)."""
        q = q_log.exp()
        if self.kind == "forward":
            p = p_log.exp()
            # 0 · log 0 = 0: a teacher may give a word no chance.
            return torch.where(p > 0, p * (p_log - q_log), 0.0).sum(1), q - p
        if self.kind == "reverse":
            terms = q_log - p_log
            value = (q * terms).sum(1)
            return value, q * (terms - value[:, None])
        b = self.mixture
        m_log = torch.logaddexp(q_log + math.log1p(-b), p_log + math.log(b))
        p, terms = p_log.exp(), q_log - m_log
        of_student = (q * terms).sum(1)
        of_teacher = torch.where(p > 0, p * (p_log - m_log), 0.0).sum(1)
        # What a change of m does to both terms cancels.
        return b * of_teacher + (1 - b) * of_student, (1 - b) * q * (terms - of_student[:, None])


def divergence(
    model: Model, hidden_NC: Tensor, teacher: Teacher, measure: Divergence, *, chunk: int | None = None
) -> Tensor:
    """Σ over positions, (), float32, of ``measure`` between ``model``'s words at ``hidden_NC`` and the teacher's."""
    wanted = torch.is_grad_enabled()
    found: Tensor = _ChunkedDivergence.apply(
        autocast(before_words(model, hidden_NC)),
        unembedding_weight(model),
        model.head.bias,
        teacher,
        measure,
        model.config.logit_soft_cap,
        chunk,
        wanted,
    )
    return found


def words_of(model: Model, hidden_NC: Tensor) -> Teacher:
    """The logits of a teacher whose last states are ``hidden_NC``, some at a time."""
    states = autocast(before_words(model, hidden_NC))
    weight, bias, cap = unembedding_weight(model).to(states.dtype), model.head.bias, model.config.logit_soft_cap

    def logits(part: slice) -> Tensor:
        z = linear(states[part], weight, bias)
        return z if cap is None else cap * torch.tanh(z / cap)

    return logits


def stored_words(ids_NK: Tensor, log_p_NK: Tensor, vocabulary: int) -> Teacher:
    """A teacher of whom only the K most probable words of each position are known; they are made to sum to 1, which
    only the forward KL can learn from."""

    def logits(part: slice) -> Tensor:
        ids, log_p = ids_NK[part].long(), log_p_NK[part].float()
        dense = torch.full((len(ids), vocabulary), -math.inf, device=log_p.device)
        return dense.scatter_(1, ids, log_p)

    return logits


class _ChunkedDivergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NC: Tensor,
        weight_VC: Tensor,
        bias_V: Tensor | None,
        teacher: Teacher,
        measure: Divergence,
        soft_cap: float | None,
        chunk: int | None,
        wanted: bool,
    ) -> Tensor:
        weight = weight_VC.to(hidden_NC.dtype)
        grads = Gradients(hidden_NC, weight_VC, bias_V, tuple(wanted and need for need in ctx.needs_input_grad[:3]))
        total = torch.zeros((), dtype=precise_dtype(hidden_NC.dtype), device=hidden_NC.device)
        heat = measure.temperature
        for part in chunks(hidden_NC, weight, chunk):
            hidden = hidden_NC[part]
            z, given = linear(hidden, weight, bias_V), teacher(part)
            for rows in row_blocks(z):
                block, slope = capped(z[rows], soft_cap, total.dtype)
                q_log = torch.log_softmax(block / heat, 1)
                p_log = torch.log_softmax(given[rows].to(total.dtype) / heat, 1)
                value, gradient = measure.of(q_log, p_log)
                total += value.sum()
                if grads.any:
                    gradient = gradient.div_(heat)
                    z[rows] = (gradient if slope is None else gradient.mul_(slope)).to(z.dtype)
            if grads.any:
                grads.add(part, z, hidden, weight)
            del z, given
        grads.keep(ctx)
        return total

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        return *given_back(ctx, given[0]), None, None, None, None, None
