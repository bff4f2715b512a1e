"""The whole site: pages, files beside them, the API, and the guard around all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from penstock.console.api import make_api
from penstock.console.guard import Guard
from penstock.console.pages import accounts, customer, decisions, entry, held, house, me, now, reports, sending, sign_on
from penstock.console.site import NOBODY, Door, Site, Visit, enter, failed, trouble

DOORS: tuple[Door, ...] = (
    *entry.DOORS,
    *sign_on.DOORS,
    *now.DOORS,
    *accounts.DOORS,
    *decisions.DOORS,
    *held.DOORS,
    *sending.DOORS,
    *reports.DOORS,
    *house.DOORS,
    *me.DOORS,
    *customer.DOORS,
)
"""Every page and action."""
_FILE_S = 3600


class _Files(StaticFiles):
    """Files of the package; browsers may keep them for an hour."""

    def file_response(self, *given: object, **named: object) -> Response:
        """A file with its time to live."""
        answer = super().file_response(*given, **named)  # type: ignore[arg-type]
        answer.headers["cache-control"] = f"public, max-age={_FILE_S}"
        return answer


def make_app(site: Site) -> ASGIApp:
    """The console as an ASGI application."""

    def opens(door: Door) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                return await enter(site, door, request)
            except HTTPException:
                raise
            except Exception as why:
                return await failed(site, request, why)

        return endpoint

    async def not_there(request: Request, why: Exception) -> Response:
        code = why.status_code if isinstance(why, HTTPException) else 500
        text = "There is no such page." if code == 404 else "This cannot be asked here."
        return trouble(Visit(site, request, NOBODY, None), code, text)

    routes = [Route(door.path, opens(door), methods=[door.method]) for door in DOORS]
    folder = str(files("penstock.console") / "static")
    ours = Starlette(
        routes=[Mount("/static", _Files(directory=folder)), Mount("/api/v1", make_api(site)), *routes],
        exception_handlers={HTTPException: not_there},
    )
    return Guard(ours, base_url=site.settings.console.base_url)
