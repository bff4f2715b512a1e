"""Any signed webhook: the receiver shuts and opens, and answers 2xx once it is done."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import to_builtins

from penstock.clients.drivers.driver import Refused, Unavailable
from penstock.clients.webhook import Webhook
from penstock.model import Rung, Step


class Signed:
    """Posts each step; the key of a step is its `Idempotency-Key`, the same each time it is tried."""

    def __init__(self, webhook: Webhook, rungs: frozenset[Rung], clock: Callable[[], float] = time.time) -> None:
        self.rungs = rungs
        self._webhook = webhook
        self._clock = clock

    def knows(self, step: Step) -> bool:
        """Everything."""
        return True

    def describe(self, step: Step) -> str:
        """The call."""
        return f"POST {self._webhook.url}: {step.verb} {step.thing}"

    async def carry_out(self, step: Step) -> str:
        """Call once; 4xx but 408, 409, 425 and 429 is a refusal, all other trouble is waited for."""
        payload = {**to_builtins(step), "thing": {"rung": step.thing.rung, "name": step.thing.name}}
        answer = await self._webhook.post(step.key, payload, self._clock())
        if answer.is_taken:
            return f"taken by {self._webhook.url}"
        if 400 <= answer.status < 500 and answer.status not in (401, 403, 408, 409, 425, 429):
            raise Refused(answer.trouble)
        raise Unavailable(answer.trouble)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._webhook.close()
