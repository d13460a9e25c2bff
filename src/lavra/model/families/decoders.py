"""All decoders of Hugging Face directories, by the ``model_type`` of their config."""

from __future__ import annotations

from collections.abc import Mapping

from lavra.model.families.family import Family
from lavra.model.families.gemma import GEMMAS
from lavra.model.families.gpt import GPTS
from lavra.model.families.llama import LLAMAS
from lavra.model.families.mixtures import MIXTURES

DECODERS: Mapping[str, Family] = {**LLAMAS, **MIXTURES, **GEMMAS, **GPTS}
