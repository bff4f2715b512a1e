"""What comes back: each event is traced to its account and counted there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec.structs import replace

from penstock.attempts import Attempt
from penstock.judge import reputation
from penstock.judge.identity import FORWARDS
from penstock.judge.login_past import Login
from penstock.judge.reputation import KEEP_S, SOURCE_KEEP_S, Assessment
from penstock.logging_in import LoggingIn, moved_records
from penstock.model import Event, Kind, Standing
from penstock.store.ports import Turn, Write

_EVENT_KEEP_S = 14 * 86400.0
"""How long it is remembered that an event was taken in: longer than mail servers try, and logs lie about."""


_TOLD = frozenset(("bounced", "complaint", "spamtrap", "listing"))
"""Events that people are shown beside the account."""


class Lessons(Protocol):
    """Who learns from complaints what abuse looks like here."""

    async def complaint(self, event: Event) -> None:
        """Take a complaint about one decision's message as a weak example. Raises StoreUnavailable."""


class Absorbing(LoggingIn):
    """The entries of the pipeline for what comes back, and for logins."""

    _lessons: Lessons | None

    async def absorb(self, event: Event) -> Standing | None:
        """Take in a bounce, complaint, login …; the account's standing after it, or None where nobody is meant, or an
        event of this key was taken in before.

        Raises StoreUnavailable: whoever brings events keeps them until they are taken.
        """
        if event.what in ("login", "login-failed"):
            return await self._absorb_login(event)
        if event.what == "bounced" and not event.reason:
            event = replace(event, reason=self._rules.reply_reason(event.detail))
        traced = await self._traced(event)
        if traced is None:
            return None
        event, name = traced, traced.account
        account, source, taken = f"a:{name}", f"s:{name}|{event.source}", f"e:{name}|{event.key}"
        found: list[Assessment] = []

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            found.clear()
            if event.key and state[taken]:
                return {}
            one = reputation.observe_event(state[account], state[source], event, self._rules.policy)
            found[:] = [one]
            written = {account: Write(one.account, KEEP_S)}
            if event.source:
                written[source] = Write(one.source, SOURCE_KEEP_S)
            if event.key:
                written[taken] = Write(b"1", _EVENT_KEEP_S)
            return written

        row = await self._store.account(name)
        records = moved_records(row, found, event, kept=_told(event))
        await self._store.update((Turn(account, (account, source, taken), step),), records)
        if found and found[0].is_suspended_now:
            await self.note_suspension(event.at)
        if found and event.what == "complaint" and self._lessons is not None:
            await self._lessons.complaint(event)
        return found[0].standing if found else None

    async def _absorb_login(self, event: Event) -> Standing | None:
        is_good = event.what == "login"
        attempt = Attempt(
            event.at, event.account, "", event.service, event.client, is_good, not is_good, session=event.key
        )
        return await self.take_login(Login(event.account, event.source, attempt))

    async def _traced(self, event: Event) -> Event | None:
        """The event with the account and the source of the message that it is about; None where nobody is meant.

        Deliveries are many and say little: they are not looked up where the account is known. What comes back to
        automatic mail and forwards says nothing about the account that they pass through.
        """
        if not event.decision_id or (event.account and event.what == "delivered"):
            return event if event.account else None
        row = await self._store.decision(event.decision_id)
        if row is None:
            return event if event.account else None
        account, kind = event.account or str(row.decision.account), row.decision.kind
        is_automatic = kind is Kind.FORWARDED or (kind is Kind.AUTOMATIC and not row.mail_from)
        if row.source == FORWARDS or (is_automatic and not account.startswith("sasl:")):
            return None
        return replace(event, account=account, source=event.source or row.source)


def _told(event: Event) -> tuple[Event, ...]:
    """What of an event is kept for people, under a key in any case."""
    if event.what not in _TOLD:
        return ()
    key = event.key or f"{event.what}/{event.decision_id}/{event.recipient}"
    return (replace(event, key=key, detail=event.detail[:500]),)
