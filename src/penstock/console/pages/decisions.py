"""Decisions: found by anything, each explained as the sum of its terms."""

from __future__ import annotations

from starlette.responses import Response

from penstock.console.letter import read_letter
from penstock.console.site import Door, Visit
from penstock.model import Action
from penstock.store.ports import DecisionSearch

_PAGE = 50
_AGES = {"1h": 3600.0, "24h": 86400.0, "7d": 7 * 86400.0, "30d": 30 * 86400.0}


async def show_all(visit: Visit) -> Response:
    """Search, newest first."""
    action, age = visit.asked("action"), visit.asked("age")
    since = visit.site.now() - _AGES[age] if age in _AGES else 0.0
    search = DecisionSearch(
        account=visit.asked("account"),
        tenant=visit.asked("tenant"),
        action=action if action in set(Action) else "",
        reason=visit.asked("reason").upper(),
        since=since,
        mail_from=visit.asked("from"),
        rcpt_to=visit.asked("to"),
        queue_id=visit.asked("queue_id"),
        message_id=visit.asked("message_id").strip("<>"),
        ip=visit.asked("ip"),
        before=visit.asked("before"),
        limit=_PAGE,
    )
    rows = await visit.sight.decisions(search)
    more = visit.link(before=rows[-1].decision.id) if len(rows) == _PAGE else ""
    return visit.show(
        "decisions.html", rows=rows, search=search, actions=list(Action), age=age, ages=list(_AGES), more=more
    )


async def show(visit: Visit) -> Response:
    """One decision: what was done, the sum, the headers that went with it, the message as text where it is kept."""
    row = await visit.sight.decision(visit.path("id"))
    held = await visit.site.store.held_one(row.decision.id)
    raw = await visit.sight.held_raw(held) if held is not None else None
    letter = await read_letter(raw) if raw is not None else None
    delivery = await visit.sight.delivery(row)
    return visit.show("decision.html", row=row, one=row.decision, delivery=delivery, held=held, letter=letter)


DOORS = (Door("/decisions", show_all), Door("/decisions/{id}", show))
