"""What the rest of Penstock asks of its memory: hot state by key, records by search.

Hot state is bytes by key, grouped into slots: all keys of one slot change together or not at all. An account, its
sources and its logins share the slot `a:<account>`; a campaign has its own, `c:<fingerprint>`; a tenant `t:<name>`; an
address that logs in `g:<address>`. That is what Valkey Cluster can promise too (one hash tag, one slot). The *meaning*
of the bytes is the judge's alone.

A `Turn` is one atomic read-judge-write of one slot. Its step is a pure function and may be run more than once
(a backend that finds the slot changed underneath runs it again), so it must depend on nothing but its argument.
`update` runs the turns in order and then writes the records that `records()` names. On SQLite all of it is one
transaction; on Valkey + PostgreSQL each turn is atomic by itself and the records follow in one transaction, so
that a crash in between may count a message's evidence without its record, but never act without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from penstock.examples import Example, Lesson, Remembered
from penstock.model import AccountRow, Audit, DecisionRow, Delivered, Event, Held, OutboxItem
from penstock.people import Grain, Key, Person, Tally, TallySearch
from penstock.sending import Case, IpState, Listing, ListingChange, Pin


class StoreUnavailable(Exception):
    """The store did not answer in time or is gone; `on_failure` says what happens to the mail."""


class Write(Struct, frozen=True):
    """A value to keep under a key."""

    value: bytes | None
    """None deletes the key."""
    keep_s: float
    """How long it lives from now unless written again."""


Step = Callable[[Mapping[str, bytes | None]], Mapping[str, Write]]


class Turn(Struct, frozen=True):
    """One atomic read-judge-write of one slot."""

    slot: str
    keys: tuple[str, ...]
    """Every key that the step reads or writes; all belong to the slot."""
    step: Step


class HeldMessage(Struct, frozen=True):
    """A message to keep, with its bytes."""

    held: Held
    raw: bytes


class Records(Struct, frozen=True):
    """What one update leaves behind for people and workers."""

    decisions: tuple[DecisionRow, ...] = ()
    accounts: tuple[AccountRow, ...] = ()
    held: tuple[HeldMessage, ...] = ()
    audit: tuple[Audit, ...] = ()
    outbox: tuple[OutboxItem, ...] = ()
    remembered: tuple[Remembered, ...] = ()
    events: tuple[Event, ...] = ()
    must_be_durable: bool = True
    """True: `update` returns only when this survives power loss. False (a plain accept): within 100 ms, by when other
    processes see it too; later turns and reads of this process see it at once."""


class PoolState(Struct, frozen=True):
    """What has been said about sending IPs and accounts' pools; small, read as a whole."""

    ips: tuple[IpState, ...] = ()
    pins: tuple[Pin, ...] = ()


class PoolRecords(Struct, frozen=True):
    """Changes of it, with their cases and audit entries, kept together or not at all."""

    ips: tuple[IpState, ...] = ()
    """Each replaces what was kept of its IP."""
    pins: tuple[Pin, ...] = ()
    """Each replaces the account's pin."""
    unpinned: tuple[str, ...] = ()
    """Accounts whose pin goes."""
    cases: tuple[Case, ...] = ()
    """Each replaces the case of its id."""
    audit: tuple[Audit, ...] = ()


class DecisionSearch(Struct, frozen=True):
    """What to look for among decisions; empty fields match everything."""

    account: str = ""
    tenant: str = ""
    action: str = ""
    """Matches the action taken or wanted; whatever else than `accept` was taken was wanted too."""
    reason: str = ""
    since: float = 0.0
    until: float = 0.0
    """0 means now."""
    queue_id: str = ""
    message_id: str = ""
    rcpt_to: str = ""
    mail_from: str = ""
    ip: str = ""
    """The sending IP that was named."""
    before: str = ""
    """The id of the last row of the page before (rows come newest first, ids sort by time)."""
    limit: int = 50


