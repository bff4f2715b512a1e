"""What a replayed trace says: leak and containment per attack model, false alarms per account-year per class of owner.

`docs/evaluation/accounts.md` defines every figure; the definitions here are the ones it states.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import ceil, exp, lgamma, log
from statistics import fmean, median

from msgspec import Struct

from penstock.evaluation.replay import Judge, Outcome, Replay, Replayed
from penstock.evaluation.trace import Trace
from penstock.model import Action

YEAR_S = 365.25 * 86400
DELAYED_S = 15 * 60
INCIDENT_GAP_S = 86400.0
"""Holds of one account that lie closer together than this are one incident."""


class Spread(Struct, frozen=True):
    """Four figures of a distribution."""

    median: float
    mean: float
    p95: float
    max: float


class AttackReport(Struct, frozen=True):
    """One attack model."""

    campaigns: int
    messages: int
    contained_share: float
    """Of campaigns whose last tenth (at least the last message) did not leave."""
    leaked_messages: Spread
    """Of all messages of a campaign, those that left, at once or after being tried again."""
    leaked_recipients: Spread
    seconds_to_containment: Spread | None
    """From a campaign's first message to the first stopped one after which nothing left; None where none was."""
    suspended_share: float
    """Of campaigns in which some account of theirs was suspended."""
    nats_per_message: float
    """I: the mean of a message's own evidence over the messages that were judged before the account was suspended."""
    bound_messages: float | None
    """h/I; None where I is not positive, so that no bound exists."""
    leak_to_bound: float | None
    """Mean leak over the bound."""
    named: dict[str, float]
    """Share of stopped campaigns whose first stopped message named this evidence among its three strongest."""


class Rate(Struct, frozen=True):
    """A count per account-year with the exact (Garwood) 95 % Poisson interval."""

    count: int
    per_account_year: float
    low: float
    high: float


class OwnerReport(Struct, frozen=True):
    """One class of accounts that are in their owner's hands."""

    accounts: int
    account_years: float
    messages: int
    false_suspensions: Rate
    false_holds: Rate
    """Incidents: held or refused messages of one account less than a day apart count once."""
    held_messages: int
    delayed_or_refused_per_10000: float
    """Messages that left more than fifteen minutes late, or never."""
    named: dict[str, float]
    """Share of these late messages that named this evidence among its three strongest."""


class Point(Struct, frozen=True):
    """One threshold of the curve of leak against false alarms (AMOC, Fawcett and Provost 1999)."""

    threshold_nats: float
    false_alarms_per_account_year: float
    """Accounts and days on which an owner's score reached the threshold."""
    leaked_messages: dict[str, float]
    """By attack model: median of messages before the first whose score reached the threshold."""


class AccountsReport(Struct, frozen=True):
    """All figures of one judge on one trace."""

    judge: str
    messages: int
    accounts: int
    days: float
    cpu_ms_per_message: float
    threshold_nats: float
    """h of the bound."""
    attacks: dict[str, AttackReport]
    owners: dict[str, OwnerReport]
    """By class: `all`, `ordinary`, then N1-N11 and P1-P10 as the trace names them."""
    owner_messages_stopped_in_incidents: int
    """Legitimate messages stopped while an abuser held the account; neither leak nor false alarm."""
    false_suspension_reasons: tuple[tuple[str, str, str], ...]
    """(account, class, strongest evidence) of the first twenty."""
    curve: tuple[Point, ...] = ()
    """What other thresholds would have given on the same scores; empty for judges without a score."""


async def evaluate(
    trace: Trace, judge: Judge, *, name: str = "penstock", threshold_nats: float = 0.0, burn_in_days: float = 0.0
) -> AccountsReport:
    """Replay a trace and report. Messages of the first `burn_in_days` are judged, not counted. Raises TraceError.

    `threshold_nats` is h of the bound; 0 derives it as ln(messages per account-year / 0.1 false holds per year).
    """
    return report(await Replay(trace, judge).run(), name, threshold_nats=threshold_nats, burn_in_days=burn_in_days)


