"""The past of pools: what moved and why, listings day by day, and what the last mail would use now."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from penstock.judge.identity import FORWARDS
from penstock.judge.pools import Live, Pools
from penstock.judge.replan import Past, Shift, past_of, replan
from penstock.model import Action, Audit
from penstock.sending import Listing, Severity
from penstock.store.ports import DecisionSearch, Store
from penstock.workers.warming import read_seen

MOVES = frozenset(
    ("drain-ip", "undrain-ip", "open-case", "close-case", "pin-account", "unpin-account", "move-pool")
)  # fmt: skip
"""What the audit calls a change of who uses which IP."""
_PAGE = 1000
_DAY_S = 86400.0
_WORSE = tuple(Severity)


class History(Struct, frozen=True):
    """Some of what moved, newest first."""

    rows: tuple[Audit, ...]
    before: float
    """Where to read on; 0 when all was read."""


class PlanView(Struct, frozen=True):
    """What the last mail would use, were it sent today."""

    since: float
    """When the first of the messages left; 0 for none."""
    messages: int
    accounts: int
    moves: tuple[Shift, ...]
    """Accounts that would leave by another way, largest first."""
    volumes: tuple[Shift, ...]
    """Transports by name."""


class ListedRow(Struct, frozen=True):
    """One address on one list, day by day."""

    ip: str
    list: str
    days: tuple[Severity | None, ...]
    """The worst of each day, the earliest first."""


async def pool_history(store: Store, *, target: str = "", limit: int = 50, before: float = 0.0) -> History:
    """What moved, when, by whom and why: IPs drained and brought back, accounts moved and pinned, cases.

    Reads one page of the audit at most, so that it may find less than `limit` and still say where to read on.
    Raises StoreUnavailable.
    """
    page = await store.audit(target=target, limit=_PAGE, before=before)
    rows = [one for one in page if one.what in MOVES]
    if len(rows) > limit:
        return History(tuple(rows[:limit]), rows[limit - 1].at)
    return History(tuple(rows), page[-1].at if len(page) == _PAGE else 0.0)


async def read_past(
    store: Store, *, since: float, most: int, on_read: Callable[[int], object] = lambda _: None
) -> list[Past]:
    """The latest messages that left, newest first. `on_read` hears how many decisions were read. Raises
    StoreUnavailable."""
    found, before = list[Past](), ""
    while len(found) < most:
        rows = await store.decisions(DecisionSearch(since=since, before=before, limit=_PAGE))
        found += [
            past_of(row.decision, row.rcpt_to, is_forward=row.source == FORWARDS)
            for row in rows
            if row.decision.action is Action.ACCEPT
        ]
        on_read(len(rows))
        if len(rows) < _PAGE:
            break
        before = rows[-1].decision.id
    return found[:most]


async def plan_view(store: Store, pools: Pools, past: list[Past], suspect_at: float) -> PlanView:
    """Send messages again through a table, today's states of IPs, and pins. Raises StoreUnavailable."""
    state, pools = await store.pool_state(), pools.as_seen(await read_seen(store))
    past.sort(key=lambda one: one.at)
    found = replan(pools, Live.of(state.ips, state.pins), past, suspect_at)
    since = past[0].at if past else 0.0
    return PlanView(since, len(past), len(found.accounts), tuple(found.moves()), tuple(found.volumes()))


def listed_days(listings: Sequence[Listing], now: float, days: int) -> tuple[list[float], list[ListedRow]]:
    """(beginnings of the last days in UTC, each address and list that were together on one of them)."""
    today = now - now % _DAY_S
    starts = [today - back * _DAY_S for back in range(days - 1, -1, -1)]
    found: dict[tuple[str, str], list[Severity | None]] = {}
    for one in listings:
        for at, start in enumerate(starts):
            if one.since < start + _DAY_S and (not one.until or one.until > start):
                row = found.setdefault((one.target, one.list), [None] * days)
                row[at] = max(filter(None, (row[at], one.severity)), key=_WORSE.index)
    return starts, [ListedRow(*place, tuple(row)) for place, row in sorted(found.items())]
