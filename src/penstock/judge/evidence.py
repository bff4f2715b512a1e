"""One message's terms: every channel asked once, against what the account's and the source's records say."""

from __future__ import annotations

from msgspec import Struct

from penstock.judge import channels
from penstock.judge.campaigns import CampaignView
from penstock.judge.history import AccountState, SourceState, tag
from penstock.judge.policy import MANY_CAMPAIGNS
from penstock.model import Evidence, Kind, Verdict

_FRESH_S = 86400.0
MANY_BLIND = 5
NEWS = 2.0
"""Nats from which on a login's place is new enough to speak for a campaign by itself."""
MANY_TENANTS = 3
"""From so many unrelated customers on, a shared fingerprint says something about each account."""


class Message(Struct, frozen=True):
    """What reputation is told of one message."""

    now: float
    account: str
    tenant: str
    source: str
    client: str
    mail_from: str
    recipients: tuple[str, ...]
    """Lower case, without doubles."""
    verdict: Verdict
    digest: int
    """Tells a message from others, and is the same where an MTA tries again."""
    texts: tuple[int, ...] = ()
    """Tags of the text's fingerprints; copies and near copies of one text count as content once."""
    links: tuple[str, ...] = ()
    """Registrable domains of links in new text."""
    parts: tuple[str, ...] = ()
    """Kinds of attachments."""
    blind: int = 0
    """Recipients that neither To nor Cc names."""
    is_forward: bool = False
    """Whether the inbound side forwards it for the account."""
    has_login: bool = False
    """Whether credentials vouch for the account, so that they may have been stolen."""


class Terms(Struct, frozen=True):
    """The evidence of one message, and its sums by group."""

    evidence: tuple[Evidence, ...]
    groups: dict[str, float]
    new_recipients: int
    usual: float = 0.0
    """What content evidence of the owner's own mail comes to."""


def is_machine(message: Message, account: AccountState) -> bool:
    """Whether the mail server itself sends this: automatic mail and forwards that no login stands behind.

    Headers are not believed. No credentials are involved; the reverse-path is null, or the one recipient is where
    this account's mail always goes.
    """
    if message.is_forward:
        return True
    if message.has_login or len(message.recipients) != 1:
        return False
    if message.verdict.kind is Kind.AUTOMATIC:
        return not message.mail_from
    is_first = account.messages == 0
    return message.verdict.kind is Kind.FORWARDED and (is_first or account.known.has(message.recipients[0]))


def weigh(
    message: Message, account: AccountState, source: SourceState, campaigns: tuple[CampaignView, ...], *, machine: bool
) -> Terms:
    """Every channel's evidence for one message that is no retry."""
    found: list[Evidence] = []
    groups: dict[str, float] = {}
    usual = _content(message, account, source, found, groups)
    new = _new_recipients(message, account)
    if machine and message.verdict.kind is Kind.FORWARDED:
        groups = {}  # what others wrote says nothing about who forwards it, and is not how he writes
    if not machine:
        _recipients(message, account, new, found, groups)
        _copies(message, account, source, found, groups)
        _login(message, account, source, found, groups)
        if not is_repeated(message, source):
            # A copy has the links, the files and the campaigns of the first: they say nothing new.
            _links(message, account, found, groups)
            _campaigns(message, source, campaigns, found, groups)
    return Terms(tuple(sorted(found, key=lambda one: -abs(one.nats))), groups, new, usual)


def repeated(message: Message, account: AccountState) -> Terms:
    """An MTA's second try is no new evidence; whom it goes to still counts for probation."""
    return Terms((), {}, _new_recipients(message, account), channels.content(0.0, account.content, account.centre)[1])


def _new_recipients(message: Message, account: AccountState) -> int:
    return sum(not account.known.has(one) for one in message.recipients)


def _content(
    message: Message, account: AccountState, source: SourceState, found: list[Evidence], groups: dict[str, float]
) -> float:
    nats, usual = channels.content(message.verdict.log_odds, account.content, account.centre)
    if is_repeated(message, source):
        found.append(Evidence("content-repeated", 0.0, "a text counted before", "", "content"))
        return usual
    seen = ", ".join(one.name for one in message.verdict.evidence[:3] if one.nats > 0) or "nothing of note"
    found.append(
        Evidence("content", round(nats, 3), f"{message.verdict.log_odds:+.1f}: {seen}", f"{usual:+.1f}", "content")
    )
    groups["content"] = nats
    return usual


def is_repeated(message: Message, source: SourceState) -> bool:
    """Whether the text came from this source before."""
    texts = source.stream.texts
    return any(one in texts or -one in texts for one in message.texts)