def report(replayed: Replayed, name: str, *, threshold_nats: float = 0.0, burn_in_days: float = 0.0) -> AccountsReport:
    """Count what a replay left behind."""
    counted_from = replayed.began + burn_in_days * 86400
    outcomes = [one for one in replayed.outcomes if one.t >= counted_from]
    legit = [one for one in outcomes if one.truth == "legit"]
    owned = [one for one in legit if not one.is_incident]
    years = max((replayed.ended - counted_from) / YEAR_S, 1e-9)
    of_account = _classes(replayed.outcomes)
    h = threshold_nats or log(max(2.0, len(legit) / max(1, len(of_account)) / years / 0.1))
    return AccountsReport(
        name,
        len(outcomes),
        len(replayed.first_seen),
        (replayed.ended - replayed.began) / 86400,
        1000 * replayed.cpu_s / max(1, len(replayed.outcomes)),
        h,
        _attacks([one for one in outcomes if one.truth == "abuse"], replayed, h),
        _owners(owned, replayed, of_account, counted_from),
        sum(1 for one in legit if one.is_incident and one.left_at is None),
        tuple(
            (one.account, of_account.get(one.account, "ordinary"), ", ".join(one.reasons))
            for one in [one for one in replayed.suspensions if one.is_false and one.t >= counted_from][:20]
        ),
        curve(
            outcomes, sum(replayed.ended - max(counted_from, replayed.first_seen[one]) for one in of_account) / YEAR_S
        ),
    )


