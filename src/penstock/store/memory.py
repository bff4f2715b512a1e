"""Memory that lasts as long as the process: for replays, evaluation and tests. Nothing survives, nothing waits."""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from penstock.model import AccountRow, Audit, DecisionRow, Delivered, Event, Held, OutboxItem
from penstock.sending import Case, IpState, Listing, ListingChange, Pin
from penstock.store.listings import settle
from penstock.store.memory_learnt import MemoryLearnt
from penstock.store.memory_people import MemoryPeople
from penstock.store.ports import AccountSearch, DecisionSearch, PoolRecords, PoolState, Records, Turn


class MemoryStore(MemoryLearnt, MemoryPeople):
    """The whole contract over plain dictionaries; hot state lives by the clock of what is written, not of the wall."""

    def __init__(self, *, now: Callable[[], float] = time.time, keep_decisions: int | None = None) -> None:
        """`now` is asked for lifetimes; `keep_decisions` bounds how many decisions are remembered."""
        MemoryLearnt.__init__(self)
        MemoryPeople.__init__(self)
        self._now = now
        self._keep = keep_decisions
        self._state: dict[str, tuple[bytes, float]] = {}
        self._decisions: dict[str, DecisionRow] = {}
        self._order: list[str] = []
        self._deliveries: dict[str, Delivered] = {}
        self._events: dict[tuple[str, float, str], Event] = {}
        self._accounts: dict[str, AccountRow] = {}
        self._held: dict[str, Held] = {}
        self._raw: dict[str, bytes] = {}
        self._leases: dict[str, float] = {}
        self._outbox: dict[str, OutboxItem] = {}
        self._done: dict[str, tuple[float, str]] = {}
        self._meta: dict[str, bytes] = {}
        self._listings: dict[tuple[str, str, float], Listing] = {}
        self._listing_changes: list[ListingChange] = []
        self._ips: dict[str, IpState] = {}
        self._pins: dict[str, Pin] = {}
        self._cases: dict[str, Case] = {}

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to write out."""

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes | None]:
        """Read hot state."""
        now = self._now()
        return {key: self._live(key, now) for key in keys}

    async def update(self, turns: Sequence[Turn], records: Callable[[], Records]) -> None:
        """Run the turns in order, then keep the records; a step that raises undoes the turns before it."""
        now = self._now()
        before: dict[str, tuple[bytes, float] | None] = {}
        try:
            for turn in turns:
                written = turn.step({key: self._live(key, now) for key in turn.keys})
                for key, write in written.items():
                    before.setdefault(key, self._state.get(key))
                    if write.value is None:
                        self._state.pop(key, None)
                    else:
                        self._state[key] = (write.value, now + write.keep_s)
            kept = records()
        except Exception:
            for key, value in before.items():
                if value is None:
                    self._state.pop(key, None)
                else:
                    self._state[key] = value
            raise
        self._keep_records(kept)

    async def delivered(self, delivered: Delivered) -> None:
        """Keep what the next hop answered."""
        self._deliveries[delivered.decision_id] = delivered
        row = self._decisions.get(delivered.decision_id)
        if row is not None and not row.queue_id:
            self._decisions[delivered.decision_id] = replace(row, queue_id=delivered.queue_id)

    async def decision(self, id: str) -> DecisionRow | None:
        """One decision by id."""
        return self._decisions.get(id)

    async def decisions(self, search: DecisionSearch) -> list[DecisionRow]:
        """Decisions, newest first, one page."""
        found: list[DecisionRow] = []
        for id in reversed(self._order):
            if len(found) >= search.limit:
                break
            if (not search.before or id < search.before) and matches(self._decisions[id], search):
                found.append(self._decisions[id])
        return found

    async def delivery(self, decision_id: str) -> Delivered | None:
        """What the next hop answered for a decision."""
        return self._deliveries.get(decision_id)

    async def events(self, account: str, *, limit: int = 50, before: tuple[float, str] | None = None) -> list[Event]:
        """What came back about an account, newest first, one page."""
        places = [key for key in self._events if key[0] == account and (before is None or key[1:] < before)]
        return [self._events[key] for key in sorted(places, reverse=True)[:limit]]

    async def accounts(self, search: AccountSearch) -> list[AccountRow]:
        """Accounts, one page."""
        order: dict[str, Callable[[AccountRow], tuple[float | str, str]]] = {
            "evidence": lambda row: (-row.evidence, row.account),
            "seen": lambda row: (-row.seen_at, row.account),
            "account": lambda row: (row.account, row.account),
        }
        place = order[search.order]
        after = search.after
        if after is not None and not isinstance(after[0], str):
            after = (-after[0], after[1])
        rows = [
            row
            for row in self._accounts.values()
            if search.text.lower() in row.account.lower()
            and search.standing in ("", row.standing)
            and search.tenant in ("", row.tenant)
            and (after is None or place(row) > after)
        ]
        return sorted(rows, key=place)[: search.limit]

    async def account(self, account: str) -> AccountRow | None:
        """One account's row."""
        return self._accounts.get(account)

    async def held(
        self, *, account: str = "", tenant: str = "", state: str = "held", limit: int = 50, before: str = ""
    ) -> list[Held]:
        """Held messages, newest first, one page."""
        rows = [
            one
            for one in self._held.values()
            if account in ("", one.account)
            and state in ("", one.state)
            and (not before or one.id < before)
            and (not tenant or self._is_of(one.account, tenant))
        ]
        return sorted(rows, key=lambda one: one.id, reverse=True)[:limit]

    async def held_one(self, id: str) -> Held | None:
        """One held message's facts."""
        return self._held.get(id)

    async def held_raw(self, id: str) -> bytes | None:
        """One held message's bytes."""
        return self._raw.get(id)

    async def claim_held(self, id: str, *, now: float, lease_s: float) -> bool:
        """Move `held`, or a `releasing` whose lease ran out, to `releasing`."""
        one = self._held.get(id)
        if one is None or not (one.state == "held" or (one.state == "releasing" and self._leases.get(id, 0.0) <= now)):
            return False
        self._held[id] = replace(one, state="releasing", changed_at=now)
        self._leases[id] = now + lease_s
        return True

    async def settle_held(self, id: str, state: str, *, now: float, audit: Audit) -> bool:
        """End a claim: `released`, `dropped`, `expired`, or back to `held`."""
        one = self._held.get(id)
        if one is None or one.state != "releasing":
            return False
        self._held[id] = replace(one, state=state, changed_at=now)
        self._leases.pop(id, None)
        if state != "held":
            self._raw.pop(id, None)
        self._audit.append(audit)
        return True

    async def expired_held(self, *, before: float, limit: int = 100) -> list[Held]:
        """Messages still `held` that were held before a time."""
        rows = [one for one in self._held.values() if one.state == "held" and one.held_at < before]
        return sorted(rows, key=lambda one: one.held_at)[:limit]

    async def audit(self, *, target: str = "", limit: int = 50, before: float = 0.0) -> list[Audit]:
        """Audit entries, newest first."""
        rows = [one for one in self._audit if target in ("", one.target) and (not before or one.at < before)]
        rows.reverse()
        return sorted(rows, key=lambda one: -one.at)[:limit]

    async def outbox(self, *, topic: str, limit: int = 50) -> list[OutboxItem]:
        """Actions not yet carried out, oldest first."""
        rows = [item for item in self._outbox.values() if item.topic == topic and item.key not in self._done]
        return sorted(rows, key=lambda item: item.at)[:limit]

    async def outbox_done(self, key: str, *, at: float, outcome: str) -> None:
        """Record that an action was carried out."""
        self._done[key] = (at, outcome)

    async def listings(self, *, target: str = "", current_only: bool = True) -> list[Listing]:
        """Listings by target, list and time."""
        rows = [self._listings[key] for key in sorted(self._listings)]
        return [one for one in rows if target in ("", one.target) and not (current_only and one.until)]

    async def latest_listings(self, *, current_only: bool, limit: int) -> list[Listing]:
        """Listings of all targets, the latest first."""
        rows = await self.listings(current_only=current_only)
        return sorted(rows, key=lambda one: (-one.since, one.target, one.list))[:limit]

    async def listing_changes(self, *, after: int, limit: int = 100) -> list[ListingChange]:
        """Changes with a number above one, in order."""
        return self._listing_changes[after : after + limit]

    async def record_listings(self, seen: Sequence[ListingChange]) -> None:
        """Keep what was seen on lists."""
        for one in seen:
            key = (one.listing.target, one.listing.list)
            rows = (row for row in self._listings.values() if (row.target, row.list) == key and not row.until)
            kept, change = settle(next(rows, None), one)
            if kept is not None:
                self._listings[*key, kept.since] = kept
            if change is not None:
                self._listing_changes.append(replace(change, number=len(self._listing_changes) + 1))

    async def pool_state(self) -> PoolState:
        """States of IPs by IP, and pins by account."""
        ips, pins = (
            sorted(self._ips.values(), key=lambda one: one.ip),
            sorted(self._pins.values(), key=lambda one: one.account),
        )
        return PoolState(tuple(ips), tuple(pins))

    async def record_pools(self, records: PoolRecords) -> None:
        """Keep changes of pools."""
        self._ips.update((one.ip, one) for one in records.ips)
        self._pins.update((one.account, one) for one in records.pins)
        for account in records.unpinned:
            self._pins.pop(account, None)
        self._cases.update((one.id, one) for one in records.cases)
        self._audit += records.audit

    async def cases(self, *, open_only: bool = False, limit: int = 50) -> list[Case]:
        """Cases, newest first."""
        rows = [self._cases[id] for id in sorted(self._cases, reverse=True)]
        return [one for one in rows if not (open_only and one.closed_at)][:limit]

    async def case(self, id: str) -> Case | None:
        """One case by id."""
        return self._cases.get(id)

    async def set_meta(self, key: str, value: bytes) -> None:
        """Keep a small named value."""
        self._meta[key] = value

    async def meta(self, key: str) -> bytes | None:
        """Read a small named value."""
        return self._meta.get(key)

    async def expire(self, *, now: float, decisions_before: float) -> int:
        """Delete hot state past its time and old decisions; how many rows went."""
        dead = [key for key, (_, until) in self._state.items() if until <= now]
        for key in dead:
            del self._state[key]
        old = [id for id, row in self._decisions.items() if row.decision.at < decisions_before]
        for id in old:
            del self._decisions[id]
            self._deliveries.pop(id, None)
        self._events = {key: one for key, one in self._events.items() if one.at >= decisions_before}
        gone = set(old)
        self._order = [id for id in self._order if id not in gone]
        return len(dead) + len(old)

    async def counts(self) -> Mapping[str, int]:
        """Row counts."""
        return {
            "decisions": len(self._decisions),
            "accounts": len(self._accounts),
            "held": sum(one.state == "held" for one in self._held.values()),
            "outbox": len(self._outbox.keys() - self._done.keys()),
            "audit": len(self._audit),
        }

    def _is_of(self, account: str, tenant: str) -> bool:
        row = self._accounts.get(account)
        return row is not None and row.tenant == tenant

    def _live(self, key: str, now: float) -> bytes | None:
        found = self._state.get(key)
        return found[0] if found is not None and found[1] > now else None

    def _keep_records(self, kept: Records) -> None:
        for row in kept.decisions:
            id = row.decision.id
            if id not in self._decisions:
                # Ids sort by time and mostly come in order, so this is an append.
                insort(self._order, id)
            self._decisions[id] = row
        if self._keep is not None and len(self._order) > 2 * self._keep:
            for id in self._order[: -self._keep]:
                del self._decisions[id]
                self._deliveries.pop(id, None)
            del self._order[: -self._keep]
        if self._keep is None:
            self._events.update(((one.account, one.at, one.key), one) for one in kept.events)
        self._accounts.update((row.account, row) for row in kept.accounts)
        for message in kept.held:
            self._held[message.held.id] = message.held
            self._raw[message.held.id] = message.raw
        self._audit += kept.audit
        self._remembered.update((one.decision_id, one) for one in kept.remembered)
        for item in kept.outbox:
            self._outbox.setdefault(item.key, item)


def matches(row: DecisionRow, search: DecisionSearch) -> bool:
    """Whether a decision is what a search asks for, paging aside."""
    decision = row.decision
    return (
        search.account in ("", str(decision.account))
        and search.tenant in ("", decision.account.tenant)
        and search.action in ("", decision.action, decision.wanted)
        and search.reason in ("", decision.reason)
        and decision.at >= search.since
        and (not search.until or decision.at < search.until)
        and search.queue_id in ("", row.queue_id)
        and search.message_id in ("", row.message_id)
        and search.mail_from in ("", row.mail_from)
        and search.ip in ("", decision.ip)
        and (not search.rcpt_to or search.rcpt_to in row.rcpt_to)
    )
