"""Is this account still its owner's? Evidence of messages and events, summed into standing; bytes in, bytes out.

For each message the channels' evidence goes into two sequential tests, the account's and its source's, so that an
abuser beside the owner stands in a stream of his own. A message is held where a test passes its line and two
independent groups of evidence speak for abuse; the account is suspended where the higher line is passed too. Nothing
here knows what the world did with the wish: the caller's limits may still refuse the message.
"""

from __future__ import annotations

from math import exp, log, log1p

from msgspec import Struct

from penstock.judge import channels
from penstock.judge.campaigns import CampaignView
from penstock.judge.evidence import (
    MANY_TENANTS,
    Message,
    Terms,
    is_machine,
    is_new_thing,
    is_repeated,
    repeated,
    weigh,
)
from penstock.judge.history import (
    AccountState,
    SourceState,
    Stream,
    encode,
    keep_over,
    read_account,
    read_source,
    tag,
)
from penstock.judge.policy import Policy
from penstock.judge.standing import enter, move
from penstock.model import Action, Event, Evidence, Kind, Standing

_MOST = 30.0
"""A statistic's ceiling, so that good mail can bring it down again."""
_ENOUGH = 1.0
"""Nats that a group must have to count as one that speaks for abuse."""
_INDEPENDENT = ("content", "recipients", "bounces", "login", "campaign", "complaints")
_NOBODY_THERE = ("unknown-user", "unknown-domain", "")
"""Reasons of bounces that tell of addresses nobody ever gave; a bounce without any word counts among them."""
_HALF_LIFE_S = 90 * 86400.0
_RETRIES_KEPT = 12
_TEXTS_KEPT = 24
_FRESH_KEPT = 12
_WINDOW_S = 300.0
_ESTABLISHED = 20
"""Good messages after which a source answers for itself alone."""
KEEP_S = 400 * 86400.0
"""How long an account's record lives after its last message."""
SOURCE_KEEP_S = 120 * 86400.0
CAMPAIGN_KEEP_S = 14 * 86400.0


class Assessment(Struct, frozen=True):
    """What one message or event came to."""

    account: bytes
    source: bytes
    evidence: tuple[Evidence, ...]
    score: float
    """The statistic, in nats, that was held against the thresholds."""
    standing: Standing
    previous: Standing
    wanted: Action = Action.ACCEPT
    reason: str = ""
    retry_after_s: float = 0.0
    new_recipients: int = 0
    messages: int = 0
    recipients: int = 0
    since: float = 0.0


class Summary(Struct, frozen=True):
    """An account's record, for people."""

    standing: Standing
    since: float
    reason: str
    score: float
    messages: int
    recipients: int
    first_seen: float
    seen_at: float
    known_share: float
    """Share of recipients that it wrote to before."""
    per_hour: float
    """Recipients in an ordinary active hour."""
    groups: dict[str, float]


def observe_message(
    account_bytes: bytes | None,
    source_bytes: bytes | None,
    message: Message,
    campaigns: tuple[CampaignView, ...],
    policy: Policy,
) -> Assessment:
    """Weigh one message and say what the evidence asks for."""
    now = message.now
    account, source = read_account(account_bytes, now), read_source(source_bytes)
    if source.stream.seen_at and source.stream.seen_at <= account.reset_at:
        source.stream = Stream()
    source.stream.fade(now)
    account.stream.fade(now)
    previous = Standing(account.standing)
    is_retry = message.digest in account.last
    machine = is_machine(message, account)
    carried = source.stream.nats if machine else max(account.stream.nats, source.stream.nats)
    terms = repeated(message, account) if is_retry else weigh(message, account, source, campaigns, machine=machine)
    if not is_retry:
        _count(account, source, message, terms, machine=machine)
    stream = source.stream if machine or source.good >= _ESTABLISHED else _higher(account.stream, source.stream)
    is_suspect, is_proven = _standing_signs(account, stream, policy, machine=machine)
    is_abusive = is_retry or terms.total > 0 or is_repeated(message, source, was_bad=True)
    wanted, reason, retry = _wish(
        account, stream, message, terms, campaigns=campaigns, policy=policy, machine=machine, is_abusive=is_abusive
    )
    if message.account in policy.exempt:
        wanted, reason, retry, is_proven = Action.ACCEPT, "", 0.0, False
    move(account, now, is_suspect=is_suspect, is_proven=is_proven, reason=_why(stream))
    if account.standing == Standing.SUSPENDED and message.account not in policy.exempt:
        wanted, reason, retry = Action.REJECT, "PS-SUSPENDED", 0.0
    if wanted is Action.ACCEPT and not message.is_forward:
        _learn(account, source, message, terms, policy)
    evidence = terms.evidence
    if abs(carried) > 0.005:
        evidence = (*evidence, Evidence("carried", round(carried, 3), "what spoke before this message", "0"))
    return Assessment(
        encode(account),
        encode(source),
        evidence,
        round(stream.nats, 3),
        Standing(account.standing),
        previous,
        wanted,
        reason,
        retry,
        terms.new_recipients,
        account.messages,
        account.recipients,
        account.since,
    )


