"""Each channel is an e-value: its mean is at most one while the account is its owner's."""

from math import exp, log1p, sqrt
from random import Random
from statistics import fmean

import pytest

from penstock.judge import channels
from penstock.judge.history import Fading, Moments


def mean_e(draws: list[float]) -> tuple[float, float]:
    """Mean of the e-values and its standard error."""
    values = [exp(one) for one in draws]
    mean = fmean(values)
    return mean, sqrt(fmean([(one - mean) ** 2 for one in values]) / len(values))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.33, 0.6, 0.95])
def test_novelty_is_fair_to_each_owner_once_its_share_is_known(share):
    """Whatever an owner's own share of first-time recipients, its evidence does not drift up."""
    rng, own, draws = Random(1), Fading(), []
    for number in range(6000):
        count = rng.choice((1, 1, 1, 2, 5))
        new = sum(rng.random() < share for _ in range(count))
        nats, _ = channels.novelty(new, count - new, own)
        own.add(new, count - new, 0.999)
        if number > 300:
            draws.append(nats)

    mean, error = mean_e(draws)

    assert mean < 1.0 + 4 * error + 0.03


@pytest.mark.parametrize("spread", [0.3, 0.8, 1.5])
def test_velocity_is_fair_to_owners_with_bursts(spread):
    """An owner's hours come from its own heavy-tailed law; the hour's e-value has a mean of at most one."""
    rng, own, draws = Random(2), Moments(), []
    for number in range(4000):
        count = max(1, round(exp(rng.gauss(1.0, spread)))) if rng.random() < 0.97 else rng.randint(20, 200)
        total = before = 0.0
        for _ in range(min(count, 10)):
            after = before + count / min(count, 10)
            total += channels.velocity(before, after, own)[0]
            before = after
        own.add(log1p(count), 0.99)
        if number > 200:
            draws.append(total)

    mean, error = mean_e(draws)

    assert mean < 1.0 + 4 * error


@pytest.mark.parametrize("share", [0.0, 0.005, 0.03, 0.1])
def test_answers_are_fair_up_to_an_old_list(share):
    """Whenever one looks, an owner with up to one unknown recipient in ten has an e-value of one in the mean."""
    rng, draws = Random(3), []
    for _ in range(4000):
        asked = rng.randint(1, 60)
        unknown = sum(rng.random() < share for _ in range(asked))
        draws.append(channels.answers(asked, unknown, max(0.03, share)))

    mean, error = mean_e(draws)

    assert mean < 1.0 + 4 * error


def test_an_abusers_list_is_known_by_its_answers_in_any_order():
    """Thirteen recipients of whom a third are unknown are worth a hold's evidence, whoever answers first."""
    assert channels.answers(13, 5, 0.03) > 7.0
    assert channels.answers(13, 0, 0.03) == pytest.approx(channels.softened(-99.0, 0.6), abs=0.1)
    assert channels.usual_unknown(Fading()) == pytest.approx(0.05)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_copies_are_fair(share):
    """Who often sends the same to several is measured by that."""
    rng, own, draws = Random(6), Fading(), []
    for number in range(4000):
        is_copy = rng.random() < share
        nats = channels.copied(is_copy, own)
        own.add(float(is_copy), float(not is_copy), 0.99)
        if number > 300:
            draws.append(nats)

    mean, error = mean_e(draws)

    assert mean < 1.0 + 4 * error + 0.03


@pytest.mark.parametrize("share", [0.0003, 0.002])
def test_a_complaint_is_fair_to_who_writes_to_thousands(share):
    """A newsletter has complaints by its size: what each says, after so many recipients, has a mean of one."""
    rng, draws = Random(8), []
    for _ in range(6000):
        since = int(rng.expovariate(share))
        draws.append(channels.complained(since, share))

    mean, error = mean_e(draws)

    assert mean < 1.0 + 4 * error + 0.01
    assert channels.complained(3, share) > 1.0
    assert channels.complained(3000, share) < 0.0


def test_who_always_reads_like_abuse_is_measured_by_what_goes_beyond():
    """A contact form whose enquiries look like spam is still known by real spam."""
    own = Fading(yes=100 * exp(0.3), no=100.0)

    assert channels.content(9.3, own, 5.0)[0] > 3.0
    assert channels.content(5.2, own, 5.0)[0] < 0.5


@pytest.mark.parametrize("level", [-1.5, 0.0, 1.0])
def test_content_is_measured_against_the_owners_own(level):
    """A clothes shop that always looks a little like an advertisement does not drift up."""
    rng, own, draws = Random(4), Fading(), []
    for number in range(4000):
        odds = rng.gauss(level, 0.8)
        nats, _ = channels.content(odds, own)
        own.add(exp(max(-2.0, min(4.0, odds))), 1.0, 0.997)
        if number > 500:
            draws.append(nats)

    mean, error = mean_e(draws)

    assert mean < 1.0 + 4 * error + 0.02


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_new_things_are_fair(share):
    """New link domains weigh against how often this account shows new ones."""
    rng, own, draws = Random(5), Fading(), []
    for number in range(4000):
        is_new = rng.random() < share
        nats = channels.new_thing(is_new, own, abuse=0.95, prior=0.5)
        own.add(float(is_new), float(not is_new), 0.995)
        if number > 300:
            draws.append(nats)

    mean, error = mean_e(draws)

    assert mean < 1.0 + 4 * error + 0.03


def test_hours_of_the_week_are_fair():
    """An owner of office hours is measured by them; the night is news, and once it is usual it is none."""
    rng, own, draws = Random(7), [0.0] * 8, []
    for number in range(4000):
        part = rng.choice((1, 2, 2, 2, 3)) if rng.random() < 0.97 else rng.randrange(8)
        nats = channels.odd_hour(part, own)
        own = [hours * 0.995 for hours in own]
        own[part] += 1.0
        if number > 300:
            draws.append(nats)

    mean, error = mean_e(draws)

    assert mean < 1.0 + 4 * error + 0.03
    assert channels.odd_hour(0, own) > 1.0
    assert channels.odd_hour(2, own) < 0.0
    assert channels.odd_hour(0, []) == pytest.approx(0.0)


def test_parts_of_the_week():
    """Monday at three in the morning, Friday at noon, Sunday at night (UTC)."""
    monday = 1767571200.0

    assert channels.part_of_week(monday + 3 * 3600) == 0
    assert channels.part_of_week(monday + 4 * 86400 + 12 * 3600) == 2
    assert channels.part_of_week(monday + 6 * 86400 + 23 * 3600) == 7


def test_the_tail_of_students_law_is_right():
    """Against tabled quantiles of t with four degrees of freedom."""
    for t, p in ((0.0, 0.5), (2.132, 0.05), (3.747, 0.01), (8.610, 0.0005)):
        assert channels.tail(t) == pytest.approx(p, rel=0.01)
    assert 0 < channels.tail(1e6) < 1e-10


def test_softened_evidence_has_a_floor_and_stays_fair():
    """Mixing with one bounds what can be said for the owner and changes no mean."""
    assert channels.softened(-50.0, 0.7) == pytest.approx(-1.204, abs=0.001)
    assert channels.softened(100.0, 0.5) == pytest.approx(99.3, abs=0.01)
    assert channels.softened(0.0, 0.5) == pytest.approx(0.0)
