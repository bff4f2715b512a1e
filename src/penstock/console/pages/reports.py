"""Reports: a month of a tenant or of the house, and what enforcing would have done."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct
from starlette.responses import Response

from penstock.console.flow import ACTIONS, Bar, bars_of
from penstock.console.site import Door, Visit
from penstock.desk import Refused
from penstock.model import DecisionRow, Mode
from penstock.people import Grain, Role, Tally, TallySearch
from penstock.store.ports import DecisionSearch

_DAY_S = 86400.0
_MOST_ACCOUNTS = 50
_DAYS = (1, 3, 7, 14, 30)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Month(Struct, frozen=True):
    """A month in numbers."""

    name: str
    """`2026-11`."""
    tenant: str
    days: tuple[Bar, ...]
    totals: dict[str, int]
    recipients: int
    reasons: dict[str, int]
    accounts: tuple[Tally, ...]
    """Whose mail was stopped or delayed, most first."""


def _bounds(name: str, now: float) -> tuple[str, float, float]:
    """A month's name, beginning and end; the present one for what is none."""
    try:
        first = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    year, month = (first.year + 1, 1) if first.month == 12 else (first.year, first.month + 1)
    return f"{first:%Y-%m}", first.timestamp(), first.replace(year=min(year, 9999), month=month).timestamp()


async def month_of(visit: Visit) -> Month:
    """The month that is asked for."""
    name, since, until = _bounds(visit.asked("month"), visit.site.now())
    tenant = visit.viewer.tenant or visit.asked("tenant")
    grain = Grain.TENANT_DAYS if tenant else Grain.DAYS
    tallies = await visit.sight.tallies(TallySearch(grain, since, until, tenant, limit=20_000))
    is_wanted = visit.site.settings.judge.mode is Mode.OBSERVE
    days = bars_of(tallies, since, min(until - 1, visit.site.now()), _DAY_S, is_wanted=is_wanted)
    reasons: dict[str, int] = {}
    for one in tallies:
        if one.reason:
            reasons[one.reason] = reasons.get(one.reason, 0) + one.messages
    search = TallySearch(Grain.TENANT_DAYS, since, until, tenant, acted_only=True, by_account=True, limit=50)
    return Month(
        name,
        tenant,
        days,
        {action: sum(day.counts[action] for day in days) for action in ACTIONS},
        sum(one.recipients for one in tallies),
        dict(sorted(reasons.items(), key=lambda one: -one[1])),
        tuple(await visit.sight.tallies(search)),
    )


async def show(visit: Visit) -> Response:
    """The report, to read and to print."""
    return visit.show("reports.html", month=await month_of(visit), actions=ACTIONS)


async def export(visit: Visit) -> Response:
    """The report as CSV: days, then accounts."""
    month = await month_of(visit)
    text = io.StringIO()
    write = csv.writer(text).writerow
    write(("day", *ACTIONS))
    for day in month.days:
        write((f"{datetime.fromtimestamp(day.start, UTC):%Y-%m-%d}", *(day.counts[one] for one in ACTIONS)))
    write(())
    write(("account", "tenant", "wanted", "messages", "recipients"))
    for one in month.accounts:
        write((_cell(one.account), _cell(one.tenant), one.wanted, one.messages, one.recipients))
    headers = {"content-disposition": f'attachment; filename="penstock-{month.name}.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


class Would(Struct, frozen=True):
    """What enforcing would have done to one account."""

    account: str
    tenant: str
    hold: int
    throttle: int
    reject: int
    recipients: int
    standing: str
    latest: DecisionRow | None


async def enforced(visit: Visit, days: int) -> list[Would]:
    """By account, most messages first."""
    since = (visit.site.now() - days * _DAY_S) // _DAY_S * _DAY_S
    search = TallySearch(Grain.TENANT_DAYS, since, acted_only=True, by_account=True, limit=300)
    groups: dict[tuple[str, str], list[Tally]] = {}
    for one in await visit.sight.tallies(search):
        if one.wanted != "accept":
            groups.setdefault((one.account, one.tenant), []).append(one)
    some = list(groups.items())[:_MOST_ACCOUNTS]
    return list(await asyncio.gather(*(_would(visit, account, tenant, ones) for (account, tenant), ones in some)))


async def _would(visit: Visit, account: str, tenant: str, tallies: Sequence[Tally]) -> Would:
    counts = {one.wanted: one.messages for one in tallies}
    row = await visit.site.store.account(account)
    worst = max(counts, key=lambda one: counts[one])
    latest = await visit.sight.decisions(DecisionSearch(account=account, action=worst, limit=1))
    return Would(
        account,
        tenant,
        counts.get("hold", 0),
        counts.get("throttle", 0),
        counts.get("reject", 0),
        sum(one.recipients for one in tallies),
        row.standing.value if row is not None else "",
        latest[0] if latest else None,
    )


async def show_enforced(visit: Visit) -> Response:
    """If you had enforced: whom it would have met, with a review of each."""
    asked = visit.asked("days", "7")
    days = int(asked) if asked.isdigit() and int(asked) in _DAYS else 7
    rows = await enforced(visit, days)
    since = (visit.site.now() - days * _DAY_S) // _DAY_S * _DAY_S
    grain = Grain.TENANT_DAYS if visit.viewer.tenant else Grain.DAYS
    whole = await visit.sight.tallies(TallySearch(grain, since, limit=20_000))
    reviews = await _reviews(visit, rows)
    return visit.show(
        "enforced.html", rows=rows, days=days, choices=_DAYS, messages=sum(one.messages for one in whole),
        stopped=sum(one.messages for one in whole if one.wanted != "accept"), reviews=reviews,
    )  # fmt: skip


_REVIEWS = {"right": "review-right", "false-alarm": "review-false-alarm"}


async def _reviews(visit: Visit, rows: Sequence[Would]) -> dict[str, str]:
    """What people said of each."""
    pages = await asyncio.gather(*(visit.site.store.audit(target=row.account, limit=20) for row in rows))
    found = {
        row.account: next((one.what for one in entries if one.what in _REVIEWS.values()), "")
        for row, entries in zip(rows, pages, strict=True)
    }
    return {account: what.removeprefix("review-") for account, what in found.items() if what}


async def review(visit: Visit) -> Response:
    """A person says whether an account was stopped rightly."""
    account, verdict = visit.said("account"), visit.said("verdict")
    await visit.sight.account(account)
    if verdict not in _REVIEWS:
        raise Refused(f'nothing is called "{verdict}"')
    await visit.site.desk.review(account, is_right=verdict == "right", who=visit.viewer.name)
    return visit.back("/enforced", "review", days=visit.said("days"))


DOORS = (
    Door("/reports", show),
    Door("/reports.csv", export),
    Door("/enforced", show_enforced),
    Door("/enforced", review, "POST", Role.DESK),
)
