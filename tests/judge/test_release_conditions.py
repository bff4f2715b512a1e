"""When a suspension may end: what is asked for, what is met, and when the time has come."""

from msgspec.structs import replace

from penstock.judge.history import AccountState, encode
from penstock.judge.shutting import Shut, confirmed, open_now, released, shut_now
from penstock.judge.way_back import Condition, Terms, way_back
from penstock.model import Rung, Thing

NOW, HOUR_S = 1.8e9, 3600.0
BOX, SCRIPT = Thing(Rung.MAILBOX, "joe@x"), Thing(Rung.SCRIPT, "/home/x/m.php")
ALL = frozenset(Condition)


def state(**more):
    return encode(AccountState(**({"standing": "suspended", "since": NOW, "first_at": 1.0} | more)))


def shut(thing=BOX):
    return shut_now(Shut(), [thing], NOW, "")


def test_only_what_applies_is_asked_for():
    """A script has no password, a source nothing at all."""
    terms = Terms(ALL)
    assert way_back(shut(), state(), terms, NOW).missing == (
        Condition.FORWARDS, Condition.PASSWORD, Condition.SESSIONS,
    )  # fmt: skip
    assert way_back(shut(SCRIPT), state(), terms, NOW).missing == (Condition.SCRIPT,)
    assert way_back(shut(Thing(Rung.SOURCE, "192.0.2.1")), state(), terms, NOW).missing == ()


def test_a_password_changed_since_then_lets_in_at_once_where_nothing_else_is_missing():
    """One changed before does not; forwards and sessions may be asked for too."""
    assert way_back(shut(), state(reset_at=NOW + 5), Terms(), NOW + 9).is_due
    assert not way_back(shut(), state(reset_at=NOW - 5), Terms(), NOW + 9).is_due
    both = Terms(frozenset((Condition.PASSWORD, Condition.FORWARDS, Condition.SESSIONS)), ends_sessions=True)
    assert way_back(shut(), state(reset_at=NOW + 5), both, NOW + 9).missing == (Condition.FORWARDS,)
    seen = confirmed(shut(), Condition.FORWARDS, NOW + 6)
    assert way_back(seen, state(reset_at=NOW + 5), both, NOW + 9).is_due
    old = confirmed(shut(), Condition.FORWARDS, NOW - 6)
    assert not way_back(old, state(reset_at=NOW + 5), both, NOW + 9).is_due
    assert not both.password_releases and Terms().password_releases


def test_a_script_that_is_gone_waits_for_its_time():
    """A thief can exchange a file as well as its owner."""
    terms = Terms(after_s=(HOUR_S,))
    gone = {Condition.SCRIPT: True}
    assert not way_back(shut(SCRIPT), state(), terms, NOW + 60, confirmed=gone).is_due
    assert way_back(shut(SCRIPT), state(), terms, NOW + HOUR_S, confirmed=gone).is_due
    assert not way_back(shut(SCRIPT), state(), terms, NOW + HOUR_S, confirmed={Condition.SCRIPT: False}).is_due


def test_times_grow_and_end():
    """One hour, a day, never again by itself; each release counts once."""
    terms = Terms(frozenset(), (HOUR_S, 24 * HOUR_S))
    first = shut()
    assert way_back(first, state(), terms, NOW).opens_at == NOW + HOUR_S
    second = shut_now(open_now(released(released(first)), NOW + HOUR_S, ""), [BOX], NOW, "")
    assert second.releases == 1
    assert way_back(second, state(), terms, NOW).opens_at == NOW + 24 * HOUR_S
    third = shut_now(open_now(released(second), NOW + HOUR_S, ""), [BOX], NOW, "")
    assert way_back(third, state(), terms, NOW + 1e7).opens_at == 0.0
    assert not way_back(third, state(), terms, NOW + 1e7).is_due
    anew = shut_now(replace(third, shut_at=NOW - 1e9), [BOX], NOW, "")
    assert anew.releases == 0


def test_whom_a_person_suspended_only_a_person_lets_in():
    """Whatever is met."""
    terms = Terms(frozenset(), (1.0,))
    assert not way_back(shut(), state(by_hand=True, reset_at=NOW + 1), terms, NOW + 1e6).is_due
