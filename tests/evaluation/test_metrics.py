"""Figures of merit, against values known by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.evaluation.metrics import calibration_error, figures, lam_percent, misses_at, roca_percent


def arrays(scores, labels):
    return np.array(scores, dtype=np.float64), np.array(labels, dtype=np.bool_)


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 0.0),
        ([1, 2, 3, 4], [1, 1, 0, 0], 100.0),
        ([1, 3, 2, 4], [0, 0, 1, 1], 25.0),
        ([5, 5, 5, 5], [0, 0, 1, 1], 50.0),
        ([1, 2, 2, 3], [0, 0, 1, 1], 12.5),
    ],
)
def test_roca_percent(scores, labels, expected):
    """The share of pairs in the wrong order; ties count half."""
    assert roca_percent(*arrays(scores, labels)) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(-9, 9), st.booleans()), min_size=2, max_size=40))
def test_roca_percent_counts_pairs(rows):
    """The fast way agrees with counting every pair."""
    scores, labels = arrays(*zip(*rows, strict=True))
    if labels.all() or not labels.any():
        return
    pairs = [(bad, good) for bad in scores[labels] for good in scores[~labels]]
    wrong = sum((bad < good) + 0.5 * (bad == good) for bad, good in pairs)

    assert roca_percent(scores, labels) == pytest.approx(100 * wrong / len(pairs))


def test_misses_at_a_share_of_false_alarms():
    """With 100 legitimate messages, one may be misjudged at 1 % and none at 0.1 %."""
    scores, labels = arrays([*range(100), 98.5, 99.5, 50, 200], [*[0] * 100, 1, 1, 1, 1])

    assert misses_at(scores, labels, 0.01) == 25.0
    assert misses_at(scores, labels, 0.001) == 50.0


def test_lam_averages_logits():
    """Equal error rates average to themselves, and no error at all is half a message."""
    assert lam_percent(2.0, 2.0, 1000, 1000) == pytest.approx(2.0)
    assert lam_percent(0.0, 0.0, 500, 500) == pytest.approx(0.1)
    assert lam_percent(50.0, 1.0, 1000, 1000) == pytest.approx(9.132, abs=0.01)


def test_calibration_error():
    """Honest odds have none; sureness without ground is all error; an even mixture weighs labels alike."""
    honest = arrays([np.log(3)] * 4, [1, 1, 1, 0])
    sure = arrays([20.0] * 4, [0, 0, 1, 1])

    assert calibration_error(*honest) == pytest.approx(0.0, abs=1e-9)
    assert calibration_error(*sure) == pytest.approx(0.5, abs=1e-6)
    assert calibration_error(*honest, even=True) == pytest.approx(0.25)


def test_figures_need_both_labels():
    """A stream of one label has no ROC, and the error says what there was."""
    with pytest.raises(ValueError, match="0 of 3"):
        figures(*arrays([1, 2, 3], [0, 0, 0]))

    found = figures(*arrays([-1, -2, 3, 4], [0, 1, 0, 1]))
    assert (found.messages, found.abuse, found.misses, found.false_alarms) == (4, 2, 50.0, 50.0)
