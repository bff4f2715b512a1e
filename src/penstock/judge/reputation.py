"""Is this account still its owner's? Evidence of messages and events, summed into standing; bytes in, bytes out.

For each message the channels' evidence goes into two sequential tests, the account's and its source's, so that an
abuser beside the owner stands in a stream of his own. A message is held where a test passes its line and two
independent groups of evidence speak for abuse; the account is suspended where the higher line is passed too. Nothing
here knows what the world did with the wish: the caller's limits may still refuse the message.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp

from msgspec import Struct
from msgspec.structs import replace

from penstock.judge import channels
from penstock.judge.campaigns import CampaignView, Share
from penstock.judge.events import event_evidence
from penstock.judge.evidence import Message, is_copied, is_machine, repeated, weigh
from penstock.judge.explanation import as_sum
from penstock.judge.history import AccountState, SourceState, encode, read_account, read_source, tag
from penstock.judge.login_past import Login, encode_logins
from penstock.judge.logins import Past, Weighed, take_good, weigh_login
from penstock.judge.past import count, keep_fresh, keep_owners, learn
from penstock.judge.policy import Policy
from penstock.judge.standing import enter, move
from penstock.judge.streams import Stream
from penstock.judge.wishes import bulk_line, close, is_settled, per_year, standing_signs, streams_of, why, wish
from penstock.model import Action, Event, Evidence, Lines, Standing

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
    against_bulk: float = 0.0
    lines: Lines | None = None

    @property
    def is_suspended_now(self) -> bool:
        """Whether this suspended the account."""
        return self.standing is Standing.SUSPENDED and self.previous is not Standing.SUSPENDED


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
    *,
    may_leave: Callable[[int], bool] = lambda new_recipients: True,
) -> Assessment:
    """Weigh one message and say what the evidence asks for.

    `may_leave` says of what the evidence accepts, told its number of first-time recipients, whether nothing else keeps
    it here: only what leaves is learnt.
    """
    now = message.now
    account, source = _read(account_bytes, source_bytes, now)
    previous, is_exempt = Standing(account.standing), message.account in policy.exempt
    is_retry = message.digest in account.last
    machine = is_machine(message, account)
    is_own_place = machine or is_settled(message, source)
    before = max(streams_of(account, source, message, is_own_place), key=lambda one: one.nats)
    earlier, is_first = before.by_cause(), before.is_silent
    terms = repeated(message, account) if is_retry else weigh(message, account, source, campaigns, machine=machine)
    habits = account.habits()
    if not is_retry:
        count(account, source, message, terms, machine=machine)
    streams = streams_of(account, source, message, is_own_place)
    stream = max(streams, key=lambda one: one.nats)
    lines = policy.lines(per_year(account, now))
    signs = [standing_signs(account, one, policy, lines, machine=machine) for one in streams]
    is_suspect, is_proven = map(any, zip(*signs, strict=True))
    is_over = close(account, source, streams, lines, machine=machine)
    is_abusive = is_retry or stream.leading(terms.groups) > 0 or is_copied(message, account, source)
    is_held = is_over[0] or (any(is_over) and is_abusive)
    wanted, reason, retry = wish(
        account, stream, message, terms, campaigns=campaigns, policy=policy, machine=machine, is_held=is_held
    )
    is_proven = is_proven and policy.may_suspend and not (is_exempt or is_first)
    move(account, now, is_suspect=is_suspect, is_proven=is_proven, reason=why(stream))
    if is_exempt:
        wanted, reason, retry = Action.ACCEPT, "", 0.0
    elif account.standing == Standing.SUSPENDED:
        wanted, reason, retry = Action.REJECT, "PS-SUSPENDED", 0.0
    is_refused = wanted is Action.ACCEPT and not may_leave(terms.new_recipients)
    if is_refused or wanted is Action.THROTTLE or account.standing == Standing.SUSPENDED:
        account.resume(habits)
    keep_owners(account, habits)
    if wanted is Action.ACCEPT and not is_refused:
        learn(account, source, message, terms, policy, machine=machine)
    elif wanted is not Action.THROTTLE:
        keep_fresh(account, message)
    found = _assessment(account, source, stream, previous, as_sum(terms.evidence, earlier, stream.nats))
    return replace(
        found,
        wanted=wanted,
        reason=reason,
        retry_after_s=retry,
        new_recipients=terms.new_recipients,
        against_bulk=round(stream.against_bulk, 3),
        lines=replace(lines, hold_bulk=round(bulk_line(stream, lines), 3)),
    )


def _read(account_bytes: bytes | None, source_bytes: bytes | None, now: float) -> tuple[AccountState, SourceState]:
    """The two records as they stand now."""
    account, source = read_account(account_bytes, now), read_source(source_bytes)
    if source.stream.seen_at and source.stream.seen_at <= account.reset_at:
        source.stream = Stream()
    source.stream.fade(now)
    account.stream.fade(now)
    return account, source


def observe_event(account_bytes: bytes | None, source_bytes: bytes | None, event: Event, policy: Policy) -> Assessment:
    """Take in a bounce, a delivery, a complaint, a change of credentials."""
    account, source = read_account(account_bytes, event.at), read_source(source_bytes)
    previous = Standing(account.standing)
    evidence = event_evidence(account, source, event)
    groups = {one.group: one.nats for one in evidence}
    for one in (account.stream, *((source.stream,) if event.source else ())):
        if groups and "bounces" not in groups:
            one.add(groups)
        one.name(evidence)
    if event.what == "password-changed":
        if account.owners is not None:
            # A thief's strangers and copies are no habit of the owner's, and his links are none that the owner sends.
            account.resume(account.owners)
            account.fresh = {}
        is_kept_out = account.standing == Standing.SUSPENDED and not policy.password_releases
        clear(account, event.at, "password-changed", releases=not is_kept_out)
    may_suspend = sum(groups.values()) > 0 and str(event.account) not in policy.exempt
    stream = _moved(account, source, event.at, policy, may_suspend=may_suspend)
    return _assessment(account, source, stream, previous, evidence)


class LoginTaken(Struct, frozen=True):
    """What a good login came to."""

    assessment: Assessment
    logins: bytes
    """The account's record of logins."""
    weighed: Weighed


