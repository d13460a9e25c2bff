"""A mixture of experts in place of an MLP: each token passes the few experts that a router chooses for it.

Shazeer et al. 2017; routing as in Mixtral (Jiang et al. 2024, section 2.1), balance as in Fedus et al. 2021 (Switch
Transformers, section 2.2). Tokens are sorted by expert and all experts are one grouped matrix product. All tokens of a
batch count towards the balance, padding too: pack texts rather than padding them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.model.config import ModelConfig

_GROUPED_TYPES = (torch.float32, torch.bfloat16, torch.float16)


class ExpertMLP(nn.Module):
    """``balance_loss`` is set by each forward pass in training: E · Σ share · mean probability, over experts; a share
    is how many of an expert's choices come on a token, so that it is the number of chosen experts when even."""

    def __init__(self, config: ModelConfig, activations: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        experts = config.experts
        assert experts is not None
        self.count, self.chosen, self.normalised = experts.count, experts.chosen, experts.normalised
        self.gated, self.activation = config.gated, activations[config.activation]
        columns = experts.width * (2 if config.gated else 1)
        self.router = nn.Linear(config.width, experts.count, bias=False)
        self.experts_up = nn.Parameter(torch.empty(experts.count, columns, config.width))
        self.experts_down = nn.Parameter(torch.empty(experts.count, config.width, experts.width))
        self.shared_up = self.shared_down = self.shared_gate = None
        if experts.shared_width:
            shared = experts.shared_width * (2 if config.gated else 1)
            self.shared_up = nn.Linear(config.width, shared, bias=False)
            self.shared_down = nn.Linear(experts.shared_width, config.width, bias=False)
            self.shared_gate = nn.Linear(config.width, 1, bias=False) if experts.shared_gate else None
        self.balance_loss: Tensor | None = None
        for weight in (self.experts_up, self.experts_down):
            nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)

    def forward(self, x_BTC: Tensor) -> Tensor:
        x_NC = x_BTC.reshape(-1, x_BTC.shape[-1])
        probabilities_NE = self.router(x_NC).float().softmax(-1)
        weight_NG, expert_NG = probabilities_NE.topk(self.chosen, -1)
        if self.normalised:
            weight_NG = weight_NG / weight_NG.sum(-1, keepdim=True)
        choices = expert_NG.flatten()
        tokens_E = choices.new_zeros(self.count).scatter_add_(0, choices, torch.ones_like(choices))
        if self.training:
            share_E = tokens_E / len(x_NC)
            self.balance_loss = self.count * (share_E * probabilities_NE.mean(0)).sum()
        order = choices.argsort(stable=True)
        ends = tokens_E.cumsum(0).int()
        hidden = self._activate(_grouped(x_NC[order // self.chosen], self.experts_up, ends))
        given = _grouped(hidden, self.experts_down, ends) * weight_NG.flatten()[order, None].to(x_NC.dtype)
        # Back to the tokens' order, then one sum a token: an addition by index would round differently each time on a
        # GPU.
        mixed = torch.empty_like(given).index_copy(0, order, given).view(*expert_NG.shape, -1).sum(1)
        if self.shared_up is not None and self.shared_down is not None:
            shared = self.shared_down(self._activate(self.shared_up(x_NC)))
            if self.shared_gate is not None:
                shared = shared * torch.sigmoid(self.shared_gate(x_NC))
            mixed = mixed + shared
        return mixed.view_as(x_BTC)

    def _activate(self, up: Tensor) -> Tensor:
        if not self.gated:
            return self.activation(up)
        gate, up = up.chunk(2, -1)
        return self.activation(gate) * up


def _grouped(x_NC: Tensor, weight_EFC: Tensor, ends_E: Tensor) -> Tensor:
    """Rows up to ``ends[0]`` times the first expert's matrix, and so on: (N, F)."""
    bytes_apart = [width * x_NC.element_size() for width in weight_EFC.shape[1:]]
    if x_NC.dtype in _GROUPED_TYPES and not any(count % 16 for count in bytes_apart):  # what the kernel asks for
        return F.grouped_mm(x_NC, weight_EFC.transpose(-2, -1), offs=ends_E)
    ends = [0, *ends_E.tolist()]
    rows = [x_NC[start:end] @ weight.T for start, end, weight in zip(ends, ends[1:], weight_EFC, strict=False)]
    return torch.cat(rows)


def balance_loss(model: nn.Module) -> Tensor | None:
    """The mean over layers of the last pass's balance losses, unweighted; None for a model without experts."""
    losses = [m.balance_loss for m in model.modules() if isinstance(m, ExpertMLP) and m.balance_loss is not None]
    return torch.stack(losses).mean() if losses else None
