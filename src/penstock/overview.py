"""What there is to know about an account, a decision, a case or the pools, for the command line and the console."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct

from penstock.judge import limits, reputation
from penstock.judge.limits import Limit, Override
from penstock.judge.logins import LoginPlace, places_of
from penstock.judge.pools import Pools
from penstock.judge.portrait import Baseline, SourceView, baseline, source_view
from penstock.judge.reference import read_token
from penstock.judge.reputation import Summary
from penstock.judge.rules import Rules
from penstock.judge.warmup import WarmUp, used_on
from penstock.model import Account, AccountRow, Audit, DecisionRow, Delivered, Event, transport_name
from penstock.sending import Case, IpState, SendingIp
from penstock.store.ports import DecisionSearch, Store
from penstock.workers.warming import read_seen

_SUSPECTS_SHOWN = 5
_MOST_SOURCES = 60
_MOST_EVENTS = 50


def when(at: float) -> str:
    """A time in UTC, to the second; a dash for none."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}" if at else "-"


class AccountView(Struct, frozen=True):
    """One account as people see it."""

    account: str
    row: AccountRow | None
    summary: Summary
    limits: tuple[tuple[Limit, int], ...]
    """Each with how much of it is used."""
    decisions: tuple[DecisionRow, ...]
    audit: tuple[Audit, ...]
    logins: tuple[LoginPlace, ...]
    """Where it logs in from, latest first."""
    sources: tuple[SourceView, ...]
    """Where the mail of these decisions and logins came from, latest first."""
    baseline: Baseline
    events: tuple[Event, ...]
    """What came back lately: bounces, complaints, spamtraps, listings."""
    overrides: tuple[Override, ...]
    """Limits that a person, or a probation, put in the place of the plan's."""


async def account_view(store: Store, rules: Rules, name: str, now: float, *, decisions: int) -> AccountView | None:
    """All that is known of one account; None for one that nobody has heard of yet. Raises StoreUnavailable."""
    keys = (f"a:{name}", f"l:{name}", f"i:{name}")
    state, row = await store.read(keys), await store.account(name)
    if row is None and state[keys[0]] is None:
        return None
    plan = rules.identity.tenancy.of(Account.parse(name))[1]
    rows, places = await store.decisions(DecisionSearch(account=name, limit=decisions)), places_of(state[keys[2]], now)
    return AccountView(
        account=name,
        row=row,
        summary=reputation.summary(state[keys[0]], now),
        limits=tuple(limits.used(state[keys[1]], rules.plan(plan).account, now)),
        decisions=tuple(rows),
        audit=tuple(await store.audit(target=name, limit=20)),
        logins=places,
        sources=await _sources(store, name, [*(one.source for one in rows), *(one.source for one in places)], now),
        baseline=baseline(state[keys[0]], state[keys[2]], now),
        events=tuple(await store.events(name, limit=_MOST_EVENTS)),
        overrides=tuple(one for one in limits.decode(state[keys[1]]).overrides if not one.until or one.until > now),
    )


async def _sources(store: Store, account: str, names: Sequence[str], now: float) -> tuple[SourceView, ...]:
    keys = {f"s:{account}|{name}": name for name in names if name}
    state = await store.read(tuple(keys)[:_MOST_SOURCES])
    found = [source_view(keys[key], data, now) for key, data in state.items() if data is not None]
    return tuple(sorted(found, key=lambda one: -one.seen_at))


async def find_decision(store: Store, text: str, key: bytes) -> DecisionRow | None:
    """A decision by its id, its reference token, a queue id or a Message-ID. Raises StoreUnavailable."""
    id = read_token(text, key) or text.strip()
    row = await store.decision(id)
    if row is not None:
        return row
    for search in (DecisionSearch(queue_id=id, limit=1), DecisionSearch(message_id=id.strip("<>"), limit=1)):
        rows = await store.decisions(search)
        if rows:
            return rows[0]
    return None