class AccountSearch(Struct, frozen=True):
    """What to look for among accounts."""

    text: str = ""
    """A part of the account's name."""
    standing: str = ""
    tenant: str = ""
    order: str = "evidence"
    """`evidence` (highest first), `seen` (latest first) or `account`."""
    after: tuple[float | str, str] | None = None
    """(order value, account) of the last row of the page before."""
    limit: int = 50


class ExampleSearch(Struct, frozen=True):
    """What to look for among examples; empty fields match everything."""

    ids: tuple[str, ...] = ()
    account: str = ""
    tenant: str = ""
    who: str = ""
    since: float = 0.0
    with_undone: bool = False
    before: str = ""
    """The id of the last row of the page before."""
    limit: int = 50


class LearntStore(Protocol):
    """The examples of what the provider's own people, and complaints, said about messages."""

    async def learn(self, lessons: Sequence[Lesson], audit: Sequence[Audit]) -> list[str]:
        """Keep examples, each with its audit entry (same order), in one step; the ids of those that were taken.

        One whose digest is known under the same label and no smaller weight is left out; any other of that digest is
        undone by the new one. Raises StoreUnavailable.
        """

    async def lessons(self, *, after: int, limit: int) -> list[Lesson]:
        """Examples that are not undone, in the order of learning, from the one after a number."""

    async def learnt_version(self) -> tuple[int, int]:
        """(generation, number of the last example). The first changes when examples are undone or expire."""

    async def examples(self, search: ExampleSearch) -> list[Example]:
        """Examples, newest first, one page."""

    async def undo_examples(self, ids: Sequence[str], *, at: float, audit: Sequence[Audit]) -> int:
        """Take examples back, durably; how many were not undone before."""

    async def remembered(self, decision_id: str) -> Remembered | None:
        """What could be learnt from a decision's message."""

    async def expire_learnt(self, *, examples_before: float, remembered_before: float) -> int:
        """Delete examples, and what is remembered of messages, past their retention; how many rows went."""


class PeopleStore(Protocol):
    """The people who may log in at the console, their keys, and what is counted for them."""

    async def people(self) -> list[Person]:
        """All people by name."""

    async def person(self, name: str) -> Person | None:
        """One person."""

    async def keep_person(self, person: Person, audit: Audit) -> None:
        """Add or change a person, durably."""

    async def change_person(self, name: str, change: Callable[[Person], Person | None], audit: Audit | None) -> bool:
        """Change a person in one step, durably; whether it was done. `change` is pure; None leaves all as it was, as
        does a name that nobody has."""

    async def remove_person(self, name: str, audit: Audit) -> bool:
        """Remove a person with all keys, durably; whether there was one."""

    async def keys(self, *, kind: str, person: str = "") -> list[Key]:
        """Sessions or tokens, oldest first."""

    async def key(self, digest: str) -> Key | None:
        """One key by its secret's digest, also where its time is over."""

    async def keep_key(self, key: Key, audit: Audit) -> None:
        """Keep a key, durably."""

    async def drop_keys(self, *, audit: Audit, digest: str = "", person: str = "", kind: str = "") -> int:
        """End one key by digest, or a person's of one kind; how many. The entry is made where there was one."""

    async def expire_keys(self, now: float) -> int:
        """Delete keys past their time; how many."""

    async def tally(self, *, before_id: str, limit: int = 5000) -> int:
        """Count decisions older than an id that were not counted yet, oldest first; how many were."""

    async def tallies(self, search: TallySearch) -> list[Tally]:
        """Counts in the order of time; the latest where there are more than the limit."""

    async def expire_tallies(self, before: Mapping[Grain, float]) -> int:
        """Delete counts of stretches of time that began before a time, each grain's own; how many rows went."""

    async def standings(self, tenant: str = "") -> Mapping[str, int]:
        """How many accounts have each standing."""


