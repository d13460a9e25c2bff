"""Membership scores: one number a text, the higher the likelier that the model was trained on it.

=============  ========================================================================================================
name           is
=============  ========================================================================================================
loss           mean log p of a token (Yeom et al. 2018)
zlib           the same over the bytes that zlib makes of it: what is simple is likely anyway (Carlini et al. 2021)
min_k          mean log p of the k% least likely tokens (Shi et al. 2024)
min_k_plus     the same after each token's log p is standardised over the vocabulary (Zhang et al. 2024)
reference      log p a byte beyond what a reference model gives the text, which never saw it (Carlini et al. 2021)
=============  ========================================================================================================

None is calibrated: what a number means, only texts show that are known not to be members.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavra.evaluation.memorisation.reading import Reading

K = 0.2
"""The share of a text's tokens that Min-K% looks at, as in its paper."""
MEASURES = ("loss", "zlib", "min_k", "min_k_plus", "reference")


def loss(reading: Reading) -> float:
    return float(reading.log_p.mean())


def zlib_ratio(reading: Reading) -> float:
    """Nats a token over the compressed bytes, negative."""
    return float(reading.log_p.mean()) / reading.packed


def min_k(reading: Reading, k: float = K) -> float:
    return _lowest(reading.log_p, k)


def min_k_plus(reading: Reading, k: float = K) -> float:
    """Where the model is certain of one token the spread is 0, and so is what the token says."""
    spread = reading.spread
    standardised = np.where(spread > 0, (reading.log_p - reading.mean) / np.where(spread > 0, spread, 1.0), 0.0)
    return _lowest(standardised, k)


def reference_ratio(reading: Reading, reference: Reading) -> float:
    """log (p / p of the reference) a byte; by bytes, for the two may have different tokenizers."""
    return (float(reading.log_p.sum()) - float(reference.log_p.sum())) / reading.octets


def all_scores(
    readings: Sequence[Reading], references: Sequence[Reading] | None = None, *, k: float = K
) -> dict[str, np.ndarray]:
    """Every measure of each text, (N,); ``reference`` only where ``references`` are given."""
    found = {
        "loss": [loss(one) for one in readings],
        "zlib": [zlib_ratio(one) for one in readings],
        "min_k": [min_k(one, k) for one in readings],
        "min_k_plus": [min_k_plus(one, k) for one in readings],
    }
    if references is not None:
        found["reference"] = [reference_ratio(*both) for both in zip(readings, references, strict=True)]
    return {name: np.array(values, dtype=np.float64) for name, values in found.items()}


def _lowest(values: np.ndarray, k: float) -> float:
    count = max(1, int(len(values) * k))
    return float(np.partition(values, count - 1)[:count].mean())
