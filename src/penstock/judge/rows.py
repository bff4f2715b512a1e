"""What one message or event leaves behind for people and workers: rows made of what was judged."""

from __future__ import annotations

import re
from collections.abc import Mapping

from penstock.judge.hearing import Heard
from penstock.judge.limits import Counted
from penstock.judge.pools import Place, choose_pool
from penstock.judge.reputation import Assessment
from penstock.model import AccountRow, Audit, Decision, DecisionRow, Event, Held, Kind, OutboxItem, Standing, Submission

_DKIM_DOMAIN = re.compile(r"(?<![^;\s])d\s*=\s*([^;\s]+)")
_MOST_SIGNATURES = 4
_MOST_LINKS = 8
_LONGEST_DOMAIN = 253


def decision_row(decision: Decision, submission: Submission, heard: Heard | None) -> DecisionRow:
    """A decision as it is kept and searched."""
    return DecisionRow(
        decision=decision,
        mail_from=submission.envelope.mail_from,
        rcpt_to=submission.envelope.rcpt_to,
        client_ip=submission.connection.client_ip,
        listener=submission.connection.listener,
        queue_id=submission.queue_id,
        message_id=heard.parsed.message_id[:255] if heard is not None else "",
        subject=heard.parsed.subject[:200] if heard is not None else "",
        size_bytes=len(submission.raw),
        source=heard.attribution.source if heard is not None else "",
        domains=shown_domains(heard) if heard is not None else (),
    )


def shown_domains(heard: Heard) -> tuple[str, ...]:
    """The domains that a message shows to lists, once each, bounded: From, DKIM's d= (RFC 6376, 3.5), links."""
    signatures = [value for name, value in heard.parsed.headers if name == "dkim-signature"][:_MOST_SIGNATURES]
    signed = [match[1] for match in map(_DKIM_DOMAIN.search, signatures) if match is not None]
    found = [heard.parsed.from_address.rpartition("@")[2], *signed, *heard.message.links[:_MOST_LINKS]]
    return tuple(dict.fromkeys([one.lower() for one in found if 0 < len(one) <= _LONGEST_DOMAIN]))


def account_row(heard: Heard, found: Assessment, decision: Decision) -> AccountRow:
    """An account as lists show it, after its message."""
    return AccountRow(
        account=heard.account,
        tenant=heard.message.tenant,
        standing=found.standing,
        evidence=found.score,
        seen_at=heard.message.now,
        messages=found.messages,
        recipients=found.recipients,
        pool=decision.pool,
        since=found.since,
        reason=decision.reason,
    )


def moved_rows(row: AccountRow | None, found: Assessment) -> tuple[AccountRow, ...]:
    """An account as lists show it, after an event."""
    if row is None:
        return ()
    return (
        AccountRow(
            row.account, row.tenant, found.standing, found.score, row.seen_at, found.messages, found.recipients,
            row.pool, found.since, row.reason,
        ),
    )  # fmt: skip


def order(
    account: str, before: Standing, after: Standing, *, at: float, key: str, reason: str, who: str = "penstock"
) -> tuple[OutboxItem, ...]:
    """The occasion to shut an account where it lives, or to open it; nothing where no suspension began or ended."""
    if before is after or Standing.SUSPENDED not in (before, after):
        return ()
    payload: dict[str, object] = {"standing": after, "who": who, "reason": reason}
    return (OutboxItem(f"enforce/{account}/{key}", at, "enforce", account, payload),)


def moved_outbox(heard: Heard, found: Assessment) -> tuple[OutboxItem, ...]:
    """A suspension, or its end: told to the postmaster, and carried out where the account lives."""
    if Standing.SUSPENDED not in (found.standing, found.previous):
        return ()
    reasons = [f"{one.name}: {one.seen} ({one.nats:+.1f})" for one in found.evidence if one.nats > 0][:3]
    payload: dict[str, object] = {
        "what": "standing",
        "standing": found.standing,
        "previous": found.previous,
        "score": found.score,
        "reasons": reasons,
    }
    now, id = heard.message.now, heard.submission.id
    notice = OutboxItem(f"standing/{heard.account}/{id}", now, "notice", heard.account, payload)
    why = "; ".join(reasons)
    return (notice, *order(heard.account, found.previous, found.standing, at=now, key=id, reason=why))


def event_outbox(event: Event, found: Assessment) -> tuple[OutboxItem, ...]:
    """A change of standing by an event: told to the postmaster, and carried out where the account lives."""
    payload: dict[str, object] = {"what": "standing", "standing": found.standing, "previous": found.previous}
    notice = OutboxItem(f"standing/{event.account}/{event.at:.3f}", event.at, "notice", event.account, payload)
    at, why = event.at, event.what
    return (notice, *order(event.account, found.previous, found.standing, at=at, key=f"{at:.3f}", reason=why))


def moved_audit(heard: Heard, found: Assessment, decision: Decision) -> tuple[Audit, ...]:
    """An entry where the machine closed or opened the account."""
    if found.standing is found.previous or Standing.SUSPENDED not in (found.standing, found.previous):
        return ()
    what = "suspend-account" if found.standing is Standing.SUSPENDED else "release-account"
    detail = f"{found.previous} to {found.standing}, {found.score:.1f} nats"
    return (Audit(heard.message.now, "penstock", what, heard.account, decision.reason, detail),)


def pool_move(heard: Heard, choices: Mapping[str, str], before: Place | None, after: Place | None) -> tuple[Audit, ...]:
    """An entry where the account's ordinary mail has another pool from now on."""
    if before is None or after is None:
        return ()
    old, new = (choose_pool(one.level, Kind.NORMAL, choices) for one in (before, after))
    move = Audit(
        heard.message.now, "penstock", "move-pool", heard.account, f"{before.level} to {after.level}", f"{old} to {new}"
    )
    return (move,) if old != new else ()


def held_row(heard: Heard, decision: Decision) -> Held:
    """The facts of a message that is kept."""
    envelope = heard.submission.envelope
    return Held(
        id=decision.id,
        decision_id=decision.id,
        account=heard.account,
        held_at=decision.at,
        mail_from=envelope.mail_from,
        rcpt_to=envelope.rcpt_to,
        size_bytes=len(heard.submission.raw),
        reason=decision.reason,
        subject=heard.parsed.subject[:200],
        mail_parameters=envelope.mail_parameters,
    )


def limit_notices(heard: Heard, tenant: Counted | None, account: Counted | None) -> tuple[OutboxItem, ...]:
    """Limits that are nearly or wholly used up."""
    items = []
    for counted, whom in ((tenant, heard.message.tenant), (account, heard.account)):
        for notice in counted.notices if counted is not None else ():
            limit = notice.limit
            payload: dict[str, object] = {
                "what": "limit",
                "percent": notice.percent,
                "used": notice.used,
                "most": limit.most,
                "unit": limit.unit,
                "window": limit.window,
            }
            key = f"limit/{whom}/{limit.of}/{limit.unit}/{limit.window}/{notice.percent}/{heard.submission.id}"
            items.append(OutboxItem(key, heard.message.now, "notice", whom, payload))
    return tuple(items)
