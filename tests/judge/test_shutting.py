"""What is shut follows from standing and record; each change has a number of its own and steps with its keys."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.judge.shutting import (
    Shut,
    encode,
    next_verb,
    open_now,
    queued,
    read_shut,
    shut_now,
    steps_of,
    strikes_at,
)
from penstock.model import Rung, Standing, Thing

BOX, SCRIPT = Thing(Rung.MAILBOX, "joe@x"), Thing(Rung.SCRIPT, "/home/x/m.php")
DAY_S = 86400.0


def test_the_standing_says_what_has_to_be_done():
    """Once, and only where it is not done yet."""
    shut = shut_now(Shut(), [BOX], 1000.0, "pills")
    assert next_verb(Shut(), Standing.SUSPENDED) == "shut"
    assert next_verb(Shut(), Standing.POOR) == ""
    assert next_verb(shut, Standing.SUSPENDED) == ""
    assert next_verb(shut, Standing.NORMAL) == "open"
    assert next_verb(open_now(shut, 1001.0, ""), Standing.NORMAL) == ""


def test_steps_have_the_same_keys_however_often_they_are_made_and_others_for_each_change():
    """By account, number of the change, driver and rung."""
    shut = shut_now(Shut(), [BOX], 1000.0, "pills")
    drivers = {"dovecot": {Rung.MAILBOX}, "cpanel": {Rung.ACCOUNT}}
    ((name, step),) = steps_of(shut, "sasl:joe@x", drivers)
    assert (name, step.verb, step.thing) == ("dovecot", "shut", BOX)
    assert steps_of(read_shut(encode(shut)), "sasl:joe@x", drivers) == [(name, step)]
    ((_, other),) = steps_of(open_now(shut, 999.0, ""), "sasl:joe@x", drivers)
    assert other.verb == "open" and other.key != step.key and other.at > step.at, "in order, though the clock went back"


def test_what_others_need_shut_is_not_opened():
    """Two scripts of one owner are one account to a panel that knows no scripts."""
    shut = open_now(shut_now(Shut(), [SCRIPT], 1.0, ""), 2.0, "")
    other = Thing(Rung.SCRIPT, "/home/x/other.php")
    assert steps_of(shut, "script:/home/x/m.php", {"panel": {Rung.ACCOUNT}}, [other]) == []
    assert len(steps_of(shut, "script:/home/x/m.php", {"panel": {Rung.SCRIPT}}, [other])) == 1


def test_a_second_suspension_counts_and_after_half_a_year_the_count_begins_anew():
    """Strikes."""
    first = shut_now(Shut(), [BOX], 1.0, "")
    assert strikes_at(Shut(), 1.0) == first.strikes == 1
    assert strikes_at(open_now(first, 2.0, ""), 30 * DAY_S) == 2
    assert strikes_at(first, 200 * DAY_S) == 1


def test_only_the_change_whose_steps_were_queued_is_noted_as_queued():
    """A change made meanwhile by another node keeps its own mark."""
    shut = shut_now(Shut(), [BOX], 1.0, "")
    assert not queued(shut, shut.number - 1).is_queued
    assert queued(shut, shut.number).is_queued


@given(st.binary(max_size=60))
def test_a_record_that_cannot_be_read_starts_anew(data):
    """Any bytes."""
    assert isinstance(read_shut(data), Shut)
