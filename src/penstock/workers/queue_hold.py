"""What is still in the mail server's queue of a suspended account: held, and on release what is the owner's goes on."""

from __future__ import annotations

from penstock.clients.drivers.driver import Unavailable
from penstock.clients.mail_queue import MailQueue, exim, postfix
from penstock.config import Settings
from penstock.judge.review import Hand, whose
from penstock.model import Rung, Step
from penstock.protocols.mail_queue import Queued
from penstock.store.ports import DecisionSearch, Store


def queue_drivers(settings: Settings, store: Store) -> dict[str, QueueHold]:
    """A driver for the queue of each Postfix and Exim that wants it."""
    section = settings.enforcement
    found = {f"{name}-queue": postfix(one.configuration) for name, one in section.postfix.items() if one.queue}
    found |= {f"{name}-queue": exim() for name, one in section.exim.items() if one.queue}
    return {name: QueueHold(MailQueue(commands), store) for name, commands in found.items()}


class QueueHold:
    """A driver whose other side is a queue; messages are told by the account of their decision, not by their sender."""

    rungs = frozenset(Rung) - {Rung.DOMAIN}

    def __init__(self, queue: MailQueue, store: Store) -> None:
        self._queue = queue
        self._store = store

    def knows(self, step: Step) -> bool:
        """Every account."""
        return True

    def describe(self, step: Step) -> str:
        """What would happen to the queue."""
        if step.verb == "shut":
            return f"hold what is queued of {step.account}"
        return f"let go what is queued of {step.account} and speaks for its owner"

    async def carry_out(self, step: Step) -> str:
        """Hold all of the account's messages; or let go those that are its owner's, and leave the rest on hold.

        Raises StoreUnavailable beside what drivers raise.
        """
        try:
            mine = [(one, hand) for one in await self._queue.show() if (hand := await self._hand(one, step.account))]
            if step.verb == "shut":
                ids = [one.queue_id for one, _ in mine if not one.is_held]
                await self._queue.hold(ids)
                return f"{len(ids)} messages held"
            held = [(one.queue_id, hand) for one, hand in mine if one.is_held]
            ids = [queue_id for queue_id, hand in held if hand is Hand.OWNER]
            await self._queue.release(ids)
        except (OSError, ValueError) as trouble:
            raise Unavailable(str(trouble)) from None
        return f"{len(ids)} messages let go, {len(held) - len(ids)} left on hold for review"

    async def _hand(self, one: Queued, account: str) -> Hand | None:
        """Whose a queued message of the account is; None where it is another account's."""
        rows = await self._store.decisions(DecisionSearch(queue_id=one.queue_id, limit=1))
        return whose(rows[0].decision) if rows and str(rows[0].decision.account) == account else None

    async def close(self) -> None:
        """Nothing is open."""
