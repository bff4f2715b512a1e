"""Decisions: found by anything, each explained as the sum of its terms."""

from __future__ import annotations

from starlette.responses import Response

from penstock.console.letter import read_letter
from penstock.console.site import Door, Visit
from penstock.desk import Refused
from penstock.model import Action
from penstock.people import Role
from penstock.store.ports import DecisionSearch, ExampleSearch

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


async def teach(visit: Visit) -> Response:
    """Say of a message that it is abuse, or legitimate."""
    row, verdict = await visit.sight.decision(visit.path("id")), visit.said("verdict")
    if verdict not in ("abuse", "legit"):
        raise Refused(f'a message is "abuse" or "legit", not "{verdict}"')
    id, who, reason = row.decision.id, visit.viewer.name, visit.said("reason")
    told = await visit.site.desk.teach([id], is_abuse=verdict == "abuse", who=who, reason=reason)
    done = "taught" if told.taken else "known" if told.known else "too-short" if told.too_short else "not-kept"
    return visit.back(f"/decisions/{id}", done)


async def show_learnt(visit: Visit) -> Response:
    """What people and complaints said about messages, newest first."""
    account = visit.asked("account")
    search = ExampleSearch(account=account, with_undone=True, before=visit.asked("before"), limit=_PAGE)
    rows = await visit.site.store.examples(search)
    more = visit.link(before=rows[-1].id) if len(rows) == _PAGE else ""
    return visit.show("learnt.html", rows=rows, account=account, more=more)


async def unlearn(visit: Visit) -> Response:
    """Take all back that was ticked."""
    ids = [one for one in (visit.form.getlist("id") if visit.form is not None else ()) if isinstance(one, str)]
    count = await visit.site.desk.unlearn(ids[:_PAGE], who=visit.viewer.name, reason=visit.said("reason"))
    return visit.back("/learnt", "unlearnt", count=count)


DOORS = (
    Door("/decisions", show_all),
    Door("/decisions/{id}", show),
    Door("/decisions/{id}", teach, "POST", Role.DESK),
    Door("/learnt", show_learnt, is_whole=True),
    Door("/learnt", unlearn, "POST", Role.DESK, is_whole=True),
)
