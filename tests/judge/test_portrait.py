"""What people are told of an owner's habits: the record's own numbers, and never a thief's."""

from hypothesis import given
from hypothesis import strategies as st
from life import HOME, Life

from penstock.judge.portrait import baseline, source_view


def test_habits_are_those_of_the_owners_letters():
    """Half a year of letters at nine in the morning, mostly to friends."""
    life = Life()
    life.owner(180)

    usual = baseline(life.account, life.logins, life.now)

    assert 0.9 * life.count <= usual.learnt <= life.count
    assert usual.known_recipients >= 50
    assert 0.5 < usual.per_hour < usual.most_per_hour < 60
    assert abs(sum(usual.week) - 1.0) < 0.01
    assert max(range(8), key=usual.week.__getitem__) in (1, 2)
    assert usual.shares["new-recipients"].share < 0.3
    assert usual.shares["new-source"].share < 0.05
    assert not usual.is_set_aside
    home = source_view(HOME, life.sources[HOME], life.now)
    assert home.is_owners
    assert home.client == "a program"


def test_of_a_hijacked_account_the_owners_habits_are_told():
    """Those from before it became suspect; the thief's place is not the owner's."""
    life = Life()
    life.owner(90)
    before = baseline(life.account, life.logins, life.now).shares["new-recipients"].share
    for _ in range(40):
        life.now += 30
        life.send(life.strangers(5), 4.0, source="203.0.113.0/24", text=7)

    usual = baseline(life.account, life.logins, life.now)

    assert usual.is_set_aside
    assert usual.shares["new-recipients"].share < before + 0.25
    thief = source_view("203.0.113.0/24", life.sources["203.0.113.0/24"], life.now)
    assert not thief.is_owners
    assert thief.nats > 5.0


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_is_kept_can_be_told(account, logins):
    """What cannot be read is an account without a past."""
    assert baseline(account, logins, 1e9).learnt >= 0
    assert source_view("192.0.2.0/24", account, 1e9).messages >= 0
    assert baseline(None, None, 1e9).week == ()
