"""Accounts: who sends, how each stands, why, and a person's word about it."""

from __future__ import annotations

from collections import Counter

from starlette.responses import Response

from penstock.console.charts import evidence_chart
from penstock.console.site import Door, Visit, number_of
from penstock.desk import Refused
from penstock.judge.limits import UNITS, WINDOWS, Override
from penstock.model import AccountRow, Standing
from penstock.people import Role
from penstock.store.ports import AccountSearch

_ORDERS = ("evidence", "seen", "account")
_PAGE = 50


async def show_all(visit: Visit) -> Response:
    """Search, and sort by evidence."""
    order = visit.asked("order", "evidence")
    order = order if order in _ORDERS else "evidence"
    standing = visit.asked("standing")
    place = visit.asked("after")
    value: float | str = visit.asked("value")
    if order != "account":
        value = number_of(str(value))
    search = AccountSearch(
        text=visit.asked("text"),
        standing=standing if standing in set(Standing) else "",
        tenant=visit.asked("tenant"),
        order=order,
        after=(value, place) if place else None,
        limit=_PAGE,
    )
    rows = await visit.sight.accounts(search)
    more = _more(visit, rows, order) if len(rows) == _PAGE else ""
    return visit.show("accounts.html", rows=rows, search=search, orders=_ORDERS, standings=list(Standing), more=more)


def _more(visit: Visit, rows: list[AccountRow], order: str) -> str:
    last = rows[-1]
    value = {"evidence": last.evidence, "seen": last.seen_at}.get(order, last.account)
    return visit.link(value=value, after=last.account)


async def show(visit: Visit) -> Response:
    """One account: standing, evidence over time, messages, what people did."""
    view = await visit.sight.account_view(visit.path("account"), visit.site.now())
    held = await visit.sight.held(account=view.account, limit=20)
    pins = [one for one in (await visit.site.store.pool_state()).pins if one.account == view.account]
    pools = () if visit.viewer.tenant else tuple(visit.site.settings.pools.named)
    chart = evidence_chart(view.decisions)
    kinds = Counter(row.decision.kind.value for row in view.decisions)
    limits = [(unit, window) for unit in UNITS for window in WINDOWS]
    return visit.show(
        "account.html", view=view, held=held, pins=pins, pools=pools, chart=chart, kinds=kinds, limits=limits
    )


async def show_events(visit: Visit) -> Response:
    """What came back about an account, newest first."""
    account, key = visit.path("account"), visit.asked("key")
    before = (number_of(visit.asked("before")), key) if key else None
    rows = await visit.sight.events(account, limit=_PAGE, before=before)
    more = visit.link(before=repr(rows[-1].at), key=rows[-1].key) if len(rows) == _PAGE else ""
    return visit.show("events.html", account=account, rows=rows, more=more)


async def steer(visit: Visit) -> Response:
    """A person's word, with the reason."""
    account, verb, desk = visit.path("account"), visit.path("verb"), visit.site.desk
    await visit.sight.account(account)
    who, reason = visit.viewer.name, visit.said("reason")
    if verb == "suspend":
        await desk.suspend(account, who=who, reason=reason)
    elif verb == "release":
        await desk.release(account, who=who, reason=reason)
    elif verb == "trust":
        await desk.trust(account, who=who, reason=reason)
    elif verb == "note":
        await desk.note(account, who=who, reason=reason)
    else:
        raise Refused(f'nothing is called "{verb}"')
    return visit.back(f"/accounts/{_quoted(account)}", verb)


async def pin(visit: Visit) -> Response:
    """Tie the account to a pool, or let it go."""
    account, pool = visit.path("account"), visit.said("pool")
    who, reason = visit.viewer.name, visit.said("reason")
    if pool:
        await visit.site.desk.pin(account, pool, who=who, reason=reason)
    else:
        await visit.site.desk.unpin(account, who=who, reason=reason)
    return visit.back(f"/accounts/{_quoted(account)}", "pin" if pool else "unpin")


async def limit(visit: Visit) -> Response:
    """Put a limit in the place of the plan's, for some days or for good."""
    account, days, most = visit.path("account"), number_of(visit.said("days")), number_of(visit.said("most"), -1.0)
    unit, _, window = visit.said("limit").partition("/")
    until = visit.site.now() + days * 86400.0 if days > 0 else 0.0
    override = Override(unit, window, int(max(-1.0, min(most, 1e9))), until)
    await visit.sight.account(account)
    await visit.site.desk.limit(account, override, who=visit.viewer.name, reason=visit.said("reason"))
    return visit.back(f"/accounts/{_quoted(account)}", "limit")


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


DOORS = (
    Door("/accounts", show_all),
    Door("/events/{account:path}", show_events),
    Door("/pins/{account:path}", pin, "POST", Role.DESK, is_whole=True),
    Door("/limits/{account:path}", limit, "POST", Role.DESK, is_whole=True),
    Door("/steer/{verb}/{account:path}", steer, "POST", Role.DESK),
    Door("/accounts/{account:path}", show),
)