def explanation(row: DecisionRow, delivery: Delivered | None) -> list[str]:
    """A decision in words, its terms as a sum."""
    decision = row.decision
    done = f"{decision.action}" + (f" (would be {decision.wanted})" if decision.wanted is not decision.action else "")
    lines = [
        f"{decision.id}  {when(decision.at)} UTC  {done}  {decision.reason}",
        f"account   {decision.account} ({decision.standing}), {decision.kind} mail over {row.listener}",
        f"from      {row.mail_from or '<>'} at {row.client_ip or 'an unknown address'}",
        f"to        {len(row.rcpt_to)} recipients: {', '.join(row.rcpt_to[:3])}"
        + (" …" if len(row.rcpt_to) > 3 else ""),
        f"subject   {row.subject}",
        "",
    ]
    for one in decision.evidence:
        usual = f" (usual: {one.expected})" if one.expected else ""
        before = f"; {one.carried:+.2f} of it by messages before" if 0.0 < one.carried < one.nats else ""
        lines.append(f"{one.nats:+8.2f}  {one.name}: {one.seen}{usual}{before}")
    if decision.lines is not None:
        at = decision.lines
        lines += [
            f"{decision.score:8.2f}  together; this account is held at {at.hold:.1f} and suspended at {at.suspend:.1f}",
            f"{decision.against_bulk:8.2f}  of it no good customer's new habit explains; "
            f"{at.hold_bulk:.1f} and {at.suspend_bulk:.1f} are needed, and two kinds of evidence",
        ]
    if decision.findings:
        lines += ["", "findings  " + ", ".join(one.name for one in decision.findings)]
    if decision.reply is not None:
        lines += ["", f"told      {decision.reply.line()}"]
    for recipient, code, text in delivery.replies if delivery is not None else ():
        lines.append(f"next hop  {recipient}: {code} {text}")
    return lines


class Shown(Struct, frozen=True):
    """A message that shows who caused it, without its text."""

    id: str
    """The decision, for `penstock explain`."""
    at: float
    account: str
    recipients: int
    subject: str


async def case_messages(store: Store, case: Case) -> list[Shown]:
    """The messages that show it, of the accounts that are most to blame; those past retention are left out."""
    ids = [id for one in case.suspects[:_SUSPECTS_SHOWN] for id in one.decisions]
    rows = [await store.decision(id) for id in ids]
    return [
        Shown(row.decision.id, row.decision.at, str(row.decision.account), len(row.rcpt_to), row.subject)
        for row in rows
        if row is not None
    ]


async def find_case(store: Store, text: str) -> Case | None:
    """A case by its id, or the open one of an IP. Raises StoreUnavailable."""
    found = await store.case(text)
    for one in () if found else await store.cases(open_only=True, limit=10_000):
        if one.ip == text:
            return one
    return found


class PoolRow(Struct, frozen=True):
    """One sending IP of a pool, or the pool itself where it names none."""

    pool: str
    ip: str
    transport: str
    helo: str
    state: str
    since: float
    """Unix seconds; 0 for ever."""
    reason: str
    clean_checks: int
    warm_up: str


async def pool_rows(store: Store, pools: Pools, now: float) -> list[PoolRow]:
    """Pools, their IPs and states, and how far new IPs are warmed up. Raises StoreUnavailable."""
    states = {one.ip: one for one in (await store.pool_state()).ips}
    pools, rows = pools.as_seen(await read_seen(store)), list[PoolRow]()
    for name, pool in pools.named.items():
        for one in pool.ips or (SendingIp(""),):
            state = states.get(one.ip) or IpState(one.ip, name, "active" if one.ip else "", 0.0)
            rows.append(
                PoolRow(
                    pool=name,
                    ip=one.ip,
                    transport=transport_name(name, one.ip),
                    helo=one.helo,
                    state=state.state,
                    since=state.since,
                    reason=state.reason,
                    clean_checks=state.clean_checks,
                    warm_up=await _warm_up(store, pools.warm_up, one, now),
                )
            )
    return rows


async def _warm_up(store: Store, warm_up: WarmUp, one: SendingIp, now: float) -> str:
    if warm_up.is_warm(one, now):
        return ""
    used = used_on((await store.read((f"w:{one.ip}",)))[f"w:{one.ip}"], one, now)
    caps = {group: warm_up.cap(one, group, now) for group in warm_up.caps}
    shares = (f"{group} {used.counts.get(group, 0)}/{cap}" for group, cap in caps.items() if cap is not None)
    return f"day {used.day + 1}: {', '.join(shares)}"
