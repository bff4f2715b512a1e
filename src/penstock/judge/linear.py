"""An online linear scorer: logistic regression over hashed, binary features, one step of bounded size a message."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Slots = NDArray[np.uint32]

RATE = 8.0
"""How far, in nats of its own margin, one message that was judged utterly wrong moves a scorer."""
NEAR = 3.0
"""Margins right by this much are left alone: train on or near error."""


def probability(log_odds: float) -> float:
    """The probability that natural log-odds stand for; never overflows."""
    return 1.0 / (1.0 + math.exp(-log_odds)) if log_odds > -700 else 0.0


class Linear:
    """One view's weights. A message's features are scaled to length one, so that long mail says no more than short."""

    __slots__ = ("weights",)

    def __init__(self, weights: NDArray[np.float32]) -> None:
        self.weights = weights

    @classmethod
    def blank(cls, bits: int) -> Linear:
        """Two to the power of `bits` weights, all nothing."""
        return cls(np.zeros(1 << bits, dtype=np.float32))

    def margin(self, slots: Slots) -> float:
        """Natural log-odds of abuse as this view alone sees them; nothing seen is nothing said."""
        if not slots.size:
            return 0.0
        return float(self.weights.take(slots).sum()) / math.sqrt(slots.size)

    def learn(self, slots: Slots, margin: float, is_abuse: bool, rate: float = RATE) -> bool:
        """Step towards the truth; `margin` is what this view said. Returns whether anything moved.

        The step moves this message's margin by less than `rate`.
        """
        right = margin if is_abuse else -margin
        if right > NEAR or not slots.size:
            return False
        step = rate * probability(-right) / math.sqrt(slots.size)
        self.weights[slots] += np.float32(step if is_abuse else -step)
        return True
