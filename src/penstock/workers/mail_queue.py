"""The mail server's queue by account: who fills it, and an alarm where one account's part grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from penstock.clients.mail_queue import MailQueue, exim, postfix
from penstock.config import Settings
from penstock.model import OutboxItem
from penstock.protocols.mail_queue import Queued
from penstock.store.ports import DecisionSearch, Records, Store
from penstock.workers.upkeep import Chore

_EVERY_S = 60.0
_GROWN = 2.0
_AGAIN_S = 6 * 3600.0


class Share(Struct, frozen=True):
    """What one account has in the queue."""

    account: str
    """`kind:value`; `sender:…` where no decision is known for a message."""
    messages: int
    recipients: int
    held: int
    oldest_s: float
    size_bytes: int
    reason: str
    """Why most of it waits."""
    queue_ids: tuple[str, ...]


def queue_chores(settings: Settings, store: Store, now: Callable[[], float]) -> list[Chore]:
    """The watch over the queue, where it is wanted and the mail server is one whose queue can be read."""
    section = settings.feedback
    if not section.queue_alarm or section.log_format == "sendmail":
        return []
    queue = MailQueue(postfix() if section.log_format == "postfix" else exim())
    return [(_EVERY_S, "queue", QueueWatch(queue, store, alarm_at=section.queue_alarm, now=now).run_once)]


async def by_account(store: Store, queued: Sequence[Queued]) -> list[Share]:
    """Accounts by the recipients that they have waiting, most first. Raises StoreUnavailable."""
    groups: dict[str, list[Queued]] = {}
    for one in queued:
        groups.setdefault(await _account_of(store, one), []).append(one)
    shares = [_share(account, group) for account, group in groups.items()]
    return sorted(shares, key=lambda one: (-one.recipients, one.account))


async def _account_of(store: Store, one: Queued) -> str:
    rows = await store.decisions(DecisionSearch(queue_id=one.queue_id, limit=1))
    return str(rows[0].decision.account) if rows else f"sender:{one.mail_from.lower() or '<>'}"


def _share(account: str, group: Sequence[Queued]) -> Share:
    reasons: dict[str, int] = {}
    for one in group:
        reasons[one.reason] = reasons.get(one.reason, 0) + 1
    return Share(
        account,
        len(group),
        sum(len(one.recipients) for one in group),
        sum(one.is_held for one in group),
        max(one.age_s for one in group),
        sum(one.size_bytes for one in group),
        max(reasons, key=lambda reason: reasons[reason]),
        tuple(one.queue_id for one in group),
    )


class QueueWatch:
    """Looks at the queue now and then, and alarms once where an account has much in it, and twice what it had."""

    def __init__(self, queue: MailQueue, store: Store, *, alarm_at: int, now: Callable[[], float]) -> None:
        """`alarm_at` is the fewest waiting recipients of one account that are worth an alarm."""
        self._queue = queue
        self._store = store
        self._alarm_at = alarm_at
        self._now = now
        self._before: Mapping[str, int] = {}
        self._told: dict[str, float] = {}

    async def run_once(self) -> int:
        """Look once; how many alarms were raised. Raises OSError, ValueError and StoreUnavailable."""
        now, shares = self._now(), await by_account(self._store, await self._queue.show())
        alarms = [one for one in shares if self._is_alarming(one, now)]
        self._before = {one.account: one.recipients for one in shares}
        if alarms:
            self._told |= {one.account: now for one in alarms}
            items = tuple(self._item(one, now) for one in alarms)
            await self._store.update((), lambda: Records(outbox=items))
        return len(alarms)

    def _is_alarming(self, share: Share, now: float) -> bool:
        was = self._before.get(share.account, 0)
        is_due = now - self._told.get(share.account, 0.0) > _AGAIN_S
        return is_due and share.recipients >= max(self._alarm_at, _GROWN * was)

    def _item(self, share: Share, now: float) -> OutboxItem:
        payload: dict[str, object] = {
            "what": "queue",
            "messages": share.messages,
            "recipients": share.recipients,
            "reason": share.reason[:200],
        }
        return OutboxItem(f"queue/{share.account}/{now // _AGAIN_S:.0f}", now, "notice", share.account, payload)
