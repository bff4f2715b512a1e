"""Notices, put together from the settings: mail, and what goes to a webhook and to chat beside it."""

from __future__ import annotations

from collections.abc import Callable

from penstock.clients.chat import Chat
from penstock.clients.next_hop import NextHop
from penstock.clients.webhook import Webhook
from penstock.config import Settings
from penstock.notices.texts import Texts
from penstock.store.ports import Store
from penstock.workers import chat
from penstock.workers.chat import ChatNotices
from penstock.workers.notices import Notices, NoticeSettings
from penstock.workers.upkeep import Chore
from penstock.workers.webhooks import Webhooks

_WEBHOOK_TOPIC = "notice-webhook"
_EVERY_S = 2.0


def make_notices(
    settings: Settings,
    store: Store,
    next_hop: NextHop | None,
    *,
    hostname: str,
    log: Callable[[str], None],
    now: Callable[[], float],
) -> tuple[Notices, list[Chore]]:
    """What carries notices out, and the chores of the other ways. Raises ValueError for chat services."""
    section, chores, copies = settings.notices, list[Chore](), list[str]()
    if section.webhook:
        webhook = Webhook(section.webhook, section.webhook_secret)
        copies.append(_WEBHOOK_TOPIC)
        calls = Webhooks(store, webhook, log, now, topic=_WEBHOOK_TOPIC)
        chores.append((_EVERY_S, "notice-webhook", calls.run_once))
    if section.chat:
        copies.append(chat.TOPIC)
        said = ChatNotices(store, Chat(section.chat), log, now, hostname=hostname)
        chores.append((_EVERY_S, "chat", said.run_once))
    sender = section.sender or f"penstock@{hostname}"
    told = NoticeSettings(
        tuple(section.to), sender, section.per_hour, hostname, Texts(section.templates), tuple(copies)
    )
    return Notices(told, store, next_hop, log, now), chores
