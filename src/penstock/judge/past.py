"""How an account's past grows: what is counted of every message, and what is learnt of those that leave."""

from __future__ import annotations

from math import exp, log1p

from penstock.judge import channels
from penstock.judge.evidence import Message, Terms, is_copied, is_new_client, is_new_thing
from penstock.judge.history import AccountState, Habits, SourceState, tag
from penstock.judge.policy import Policy
from penstock.judge.streams import Stream, keep_over
from penstock.judge.wishes import is_manifold
from penstock.model import Standing

_HALF_LIFE_S = 90 * 86400.0
_RETRIES_KEPT = 12
_TEXTS_KEPT = 24
_YOUNG_S, _YOUNG_MOST = 7 * 86400.0, 1.0
"""Of so young an account, what reads more like abuse than this is not learnt as its own way of writing."""
_FRESH_KEPT = 12


def count(account: AccountState, source: SourceState, message: Message, terms: Terms, *, machine: bool) -> None:
    """Both tests take their step, and the message is counted."""
    now, count = message.now, len(message.recipients)
    is_copy = is_copied(message, account, source)
    is_new_source = account.has_places and not source.stream.first_at
    source.stream.first_at = source.stream.first_at or now
    source.stream.seen_at = now
    source.stream.messages += 1
    source.client = message.client or source.client
    source.stream.add(terms.groups)
    source.stream.name(terms.evidence)
    if "content" in terms.groups:
        sign = 1 if terms.groups["content"] > 0 else -1
        fresh = [sign * one for one in message.texts]
        source.stream.texts = (source.stream.texts + fresh)[-_TEXTS_KEPT:]
    if not machine:
        without = {group: nats for group, nats in terms.groups.items() if group != "login" or not message.has_login}
        account.stream.add(without)
        account.stream.name(terms.evidence)
        account.stream.seen_at = now
        hour = int(now // 3600)
        if hour != account.hour:
            _close_hour(account)
            account.week = [hours * 0.995 for hours in account.week] or [0.0] * 8
            account.week[channels.part_of_week(now)] += 1.0
            account.hour, account.hour_recipients = hour, 0.0
        account.hour_recipients += count
        if message.source:
            account.sources.add(float(is_new_source), float(not is_new_source), 0.99)
        if message.client and "login" in terms.groups and account.learnt:
            is_new = is_new_client(message, account)
            account.clients.add(float(is_new), float(not is_new), 0.98)
        # Learnt whatever else is thought of the account: the ratio of predictions stays fair only if the prediction
        # follows what is seen. An account with a long past learns slowly, so that an abuser gains little.
        keep = keep_over(now - account.seen_at, _HALF_LIFE_S) * 0.998
        account.novelty.add(float(terms.new_recipients), float(count - terms.new_recipients), keep)
        account.copies.add(float(is_copy), float(not is_copy), 0.99)
        for found, past, mark in ((message.links, account.links, ""), (message.parts, account.parts, ".")):
            if found:
                is_new = any(is_new_thing(account, mark + one, now) for one in found)
                # Learnt in any case, for the same reason; slowly while something independent speaks for abuse.
                weight = 0.2 if is_manifold(account.stream) else 1.0
                past.add(weight * is_new, weight * (not is_new), 0.99)
    account.last = [*account.last, message.digest][-_RETRIES_KEPT:]
    account.messages += 1
    account.recipients += count
    account.seen_at = now


def _close_hour(account: AccountState) -> None:
    """Learn an hour that has passed. Evidence against a law that is never learnt anew would drift up for ever."""
    if account.hour and account.hour_recipients:
        account.hours.add(log1p(account.hour_recipients), 0.99)


def learn(
    account: AccountState, source: SourceState, message: Message, terms: Terms, policy: Policy, *, machine: bool
) -> None:
    """Let the account's past grow by a message that leaves, unless independent evidence speaks against it."""
    if message.is_forward:
        return
    now, day = message.now, int(message.now // 86400)
    if account.day != day:
        account.day, account.day_new = day, 0
    account.day_new += terms.new_recipients
    account.uncomplained += len(message.recipients)
    if terms.new_recipients and not machine:
        for stream in (account.stream, source.stream):
            answer(stream, account, asked=terms.new_recipients)
        account.bounces.add(0.0, float(terms.new_recipients), 0.998)
    if "content" in terms.groups:
        log_odds = message.verdict.log_odds
        if now - account.first_at < _YOUNG_S:
            log_odds = min(log_odds, _YOUNG_MOST)
        account.content.add(exp(channels.centred(log_odds, account.centre)), 1.0, 0.997)
        account.centre += (min(8.0, log_odds) - account.centre) / (account.content.no + 10.0)
    if account.stream.nats >= policy.watch and is_manifold(account.stream):
        return
    for one in message.recipients:
        account.known.add(one)
    for found, mark in ((message.links, ""), (message.parts, ".")):
        for one in found:
            _settle(account, mark + one, message.now)
    if message.client:
        account.places.add("@" + message.client)
    account.learnt += 1
    if source.stream.nats < policy.watch:
        source.good += 1


def keep_owners(account: AccountState, habits: Habits) -> None:
    """Keep what the owner usually does, from the first message that makes the account suspect until it is quiet."""
    if account.standing not in (Standing.POOR, Standing.SUSPENDED):
        account.owners = None
    elif account.owners is None:
        account.owners = habits


def answer(stream: Stream, account: AccountState, *, asked: int = 0, unknown: int = 0) -> float:
    """Count first-time recipients, or one that is unknown, and take the evidence's step; returns its nats."""
    usual = channels.usual_unknown(account.bounces)
    before = stream.asked, stream.unknown
    stream.asked, stream.unknown = stream.asked + asked, stream.unknown + unknown
    nats, bulk = (
        channels.answers(stream.asked, stream.unknown, share) - channels.answers(*before, share)
        for share in (usual, channels.BULK_UNKNOWN)
    )
    stream.add({"bounces": nats, "bulk-bounces": bulk})
    return nats


def _settle(account: AccountState, name: str, now: float) -> None:
    """A new link domain or attachment type is fresh for a day, then one of the account's usual ones."""
    if account.places.has(name):
        return
    if is_new_thing(account, name, now):
        account.fresh.setdefault(tag(name), int(now))
        if len(account.fresh) > _FRESH_KEPT:
            del account.fresh[min(account.fresh, key=account.fresh.__getitem__)]
    else:
        account.places.add(name)
        account.fresh.pop(tag(name), None)


def keep_fresh(account: AccountState, message: Message) -> None:
    """What is held neither grows usual with time nor ceases to be a copy."""
    names = {tag(name) for name in (*message.links, *("." + one for one in message.parts))}
    account.fresh.update(dict.fromkeys(names & account.fresh.keys(), int(message.now)))
