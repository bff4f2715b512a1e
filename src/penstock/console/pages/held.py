"""Held: mail that is kept for review, looked at in bulk."""

from __future__ import annotations

from starlette.responses import Response

from penstock.console.letter import read_letter
from penstock.console.site import Door, Visit
from penstock.desk import Refused
from penstock.people import Role

_PAGE = 50
_STATES = ("held", "releasing", "released", "dropped", "expired")


async def show_all(visit: Visit) -> Response:
    """Newest first."""
    state, account = visit.asked("state", "held"), visit.asked("account")
    state = state if state in _STATES else "held"
    rows = await visit.sight.held(account=account, state=state, limit=_PAGE, before=visit.asked("before"))
    more = visit.link(before=rows[-1].id) if len(rows) == _PAGE else ""
    return visit.show("held.html", rows=rows, state=state, states=_STATES, account=account, more=more)


async def show(visit: Visit) -> Response:
    """One message, as text."""
    one = await visit.sight.held_one(visit.path("id"))
    raw = await visit.sight.held_raw(one)
    letter = await read_letter(raw) if raw is not None else None
    row = await visit.site.store.decision(one.decision_id)
    return visit.show("held_one.html", one=one, letter=letter, row=row)


async def settle(visit: Visit) -> Response:
    """Release or drop all that was ticked."""
    verb, learn = visit.said("verb"), bool(visit.said("learn"))
    if verb not in ("release", "drop"):
        raise Refused(f'nothing is called "{verb}"')
    ids = [one for one in (visit.form.getlist("id") if visit.form is not None else ()) if isinstance(one, str)]
    desk, done, failed = visit.site.desk, 0, 0
    settle_one = desk.release_held if verb == "release" else desk.drop_held
    for id in ids[:_PAGE]:
        one = await visit.sight.held_one(id[:100])
        outcome = await settle_one(one.id, who=visit.viewer.name, reason=visit.said("reason"), learn=learn)
        done, failed = done + outcome.is_done, failed + (not outcome.is_done)
    return visit.back("/held", f"{verb}-held", count=done, failed=failed)


DOORS = (
    Door("/held", show_all),
    Door("/held", settle, "POST", Role.DESK),
    Door("/held/{id}", show),
)
