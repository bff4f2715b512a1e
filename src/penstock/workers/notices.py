"""Notices to the postmaster from the outbox: suspensions, and limits that are nearly or wholly used up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from msgspec import Struct
from msgspec.structs import replace

from penstock.clients.next_hop import NextHop, NextHopUnavailable
from penstock.model import OutboxItem
from penstock.store.ports import Store

_BATCH = 200


class NoticeSettings(Struct, frozen=True):
    """Who is told, by whom, and how often."""

    to: tuple[str, ...]
    sender: str
    per_hour: int
    hostname: str


class Notices:
    """Carries notices out: by mail through the next hop where addresses are configured, else to the log alone."""

    def __init__(
        self,
        settings: NoticeSettings,
        store: Store,
        next_hop: NextHop | None,
        log: Callable[[str], None],
        now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._store = store
        self._next_hop = next_hop
        self._log = log
        self._now = now
        self._sent_at: list[float] = []

    async def run_once(self) -> int:
        """Carry out what waits; how many notices went. Raises StoreUnavailable.

        What comes beyond the hourly number of mails waits and is put together into the next one.
        """
        items = await self._store.outbox(topic="notice", limit=_BATCH)
        if not items:
            return 0
        groups: dict[tuple[str, ...], list[OutboxItem]] = {}
        for item in items:
            groups.setdefault(self._recipients(item), []).append(item)
        return sum([await self._tell(to, group) for to, group in groups.items()])

    def _recipients(self, item: OutboxItem) -> tuple[str, ...]:
        """Those that the item itself names, else the postmaster."""
        named = item.payload.get("to")
        return tuple(map(str, named)) if isinstance(named, list | tuple) and named else self._settings.to

    async def _tell(self, to: tuple[str, ...], items: Sequence[OutboxItem]) -> int:
        now = self._now()
        is_mailed = bool(to and self._next_hop is not None)
        if is_mailed:
            self._sent_at = [at for at in self._sent_at if at > now - 3600.0]
            if len(self._sent_at) >= self._settings.per_hour:
                return 0
            # Noted before it is tried, so that a next hop that refuses is not asked without end.
            self._sent_at.append(now)
            if not await self._mail(to, items, now):
                return 0
        for item in items:
            self._log(sentence(item))
            await self._store.outbox_done(item.key, at=now, outcome="mailed" if is_mailed else "logged")
        return len(items)

    async def _mail(self, to: tuple[str, ...], items: Sequence[OutboxItem], now: float) -> bool:
        assert self._next_hop is not None
        raw = compose(replace(self._settings, to=to), items, now)
        try:
            replies = await self._next_hop.send(self._settings.sender, to, (), raw)
        except NextHopUnavailable as trouble:
            self._log(f"notice not sent: {trouble.reply.line()}")
            return False
        return any(code < 300 for _, code, _ in replies)


def compose(settings: NoticeSettings, items: Sequence[OutboxItem], now: float) -> bytes:
    """One mail that tells of all items."""
    message = EmailMessage()
    lines = [sentence(item) for item in items]
    message["From"] = f"Penstock <{settings.sender}>"
    message["To"] = ", ".join(settings.to)
    message["Subject"] = lines[0][:150] if len(items) == 1 else f"{len(items)} notices from {settings.hostname}"
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Message-ID"] = f"<{now:.3f}.{len(items)}@{settings.hostname}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        "\n".join(
            f"{datetime.fromtimestamp(i.at, UTC):%Y-%m-%d %H:%M:%S} UTC  {line}"
            for i, line in zip(items, lines, strict=True)
        )
        + "\n"
    )
    return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def sentence(item: OutboxItem) -> str:
    """What happened, in one line."""
    facts = item.payload
    match facts.get("what"):
        case "limit":
            verb = "has used up" if facts["percent"] == 100 else f"has used {facts['percent']} % of"
            unit = str(facts["unit"]).replace("-", " ")
            return f"{item.target} {verb} its limit of {facts['most']} {unit} per {facts['window']}"
        case "standing":
            reasons = facts.get("reasons")
            why = f": {'; '.join(map(str, reasons))}" if isinstance(reasons, list) and reasons else ""
            return f"{item.target} is now {facts['standing']} (was {facts['previous']}){why}"
        case "queue":
            waiting = f"{facts['messages']} messages to {facts['recipients']} recipients in the mail server's queue"
            return f"{item.target} has {waiting}: {facts['reason']}"
        case "login":
            verb = "is refused" if facts["mode"] == "enforce" else "would be refused"
            return f"{item.target}: a login from {facts['source']} {verb}: {facts['reason']}"
        case "ip":
            return f"{item.target} is {facts['state']} in pool {facts['pool']}: {facts['reason']}"
        case "driver":
            return f"{item.target}: driver {facts['driver']}: {facts['reason']}"
        case "breaker":
            told = f"{facts['suspended']} accounts were suspended within an hour; the limit is {facts['most']}"
            return f"the circuit breaker is open: {told}. Mail is held, and no more accounts are suspended"
        case "listings":
            lines = facts.get("lines")
            return "; ".join(map(str, lines)) if isinstance(lines, list) else item.target
        case other:
            return f"{item.target}: {other}"
