"""What a run measures. In the loop, now and then: the loss on what was held out, and general text. Before and after:
the same, general tasks, and checks of the user's own. What was gained and what was forgotten is the difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from lavra.model.base import Model
from lavra.objectives.language import LanguageModel
from lavra.store.files import digest
from lavra.tokens.tokenizer import Tokenizer
from lavra.training.evaluation import HeldOut
from lavra.training.forward import Forward
from lavra.workspace.tuning.general import bits_per_byte, general_text
from lavra.workspace.tuning.tasks import Task, load_tasks, score_tasks

LOSS = "loss"
GENERAL = "general_bits_per_byte"
TASKS_RIGHT, TASKS_LOSS = "tasks_right", "tasks_loss"
MEASURES = {LOSS: "held_out", GENERAL: "general", TASKS_RIGHT: "tasks", TASKS_LOSS: "tasks_loss"}
"""Each measure's name in a manifest, where it stands twice: ``_before`` and ``_after``."""


@dataclass(frozen=True)
class Measured:
    """What forgetting is measured on."""

    paragraphs: tuple[str, ...] = field(default_factory=lambda: tuple(general_text()))
    tasks: tuple[Task, ...] = field(default_factory=lambda: tuple(load_tasks()))

    @property
    def fingerprint(self) -> str:
        """Figures of another text, or of other tasks, are not the same figures."""
        return digest([list(self.paragraphs), [[task.prompt, list(task.choices), task.answer] for task in self.tasks]])


@dataclass
class Measure:
    """What the loop calls; :meth:`thoroughly` is for before and after."""

    tokenizer: Tokenizer
    held: HeldOut | None
    general: Measured = field(default_factory=Measured)

    def __call__(self, forward: Forward) -> Mapping[str, float]:
        found = dict(self.held(forward)) if self.held is not None else {}
        return found | {
            GENERAL: forward.run(lambda model: bits_per_byte(model, self.tokenizer, self.general.paragraphs))
        }

    @torch.no_grad()
    def thoroughly(self, model: Model) -> dict[str, float]:
        """All that Lavra measures; the model's mode is put back."""
        mode = model.training
        try:
            found = dict(self(Forward(model.eval(), LanguageModel())))
            return found | score_tasks(model, self.tokenizer, self.general.tasks).figures
        finally:
            model.train(mode)
