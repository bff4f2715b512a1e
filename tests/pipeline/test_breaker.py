"""The circuit breaker: beyond so many suspensions an hour nobody is suspended; mail is held, and somebody is told."""

from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.test_pipeline import NOW, pipeline, store, strangers, submission  # noqa: F401

from penstock.judge.breaker import Breaker, noted, suspended_lately
from penstock.model import Action, Event, Standing


async def blast(gate, login, at):
    """A hijacked account's messages, with their bounces; the last decision."""
    for number in range(12):
        one = submission(3.5, strangers(3), login, at=at + number)
        last = await gate.judge(one)
        if last.action is Action.ACCEPT:
            for to in one.envelope.rcpt_to:
                await gate.absorb(Event(at + number, "bounced", "", one.id, to, detail="550 5.1.1 unknown"))
    return last


async def test_beyond_the_limit_mail_is_held_and_nobody_is_suspended(store):  # noqa: F811
    """Two may be; the third is poor, its mail is kept, one notice says so; an hour later all is as before."""
    gate, told = pipeline(store, breaker=Breaker(0.01, 2))
    last = [await blast(gate, f"joe{number}@example.com", NOW) for number in range(4)]
    assert [one.standing for one in last] == [Standing.SUSPENDED, Standing.SUSPENDED, Standing.POOR, Standing.POOR]
    assert {one.action for one in last[2:]} == {Action.HOLD}
    told_of = [one for one in await store.outbox(topic="notice") if one.payload["what"] == "breaker"]
    assert [one.payload["suspended"] for one in told_of] == [2]

    other, _ = pipeline(store, breaker=Breaker(0.01, 2))
    await other.look_at_breaker(NOW + 20)
    assert (await blast(other, "ann@example.com", NOW + 20)).standing is Standing.POOR, "other processes follow"
    await gate.look_at_breaker(NOW + 3700)
    assert (await blast(gate, "bob@example.com", NOW + 3700)).standing is Standing.SUSPENDED
    assert not told.troubles


def test_the_limit_is_a_share_of_all_accounts_and_never_below_the_least():
    """One in a hundred of a million; twenty where there are few."""
    assert Breaker(0.01, 20).most(1_000_000) == 10_000
    assert Breaker(0.01, 20).most(40) == 20


@given(st.binary(max_size=40))
def test_a_state_that_cannot_be_read_starts_anew(data):
    """Any bytes."""
    assert suspended_lately(noted(data, 100.0), 100.0)[-1] == 100.0
