"""How what people and receivers say about messages becomes examples, and how every running process learns them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from penstock.examples import Example, Lesson
from penstock.judge.hearing import Content
from penstock.judge.learnt import Bounds, Learnt, Taught
from penstock.judge.message import parse
from penstock.judge.traits import FEWEST, FORMAT, Traits, traits
from penstock.model import Audit, Envelope, Event
from penstock.store.ports import ExampleSearch, Store, StoreUnavailable

COMPLAINT_WEIGHT = 0.25
"""Anybody may press a button."""
_AT_ONCE = 200
_PAGE = 1000


class Said(Struct, frozen=True):
    """What somebody said about messages."""

    who: str
    is_abuse: bool
    at: float
    reason: str = ""
    weight: float = 1.0


class Taken(Struct):
    """What became of messages that somebody taught."""

    taken: int = 0
    known: int = 0
    """The same was said of the same message before."""
    too_short: int = 0
    """They say too little to be known again by."""
    missing: list[str] = []
    """Ids of which nothing is left to learn from."""
    ids: list[str] = []
    """Of the examples."""


class _Whose(Struct, frozen=True):
    """Whose message an example is, and where it was found."""

    account: str
    tenant: str
    origin: str
    subject: str


class Lessons:
    """Turns messages into examples and keeps them."""

    def __init__(self, store: Store, seed: Content, new_id: Callable[[float], str]) -> None:
        """`seed` is the content model without what was learnt."""
        self._store = store
        self._seed = seed
        self._new_id = new_id

    def of_raw(self, raw: bytes, said: Said, *, account: str = "", tenant: str = "", origin: str = "file") -> Lesson:
        """The example that a whole message makes; where no account is given, its From is taken for one."""
        parsed = parse(raw)
        if not account and parsed.from_address:
            account, tenant = f"sender:{parsed.from_address}", parsed.from_address.rpartition("@")[2]
        log_odds = self._seed.weigh(parsed, raw, Envelope(parsed.from_address, parsed.to)).log_odds
        found = traits(parsed)
        whose = _Whose(account, tenant, origin, parsed.subject)
        return self._lesson(found, said, whose, format=FORMAT, log_odds=log_odds)

    async def of_held(self, id: str, said: Said) -> Lesson | None:
        """The example of a held message; None where its bytes are not there. Raises StoreUnavailable."""
        held, raw = await self._store.held_one(id), await self._store.held_raw(id)
        if held is None or raw is None:
            return None
        row = await self._store.decision(held.decision_id)
        tenant = row.decision.account.tenant if row is not None else ""
        return self.of_raw(raw, said, account=held.account, tenant=tenant, origin="held")

    async def of_decision(self, id: str, said: Said, *, origin: str = "decision") -> Lesson | None:
        """The example of a decision whose message is held or remembered; else None. Raises StoreUnavailable."""
        held = await self.of_held(id, said)
        if held is not None:
            return held
        kept, row = await self._store.remembered(id), await self._store.decision(id)
        if kept is None or row is None:
            return None
        account = row.decision.account
        whose = _Whose(str(account), account.tenant, origin, row.subject)
        return self._lesson(Traits.unpack(kept.traits), said, whose, format=kept.format, log_odds=kept.log_odds)

    def _lesson(self, found: Traits, said: Said, whose: _Whose, *, format: int, log_odds: float) -> Lesson:
        example = Example(
            id=self._new_id(said.at),
            at=said.at,
            who=said.who,
            is_abuse=said.is_abuse,
            account=whose.account,
            tenant=whose.tenant,
            origin=whose.origin,
            digest=found.digest,
            format=format,
            log_odds=log_odds,
            weight=said.weight,
            subject=whose.subject[:100],
        )
        return Lesson(example, found.pack())

    async def take(self, lessons: Iterable[Lesson], *, reason: str = "") -> list[str]:
        """Keep examples; the ids of those that were news. Raises StoreUnavailable."""
        waiting, taken = list(lessons), []
        for start in range(0, len(waiting), _AT_ONCE):
            batch = waiting[start : start + _AT_ONCE]
            taken += await self._store.learn(batch, [_audit(one.example, reason) for one in batch])
        return taken

    async def teach(
        self, found: AsyncIterable[tuple[str, Lesson | None]], *, reason: str, dry_run: bool = False
    ) -> Taken:
        """Keep what messages are worth as examples; each comes with the id that it is known by. Raises
        StoreUnavailable."""
        told, telling = Taken(), list[Lesson]()
        async for id, lesson in found:
            if lesson is None:
                told.missing.append(id)
            elif is_telling(lesson):
                telling.append(lesson)
            else:
                told.too_short += 1
        told.ids = [one.example.id for one in telling] if dry_run else await self.take(telling, reason=reason)
        told.taken, told.known = len(told.ids), len(telling) - len(told.ids)
        return told

    async def undo(self, search: ExampleSearch, *, who: str, reason: str, now: float) -> int:
        """Take back every example that a search finds; how many. Raises StoreUnavailable."""
        count = 0
        while found := await self._store.examples(replace(search, with_undone=False, before="", limit=_AT_ONCE)):
            audit = [Audit(now, who, "undo-example", one.account or one.id, reason, _detail(one)) for one in found]
            count += await self._store.undo_examples([one.id for one in found], at=now, audit=audit)
        return count

    async def complaint(self, event: Event) -> None:
        """A complaint is a weak example, where the message looked at all suspicious. Raises StoreUnavailable."""
        said = Said("complaints", True, event.at, event.detail[:100], COMPLAINT_WEIGHT)
        lesson = await self.of_decision(event.decision_id, said, origin="complaint") if event.decision_id else None
        if lesson is not None:
            await self.take([lesson], reason=said.reason)


def is_telling(lesson: Lesson) -> bool:
    """Whether a message says enough to be known again by."""
    return len(Traits.unpack(lesson.traits)) >= FEWEST


def _audit(one: Example, reason: str) -> Audit:
    what = "learn-abuse" if one.is_abuse else "learn-legit"
    return Audit(one.at, one.who, what, one.account or one.id, reason, _detail(one))


def _detail(one: Example) -> str:
    return f"example {one.id} from {one.origin}: {one.subject}"


class CatchUp:
    """Keeps one process's content model at what the store says was learnt, by whichever process or node."""

    def __init__(
        self, store: Store, taught: Taught, bounds: Bounds, failed: Callable[[str, BaseException], None], pause_s: float
    ) -> None:
        self._store = store
        self._taught = taught
        self._bounds = bounds
        self._failed = failed
        self._pause_s = pause_s
        self._version = (0, 0)

    async def run(self) -> None:
        """Until it is cancelled; trouble is told and tried again."""
        while True:
            await asyncio.sleep(self._pause_s)
            try:
                await self.once()
            except Exception as trouble:
                self._failed("learning", trouble)

    async def once(self) -> bool:
        """Learn what is new, or all anew where something was undone; whether anything changed.

        Raises StoreUnavailable, and then judging goes on by what was learnt before.
        """
        version = await self._store.learnt_version()
        known = self._taught.learnt
        if version == self._version:
            return False
        if known is not None and version[0] == self._version[0]:
            learnt, after = await asyncio.to_thread(known.copy), self._version[1]
        else:
            learnt, after = Learnt(self._bounds), 0
        while lessons := await self._store.lessons(after=after, limit=_PAGE):
            await asyncio.to_thread(learnt.teach_all, lessons)
            after = lessons[-1].number
        if (await self._store.learnt_version())[0] != version[0]:
            raise StoreUnavailable("examples were undone while they were being learnt; trying again")
        self._taught.learnt = learnt
        self._version = (version[0], max(after, version[1]))
        return True
