"""The sequential tests: fair in the mean, quick under each model of abuse, and blind to good customers' new habits."""

from math import exp, log
from random import Random
from statistics import fmean

import msgspec
import pytest

from penstock.judge.streams import ABUSE, BULK, COPIES_ELSEWHERE, GROUP_MOST, MOST, Stream

GROUPS = ("content", "novelty", "velocity", "copies", "links", "login", "bounces", "campaign", "complaints")


def fair(rng: Random) -> float:
    """A term with E[e^term] = 1: ln 3 once in five, else what makes the mean one."""
    return log(3.0) if rng.random() < 0.2 else log(0.5)


def test_an_owner_meets_a_line_no_oftener_than_the_budget_says():
    """With fair evidence in every group the mean number of messages to an alarm at h is at least e^h."""
    rng, h, times = Random(1), 3.0, []
    for _ in range(150):
        stream, count = Stream(), 0
        while count < 4000:
            count += 1
            stream.add({group: fair(rng) for group in ("content", "novelty", "velocity", "copies")})
            if stream.nats >= h:
                break
        times.append(count)

    assert fmean(times) >= exp(h)


@pytest.mark.parametrize(
    "step",
    [
        {"content": 1.5, "novelty": 0.8, "velocity": -0.3, "copies": -0.5},
        {"content": -0.9, "novelty": 0.6, "velocity": -0.3, "copies": 0.5},
        {"content": 1.2, "novelty": -0.6, "velocity": 0.5, "copies": -0.5},
        {"content": -0.9, "novelty": -0.6, "velocity": 0.3, "copies": 0.8},
    ],
)
def test_each_kind_of_abuse_is_seen_by_its_own_model(step):
    """What speaks for one kind of abuse speaks against another; the mean costs at most ln 4 of the best."""
    stream = Stream()
    for _ in range(6):
        stream.add(step)

    assert stream.nats >= max(stream.walks) - log(len(ABUSE)) - 1e-9
    assert stream.nats > 3.0


def test_whom_and_how_fast_says_nothing_against_good_bulk():
    """A newsletter's first issue raises one statistic, not the one against bulk; a login from elsewhere raises both."""
    letter, thief = Stream(), Stream()
    for _ in range(50):
        letter.add({"novelty": 1.0, "velocity": 0.5, "copies": 1.0, "links": 0.5, "content": 0.5})
    thief.add({"login": 3.5})

    assert letter.nats > 12.0
    assert letter.against_bulk < 0.1
    assert thief.against_bulk > 2.5


def test_no_group_goes_on_and_on():
    """A thousand times the same kind of evidence stays at that group's most."""
    for group, most in GROUP_MOST.items():
        stream = Stream()
        for _ in range(1000):
            stream.add({group: 1.0})
        assert max(stream.walks) <= most
    texts = Stream()
    for _ in range(1000):
        texts.add({"content": 3.0, "campaign": 3.0})
    assert texts.against_bulk <= 6.0


def test_a_login_elsewhere_is_no_evidence_about_mail_from_here():
    """An account's stream takes a source's login with it only for mail from that source."""
    account, here, there = Stream(), Stream(), Stream()
    account.add({"novelty": 3.0})
    there.add({"login": 3.0})

    assert account.at(there).nats == pytest.approx(account.nats + 3.0, abs=0.7)
    assert account.at(here).nats == pytest.approx(account.nats)
    assert account.groups == {"novelty": 3.0}


def test_old_evidence_fades_and_slowly_where_mail_is_held():
    """A week halves what spoke; three weeks where a stream is held."""
    stream = Stream(seen_at=1000.0)
    stream.add({"content": 6.0, "novelty": 2.0})
    before = list(stream.walks)
    closed = msgspec.structs.replace(stream, is_closed=True)
    closed.fade(1000.0 + 21 * 86400.0)
    stream.fade(1000.0 + 7 * 86400.0)

    assert closed.walks == pytest.approx([nats / 2 for nats in before])
    assert stream.walks == pytest.approx([nats / 2 for nats in before])


def test_statistics_stay_between_nought_and_their_ceiling():
    """Whatever comes, and a record that is read back is the same."""
    rng, stream = Random(3), Stream()
    for _ in range(3000):
        stream.add({group: rng.uniform(-6, 6) for group in rng.sample(GROUPS, 3)})
        assert all(0.0 <= nats <= MOST for nats in stream.walks + stream.bulk)
        assert 0.0 <= stream.nats <= MOST
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(stream), type=Stream)

    assert again == stream
    assert len(again.bulk) == len(BULK)


def test_copies_from_a_place_that_is_news_add_more():
    """An owner's newsletter comes from where his mail comes from."""

    def copies(login):
        stream = Stream()
        stream.add({"login": login})
        for _ in range(20):
            stream.add({"copies": 1.0})
        return stream.groups["copies"]

    assert copies(1.0) == GROUP_MOST["copies"]
    assert copies(3.0) == GROUP_MOST["copies"] + COPIES_ELSEWHERE
