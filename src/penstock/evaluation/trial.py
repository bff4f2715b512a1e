"""The product's own pipeline over a memory of its own, as the judge of a trace."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable

from msgspec.structs import replace

from penstock.config import Settings
from penstock.evaluation.replay import ACCOUNT_HEADER
from penstock.judge.hearing import Content
from penstock.judge.identity import Extractor, Identity
from penstock.judge.policy import Policy
from penstock.judge.rules import Rules
from penstock.model import Decision, Event, Mode, Submission
from penstock.pipeline import Pipeline, Unwatched
from penstock.store.memory import MemoryStore

_TRUSTED = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_KINDS = ("user", "script", "header", "host", "sender", "none")


class Trial:
    """Judges a trace as the product would in enforce mode, without plain limits."""

    def __init__(self, content: Content, settings: Settings, reply_reason: Callable[[str], str]) -> None:
        self._now = 0.0
        judge = settings.judge
        self.policy = Policy.from_budgets(
            false_suspensions_per_account_year=judge.false_suspensions_per_account_year,
            false_holds_per_account_year=judge.false_holds_per_account_year,
            probation_recipients_per_day=judge.probation_recipients_per_day,
        )
        self.store = MemoryStore(now=lambda: self._now, keep_decisions=20_000)
        # Every account of a trace that is no login comes in a header that a trusted host wrote: `kind:value`.
        headers = [Extractor("header", kind, ACCOUNT_HEADER.lower(), re.compile(rf"^{kind}:(.+)$")) for kind in _KINDS]
        rules = Rules(
            identity=Identity((Extractor("login", "sasl"), *headers), _TRUSTED),
            policy=self.policy,
            mode=Mode.ENFORCE,
            reference_key=b"evaluation",
            reply_reason=reply_reason,
        )
        self._pipeline = Pipeline(self.store, content, rules, Unwatched(), clock=time.perf_counter)

    async def judge(self, submission: Submission) -> Decision:
        """Judge a whole message."""
        self._now = submission.received_at
        return await self._pipeline.judge(submission)

    async def absorb(self, event: Event) -> object:
        """Take note of what came back."""
        self._now = event.at
        return await self._pipeline.absorb(replace(event, account=event.account.lower()))
