"""The evidence channels: each weighs one thing seen against the account's own past, in nats.

Every channel is the logarithm of an e-value: a number whose mean is at most one while the account is its owner's
(detection-science §3; Shin, Ramdas and Rinaldo, "E-detectors", 2022). A likelihood ratio is one where its denominator
is the owner's law; a p-value becomes one by the calibrator 1/(2 sqrt p). Clipping from above keeps that; a floor is
made by mixing with 1 (`softened`), never by clipping from below.
"""

from __future__ import annotations

from math import atan, cos, exp, lgamma, log, log1p, sin, sqrt

from penstock.judge.history import Fading, Moments

CONTENT_MOST, CONTENT_LEAST = 4.0, -2.0
RECIPIENTS_MOST = 3.0
BULK_UNKNOWN = 0.10
"""Share of unknown users in the first mailing of an honest old list."""
LOGIN_MOST = 4.0
NEW_THING_MOST = 2.0
COPY_MOST = 3.0
ODD_HOUR_MOST = 2.0
_ONE_IN_TWENTY = 2.132
"""Of Student's t with four degrees of freedom."""
_WEEK = (30 / 168,) * 4 + (12 / 168,) * 4
COMPLAINT = 3.0
ABUSE_COMPLAINS = 0.01
TRAP = 5.0
LISTING_MOST = 2.0


def softened(nats: float, share: float) -> float:
    """ln(1 - share + share e^nats): the evidence where only a share of what comes is abuse; never below ln(1-share)."""
    if nats > 30.0:
        return nats + log(share)
    return log(1.0 - share + share * exp(nats))


def centred(log_odds: float, centre: float) -> float:
    """Content's log-odds, clipped; of an account whose ordinary mail reads like abuse, what it has beyond that."""
    return max(CONTENT_LEAST, min(CONTENT_MOST, log_odds - max(0.0, centre)))


def content(log_odds: float, own: Fading, centre: float = 0.0) -> tuple[float, float]:
    """Content's calibrated log-odds, clipped, less what the owner's own mail comes to; (nats, usual).

    `own.yes / own.no` is the mean of e^centred over the owner's trusted mail, shrunk towards 1 by ten messages, and
    `centre` the mean of its log-odds: who writes like an advertisement every day is measured against that, so the
    e-value's mean stays 1 for this account. Softened, because some abuse reads like anybody's letter: harmless text is
    little evidence for the owner.
    """
    usual = max(-0.7, log((10.0 + own.yes) / (10.0 + own.no)))
    return softened(min(CONTENT_MOST, centred(log_odds, centre) - usual), 0.6), usual + max(0.0, centre)


def novelty(new: int, known: int, own: Fading) -> tuple[float, float]:
    """First-time recipients against the account's own share of them: a beta-binomial ratio, charged per recipient.

    Returns (nats, expected share). The prior is one first-time recipient in three, worth six recipients.
    """
    a, b = 2.0 + own.yes, 4.0 + own.no
    here = _beta_binomial(new, known, a, b)
    abuse = _beta_binomial(new, known, 9.0, 1.0)
    return min(RECIPIENTS_MOST, softened(abuse - here, 0.5)), a / (a + b)


def _beta_binomial(yes: int, no: int, a: float, b: float) -> float:
    return lgamma(a + yes) + lgamma(b + no) - lgamma(a + b + yes + no) - lgamma(a) - lgamma(b) + lgamma(a + b)


def velocity(before: float, after: float, own: Moments) -> tuple[float, float]:
    """Recipients within the clock hour against the account's own active hours; (nats, usual recipients).

    The hour's e-value is 1/(2 sqrt p), p the chance of so many by a heavy-tailed law (Student's t with four degrees of
    freedom on ln(1+n), the class's spread mixed in for five hours). Each message gets the hour's growth, so that
    the hour's sum is what its last message says.
    """
    mean, spread = _hours(own)
    grown = _calibrated(after, mean, spread) - (_calibrated(before, mean, spread) if before else 0.0)
    return min(RECIPIENTS_MOST, grown), exp(mean) - 1.0


