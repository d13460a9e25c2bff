"""What a run learns: the next token or a teacher's words, and what holds it to the model that it began from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lavra.model.divergence import Divergence
from lavra.objectives.distillation import Distillation
from lavra.objectives.language import LanguageModel
from lavra.objectives.objective import Objective
from lavra.objectives.retention import KLToBase, ewc, fisher, l2_sp
from lavra.workspace.tuning.base import Prepared, load_again
from lavra.workspace.tuning.teaching import load_teacher

if TYPE_CHECKING:
    from lavra.workspace.tuning.run import Job


def make_objective(job: Job, prepared: Prepared) -> Objective:
    """For a model that has not been trained yet: what it is held to is what it is now."""
    settings = job.settings
    objective = _learned(job, prepared)
    if settings.ewc:
        importance = fisher(prepared.model, LanguageModel(), job.data.old)
        objective = ewc(objective, prepared.model, settings.ewc, importance)
    if settings.l2_sp:
        objective = l2_sp(objective, prepared.model, settings.l2_sp)
    if settings.kl:
        objective = _near_the_base(objective, job, prepared)
    return objective


def _learned(job: Job, prepared: Prepared) -> Objective:
    settings = job.settings
    if job.teacher is not None and settings.teach == "logits":
        teacher = load_teacher(job.teacher, prepared.model.device)
        return Distillation(teacher, Divergence(temperature=settings.temperature), hard=settings.hard)
    if settings.method == "longlora":
        return LanguageModel(shift=settings.group or max(2, job.base.context // 4 // 2 * 2))
    return LanguageModel()


def _near_the_base(objective: Objective, job: Job, prepared: Prepared) -> Objective:
    """An adapter is switched off to ask the base; where all weights are trained, the base stands beside the model."""
    weight = job.settings.kl
    if prepared.adapters is not None:
        return KLToBase(objective, weight, without=prepared.adapters.switched_off)
    return KLToBase(objective, weight, base=load_again(job.base, prepared.model))