def _links(message: Message, account: AccountState, found: list[Evidence], groups: dict[str, float]) -> None:
    total = 0.0
    if message.links:
        new = [one for one in message.links if is_new_thing(account, one, message.now)]
        nats = channels.new_thing(bool(new), account.links, abuse=0.95, prior=0.5)
        found.append(Evidence("new-link", round(nats, 3), ", ".join((new or message.links)[:3]), "", "links"))
        total += nats
    if message.parts:
        strange = [one for one in message.parts if is_new_thing(account, "." + one, message.now)]
        nats = channels.new_thing(bool(strange), account.parts, abuse=0.9, prior=0.4)
        seen = ", ".join((strange or message.parts)[:3])
        found.append(Evidence("new-attachment-type", round(nats, 3), seen, "", "links"))
        total += nats
    if total:
        groups["links"] = min(channels.NEW_THING_MOST, total)


def is_new_thing(account: AccountState, name: str, now: float) -> bool:
    """Whether a link domain or (with a dot before it) an attachment type is new to the account: for a day it stays so,
    or the first of many copies would make the others look usual."""
    first = account.fresh.get(tag(name))
    if first is not None:
        return now - first < _FRESH_S
    return not account.places.has(name)


def _recipients(
    message: Message, account: AccountState, new: int, found: list[Evidence], groups: dict[str, float]
) -> None:
    count = len(message.recipients)
    fresh, share = channels.novelty(new, count - new, account.novelty)
    before = account.hour_recipients if account.hour == int(message.now // 3600) else 0.0
    fast, usual = channels.velocity(before, before + count, account.hours)
    if account.hour != int(message.now // 3600):
        odd = channels.odd_hour(channels.part_of_week(message.now), account.week)
        fast = min(channels.RECIPIENTS_MOST, fast + odd)
        found.append(Evidence("odd-hour", round(odd, 3), "first message of an hour", "", "velocity"))
    expected = f"{share * count:.1f} of {count}"
    seen = f"{new} of {count} never mailed before"
    found.append(Evidence("new-recipients", round(fresh, 3), seen, expected, "novelty"))
    found.append(
        Evidence("recipients-per-hour", round(fast, 3), f"{before + count:.0f} this hour", f"{usual:.1f}", "velocity")
    )
    groups["novelty"], groups["velocity"] = fresh, fast


def _copies(
    message: Message, account: AccountState, source: SourceState, found: list[Evidence], groups: dict[str, float]
) -> None:
    """Copies of one text or one new link, however the rest varies."""
    is_copy = is_copied(message, account, source)
    nats = channels.copied(is_copy, account.copies)
    if is_copy:
        share = (account.copies.yes + 0.2) / (account.copies.yes + account.copies.no + 4.0)
        seen = f"{message.blind} blind copies" if message.blind >= MANY_BLIND else "sent before today"
        found.append(Evidence("copies", round(nats, 3), seen, f"{share:.0%} of messages", "copies"))
    groups["copies"] = nats


def is_copied(message: Message, account: AccountState, source: SourceState) -> bool:
    """Whether the text came from this source before, or one of its links was new to the account today, or the message
    itself goes to many who do not see each other."""
    return (
        message.blind >= MANY_BLIND
        or is_repeated(message, source)
        or any(message.now - account.fresh.get(tag(one), 0.0) < _FRESH_S for one in message.links)
    )


def _login(
    message: Message, account: AccountState, source: SourceState, found: list[Evidence], groups: dict[str, float]
) -> None:
    """A network, and then a mail program, that the account never used; its first ones are no news."""
    if not message.source or source.stream.messages or source.good:
        return
    total = 0.0
    if not source.stream.first_at and account.has_places:
        total = channels.new_thing(True, account.sources, abuse=0.95, prior=0.1, most=channels.LOGIN_MOST)
        share = (account.sources.yes + 0.4) / (account.sources.yes + account.sources.no + 4.0)
        found.append(Evidence("new-source", round(total, 3), message.source, f"{share:.0%} of sessions", "login"))
    if message.client and account.learnt:
        is_new = is_new_client(message, account)
        nats = channels.new_thing(is_new, account.clients, abuse=0.7, prior=0.25, most=1.5)
        found.append(Evidence("new-client" if is_new else "known-client", round(nats, 3), message.client, "", "login"))
        total += nats
    groups["login"] = total


def is_new_client(message: Message, account: AccountState) -> bool:
    """Whether the account never sent with this mail program."""
    return not account.places.has("@" + message.client)


def _campaigns(
    message: Message,
    source: SourceState,
    campaigns: tuple[CampaignView, ...],
    found: list[Evidence],
    groups: dict[str, float],
) -> None:
    """What others sent of the same speaks where this message's own text or place does too: harmless letters from where
    good mail comes from share a signature, a quotation or a popular page."""
    login = groups.get("login", source.stream.groups.get("login", 0.0))
    if message.verdict.log_odds <= 0 and login < NEWS:
        return
    shared = [one for one in campaigns if one.tenants >= MANY_TENANTS and not one.is_common]
    if not shared:
        return
    worst = max(shared, key=lambda one: one.nats)
    nats = min(4.0, (worst.nats - MANY_CAMPAIGNS) / 3.0)
    if nats > 0.1:
        seen = f"{worst.fingerprint} from {worst.accounts} accounts of {worst.tenants} customers"
        found.append(Evidence("campaign", round(nats, 3), seen, "1 account", "campaign"))
        groups["campaign"] = nats