class Store(LearntStore, PeopleStore, Protocol):
    """Hot state and records behind one door; SQLite, or Valkey with PostgreSQL."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises StoreUnavailable."""

    async def close(self) -> None:
        """Write out what waits, and let go."""

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes | None]:
        """Read hot state without locking it."""

    async def update(self, turns: Sequence[Turn], records: Callable[[], Records]) -> None:
        """Run the turns in order, then keep `records()`, called once the last turn has run. Raises StoreUnavailable.

        A step or `records` that raises leaves nothing written of its own turn, and the exception goes to the caller.
        """

    async def delivered(self, delivered: Delivered) -> None:
        """Keep what the next hop answered beside its decision, which is found by the next hop's queue id from then on
        where it had none; durable within 100 ms."""

    async def decision(self, id: str) -> DecisionRow | None:
        """One decision by id."""

    async def decisions(self, search: DecisionSearch) -> list[DecisionRow]:
        """Decisions, newest first, one page."""

    async def delivery(self, decision_id: str) -> Delivered | None:
        """What the next hop answered for a decision."""

    async def events(self, account: str, *, limit: int = 50, before: tuple[float, str] | None = None) -> list[Event]:
        """What came back about an account, newest first, one page; `before` is (time, key) of the page before's last.

        Events of one account that have time and key in common are one.
        """

    async def accounts(self, search: AccountSearch) -> list[AccountRow]:
        """Accounts, one page."""

    async def account(self, account: str) -> AccountRow | None:
        """One account's row by its `kind:value`."""

    async def held(
        self, *, account: str = "", tenant: str = "", state: str = "held", limit: int = 50, before: str = ""
    ) -> list[Held]:
        """Held messages, newest first, one page; empty state means all, a tenant those of its accounts."""

    async def held_one(self, id: str) -> Held | None:
        """One held message's facts."""

    async def held_raw(self, id: str) -> bytes | None:
        """One held message's bytes; None where it is unknown, or dropped and gone."""

    async def claim_held(self, id: str, *, now: float, lease_s: float) -> bool:
        """Move `held` (or a `releasing` whose lease ran out) to `releasing`, for exactly one caller."""

    async def settle_held(self, id: str, state: str, *, now: float, audit: Audit) -> bool:
        """Move a held message to `released`, `dropped`, `expired` or back to `held`, with its audit entry, durably.

        The raw bytes of a message that is released, dropped or expired are removed in the same step.
        """

    async def expired_held(self, *, before: float, limit: int = 100) -> list[Held]:
        """Messages still `held` that were held before a time."""

    async def audit(self, *, target: str = "", limit: int = 50, before: float = 0.0) -> list[Audit]:
        """Audit entries, newest first."""

    async def outbox(self, *, topic: str, limit: int = 50) -> list[OutboxItem]:
        """Actions not yet carried out, oldest first."""

    async def outbox_done(self, key: str, *, at: float, outcome: str) -> None:
        """Record that an action was carried out (or given up) and how."""

    async def listings(self, *, target: str = "", current_only: bool = True) -> list[Listing]:
        """Listings by target, list and time; with `current_only` those that are listed now."""

    async def latest_listings(self, *, current_only: bool, limit: int) -> list[Listing]:
        """Listings of all targets, the latest first."""

    async def listing_changes(self, *, after: int, limit: int = 100) -> list[ListingChange]:
        """Changes with a number above `after`, in order. Whoever keeps the last number misses none."""

    async def record_listings(self, seen: Sequence[ListingChange]) -> None:
        """Keep what was seen on lists, durably; what is already known makes no second change (`store.listings`)."""

    async def pool_state(self) -> PoolState:
        """States of IPs by IP, and pins by account."""

    async def record_pools(self, records: PoolRecords) -> None:
        """Keep changes of pools, durably and in one transaction."""

    async def cases(self, *, open_only: bool = False, limit: int = 50) -> list[Case]:
        """Cases, newest first."""

    async def case(self, id: str) -> Case | None:
        """One case by id."""

    async def set_meta(self, key: str, value: bytes) -> None:
        """Keep a small named value (a position in a log, a learnt offset), durably."""

    async def meta(self, key: str) -> bytes | None:
        """Read a small named value."""

    async def expire(self, *, now: float, decisions_before: float) -> int:
        """Delete hot state past its time and decisions older than retention; returns how many rows went."""

    async def counts(self) -> Mapping[str, int]:
        """Row counts for doctor and metrics: `decisions`, `accounts`, `held`, `outbox`, `audit`."""
