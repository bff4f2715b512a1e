"""What comes back, taken in: delivery logs, and bounces and complaints by mail, each tied to its decision and account.

Everything is an event with a key, which an account takes in once. So whatever was read twice (after a crash, out of a
copy of a log, from a log and a report both) counts once, and a place in a log may be kept after what it led to.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from msgspec import Struct

from penstock.attempts import Attempt
from penstock.model import DecisionRow, Event, Standing, bounce_key
from penstock.protocols import dsn
from penstock.protocols.arf import Complaint
from penstock.protocols.deliveries import Arrival, Outcome, Reader
from penstock.protocols.dsn import Bounce
from penstock.protocols.receivers import Reason, Replies, ReplyMeaning
from penstock.protocols.reports import Original
from penstock.protocols.returned import AutoReply, read_returned, tokens_in
from penstock.store.ports import AccountSearch, DecisionSearch, Store, StoreUnavailable
from penstock.workers.log_files import LogFile, Place
from penstock.workers.reply_blocks import ReplyBlocks

T = TypeVar("T")
_MOST_ARRIVALS = 200_000
_AT_ONCE = 64
_RETRY_S = 2.0
_TAGS_FOR_S = 600.0


class Taken(Struct, frozen=True):
    """What became of one message that came back."""

    what: str
    """`bounce`, `complaint`, `opt-out` …, `auto-reply`, `unknown`."""
    account: str = ""
    """Whom it was traced to; empty where it leads to nobody."""
    decision_id: str = ""
    counted: int = 0
    """Events that were taken in, those of before included."""


class Absorber(Protocol):
    """The pipeline's entry for what comes back."""

    async def absorb(self, event: Event) -> Standing | None:
        """Take in an event. Raises StoreUnavailable."""

    async def logged_in(self, attempt: Attempt) -> Standing | None:
        """Take in a login. Raises StoreUnavailable."""


