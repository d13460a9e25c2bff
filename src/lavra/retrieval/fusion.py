"""The fusion: from what both searches saw of a passage to the probability that it answers the question.

A logistic model over the features of :mod:`lavra.retrieval.features`, fitted to be right about each candidate (its
probability means something) and, :data:`RANKING` times as much, about which of a question's candidates comes first
(what a reader notices). Fixed reciprocal-rank fusion (Cormack et
al. 2009) can be worse than its better half, because it does not know which half to believe; a dozen learned
coefficients do, and carry over between corpora, since the features are relative to a question's own candidates. They
ship in ``fusion.json`` beside this file, trained on public data that is none of the benchmarks'
(``benchmarks/train_fusion.py``), and can be fitted again on a hundred questions of one's own.

When to refuse is said by :mod:`lavra.retrieval.acceptance`, from the best passage's log-odds and what it is by itself:
below ``threshold`` nothing found is good enough. The threshold was measured (``fusion.json`` says how), not guessed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lavra.errors import LavraError
from lavra.retrieval.acceptance import Acceptance, Evidence
from lavra.retrieval.features import FEATURES
from lavra.retrieval.logistic import newton, sigmoid
from lavra.store.files import write_atomically

FORMAT = 1
REFUSED = 0.1
"""Share of answerable questions that may be refused in training, which is on harder sets. On those of
``benchmarks/retrieval.py`` it refuses 5% of the answerable questions, 97% of those about something else, and 63% of
those whose passage was taken away."""
RANKING = 10.0
"""What the order within a question weighs beside the single candidates. Each training set, fitted on the others, mean
recall@5/MRR@10: .951/.839 at 0, .956/.844 at 1, .962/.851 at 10, .960/.854 at 100; but at 100 the best probability
tells a question without an answer less well (AUC .776, where 10 has .799 and 0 has .796)."""
SHIPPED = Path(__file__).with_name("fusion.json")


@dataclass(frozen=True)
class Fusion:
    """A logistic regression on standardised features, and the threshold of its best probability."""

    names: tuple[str, ...]
    mean: np.ndarray
    """(F,) of the features in training; what :meth:`predict` subtracts."""
    scale: np.ndarray
    """(F,) their standard deviations."""
    weights: np.ndarray
    """(F,) log-odds for one standard deviation."""
    bias: float
    threshold: float = 0.5
    """Questions whose confidence is below it are not answered."""
    acceptance: Acceptance | None = None
    """What makes the confidence of the best passage; without it, it is the passage's own probability."""
    training: dict[str, Any] = field(default_factory=dict)
    """What it was trained and measured on, in words and figures."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(N,) probabilities that the passages of these (N, F) features answer their question."""
        return sigmoid(self.log_odds(features))

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """(N,) the logarithms of the odds of :meth:`predict`."""
        return (np.asarray(features, dtype=np.float64) - self.mean) / self.scale @ self.weights + self.bias

    def confidence(self, evidence: Evidence, *, other_language: bool = False) -> float:
        """The probability that the best passage found answers the question; compare it with ``threshold``."""
        if self.acceptance is None:
            return float(sigmoid(np.array(evidence.log_odds)))
        return self.acceptance.confidence(evidence, other_language=other_language)

    def contributions(self, features: np.ndarray) -> np.ndarray:
        """(N, F) what each feature adds to a passage's log-odds; with the bias they sum to all of it."""
        return (np.asarray(features, dtype=np.float64) - self.mean) / self.scale * self.weights

    @classmethod
    def fit(
        cls,
        features: np.ndarray,
        labels: np.ndarray,
        groups: np.ndarray,
        *,
        strength: float = 1.0,
        ranking: float = RANKING,
        prior: Fusion | None = None,
        names: tuple[str, ...] = FEATURES,
        training: dict[str, Any] | None = None,
    ) -> Fusion:
        """Maximum a posteriori: Σ log-loss of the candidates + ranking · Σ log-loss of the questions + the prior.

        A question's loss is −log of the share that its right candidates have in the softmax over all of its own
        (Cao et al. 2007, their top-one model; any right candidate will do).

        Args:
            features: (N, F), the candidates of all questions.
            labels: (N,), 1 where a candidate answers its question, else 0; questions without any 1 are welcome,
                they teach when to refuse.
            groups: (N,) the question of each candidate. The threshold is set from each question's best candidate.
            strength: of the normal prior, λ in … + λ/2 ‖w − w₀‖²; scikit-learn's 1/C.
            ranking: weight of the questions' losses; 0 is plain logistic regression.
            prior: coefficients to stay near (w₀); with a hundred questions of one's own start from the shipped
                ones. Their standardisation is kept.

        Raises:
            LavraError: the shapes differ, a value is not finite, or the labels are all alike.
        """
        X, y = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        groups = np.asarray(groups)
        if X.ndim != 2 or X.shape != (len(y), len(names)) or len(groups) != len(y):
            raise LavraError(
                f"The fusion cannot be fitted: features {X.shape}, labels {y.shape} and groups {groups.shape} do not "
                f"belong together; give one label and one group a row and {len(names)} features."
            )
        if not np.isfinite(X).all() or not np.isin(y, (0.0, 1.0)).all():
            raise LavraError("The fusion cannot be fitted: features must be finite and labels 0 or 1.")
        if y.min(initial=1.0) == y.max(initial=0.0):
            raise LavraError(
                "The fusion cannot be fitted on labels that are all alike: "
                "give questions whose passages are in the index, with the passages that answer them."
            )
        mean = X.mean(axis=0) if prior is None else prior.mean
        scale = X.std(axis=0) if prior is None else prior.scale
        scale = np.where(scale > 1e-9, scale, 1.0)
        centre = np.zeros(len(names)) if prior is None else prior.weights
        anchor = np.append(centre, 0.0 if prior is None else prior.bias)
        *weights, bias = newton((X - mean) / scale, y, groups, anchor, strength, ranking)
        fitted = cls(tuple(names), mean, scale, np.array(weights), float(bias), training=dict(training or {}))
        return replace(fitted, threshold=accepting_threshold(fitted.predict(X), y, groups))

    # --- on disk --------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the coefficients as JSON, in one step."""
        record = {
            "format": FORMAT,
            "threshold": round(self.threshold, 6),
            "bias": round(self.bias, 6),
            "features": {
                name: {"weight": round(float(w), 6), "mean": round(float(m), 6), "scale": round(float(s), 6)}
                for name, w, m, s in zip(self.names, self.weights, self.mean, self.scale, strict=True)
            },
            **({"acceptance": self.acceptance.record()} if self.acceptance else {}),
            "training": self.training,
        }
        write_atomically(path, f"{json.dumps(record, indent=2, ensure_ascii=False)}\n".encode())

    @classmethod
    def load(cls, path: Path | None = None) -> Fusion:
        """The coefficients at ``path``; by default those that ship with Lavra.

        Raises:
            LavraError: no such file, or it holds other features than this version computes.
        """
        path = SHIPPED if path is None else Path(path)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["format"] != FORMAT or tuple(record["features"]) != FEATURES:
                raise LavraError(
                    f"The fusion at {path} was fitted on other features than this version computes: "
                    "fit it again, or remove the setting to use the one that ships with Lavra."
                )
            rows = list(record["features"].values())
            mean, scale, weights = (np.array([row[key] for row in rows], float) for key in ("mean", "scale", "weight"))
            acceptance = Acceptance.of(record["acceptance"]) if "acceptance" in record else None
            bias, threshold = float(record["bias"]), float(record["threshold"])
            fusion = cls(FEATURES, mean, scale, weights, bias, threshold, acceptance, record["training"])
        except OSError as error:
            raise LavraError(f"The fusion at {path} cannot be read ({error.strerror}): check the path.") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LavraError(
                f"{path} is not a fusion's coefficients ({error!r}): write it with Fusion.save."
            ) from error
        if not (np.isfinite([*mean, *weights, fusion.bias]).all() and (scale > 0).all()):
            raise LavraError(f"The fusion at {path} holds numbers that are not finite: fit it again.")
        return fusion


def accepting_threshold(
    probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, refused: float = REFUSED
) -> float:
    """The probability below which ``refused`` of the answerable questions have their best candidate.

    Answerable is a question with a candidate of label 1; a question is refused where its best candidate, right or
    wrong, is below the threshold.
    """
    _, group = np.unique(groups, return_inverse=True)
    best, answerable = np.zeros(group.max() + 1), np.zeros(group.max() + 1)
    np.maximum.at(best, group, probabilities)
    np.maximum.at(answerable, group, labels)
    return float(np.quantile(best[answerable > 0], refused))
