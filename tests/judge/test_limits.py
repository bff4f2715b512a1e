"""Plain limits: exact counts, sliding windows, and a refusal that says when it opens again."""

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.judge.limits import Counts, Limit, Override, count, decode, encode, uncount, used

HOUR = (Limit("messages", "hour", 10),)
NOON = 1_700_000_000 - 1_700_000_000 % 3600


def test_the_eleventh_message_of_an_hour_does_not_pass_ten():
    """A limit of ten lets ten through and names itself when it refuses."""
    state = None
    for _ in range(10):
        counted = count(state, HOUR, {"messages": 1}, NOON)
        state = counted.state
        assert counted.hit is None
    refused = count(state, HOUR, {"messages": 1}, NOON + 1)

    assert refused.hit is not None
    assert refused.hit.limit == HOUR[0]
    assert refused.hit.used == 10


def test_a_refusal_says_when_it_opens():
    """At the time that it names, and not a second before, the message passes."""
    state = None
    for minute in range(10):
        state = count(state, HOUR, {"messages": 1}, NOON + minute * 300).state
    hit = count(state, HOUR, {"messages": 2}, NOON + 3000).hit

    assert count(state, HOUR, {"messages": 2}, hit.opens_at - 1).hit is not None
    assert count(state, HOUR, {"messages": 2}, hit.opens_at).hit is None
    assert hit.opens_at == NOON + 3600 + 300


def test_what_is_larger_than_the_limit_never_opens():
    """Eleven recipients at a limit of ten will not pass at any time, and the answer says so."""
    hit = count(None, (Limit("recipients", "day", 10),), {"recipients": 11}, NOON).hit

    assert hit.opens_at == 0.0


def test_the_turn_of_the_hour_hides_no_burst():
    """Ten messages at 12:59 and ten at 13:01 are twenty in an hour."""
    state = None
    for _ in range(10):
        state = count(state, HOUR, {"messages": 1}, NOON + 3540).state

    assert count(state, HOUR, {"messages": 1}, NOON + 3660).hit is not None


def test_notice_comes_once_at_ninety_and_once_at_a_hundred_percent():
    """The postmaster hears of it twice, not at every message."""
    state, heard = None, []
    for second in range(14):
        counted = count(state, HOUR, {"messages": 1}, NOON + second)
        state = counted.state
        heard += [notice.percent for notice in counted.notices]

    assert heard == [90, 100]


def test_an_override_replaces_the_plan_until_its_date():
    """An account's own limit counts instead of its plan's, and ends by itself."""
    state = encode(Counts(overrides=[Override("messages", "hour", 100, until=NOON + 60)]))
    for _ in range(50):
        counted = count(state, HOUR, {"messages": 1}, NOON)
        assert counted.hit is None
        state = counted.state

    assert count(state, HOUR, {"messages": 1}, NOON + 61).hit is not None
    assert used(state, HOUR, NOON + 59)[0][0].most == 100


def test_an_override_of_zero_lifts_the_limit():
    """No limit is written as 0, as in the configuration."""
    state = encode(Counts(overrides=[Override("messages", "hour", 0)]))

    assert count(state, HOUR, {"messages": 10_000}, NOON).hit is None


def test_uncount_takes_back_what_count_added():
    """A message that another limit refuses leaves no trace in this one."""
    first = count(None, HOUR, {"messages": 3}, NOON).state
    second = count(first, HOUR, {"messages": 4}, NOON).state

    assert used(uncount(second, HOUR, {"messages": 4}, NOON), HOUR, NOON)[0][1] == 3


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 4)), max_size=60),
    st.integers(1, 20),
    st.sampled_from(["hour", "day"]),
)
def test_no_window_ever_holds_more_than_the_limit(steps, most, window):
    """Over any sequence of messages, what passed within a full window never exceeds the limit."""
    length = 3600 if window == "hour" else 86400
    limit, now, state, passed = (Limit("recipients", window, most),), float(NOON), None, []
    for gap, amount in steps:
        now += gap
        counted = count(state, limit, {"recipients": amount}, now)
        state = counted.state
        if counted.hit is None:
            passed.append((now, amount))
        assert sum(many for at, many in passed if at > now - length + length / 12) <= most


@given(st.binary(max_size=200))
def test_unreadable_state_starts_anew(data):
    """Garbage under a key costs the counts, never the message."""
    assert isinstance(decode(data), Counts)


def test_automatic_mail_is_counted_apart_from_the_owners_own():
    """A full quota of auto-replies leaves the owner's own quota untouched, and the other way round."""
    own = (Limit("messages", "hour", 2),)
    automatic = (Limit("messages", "hour", 1, of="automatic"),)
    state = count(None, automatic, {"messages": 1}, 1000.0).state

    first = count(state, own, {"messages": 1}, 1001.0)

    assert first.hit is None
    assert count(first.state, automatic, {"messages": 1}, 1002.0).hit is not None
    assert count(first.state, own, {"messages": 1}, 1003.0).hit is None