def curve(outcomes: Sequence[Outcome], account_years: float) -> tuple[Point, ...]:
    """Leak against false alarms at thresholds of 2 to 24 nats, had no hold changed what came back."""
    if not any(one.score for one in outcomes):
        return ()
    best: dict[tuple[str, int], float] = defaultdict(float)
    campaigns: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in outcomes:
        if one.truth == "abuse":
            campaigns[one.model][one.campaign or one.account].append(one.score)
        elif not one.is_incident:
            key = one.account, int(one.t // INCIDENT_GAP_S)
            best[key] = max(best[key], one.score)
    return tuple(
        Point(
            float(h),
            sum(score >= h for score in best.values()) / max(account_years, 1e-9),
            {
                model: median(_before(scores, h) for scores in campaigns[model].values())
                for model in sorted(campaigns, key=_natural)
            },
        )
        for h in range(2, 25, 2)
    )


def _before(scores: list[float], h: float) -> int:
    return next((index for index, score in enumerate(scores) if score >= h), len(scores))


def _classes(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """Account → its class: the hard negative or placebo among its messages, else `ordinary`."""
    found: dict[str, str] = {}
    for one in outcomes:
        if one.truth == "legit":
            if one.model:
                found[one.account] = one.model
            else:
                found.setdefault(one.account, "ordinary")
    return found


def _attacks(abuse: list[Outcome], replayed: Replayed, h: float) -> dict[str, AttackReport]:
    campaigns: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for one in abuse:
        campaigns[one.model, one.campaign or one.account].append(one)
    models: dict[str, list[list[Outcome]]] = defaultdict(list)
    for (model, _), messages in campaigns.items():
        models[model].append(messages)
    suspended = {one.account for one in replayed.suspensions if not one.is_false}
    return {model: _attack(models[model], suspended, h) for model in sorted(models, key=_natural)}


def _attack(campaigns: list[list[Outcome]], suspended: set[str], h: float) -> AttackReport:
    leaks = [[one for one in messages if one.left_at is not None] for messages in campaigns]
    times = [seconds for messages in campaigns if (seconds := seconds_to_containment(messages)) is not None]
    judged = [one.nats for messages in campaigns for one in messages if not one.was_suspended]
    information = fmean(judged) if judged else 0.0
    bound = h / information if information > 0 else None
    mean_leak = fmean(len(leak) for leak in leaks)
    return AttackReport(
        len(campaigns),
        sum(map(len, campaigns)),
        len(times) / len(campaigns),
        spread([len(leak) for leak in leaks]),
        spread([sum(one.recipients for one in leak) for leak in leaks]),
        spread(times) if times else None,
        sum(1 for messages in campaigns if any(one.account in suspended for one in messages)) / len(campaigns),
        information,
        bound,
        mean_leak / bound if bound else None,
        _named([stopped[0] for messages in campaigns if (stopped := [one for one in messages if one.left_at is None])]),
    )


def _named(outcomes: Sequence[Outcome]) -> dict[str, float]:
    counted = Counter(name for one in outcomes for name in one.named)
    return {name: count / len(outcomes) for name, count in counted.most_common(8)}


def seconds_to_containment(messages: Sequence[Outcome]) -> float | None:
    """Seconds from a campaign's first message to the first that was stopped for good; None where none was."""
    last_leak = max((index for index, one in enumerate(messages) if one.left_at is not None), default=-1)
    stopped = len(messages) - 1 - last_leak
    if stopped < max(1, ceil(len(messages) / 10)):
        return None
    return messages[last_leak + 1].t - messages[0].t


def _owners(
    owned: list[Outcome], replayed: Replayed, of_account: dict[str, str], counted_from: float
) -> dict[str, OwnerReport]:
    messages: dict[str, list[Outcome]] = defaultdict(list)
    for one in owned:
        messages[of_account[one.account]].append(one)
    accounts: dict[str, set[str]] = defaultdict(set)
    for account, kind in of_account.items():
        accounts[kind].add(account)
    false = [one.account for one in replayed.suspensions if one.is_false and one.t >= counted_from]

    def years(members: Iterable[str]) -> float:
        began = [max(counted_from, replayed.first_seen[account]) for account in members]
        return sum(max(0.0, replayed.ended - t) for t in began) / YEAR_S

    everyone = _owner(owned, set(of_account), years(of_account), false)
    return {"all": everyone} | {
        kind: _owner(messages[kind], accounts[kind], years(accounts[kind]), false)
        for kind in sorted(accounts, key=lambda kind: (kind != "ordinary", _natural(kind)))
    }


def _owner(messages: list[Outcome], accounts: set[str], years: float, false: list[str]) -> OwnerReport:
    stopped = [one for one in messages if one.action in (Action.HOLD, Action.REJECT) and not one.was_suspended]
    late = [one for one in messages if one.left_at is None or one.left_at - one.t > DELAYED_S]
    return OwnerReport(
        len(accounts),
        years,
        len(messages),
        rate(sum(1 for account in false if account in accounts), years),
        rate(_incidents(stopped), years),
        len(stopped),
        10_000 * len(late) / max(1, len(messages)),
        _named(late),
    )


def _incidents(stopped: list[Outcome]) -> int:
    last: dict[str, float] = {}
    count = 0
    for one in sorted(stopped, key=lambda one: one.t):
        count += one.t - last.get(one.account, float("-inf")) > INCIDENT_GAP_S
        last[one.account] = one.t
    return count


def spread(values: Sequence[float]) -> Spread:
    """Median, mean, 95th percentile (nearest rank) and maximum of at least one value."""
    ranked = sorted(values)
    return Spread(median(ranked), fmean(ranked), ranked[ceil(0.95 * len(ranked)) - 1], ranked[-1])


def rate(count: int, years: float) -> Rate:
    """A count over account-years, with the exact 95 % interval (Garwood 1936)."""
    years = max(years, 1e-9)
    low = 0.0 if count == 0 else _root(lambda mean: 0.975 - poisson_cdf(count - 1, mean), count)
    high = _root(lambda mean: 0.025 - poisson_cdf(count, mean), count)
    return Rate(count, count / years, low / years, high / years)


def poisson_cdf(count: int, mean: float) -> float:
    """P(X ≤ count) of a Poisson variable."""
    if mean <= 0:
        return 1.0
    return min(1.0, sum(exp(k * log(mean) - mean - lgamma(k + 1)) for k in range(count + 1)))


def _root(rising: Callable[[float], float], near: int) -> float:
    """Where a rising function crosses zero, by halving."""
    low, high = 0.0, 10.0 + 2 * near
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


def _natural(model: str) -> tuple[str, int, str]:
    """A2 before A10."""
    digits = model[1:]
    return (model[:1], int(digits) if digits.isdigit() else 0, model)
