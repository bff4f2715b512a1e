"""Linear scorers and their fusion: bounded steps, monotone, learnable."""

import numpy as np
import pytest

from penstock.judge.calibration import Fusion
from penstock.judge.linear import NEAR, RATE, Linear, probability


def slots(*numbers):
    return np.array(numbers, dtype=np.uint32)


def test_a_scorer_learns_what_it_is_told():
    """After a few steps two kinds of message are apart, and what is right by far is left alone."""
    scorer = Linear.blank(10)
    bad, good = slots(1, 2, 3, 9), slots(4, 5, 6, 9)

    for _ in range(20):
        scorer.learn(bad, scorer.margin(bad), True)
        scorer.learn(good, scorer.margin(good), False)

    assert scorer.margin(bad) > NEAR / 2
    assert scorer.margin(good) < -NEAR / 2
    assert not scorer.learn(bad, NEAR + 0.1, True)


@pytest.mark.parametrize("size", [1, 7, 900])
@pytest.mark.parametrize("start", [-50.0, 0.0, 2.0])
def test_one_message_moves_its_margin_by_less_than_the_rate(size, start):
    """No single verdict, however wrong, counts for more than the bound."""
    scorer = Linear.blank(10)
    seen = np.arange(size, dtype=np.uint32)
    scorer.weights += np.float32(start / np.sqrt(size))
    before = scorer.margin(seen)

    scorer.learn(seen, before, True)

    assert 0 < scorer.margin(seen) - before <= RATE * 1.001


def test_nothing_seen_says_nothing():
    """An empty view neither speaks nor learns."""
    scorer = Linear.blank(4)

    assert scorer.margin(slots()) == 0.0
    assert not scorer.learn(slots(), 0.0, True)


def test_probability_never_overflows():
    """Log-odds beyond all bounds are a probability too."""
    assert (probability(-1e9), probability(0.0), probability(1e9)) == (0.0, 0.5, 1.0)


def test_the_fusion_that_is_fitted_states_the_odds():
    """From margins that are twice too sure, the fitted fusion gives the truth back, labels weighing alike."""
    random = np.random.default_rng(1)
    truth = random.normal(0, 2, 20_000)
    labels = random.random(20_000) < 1 / (1 + np.exp(-truth))

    fusion = Fusion.fit((2 * truth)[:, None], labels)

    assert fusion.shares[0] == pytest.approx(0.5, abs=0.04)
    assert fusion.base == pytest.approx(0.0, abs=0.1)


def test_a_view_never_counts_against_itself():
    """A share never falls below nothing: the score rises with each view's, or stays."""
    fusion = Fusion([0.01, 1.0])

    for _ in range(2000):
        fusion.learn([6.0, 0.0], False)

    assert fusion.shares[0] == 0.0
    assert fusion.shares[1] == 1.0


def test_calibration_needs_both_labels():
    """One-sided mail calibrates nothing, and says so."""
    with pytest.raises(ValueError, match="both"):
        Fusion.fit(np.zeros((3, 1)), np.zeros(3, dtype=np.bool_))
