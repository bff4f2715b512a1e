"""Held mail leaves: released to the next hop, dropped by a person, or expired; each once, each on record."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from penstock.clients.next_hop import NextHop, NextHopUnavailable
from penstock.judge.review import Hand, whose
from penstock.model import Audit, Held
from penstock.store.ports import Store

_PAGE = 500
LEASE_S = 900.0
"""A release that was cut off by a crash may be tried again after this; longer than any next hop takes to answer."""


class Outcome(Struct, frozen=True):
    """What became of one wish about one held message."""

    id: str
    is_done: bool
    detail: str


class Release:
    """Re-injects held messages to the next hop."""

    def __init__(
        self, store: Store, next_hop: NextHop, prepare: Callable[[Held, bytes], bytes], now: Callable[[], float]
    ) -> None:
        """`prepare` strips identity and adds the reference token, as for a message that passes."""
        self._store = store
        self._next_hop = next_hop
        self._prepare = prepare
        self._now = now

    async def __call__(self, id: str, *, who: str, reason: str = "") -> Outcome:
        """Release one message: all of its recipients in one transaction, or none. Raises StoreUnavailable.

        A recipient that the next hop refuses for good is named and left out; one that it puts off (4xx) puts off the
        whole release, so that nobody gets the message twice. Only where the connection breaks after the final dot is
        the outcome unknown (RFC 5321 section 4.5.5): then the message stays held, and the audit entry says why.
        """
        one = await self._store.held_one(id)
        if one is None:
            return Outcome(id, False, "no such message")
        if not await self._store.claim_held(id, now=self._now(), lease_s=LEASE_S):
            return Outcome(id, False, f"it is {one.state}")
        raw = await self._store.held_raw(id)
        if raw is None:
            return await self._settle(one, "held", who, reason, "its file is missing")
        try:
            state, detail = await self._send(one, self._prepare(one, raw))
        except BaseException as trouble:
            detail = trouble.reply.line() if isinstance(trouble, NextHopUnavailable) else repr(trouble)
            outcome = await self._settle(one, "held", who, reason, detail)
            if isinstance(trouble, NextHopUnavailable):
                return outcome
            raise
        return await self._settle(one, state, who, reason, detail)

    async def _send(self, one: Held, raw: bytes) -> tuple[str, str]:
        transaction = await self._next_hop.open(one.mail_from, one.mail_parameters)
        if transaction.mail.code >= 300:
            await transaction.abort()
            return "held", f"MAIL: {transaction.mail.line()}"
        refused, is_anyone_left = [], False
        for recipient in one.rcpt_to:
            reply = await transaction.rcpt(recipient)
            if 400 <= reply.code < 500:
                await transaction.abort()
                return "held", f"{recipient}: {reply.line()}"
            if reply.code >= 500:
                refused.append(f"{recipient}: {reply.line()}")
            else:
                is_anyone_left = True
        if not is_anyone_left:
            await transaction.abort()
            return "held", "; ".join(refused)
        reply = await transaction.data(raw)
        detail = "; ".join([reply.line(), *refused])
        return ("released" if reply.code < 300 else "held"), detail

    async def _settle(self, one: Held, state: str, who: str, reason: str, detail: str) -> Outcome:
        now = self._now()
        what = "release-held" if state == "released" else "release-failed"
        await self._store.settle_held(one.id, state, now=now, audit=Audit(now, who, what, one.id, reason, detail))
        return Outcome(one.id, state == "released", detail)


async def drop(store: Store, id: str, *, who: str, reason: str, now: float) -> Outcome:
    """Remove a held message for good, with an audit entry. Raises StoreUnavailable."""
    one = await store.held_one(id)
    if one is None:
        return Outcome(id, False, "no such message")
    if not await store.claim_held(id, now=now, lease_s=LEASE_S):
        return Outcome(id, False, f"it is {one.state}")
    detail = f"from {one.mail_from or '<>'} to {len(one.rcpt_to)} recipients, account {one.account}"
    await store.settle_held(id, "dropped", now=now, audit=Audit(now, who, "drop-held", id, reason, detail))
    return Outcome(id, True, detail)


class Kept(Struct, frozen=True):
    """A held message, and whose it is by its own evidence."""

    held: Held
    hand: Hand


async def review(store: Store, account: str) -> list[Kept]:
    """All that is held of an account, newest first, and whose each is. Raises StoreUnavailable."""
    found: list[Kept] = []
    before = ""
    while page := await store.held(account=account, limit=_PAGE, before=before):
        for one in page:
            row = await store.decision(one.decision_id)
            found.append(Kept(one, whose(row.decision) if row is not None else Hand.UNCLEAR))
        before = page[-1].id
    return found


async def expire(store: Store, *, now: float, keep_s: float) -> int:
    """Remove what was held longer than retention says, each with an audit entry; how many went."""
    count = 0
    for one in await store.expired_held(before=now - keep_s):
        if await store.claim_held(one.id, now=now, lease_s=LEASE_S):
            detail = f"held since {one.held_at:.0f}, account {one.account}"
            audit = Audit(now, "penstock", "expire-held", one.id, "retention", detail)
            count += await store.settle_held(one.id, "expired", now=now, audit=audit)
    return count
