"""Notices from the outbox: to the postmaster what happens, to customers and resellers what concerns their accounts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from msgspec import Struct, convert, json
from msgspec.structs import replace

from penstock.clients.next_hop import NextHop, NextHopUnavailable
from penstock.model import OutboxItem
from penstock.notices.texts import Story, Texts
from penstock.protocols.xarf import spam_report
from penstock.store.ports import Records, Store

_BATCH = 200


class NoticeSettings(Struct, frozen=True):
    """Who is told, by whom, and how often."""

    to: tuple[str, ...]
    sender: str
    per_hour: int
    """Mails to the same recipients."""
    hostname: str
    texts: Texts = Texts()
    copies: tuple[str, ...] = ()
    """Topics that get what the postmaster gets."""


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
        self._sent_at: dict[tuple[str, ...], list[float]] = {}

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
            sent = [at for at in self._sent_at.get(to, []) if at > now - 3600.0]
            if len(sent) >= self._settings.per_hour:
                return 0
            # Noted before it is tried, so that a next hop that refuses is not asked without end.
            self._sent_at = {one: at for one, at in self._sent_at.items() if at[-1] > now - 3600.0}
            self._sent_at[to] = [*sent, now]
            if not await self._mail(to, items, now):
                return 0
        if to == self._settings.to:
            await self._copy(items)
        for item in items:
            self._log(sentence(item))
            await self._store.outbox_done(item.key, at=now, outcome="mailed" if is_mailed else "logged")
        return len(items)

    async def _copy(self, items: Sequence[OutboxItem]) -> None:
        """The same for webhook and chat, which have times and troubles of their own."""
        copies = tuple(
            OutboxItem(f"{topic}/{item.key}", item.at, topic, item.target, {**item.payload, "text": sentence(item)})
            for topic in self._settings.copies
            for item in items
        )
        if copies:
            await self._store.update((), lambda: Records(outbox=copies))

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
    stories = [_told(settings, item) for item in items if item.payload.get("what") == "story"]
    plain = [item for item in items if item.payload.get("what") != "story"]
    lines = [subject for subject, _ in stories] + [sentence(item) for item in plain]
    message["From"] = f"Penstock <{settings.sender}>"
    message["To"] = ", ".join(settings.to)
    message["Subject"] = lines[0][:150] if len(items) == 1 else f"{len(items)} notices from {settings.hostname}"
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Message-ID"] = f"<{now:.3f}.{len(items)}@{settings.hostname}>"
    message["Auto-Submitted"] = "auto-generated"
    texts = [body for _, body in stories]
    texts += ["".join(f"{datetime.fromtimestamp(i.at, UTC):%Y-%m-%d %H:%M:%S} UTC  {sentence(i)}\n" for i in plain)]
    message.set_content(f"\n{'-' * 60}\n\n".join(filter(None, texts)))
    for item in items:
        _attach(message, settings, item)
    return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _told(settings: NoticeSettings, item: OutboxItem) -> tuple[str, str]:
    """A story's subject and body; a text of the operator's that cannot be used gives way to ours."""
    story = convert(item.payload["story"], Story)
    role, language = str(item.payload["role"]), str(item.payload["language"])
    try:
        return settings.texts.tell(story, role, language)
    except (OSError, ValueError, KeyError):
        return Texts().tell(story, role, language)


def _attach(message: EmailMessage, settings: NoticeSettings, item: OutboxItem) -> None:
    """The same for programs, for those who have some: the story as JSON, and as X-ARF where there is a source."""
    if item.payload.get("what") != "story" or item.payload["role"] == "customer":
        return
    story = convert(item.payload["story"], Story)
    message.add_attachment(json.encode(story), maintype="application", subtype="json", filename="penstock.json")
    seen = [one for one in story.samples if one.client_ip]
    if story.verb == "shut" and seen:
        one = seen[-1]
        report = spam_report(
            organisation=settings.hostname, reporter=settings.sender, at=one.at, source_ip=one.client_ip,
            mail_from=one.mail_from, subject=one.subject, count=len(story.samples),
        )  # fmt: skip
        message.add_attachment(json.encode(report), maintype="application", subtype="json", filename="xarf.json")


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
        case "claim":
            return f'{item.target} says of the message {facts["decision"]} "this was me"; `penstock explain` shows it'
        case "queue":
            waiting = f"{facts['messages']} messages to {facts['recipients']} recipients in the mail server's queue"
            return f"{item.target} has {waiting}: {facts['reason']}"
        case "login":
            verb = "is refused" if facts["mode"] == "enforce" else "would be refused"
            return f"{item.target}: a login from {facts['source']} {verb}: {facts['reason']}"
        case "ip":
            return f"{item.target} is {facts['state']} in pool {facts['pool']}: {facts['reason']}"
        case "story":
            story = convert(facts["story"], Story)
            things = ", ".join(map(str, story.things)) or "nothing that lives elsewhere"
            return f"{item.target} is {story.verb} where it lives ({things}); told: {facts['role']}"
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
