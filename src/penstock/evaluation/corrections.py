"""What a few corrections are worth, and what poison costs: weights of one corpus, corrected by verdicts on another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from msgspec import Struct

from penstock.evaluation.corpus import read_samples
from penstock.evaluation.train import train
from penstock.examples import Example, Lesson
from penstock.judge.learnt import Bounds, Learnt
from penstock.judge.message import parse
from penstock.judge.traits import FORMAT, Traits, traits
from penstock.model import Envelope

FEWEST = 5
"""False alarms that make a sender one whose mail somebody would correct."""
POISON = 1000


class Seen(Struct, frozen=True):
    """One message that the weights have never seen."""

    sender: str
    is_abuse: bool
    log_odds: float
    traits: Traits


class CorrectionReport(Struct, frozen=True):
    """Counts of messages with log-odds above 0, and changes of log-odds in nats."""

    senders: int
    corrections: int
    siblings_before: int
    """Other false alarms of the corrected senders."""
    siblings_after: int
    largest_before: int
    """Those of the sender with the most of them."""
    largest_after: int
    abuse: int
    abuse_before: int
    abuse_after: int
    abuse_mean_change: float
    poison_account_mean: float
    """What a thousand legitimate messages taught as abuse, in one account's name, do to the others."""
    poison_account_most: float
    poison_tenant_mean: float
    poison_tenant_most: float


def evaluate_corrections(
    corpus: Path, *, learnt_from: str, reported_on: str, each: int, progress: Callable[[str], None]
) -> CorrectionReport:
    """Learn weights from one source, then correct `each` false alarms of each sender in another, in their order.

    Raises FileNotFoundError where a source is missing, ValueError where it lacks a label.
    """
    model = train(corpus, sources=(learnt_from,), progress=progress)
    seen = []
    for sample in read_samples(corpus, (reported_on,)):
        parsed = parse(sample.raw)
        log_odds = model.weigh(parsed, sample.raw, Envelope("", ())).log_odds
        seen.append(Seen(sample.group, sample.is_abuse, log_odds, traits(parsed)))
    progress(f"{len(seen)} messages of {reported_on} judged")
    return report(seen, each)


def report(seen: list[Seen], each: int) -> CorrectionReport:
    """The figures."""
    legit, abuse = [one for one in seen if not one.is_abuse], [one for one in seen if one.is_abuse]
    alarms = defaultdict(list)
    for one in legit:
        if one.log_odds > 0:
            alarms[one.sender].append(one)
    senders = {sender: found for sender, found in alarms.items() if len(found) >= FEWEST}
    taught = [one for found in senders.values() for one in found[:each]]
    learnt = learn(((one, one.sender) for one in taught), is_abuse=False)
    left = {sender: _alarms(found[each:], learnt) for sender, found in senders.items()}
    largest = max(senders, key=lambda sender: len(senders[sender]), default="")
    by_account = _changes(legit[POISON:], learn(((one, "one") for one in legit[:POISON]), is_abuse=True))
    by_tenant = learn(((one, f"{at}") for at, one in enumerate(legit[:POISON])), is_abuse=True, tenant="one")
    in_tenant = _changes(legit[POISON:], by_tenant)
    return CorrectionReport(
        senders=len(senders),
        corrections=len(taught),
        siblings_before=sum(len(found) - each for found in senders.values()),
        siblings_after=sum(left.values()),
        largest_before=max(0, len(senders.get(largest, ())) - each),
        largest_after=left.get(largest, 0),
        abuse=len(abuse),
        abuse_before=sum(one.log_odds > 0 for one in abuse),
        abuse_after=_alarms(abuse, learnt),
        abuse_mean_change=_mean(_changes(abuse, learnt)),
        poison_account_mean=_mean(by_account),
        poison_account_most=max(by_account, default=0.0),
        poison_tenant_mean=_mean(in_tenant),
        poison_tenant_most=max(in_tenant, default=0.0),
    )


def learn(taught: Iterable[tuple[Seen, str]], *, is_abuse: bool, tenant: str = "") -> Learnt:
    """What examples, each with its account, add up to within the default bounds."""
    return Learnt(Bounds()).teach_all(
        Lesson(
            Example(
                id=str(number),
                at=0.0,
                who="evaluation",
                is_abuse=is_abuse,
                account=account,
                tenant=tenant or account,
                origin="file",
                digest=one.traits.digest,
                format=FORMAT,
                log_odds=one.log_odds,
            ),
            one.traits.pack(),
        )
        for number, (one, account) in enumerate(taught)
    )


def _changes(seen: Iterable[Seen], learnt: Learnt) -> list[float]:
    return [learnt.nats(one.traits) for one in seen]


def _alarms(seen: Iterable[Seen], learnt: Learnt) -> int:
    return sum(one.log_odds + learnt.nats(one.traits) > 0 for one in seen)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0
