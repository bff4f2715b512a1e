"""What one viewer may see: the store's answers, with nothing of other tenants in them.

Pages and API read the store through this alone, so that a tenant's walls stand in one place.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from penstock.console.entrance import Viewer
from penstock.desk import NotThere
from penstock.judge.rules import Rules
from penstock.model import AccountRow, DecisionRow, Delivered, Event, Held
from penstock.overview import AccountView, account_view, find_decision
from penstock.people import Tally, TallySearch
from penstock.store.ports import AccountSearch, DecisionSearch, Store

MOST_ROWS = 200
"""Of any page."""


class Sight:
    """One viewer's eyes. Methods for one thing raise NotThere where it is not there, or not for this viewer; all raise
    StoreUnavailable."""

    def __init__(self, store: Store, rules: Rules, viewer: Viewer) -> None:
        self._store = store
        self._rules = rules
        self._tenant = viewer.tenant

    async def accounts(self, search: AccountSearch) -> list[AccountRow]:
        """Accounts, one page."""
        return await self._store.accounts(replace(search, tenant=self._own(search.tenant), limit=_few(search.limit)))

    async def account(self, name: str) -> AccountRow:
        """One account's row."""
        row = await self._store.account(name)
        if row is None or not self._is_mine(row.tenant):
            raise NotThere(f"no account {name}")
        return row

    async def account_view(self, name: str, now: float) -> AccountView:
        """One account with all that is known of it."""
        await self.account(name)
        view = await account_view(self._store, self._rules, name, now, decisions=MOST_ROWS)
        if view is None:
            raise NotThere(f"no account {name}")
        return view

    async def events(self, name: str, *, limit: int, before: tuple[float, str] | None = None) -> list[Event]:
        """What came back about one account, one page."""
        await self.account(name)
        return await self._store.events(name, limit=_few(limit), before=before)

    async def decisions(self, search: DecisionSearch) -> list[DecisionRow]:
        """Decisions, one page."""
        return await self._store.decisions(replace(search, tenant=self._own(search.tenant), limit=_few(search.limit)))

    async def decision(self, text: str) -> DecisionRow:
        """A decision by its id, token, queue id or Message-ID."""
        row = await find_decision(self._store, text, self._rules.reference_key)
        if row is None or not self._is_mine(row.decision.account.tenant):
            raise NotThere(f"no decision {text}")
        return row

    async def delivery(self, row: DecisionRow) -> Delivered | None:
        """What the next hop answered for a decision that was seen."""
        return await self._store.delivery(row.decision.id)

    async def held(self, *, account: str = "", state: str = "held", limit: int = 50, before: str = "") -> list[Held]:
        """Held messages, one page."""
        return await self._store.held(
            account=account, tenant=self._tenant, state=state, limit=_few(limit), before=before
        )

    async def held_one(self, id: str) -> Held:
        """One held message's facts."""
        one = await self._store.held_one(id)
        if one is None:
            raise NotThere(f"no held message {id}")
        if self._tenant:
            row = await self._store.account(one.account)
            if row is None or row.tenant != self._tenant:
                raise NotThere(f"no held message {id}")
        return one

    async def held_raw(self, one: Held) -> bytes | None:
        """The bytes of a held message that was seen."""
        return await self._store.held_raw(one.id)

    async def tallies(self, search: TallySearch) -> list[Tally]:
        """Counts of decisions."""
        return await self._store.tallies(replace(search, tenant=self._own(search.tenant)))

    async def standings(self) -> Mapping[str, int]:
        """How many accounts have each standing."""
        return await self._store.standings(self._tenant)

    def _own(self, tenant: str) -> str:
        return self._tenant or tenant

    def _is_mine(self, tenant: str) -> bool:
        return self._tenant in ("", tenant)


def _few(limit: int) -> int:
    return max(1, min(limit, MOST_ROWS))
