"""The page that a refusal leads to: what happened to whose message and what to do, without a login.

Nothing here lets mail go: "this was me" is a word to the abuse desk.
"""

from __future__ import annotations

from starlette.responses import Response

from penstock.console.site import Door, Visit
from penstock.desk import NotThere
from penstock.judge.reference import read_link
from penstock.model import DecisionRow, made_at

_DAY_S = 86400.0


async def _decision(visit: Visit) -> DecisionRow:
    """What the link leads to. Raises NotThere where it is made up, too old or forgotten."""
    site = visit.site
    id = read_link(visit.path("link"), site.rules.reference_key)
    if id is None or site.now() - made_at(id) > site.settings.console.link_days * _DAY_S:
        raise NotThere("no such link")
    row = await site.store.decision(id)
    if row is None:
        raise NotThere("no such decision")
    return row


async def show(visit: Visit) -> Response:
    """What happened, in the customer's language."""
    if visit.path("link") == "account":
        return visit.show("customer.html", row=None, is_claimed=False)
    row = await _decision(visit)
    return visit.show("customer.html", row=row, is_claimed=await _is_claimed(visit, row))


async def claim(visit: Visit) -> Response:
    """The customer says that it was he; the desk is told once."""
    row = await _decision(visit)
    if not await _is_claimed(visit, row):
        await visit.site.desk.claim(str(row.decision.account), decision_id=row.decision.id)
    return visit.back(f"/why/{visit.path('link')}", "claim")


async def _is_claimed(visit: Visit, row: DecisionRow) -> bool:
    entries = await visit.site.store.audit(target=str(row.decision.account), limit=50)
    return any(one.what == "claim-own" and one.detail == row.decision.id for one in entries)


DOORS = (Door("/why/{link}", show, role=None), Door("/why/{link}", claim, "POST", role=None))
