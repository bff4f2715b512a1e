"""What other scanners think is bounded evidence, averaged with our own; a virus is what the operator says it is."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.judge.opinions import POINTS, Scale, for_virus, with_opinions
from penstock.model import Action, Evidence, Finding, Kind, Opinion, Verdict

OWN = Verdict(3.0, Kind.NORMAL, evidence=(Evidence("rest", 3.0),))
numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(numbers, numbers, st.floats(allow_nan=False))
@example(1.0, math.inf, math.inf)
def test_the_map_is_bounded_and_never_falls(one, other, required):
    """Whatever a scanner says, a higher score is no less evidence."""
    scale = Scale()
    low, high = sorted((scale.nats(one, required), scale.nats(other, required)))

    assert POINTS[0][1] <= low <= high <= POINTS[-1][1]
    if one <= other and required >= 0:
        assert scale.nats(one, required) <= scale.nats(other, required)


def test_log_odds_are_averaged_by_weight():
    """(own + weight x nats) / (1 + weights), and the terms add up."""
    opinions = (Opinion("rspamd", 15.0, 15.0, ("A", "B")), Opinion("spamassassin", 0.0, 5.0))
    scales = {"rspamd": Scale(1.0), "spamassassin": Scale(0.5)}
    found = with_opinions(OWN, opinions, scales)

    assert found.log_odds == pytest.approx((3.0 + 1.0 * 4.0 + 0.5 * -1.5) / 2.5)
    assert math.isclose(sum(term.nats for term in found.evidence), found.log_odds)
    assert Finding("rspamd", "15.0 of 15.0: A, B") in found.findings


def test_no_answer_changes_nothing_but_is_told():
    """The finding says why; the log-odds are our own."""
    found = with_opinions(OWN, (Opinion("rspamd", trouble="no answer in 3 s"),), {})

    assert (found.log_odds, found.evidence) == (OWN.log_odds, OWN.evidence)
    assert found.findings == (Finding("rspamd-no-answer", "no answer in 3 s"),)


@pytest.mark.parametrize(
    ("wanted", "on_virus", "expected"),
    [
        (Action.ACCEPT, Action.REJECT, (Action.REJECT, "PS-VIRUS")),
        (Action.ACCEPT, Action.HOLD, (Action.HOLD, "PS-VIRUS")),
        (Action.THROTTLE, Action.HOLD, (Action.HOLD, "PS-VIRUS")),
        (Action.REJECT, Action.HOLD, (Action.REJECT, "PS-SUSPENDED")),
        (Action.ACCEPT, Action.ACCEPT, (Action.ACCEPT, "PS-SUSPENDED")),
    ],
)
def test_a_virus_is_held_or_refused_by_policy(wanted, on_virus, expected):
    """Never less than what was wanted anyway."""
    infected = with_opinions(OWN, (Opinion("clamav", found="Eicar"),), {})

    assert Finding("virus", "Eicar") in infected.findings
    assert for_virus(wanted, "PS-SUSPENDED", infected, on_virus) == expected
    assert for_virus(wanted, "", OWN, on_virus) == (wanted, "")
