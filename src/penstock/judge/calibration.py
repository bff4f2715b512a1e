"""Fusing views: one logistic model over their margins, whose sum is the calibrated log-odds.

The weights are never negative, so the fused score rises with every view's; a sum keeps each view's share readable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.judge.linear import probability

RATE = 0.003
"""Slow: the fusion follows how far each view may be believed here, not single messages."""
CLIP = 6.0
"""Of a margin, in one step of learning."""


class Fusion:
    """How much each view's margin counts, and the log-odds where they all say nothing."""

    __slots__ = ("base", "shares")

    def __init__(self, shares: Sequence[float], base: float = 0.0) -> None:
        self.shares = list(shares)
        self.base = base

    def log_odds(self, margins: Sequence[float]) -> float:
        """Calibrated natural log-odds of abuse where abuse and legitimate mail are equally likely beforehand."""
        return self.base + sum(share * margin for share, margin in zip(self.shares, margins, strict=True))

    def learn(self, margins: Sequence[float], is_abuse: bool) -> None:
        """One small step towards the truth."""
        step = RATE * (float(is_abuse) - probability(self.log_odds(margins)))
        self.base += step
        self.shares = [
            max(0.0, share + step * max(-CLIP, min(CLIP, margin)))
            for share, margin in zip(self.shares, margins, strict=True)
        ]

    @classmethod
    def fit(cls, margins: NDArray[np.float64], labels: NDArray[np.bool_], *, steps: int = 4000) -> Fusion:
        """The fusion that fits margins (one row a message) of mail that the views had not learnt from.

        Both labels weigh the same, so that log-odds are evidence and not a guess at how much abuse there is.
        Raises ValueError where one of the labels is missing.
        """
        if labels.all() or not labels.any():
            raise ValueError("calibration needs both abuse and legitimate mail")
        weight = np.where(labels, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
        spread = margins.std(axis=0) + 1e-9
        rows = margins / spread
        shares, base = np.full(rows.shape[1], 0.5), 0.0
        for _ in range(steps):
            wrong = weight * (labels - 1.0 / (1.0 + np.exp(-np.clip(rows @ shares + base, -50, 50))))
            shares = np.maximum(0.0, shares + 0.5 * (rows * wrong[:, None]).mean(axis=0))
            base += 0.5 * float(wrong.mean())
        return cls((shares / spread).tolist(), base)
