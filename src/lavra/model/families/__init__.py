"""Families as data: how their files spell the config, and what they call each weight. No code asks for a name.

To add one: a function from the file's fields to a ``ModelConfig``, its inverse, and a table of names, in the file of
its kind; then a test beside those in ``tests/model`` that compares it with the reference implementation.
"""

from __future__ import annotations

from collections.abc import Mapping

from lavra.model.families.decoders import DECODERS
from lavra.model.families.encoders import ENCODERS
from lavra.model.families.family import Family
from lavra.model.families.gguf import GGUF
from lavra.model.families.own import OWN
from lavra.model.families.seq2seq import SEQ2SEQ
from lavra.model.families.vision import VISION

BY_MODEL_TYPE: Mapping[str, Family] = {**DECODERS, **ENCODERS, **SEQ2SEQ, **VISION, **OWN}
"""Hugging Face directories, by the ``model_type`` of their ``config.json``; Lavra's own, which says anything, last."""

BY_GGUF_ARCHITECTURE: Mapping[str, Family] = GGUF
"""GGUF files, by their ``general.architecture``."""