def hourly(own: Moments) -> tuple[float, float]:
    """Recipients in an ordinary active hour, and those that one such hour in twenty has or exceeds."""
    mean, spread = _hours(own)
    return exp(mean) - 1.0, exp(mean + _ONE_IN_TWENTY * spread) - 1.0


def _hours(own: Moments) -> tuple[float, float]:
    """Centre and spread of ln(1+n) of the account's active hours, five hours of the class's mixed in."""
    weight = own.weight + 5.0
    mean = (own.mean * own.weight + 1.1 * 5.0) / weight
    spread = sqrt((own.squares + 5.0 * 1.0 + own.weight * 5.0 / weight * 0.2 * (own.mean - 1.1) ** 2) / weight)
    return mean, spread * sqrt(1.0 + 1.0 / weight)


def part_of_week(now: float) -> int:
    """Which eighth of the week a time lies in (UTC): six hours of a working day, or of a weekend's day."""
    day, hour = int(now // 86400 + 3) % 7, int(now % 86400 // 3600)
    return (4 if day > 4 else 0) + hour // 6


def odd_hour(part: int, own: list[float]) -> float:
    """An hour in which something is sent, by its part of the week, against the account's own active hours.

    Abuse comes at any hour: the ratio of a uniform week to the owner's, which is shrunk towards a uniform one by eight
    hours.
    """
    uniform = _WEEK[part]
    usual = ((own[part] if own else 0.0) + 8.0 * uniform) / (sum(own) + 8.0)
    return min(ODD_HOUR_MOST, softened(log(uniform / usual), 0.4))


def _calibrated(count: float, mean: float, spread: float) -> float:
    p = tail((log1p(count) - mean) / spread)
    return -log(2.0 * sqrt(p))


def tail(t: float) -> float:
    """The upper tail of Student's t with four degrees of freedom, in closed form."""
    if t > 50.0:
        return 6.0 / t**4 * (1.0 - 20.0 / (3.0 * t * t))
    angle = atan(t / 2.0)
    return max(1e-12, 0.5 - 0.5 * sin(angle) * (1.0 + cos(angle) ** 2 / 2.0))


def answers(asked: float, unknown: float, usual: float) -> float:
    """What receivers said of a stream's first-time recipients: so many unknown of so many, where `usual` of them are.

    Whoever was not reported unknown counts as known, so that good answers need not come back. Address lists of abusers
    have 35 % unknown users. The value is the whole stream's: whoever adds it up takes the difference to the last one.
    """
    return softened(unknown * log(0.35 / usual) + max(0.0, asked - unknown) * log(0.65 / (1.0 - usual)), 0.6)


def usual_unknown(own: Fading) -> float:
    """The account's own share of unknown users among first-time recipients, taken between 3 % and 10 %."""
    return min(BULK_UNKNOWN, max(0.03, (own.yes + 5.0) / (own.yes + own.no + 100.0)))


def complained(since: int, usual: float) -> float:
    """One complaint after so many recipients without any, where the account's usual share of them complains.

    The likelihood ratio of the waiting time, geometric under both laws: one in a hundred complains of abuse. A
    newsletter to thousands always has a complaint or two.
    """
    plain = log(ABUSE_COMPLAINS / usual) + since * log((1.0 - ABUSE_COMPLAINS) / (1.0 - usual))
    return min(COMPLAINT, softened(plain, 0.7))


def copied(is_copy: bool, own: Fading) -> float:
    """One more copy of a text or of a new link to somebody else, against how often this account sends copies.

    Nine in ten messages of an abuser are copies; an account without a past is granted one in twenty.
    """
    return new_thing(is_copy, own, abuse=0.9, prior=0.05, most=COPY_MOST)


def new_thing(is_new: bool, own: Fading, *, abuse: float, prior: float, most: float = NEW_THING_MOST) -> float:
    """Something of a sort that the account did or did not show before, against how often it shows new ones.

    `abuse` is the chance that an abuser's is new, `prior` what an account without a past is granted (four times).
    """
    usual = (own.yes + 4.0 * prior) / (own.yes + own.no + 4.0)
    plain = log(abuse / usual) if is_new else log((1.0 - abuse) / (1.0 - usual))
    return min(most, softened(plain, 0.7))