def _higher(one: Stream, other: Stream) -> Stream:
    return one if one.nats >= other.nats else other


def _count(account: AccountState, source: SourceState, message: Message, terms: Terms, *, machine: bool) -> None:
    """Both tests take their step, and the message is counted."""
    now, count = message.now, len(message.recipients)
    source.stream.first_at = source.stream.first_at or now
    source.stream.seen_at = now
    source.stream.messages += 1
    source.client = message.client or source.client
    source.stream.add(terms.groups, _MOST)
    if "content" in terms.groups:
        sign = 1 if terms.groups["content"] > 0 else -1
        fresh = [sign * one for one in message.texts]
        source.stream.texts = (source.stream.texts + fresh)[-_TEXTS_KEPT:]
    if not machine:
        account.stream.add(terms.groups, _MOST)
        account.stream.seen_at = now
        hour = int(now // 3600)
        if hour != account.hour:
            _close_hour(account)
            account.hour, account.hour_recipients = hour, 0.0
        account.hour_recipients += count
        if "login" in terms.groups or message.source:
            is_new = "login" in terms.groups
            account.sources.add(float(is_new), float(not is_new), 0.99)
        # Learnt whatever else is thought of the account: the ratio of predictions stays fair only if the prediction
        # follows what is seen. An account with a long past learns slowly, so that an abuser gains little.
        keep = keep_over(now - account.seen_at, _HALF_LIFE_S) * 0.998
        account.novelty.add(float(terms.new_recipients), float(count - terms.new_recipients), keep)
        for found, past, mark in ((message.links, account.links, ""), (message.parts, account.parts, ".")):
            if found:
                is_new = any(is_new_thing(account, mark + one, now) for one in found)
                # Learnt in any case, for the same reason; slowly while something independent speaks for abuse.
                weight = 0.2 if _is_manifold(account.stream) else 1.0
                past.add(weight * is_new, weight * (not is_new), 0.99)
    account.last = [*account.last, message.digest][-_RETRIES_KEPT:]
    account.messages += 1
    account.recipients += count
    account.seen_at = now


def _close_hour(account: AccountState) -> None:
    """Learn an hour that has passed. Evidence against a law that is never learnt anew would drift up for ever."""
    if account.hour and account.hour_recipients:
        account.hours.add(log1p(account.hour_recipients), 0.99)


def _is_manifold(stream: Stream) -> bool:
    """Whether two independent groups of evidence speak for abuse.

    New links go with new recipients in every newsletter, so they count beside a new source only.
    """
    enough = max(_ENOUGH, min(2.0, stream.nats / 6.0))
    strong = [group for group, nats in stream.groups.items() if nats >= enough]
    return sum(group in _INDEPENDENT for group in strong) >= 2 or ("login" in strong and "links" in strong)


def _standing_signs(account: AccountState, stream: Stream, policy: Policy, *, machine: bool) -> tuple[bool, bool]:
    """Whether the account is suspect, and whether it is proven to be abused."""
    if machine:
        return False, False
    is_suspect = stream.nats >= policy.watch and _is_manifold(stream)
    is_proven = (stream.nats >= policy.suspend and _is_manifold(stream)) or account.traps >= 2
    return is_suspect, is_proven


def _wish(
    account: AccountState,
    stream: Stream,
    message: Message,
    terms: Terms,
    *,
    campaigns: tuple[CampaignView, ...],
    policy: Policy,
    machine: bool,
    is_abusive: bool,
) -> tuple[Action, str, float]:
    """The action that the evidence asks for, its reason, and for a throttle when to try again."""
    if machine and message.verdict.kind is Kind.FORWARDED:
        return Action.ACCEPT, "", 0.0  # what others sent says nothing about who forwards it; its pool is another
    is_strange = terms.new_recipients > 0 or "login" in terms.groups
    if is_strange and message.verdict.log_odds - max(0.0, terms.usual) >= policy.gate:
        return Action.HOLD, "PS-CONTENT", 0.0
    if stream.nats >= policy.hold and is_abusive and (machine or _is_manifold(stream)):
        return Action.HOLD, "PS-CAMPAIGN" if terms.groups.get("campaign", 0.0) > 3.0 else "PS-ACCOUNT", 0.0
    for one in campaigns:
        is_run = one.nats >= policy.campaign and one.tenants >= MANY_TENANTS and not one.is_common
        if is_run and message.verdict.log_odds > 0:
            return Action.HOLD, "PS-CAMPAIGN", 0.0
    if machine:
        return Action.ACCEPT, "", 0.0
    return _slowed(account, stream, message, terms, policy)


def _slowed(
    account: AccountState, stream: Stream, message: Message, terms: Terms, policy: Policy
) -> tuple[Action, str, float]:
    """Probation of new accounts, and the slow start of accounts whose recipients alone are odd."""
    day = int(message.now // 86400)
    used = account.day_new if account.day == day else 0
    is_new = account.standing == Standing.NEW
    if is_new and terms.new_recipients and used + terms.new_recipients > policy.probation_recipients_per_day:
        return Action.THROTTLE, "PS-PROBATION", (day + 1) * 86400.0 - message.now
    if stream.nats < policy.throttle:
        return Action.ACCEPT, "", 0.0
    slow, count = account.slow, len(message.recipients)
    harmless = message.verdict.log_odds < 0
    first = 3 if _is_manifold(stream) else 400 if harmless else 25
    if message.now - slow.began > 12 * _WINDOW_S:
        slow.began, slow.used, slow.room = message.now, 0, first
    elif message.now - slow.began > _WINDOW_S:
        slow.began, slow.used, slow.room = message.now, 0, min(slow.room * 4, 1_000_000)
    if slow.used and slow.used + count > slow.room:
        return Action.THROTTLE, "PS-THROTTLE", max(1.0, slow.began + _WINDOW_S - message.now)
    slow.used += count
    return Action.ACCEPT, "", 0.0


def _why(stream: Stream) -> str:
    """The groups that speak for abuse, strongest first."""
    ranked = sorted(stream.groups.items(), key=lambda item: -item[1])
    return ", ".join(f"{group} {nats:+.1f}" for group, nats in ranked if nats >= _ENOUGH)


def _learn(account: AccountState, source: SourceState, message: Message, terms: Terms, policy: Policy) -> None:
    """Let the account's past grow by a message that leaves, unless independent evidence speaks against it."""
    day = int(message.now // 86400)
    if account.day != day:
        account.day, account.day_new = day, 0
    account.day_new += terms.new_recipients
    if "content" in terms.groups:
        clipped = max(channels.CONTENT_LEAST, min(channels.CONTENT_MOST, message.verdict.log_odds))
        account.content.add(exp(clipped), 1.0, 0.997)
    if account.stream.nats >= policy.watch and _is_manifold(account.stream):
        return
    for one in message.recipients:
        account.known.add(one)
    for found, mark in ((message.links, ""), (message.parts, ".")):
        for one in found:
            _settle(account, mark + one, message.now)
    account.learnt += 1
    if source.stream.nats < policy.watch:
        source.good += 1


def _settle(account: AccountState, name: str, now: float) -> None:
    """A new link domain or attachment type is fresh for a day, then one of the account's usual ones."""
    if account.places.has(name):
        return
    if is_new_thing(account, name, now):
        account.fresh.setdefault(tag(name), now)
        if len(account.fresh) > _FRESH_KEPT:
            del account.fresh[min(account.fresh, key=account.fresh.__getitem__)]
    else:
        account.places.add(name)
        account.fresh.pop(tag(name), None)


def observe_event(account_bytes: bytes | None, source_bytes: bytes | None, event: Event, policy: Policy) -> Assessment:
    """Take in a bounce, a delivery, a complaint, a login, a change of credentials."""
    account, source = read_account(account_bytes, event.at), read_source(source_bytes)
    previous = Standing(account.standing)
    evidence = _event_evidence(account, source, event)
    groups = {one.group: one.nats for one in evidence}
    if groups:
        account.stream.add(groups, _MOST)
        if event.source:
            source.stream.add(groups, _MOST)
    if event.what == "password-changed":
        clear(account, event.at, "password-changed")
    is_suspect, is_proven = _standing_signs(account, account.stream, policy, machine=False)
    # Only what adds evidence may suspend, and a login or a bounce by itself never does: two groups are needed.
    is_proven = is_proven and bool(groups) and sum(groups.values()) > 0 and str(event.account) not in policy.exempt
    move(account, event.at, is_suspect=is_suspect, is_proven=is_proven, reason=_why(account.stream))
    return Assessment(
        encode(account),
        encode(source),
        evidence,
        round(account.stream.nats, 3),
        Standing(account.standing),
        previous,
        messages=account.messages,
        recipients=account.recipients,
        since=account.since,
    )


def _event_evidence(account: AccountState, source: SourceState, event: Event) -> tuple[Evidence, ...]:
    match event.what:
        case "bounced" | "delivered":
            is_bounce = event.what == "bounced"
            if is_bounce and event.reason not in _NOBODY_THERE:
                return ()
            nats, usual = channels.bounce(is_bounce, account.bounces)
            account.bounces.add(float(is_bounce), float(not is_bounce), 0.998)
            name = "unknown-recipient" if is_bounce else "recipient-known"
            return (Evidence(name, round(nats, 3), event.detail[:100], f"{usual:.1%}", "bounces"),)
        case "complaint":
            expected = (account.complaints.yes + 0.1) / (account.messages + 200.0)
            nats = min(channels.COMPLAINT, log(0.01 / expected))
            account.complaints.add(1.0, 0.0, 0.99)
            return (Evidence("complaint", round(nats, 3), event.detail[:100], f"{expected:.2%}", "complaints"),)
        case "spamtrap":
            account.traps += 1
            return (Evidence("spamtrap", channels.TRAP, event.detail[:100], "never", "bounces"),)
        case "listing":
            # Bounded, and not among the independent groups: by itself it suspends nobody.
            nats = channels.LISTING_MOST * min(1.0, max(0.0, event.share))
            return (Evidence("listed-ip", round(nats, 3), event.detail[:100], "none", "listings"),)
        case "login":
            return _login_evidence(account, source, event)
        case _:
            return ()


def _login_evidence(account: AccountState, source: SourceState, event: Event) -> tuple[Evidence, ...]:
    is_new = not source.stream.first_at
    source.stream.first_at = source.stream.first_at or event.at
    source.stream.seen_at = event.at
    source.client = event.client or source.client
    nats = 0.0
    if is_new:
        nats = channels.new_thing(True, account.sources, abuse=0.95, prior=0.5, most=channels.LOGIN_MOST)
    account.sources.add(float(is_new), float(not is_new), 0.99)
    return (Evidence("new-source", round(nats, 3), event.source, "", "login"),) if is_new else ()


def clear(account: AccountState, now: float, reason: str) -> None:
    """Credentials changed: what spoke against the account is void, and a suspension ends."""
    account.stream, account.reset_at, account.traps = Stream(), now, 0
    account.worst_at = 0.0
    if account.standing in (Standing.SUSPENDED, Standing.POOR):
        enter(account, Standing.NORMAL, now, reason, by_hand=True)


def admit(account_bytes: bytes | None, now: float, policy: Policy, account: str = "") -> Standing:
    """The standing that counts at MAIL; exempt accounts are never suspended."""
    standing = Standing(read_account(account_bytes, now).standing)
    if standing is Standing.SUSPENDED and account in policy.exempt:
        return Standing.POOR
    return standing


def steer(account_bytes: bytes | None, standing: Standing | None, now: float, reason: str, *, forget: bool) -> bytes:
    """A person's word: a standing (None lets the evidence decide again); `forget` voids what spoke against it."""
    account = read_account(account_bytes, now)
    if forget:
        clear(account, now, reason)
    if standing is not None:
        enter(account, standing, now, reason, by_hand=True)
    else:
        account.by_hand = False
        if account.standing == Standing.SUSPENDED:
            enter(account, Standing.NORMAL, now, reason)
    return encode(account)


def for_campaigns(account_bytes: bytes | None, source_bytes: bytes | None, message: Message) -> tuple[float, bool]:
    """What a message's content is worth for its campaigns, and whether it comes from where good mail of an account with
    a past comes from: customers who share a shop's template, or a greeting, are no campaign."""
    account = read_account(account_bytes, message.now)
    nats = channels.content(message.verdict.log_odds, account.content)[0]
    is_usual = read_source(source_bytes).good >= 3 and account.standing in (Standing.NORMAL, Standing.TRUSTED)
    return (nats / 4.0 if nats > 0 and is_usual else nats), is_usual


def summary(account_bytes: bytes | None, now: float) -> Summary:
    """An account's record, for people."""
    account = read_account(account_bytes, now)
    past = account.novelty
    return Summary(
        Standing(account.standing),
        account.since,
        account.reason,
        round(account.stream.nats, 3),
        account.messages,
        account.recipients,
        account.first_at,
        account.seen_at,
        past.no / (past.yes + past.no) if past.yes + past.no else 0.0,
        exp(account.hours.mean) - 1.0 if account.hours.weight else 0.0,
        {group: round(nats, 3) for group, nats in account.stream.groups.items()},
    )


def text_tags(fingerprints: tuple[str, ...]) -> tuple[int, ...]:
    """Tags of the fingerprints that stand for a text."""
    return tuple(tag(one) for one in fingerprints if one.startswith("text:"))
