"""Figures of merit of a score against labels, as the TREC spam track defined them, and its calibration."""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]


class Figures(Struct, frozen=True):
    """How well scores tell abuse from legitimate mail; shares are in per cent."""

    messages: int
    abuse: int
    roca_percent: float
    """100 · (1 - area under the ROC): the chance that a legitimate message outscores an abusive one."""
    misses_at_1_percent: float
    """Abuse missed where 1 % of legitimate mail is misjudged."""
    misses_at_01_percent: float
    """The same at 0.1 %."""
    misses: float
    """Abuse with a score of 0 or less."""
    false_alarms: float
    """Legitimate mail with a score above 0."""
    lam_percent: float
    """Logistic average of the two before."""
    calibration_error: float
    """Expected difference between stated probability and share of abuse (0-1), at this stream's own mixture."""
    calibration_error_even: float
    """The same with both labels weighing as much, which is what log-odds here are stated for."""


def figures(scores: Scores, labels: Labels) -> Figures:
    """All figures at once. `scores` are natural log-odds. Raises ValueError where one of the labels is missing."""
    abuse = int(labels.sum())
    if not 0 < abuse < labels.size:
        raise ValueError(f"{abuse} of {labels.size} messages are abuse; figures need both abuse and legitimate mail")
    misses = 100 * float((scores[labels] <= 0).mean())
    alarms = 100 * float((scores[~labels] > 0).mean())
    return Figures(
        messages=labels.size,
        abuse=abuse,
        roca_percent=roca_percent(scores, labels),
        misses_at_1_percent=misses_at(scores, labels, 0.01),
        misses_at_01_percent=misses_at(scores, labels, 0.001),
        misses=misses,
        false_alarms=alarms,
        lam_percent=lam_percent(misses, alarms, abuse, labels.size - abuse),
        calibration_error=calibration_error(scores, labels),
        calibration_error_even=calibration_error(scores, labels, even=True),
    )


def roca_percent(scores: Scores, labels: Labels) -> float:
    """100 · (1 - AUC); ties count half."""
    values, place = np.unique(scores, return_inverse=True)
    level = np.bincount(place[~labels], minlength=values.size)
    below = np.cumsum(level) - level
    won = float((below[place[labels]] + 0.5 * level[place[labels]]).sum())
    return 100 * (1 - won / (float(labels.sum()) * float((~labels).sum())))


def misses_at(scores: Scores, labels: Labels, share: float) -> float:
    """Per cent of abuse that is not above the threshold which at most `share` of legitimate mail exceeds."""
    legitimate = np.sort(scores[~labels])[::-1]
    threshold = legitimate[min(int(share * legitimate.size), legitimate.size - 1)]
    return 100 * float((scores[labels] <= threshold).mean())


def lam_percent(misses: float, alarms: float, abuse: int, legitimate: int) -> float:
    """The logistic average of two error rates in per cent; none seen counts as half a message."""
    logits = [
        math.log(rate / (1 - rate))
        for share, size in ((misses, abuse), (alarms, legitimate))
        for rate in [min(max(share / 100, 0.5 / size), 1 - 0.5 / size)]
    ]
    return 100 / (1 + math.exp(-sum(logits) / 2))


def calibration_error(scores: Scores, labels: Labels, *, even: bool = False, bins: int = 20) -> float:
    """Expected calibration error over `bins` bins of equal width, from 0 to 1."""
    stated = 1 / (1 + np.exp(-np.clip(scores, -500, 500)))
    share = labels.mean()
    weight = np.where(labels, 0.5 / share, 0.5 / (1 - share)) if even else np.ones(labels.size)
    place = np.minimum((stated * bins).astype(int), bins - 1)
    off = np.bincount(place, weights=weight * (stated - labels), minlength=bins)
    return float(np.abs(off).sum() / weight.sum())