def observe_login(past: Past, login: Login, policy: Policy) -> LoginTaken:
    """Take in a good login: its source's test gets a head start before the first message."""
    account, source = past.account, past.source
    previous = Standing(account.standing)
    weighed = weigh_login(past, login, policy)
    groups = take_good(past, login, weighed)
    if groups:
        source.stream.add(groups)
        source.stream.name(weighed.evidence)
    may_suspend = bool(groups) and login.account not in policy.exempt
    stream = _moved(account, source, login.attempt.at, policy, may_suspend=may_suspend)
    found = _assessment(account, source, stream, previous, weighed.evidence)
    return LoginTaken(found, encode_logins(past.logins), weighed)


def _moved(account: AccountState, source: SourceState, now: float, policy: Policy, *, may_suspend: bool) -> Stream:
    """Let the standing follow what is no message; the stream that says most. Only what adds evidence may suspend, and a
    login or a bounce by itself never does: two groups are needed."""
    lines = policy.lines(per_year(account, now))
    stream = max(source.stream, account.stream.at(source.stream), key=lambda one: one.nats)
    is_suspect, is_proven = standing_signs(account, stream, policy, lines, machine=False)
    is_proven = is_proven and may_suspend and policy.may_suspend
    move(account, now, is_suspect=is_suspect, is_proven=is_proven, reason=why(stream))
    return stream


def _assessment(
    account: AccountState, source: SourceState, stream: Stream, previous: Standing, evidence: tuple[Evidence, ...]
) -> Assessment:
    """The records' bytes with what people are told of them."""
    return Assessment(
        encode(account),
        encode(source),
        evidence,
        round(stream.nats, 3),
        Standing(account.standing),
        previous,
        messages=account.messages,
        recipients=account.recipients,
        since=account.since,
    )


def clear(account: AccountState, now: float, reason: str, *, releases: bool = True) -> None:
    """Credentials changed: what spoke against the account is void, and a suspension ends, unless more is asked for."""
    account.stream, account.reset_at, account.traps = Stream(), now, 0
    account.worst_at, account.owners = 0.0, None
    if releases and account.standing in (Standing.SUSPENDED, Standing.POOR):
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


def for_campaigns(account_bytes: bytes | None, source_bytes: bytes | None, message: Message) -> Share:
    """What a message is worth for its campaigns: its text and whom it goes to, measured against the account's own past,
    and where it comes from. Customers who share a shop's template, or a greeting, are no campaign."""
    account, source = read_account(account_bytes, message.now), read_source(source_bytes)
    if source.good >= 3 and account.standing in (Standing.NORMAL, Standing.TRUSTED):
        nats = channels.content(message.verdict.log_odds, account.content, account.centre)[0]
        return Share(nats / 4.0 if nats > 0 else nats, 0.0, is_usual=True)
    groups = weigh(message, account, source, (), machine=False).groups
    login = groups.get("login", source.stream.groups.get("login", 0.0)) if message.has_login else 0.0
    return Share(groups.get("content", 0.0) + groups.get("novelty", 0.0), max(0.0, login), is_usual=False)


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
