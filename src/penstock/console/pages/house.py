"""The house itself: settings and where they come from, and who did what."""

from __future__ import annotations

from starlette.responses import Response

from penstock.console.setting_rows import setting_rows
from penstock.console.site import Door, Visit, number_of
from penstock.people import Role

_PAGE = 100


async def show_settings(visit: Visit) -> Response:
    """What is configured; to read, never to change."""
    return visit.show("settings.html", tables=setting_rows(visit.site.settings))


async def show_audit(visit: Visit) -> Response:
    """Who did what, newest first."""
    target = visit.asked("target")
    rows = await visit.site.store.audit(target=target, limit=_PAGE, before=number_of(visit.asked("before")))
    more = visit.link(before=repr(rows[-1].at)) if len(rows) == _PAGE else ""
    return visit.show("audit.html", rows=rows, target=target, more=more)


DOORS = (
    Door("/settings", show_settings, role=Role.ADMIN, is_whole=True),
    Door("/audit", show_audit, role=Role.DESK, is_whole=True),
)
