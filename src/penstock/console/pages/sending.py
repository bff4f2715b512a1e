"""Pools and their IPs, blocklists, cases, campaigns: what concerns the whole house."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from penstock.console.campaigns import campaigns_of
from penstock.console.site import Door, Site, Visit, number_of
from penstock.desk import NotThere
from penstock.lists.catalogue import BlockList, chosen_lists, known_lists
from penstock.overview import case_messages, find_case, pool_rows
from penstock.people import Role
from penstock.pool_past import listed_days, plan_view, pool_history, read_past
from penstock.store.ports import DecisionSearch
from penstock.workers.monitoring import choices_of

_WEEK_S = 7 * 86400.0
_MOST_LISTINGS = 500
_DAYS = 28
_MOVES_SHOWN = 10
_MOST_PLANNED = 2000


async def show_pools(visit: Visit) -> Response:
    """Pools with their IPs, listings as a matrix and day by day, what moved last, pins."""
    site = visit.site
    now = site.now()
    rows = await pool_rows(site.store, site.rules.pools, now)
    ips = [row.ip for row in rows if row.ip]
    listings = [one for ip in ips for one in await site.store.listings(target=ip, current_only=False)]
    matrix = {(one.target, one.list): one for one in listings}
    lists = sorted({list for _, list in matrix})
    pins = [one for one in (await site.store.pool_state()).pins if not one.until or one.until > now][:200]
    choices = site.settings.pools.choices()
    starts, listed = listed_days(listings, now, _DAYS)
    moved = await pool_history(site.store, limit=_MOVES_SHOWN)
    return visit.show(
        "pools.html",
        rows=rows, ips=ips, lists=lists, matrix=matrix, pins=pins, choices=choices, starts=starts, listed=listed,
        moved=moved.rows,
    )  # fmt: skip


async def show_moves(visit: Visit) -> Response:
    """What moved, of one IP or account or of all, newest first."""
    target = visit.asked("target")
    found = await pool_history(visit.site.store, target=target, before=number_of(visit.asked("before")))
    more = visit.link(before=repr(found.before)) if found.before else ""
    return visit.show("moves.html", rows=found.rows, target=target, more=more)


async def show_plan(visit: Visit) -> Response:
    """What the last days' mail would use now."""
    site, days = visit.site, min(30.0, max(1.0, number_of(visit.asked("days"), 3.0)))
    past = await read_past(site.store, since=site.now() - days * 86400.0, most=_MOST_PLANNED)
    plan = await plan_view(site.store, site.rules.pools, past, site.rules.policy.throttle)
    total = sum(one.recipients for one in plan.volumes) or 1
    return visit.show("plan.html", plan=plan, days=f"{days:g}", total=total, most=_MOST_PLANNED)


async def set_ip(visit: Visit) -> Response:
    """Drain an IP or bring it back."""
    ip, is_drained = visit.path("ip"), visit.path("verb") == "drain"
    who, reason = visit.viewer.name, visit.said("reason")
    last = bool(visit.said("last")) or not is_drained
    await visit.site.desk.set_ip(ip, is_drained=is_drained, who=who, reason=reason, last=last)
    return visit.back("/pools", "drain" if is_drained else "undrain")


def _catalogue(site: Site) -> tuple[list[BlockList], set[str]]:
    """(all lists, names of those that are asked), read once: the files are taken in at a start alone."""
    if site.lists is None:
        given = choices_of(site.settings)
        site.lists = known_lists(*given), {one.name for one in chosen_lists(*given)}
    return site.lists


async def show_lists(visit: Visit) -> Response:
    """What is listed now, what was, and what is asked."""
    site = visit.site
    known, asked = await asyncio.to_thread(_catalogue, site)
    current = await site.store.latest_listings(current_only=True, limit=_MOST_LISTINGS)
    past = [one for one in await site.store.latest_listings(current_only=False, limit=_MOST_LISTINGS) if one.until]
    return visit.show("lists.html", current=current, past=past, known=known, asked=asked)


async def show_cases(visit: Visit) -> Response:
    """Open ones first."""
    rows = await visit.site.store.cases(limit=100)
    return visit.show("cases.html", rows=sorted(rows, key=lambda one: bool(one.closed_at)))


async def show_case(visit: Visit) -> Response:
    """One case: lists, accounts by their share of the blame, and what shows it."""
    found = await find_case(visit.site.store, visit.path("id"))
    if found is None:
        raise NotThere("no such case")
    messages = await case_messages(visit.site.store, found)
    history = await visit.site.store.audit(target=found.ip, limit=20)
    return visit.show("case.html", case=found, messages=messages, history=history)


async def close_case(visit: Visit) -> Response:
    """Close it by hand."""
    found = await find_case(visit.site.store, visit.path("id"))
    if found is None:
        raise NotThere("no such case")
    await visit.site.desk.close_case(found, who=visit.viewer.name, reason=visit.said("reason"))
    return visit.back(f"/cases/{found.id}", "close-case")


async def show_campaigns(visit: Visit) -> Response:
    """Messages of several accounts that share something, of the last week."""
    since, rows = visit.site.now() - _WEEK_S, []
    for action in ("hold", "reject", "throttle"):
        rows += await visit.sight.decisions(DecisionSearch(action=action, since=since, limit=150))
    rows += await visit.sight.decisions(DecisionSearch(reason="PS-CAMPAIGN", since=since, limit=150))
    return visit.show("campaigns.html", campaigns=campaigns_of(rows))


DOORS = (
    Door("/pools", show_pools, is_whole=True),
    Door("/pools/moves", show_moves, is_whole=True),
    Door("/pools/plan", show_plan, is_whole=True),
    Door("/pools/{verb}/{ip}", set_ip, "POST", Role.DESK, is_whole=True),
    Door("/lists", show_lists, is_whole=True),
    Door("/cases", show_cases, is_whole=True),
    Door("/cases/{id}", show_case, is_whole=True),
    Door("/cases/{id}", close_case, "POST", Role.DESK, is_whole=True),
    Door("/campaigns", show_campaigns, is_whole=True),
)
