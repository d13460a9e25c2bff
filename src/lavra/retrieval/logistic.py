"""Logistic regression with a normal prior, and where candidates compete for a question the loss of their order."""

from __future__ import annotations

import numpy as np


def newton(
    X: np.ndarray, y: np.ndarray, groups: np.ndarray, anchor: np.ndarray, strength: float, ranking: float
) -> np.ndarray:
    """Weights and, last, the bias (F + 1,) that minimise the loss of ``Fusion.fit`` (the bias is free).

    Newton's step, halved until the objective falls (Boyd and Vandenberghe 2004, section 9.5), from ``anchor``. Where a
    question has several right candidates its loss is not convex; what is missing to that is left out of the Hessian,
    which stays positive definite, so that every step leads down.
    """
    _, of = np.unique(groups, return_inverse=True)
    order = np.argsort(of, kind="stable")
    design, y, of = np.hstack([X, np.ones((len(X), 1))])[order], y[order], of[order]
    starts = np.searchsorted(of, np.arange(of[-1] + 1))
    ranked = (np.maximum.reduceat(y, starts) > 0) * ranking
    penalty = np.append(np.full(X.shape[1], strength), 1e-9)

    def shares(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Each candidate's share of its question, of the right ones alone, and the questions' loss."""
        e = np.exp(z - np.maximum.reduceat(z, starts)[of])
        whole, right = np.add.reduceat(e, starts), np.add.reduceat(e * y, starts)
        right = np.where(ranked > 0, np.maximum(right, 1e-300), whole)
        return e / whole[of], e * y / right[of], float(ranked @ np.log(whole / right))

    def objective(theta: np.ndarray) -> float:
        z = design @ theta
        return float(np.logaddexp(0.0, z).sum() - y @ z + 0.5 * penalty @ (theta - anchor) ** 2) + shares(z)[2]

    theta, value = anchor.copy(), objective(anchor)
    for _ in range(200):
        z = design @ theta
        p = sigmoid(z)
        share, of_right, _ = shares(z)
        gradient = design.T @ (p - y + ranked[of] * (share - of_right)) + penalty * (theta - anchor)
        mean = np.add.reduceat(design * share[:, None], starts)
        hessian = (design * (p * (1 - p) + ranked[of] * share)[:, None]).T @ design + np.diag(penalty)
        hessian -= (mean * ranked[:, None]).T @ mean
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (moved := objective(theta - size * step)) > value and size > 1e-6:
            size /= 2
        theta, drop, value = theta - size * step, value - moved, moved
        if drop <= 1e-12 * max(1.0, abs(value)):
            break
    return theta


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(z, -500.0, 500.0)))