class Feedback:
    """Reads what comes back and hands it to the pipeline."""

    def __init__(
        self,
        store: Store,
        pipeline: Absorber,
        replies: Replies,
        *,
        read_token: Callable[[str], str | None],
        tag_of: Callable[[str], str],
        count: Callable[[str], None],
        now: Callable[[], float],
        blocks: ReplyBlocks | None = None,
    ) -> None:
        """`read_token` gives the decision of a reference token, `tag_of` the pseudonym that an account has in
        Feedback-ID; `count` counts under a name."""
        self._store = store
        self._pipeline = pipeline
        self._replies = replies
        self._read_token = read_token
        self._tag_of = tag_of
        self._count = count
        self._now = now
        self._blocks = blocks
        self._arrivals: OrderedDict[str, Arrival] = OrderedDict()
        self._tags: dict[str, str] = {}
        self._tags_at = 0.0

    # Places.

    async def kept_place(self, key: str) -> bytes | None:
        """How far a source was read."""
        return await self._patiently(lambda: self._store.meta(key))

    async def keep_place(self, key: str, place: bytes) -> None:
        """Keep how far a source was read, once all before it was taken in."""
        await self._patiently(lambda: self._store.set_meta(key, place))

    # Logs.

    async def follow(self, path: Path, reader: Reader, *, idle_s: float = 1.0, from_start: bool = False) -> None:
        """Follow a log until cancelled; the store is waited for. Raises OSError where the log may not be read."""
        key = _place_key(path, reader)
        async with self._opened(path, key, from_start=from_start) as file:
            while True:
                await self._drain(file, key, reader)
                await asyncio.sleep(idle_s)

    async def catch_up(self, path: Path, reader: Reader, *, from_start: bool = False) -> int:
        """Take in what is new in a log, once, and keep the place; how many lines. Raises OSError as `follow` does."""
        key = _place_key(path, reader)
        async with self._opened(path, key, from_start=from_start) as file:
            return await self._drain(file, key, reader)

    @asynccontextmanager
    async def _opened(self, path: Path, key: str, *, from_start: bool) -> AsyncIterator[LogFile]:
        kept = Place.from_bytes(await self.kept_place(key))
        file = LogFile(path, kept, from_start=from_start)
        try:
            if kept is None and (place := file.place()) is not None:
                await self.keep_place(key, place.to_bytes())
            yield file
        finally:
            file.close()

    async def _drain(self, file: LogFile, key: str, reader: Reader) -> int:
        lines = 0
        while (found := file.read()) is not None:
            block, place = found
            await self.take_block(block, reader)
            await self.keep_place(key, place.to_bytes())
            lines += block.count(b"\n")
        return lines

    async def take_block(self, block: bytes, reader: Reader) -> None:
        """Take in whole lines of a log."""
        waiting: list[tuple[Outcome, Reason]] = []
        for one in reader.block(block, self._now()):
            if isinstance(one, Arrival):
                self._remember(one)
                continue
            if isinstance(one, Attempt):
                await self._patiently(partial(self._pipeline.logged_in, one))
                continue
            has_spoken = one.status == "bounced" or bool(one.relay) or " refused to talk" in one.reply
            meaning = self._meaning(one) if has_spoken else None
            if meaning is not None:
                await self._note_outcome(one, meaning)
            if one.status != "deferred":
                is_answer = meaning is not None and one.status == "bounced"  # what expired was never answered for good
                waiting.append((one, meaning.reason if meaning is not None and is_answer else Reason.NETWORK))
            else:
                self._count("deferred")
            if len(waiting) >= _AT_ONCE:
                await self._take_outcomes(waiting)
                waiting = []
        await self._take_outcomes(waiting)

    def _meaning(self, outcome: Outcome) -> ReplyMeaning:
        domain = outcome.recipient.rpartition("@")[2]
        return self._replies.read(outcome.reply, status=outcome.enhanced, domain=domain, mx=outcome.relay)

    async def _note_outcome(self, outcome: Outcome, meaning: ReplyMeaning) -> None:
        async def sent() -> DecisionRow | None:
            return next(iter(await self._store.decisions(DecisionSearch(queue_id=outcome.queue_id, limit=1))), None)

        key = bounce_key(outcome.queue_id, outcome.recipient)
        await self._patiently(lambda: self._note_block(meaning, outcome.reply, outcome.at, key=key, sent=sent))

    async def _note_block(
        self,
        meaning: ReplyMeaning,
        reply: str,
        at: float,
        *,
        key: str,
        sent: Callable[[], Awaitable[DecisionRow | None]],
    ) -> None:
        """Take note of a reply that may be a block; whose mail it was is asked for only where it does not tell."""
        if self._blocks is None:
            return
        row = await sent() if self._blocks.needs_sender(meaning) else None
        ip, domain = (row.decision.ip, row.mail_from.rpartition("@")[2].lower()) if row is not None else ("", "")
        await self._blocks.note(meaning, reply, at, key=key, ip=ip, domain=domain)

    async def _take_outcomes(self, outcomes: Sequence[tuple[Outcome, Reason]]) -> None:
        if outcomes:
            await self._patiently(lambda: asyncio.gather(*(self._take_outcome(*one) for one in outcomes)))

    async def _take_outcome(self, outcome: Outcome, reason: Reason) -> None:
        arrival = self._arrivals.get(outcome.queue_id, Arrival(outcome.queue_id))
        decision_id, account = await self._by_search(DecisionSearch(queue_id=outcome.queue_id, limit=1))
        if not account and arrival.message_id:
            decision_id, account = await self._by_search(DecisionSearch(message_id=arrival.message_id, limit=1))
        if not account and arrival.login:
            account = f"sasl:{arrival.login.lower()}"
        if not account:
            self._count("bounces-of-nobody")
            return
        message = decision_id or arrival.message_id or f"{outcome.queue_id}@{outcome.at:.0f}"
        key = bounce_key(message, outcome.recipient)
        to, detail = outcome.recipient, outcome.reply[:500]
        await self._absorb(
            Event(outcome.at, "bounced", account, decision_id, to, detail=detail, reason=reason, key=key)
        )

    def _remember(self, arrival: Arrival) -> None:
        before = self._arrivals.pop(arrival.queue_id, arrival)
        self._arrivals[arrival.queue_id] = Arrival(
            arrival.queue_id, arrival.message_id or before.message_id, arrival.login or before.login
        )
        if len(self._arrivals) > _MOST_ARRIVALS:
            self._arrivals.popitem(last=False)

    # Mail.

    async def take_mail(self, raw: bytes, *, complaint: Complaint | None = None) -> Taken:
        """Take in a message that came back. `complaint` is what a person says that it is. Raises StoreUnavailable."""
        found = complaint or read_returned(raw)
        if found is None or isinstance(found, AutoReply):
            return Taken("auto-reply" if found else "unknown")
        decision_id, account = await self.trace(raw, found.original)
        if isinstance(found, Bounce):
            message = decision_id or found.original.message_id or _digest(raw)
            return await self._take_bounce(found, decision_id, account, message)
        if not account or not found.is_against_sender:
            return Taken("complaint" if found.is_against_sender else found.kind, account, decision_id)
        key = f"complaint/{_digest(raw)}"
        detail = f"{found.kind} by {found.reporter or 'somebody'}"
        await self._absorb(
            Event(self._now(), "complaint", account, decision_id, found.recipient, detail=detail, key=key)
        )
        return Taken("complaint", account, decision_id, 1)

    async def _take_bounce(self, bounce: Bounce, decision_id: str, account: str, message: str) -> Taken:
        """`message` is what tells the message from all others: the log's line of it must come to the same."""
        if not account:
            return Taken("bounce")
        counted = 0
        for one in bounce.recipients:
            if one.action not in ("failed", "expired"):
                continue
            at, meaning = self._now(), dsn.meaning(one, self._replies)
            key = bounce_key(message, one.recipient)
            detail = (one.diagnostic or one.words)[:500]
            await self._note_block(meaning, detail, at, key=key, sent=partial(self._store.decision, decision_id))
            who = (account, decision_id, one.recipient)
            await self._absorb(Event(at, "bounced", *who, detail=detail, reason=meaning.reason, key=key))
            counted += 1
        return Taken("bounce", account, decision_id, counted)

    async def trace(self, raw: bytes, original: Original) -> tuple[str, str]:
        """Decision and account of a message that is reported, as far as the report still leads there. Raises
        StoreUnavailable."""
        for token in (original.reference, *tokens_in(raw)):
            if decision_id := self._read_token(token):
                row = await self._store.decision(decision_id)
                return decision_id, str(row.decision.account) if row is not None else ""
        if original.message_id:
            decision_id, account = await self._by_search(DecisionSearch(message_id=original.message_id, limit=1))
            if account:
                return decision_id, account
        tag = original.feedback_id.partition(":")[0].strip()
        return "", await self.account_of_tag(tag)

    async def _by_search(self, search: DecisionSearch) -> tuple[str, str]:
        for row in await self._store.decisions(search):
            return row.decision.id, str(row.decision.account)
        return "", ""

    async def account_of_tag(self, tag: str) -> str:
        """The account that the first field of a Feedback-ID means; empty for none. Raises StoreUnavailable.

        All accounts are gone through, at most every ten minutes.
        """
        if tag and tag not in self._tags and self._now() - self._tags_at > _TAGS_FOR_S:
            self._tags_at, self._tags = self._now(), {}
            search = AccountSearch(order="account", limit=1000)
            while rows := await self._store.accounts(search):
                self._tags |= {self._tag_of(row.account): row.account for row in rows}
                last = rows[-1].account
                search = AccountSearch(order="account", limit=1000, after=(last, last))
        return self._tags.get(tag, "")

    # Both.

    async def _absorb(self, event: Event) -> None:
        self._count(event.what)
        await self._pipeline.absorb(event)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                self._count("failures")
                await asyncio.sleep(_RETRY_S)


def _digest(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=12).hexdigest()


def _place_key(path: Path, reader: Reader) -> str:
    return f"{reader.place_kind}:{path}"
