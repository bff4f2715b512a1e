"""What pages are made with: one visit with its viewer, words and forms, and the doors that lead to pages."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from secrets import compare_digest
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
import structlog
from markupsafe import Markup
from msgspec import Struct
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from penstock.config import Settings
from penstock.console.entrance import Entrance, Viewer
from penstock.console.language import LANGUAGES, Words, chosen
from penstock.console.sight import Sight
from penstock.console.sign_on import SignOn
from penstock.desk import Desk, NotThere, Refused
from penstock.judge.rules import Rules
from penstock.lists.catalogue import BlockList
from penstock.people import Role
from penstock.store.ports import Store, StoreUnavailable

log = structlog.get_logger()
_FRESH_S = 15.0
NOBODY = Viewer("", Role.READ, tenant="\0")


class Site:
    """What all pages share."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        rules: Rules,
        desk: Desk,
        entrance: Entrance,
        *,
        now: Callable[[], float],
        sign_on: SignOn | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.rules = rules
        self.desk = desk
        self.entrance = entrance
        self.sign_on = sign_on
        self.now = now
        section = settings.console
        self.is_secure = section.secure_cookies
        self.cookie = "__Host-penstock" if section.secure_cookies else "penstock"
        self._standings: dict[str, tuple[float, Mapping[str, int]]] = {}
        self.lists: tuple[list[BlockList], set[str]] | None = None
        loader = jinja2.PackageLoader("penstock.console")
        self.pages = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
        self.pages.trim_blocks = self.pages.lstrip_blocks = True
        self.pages.filters.update(
            time=_time, day=_day, nats=_nats, size=_size, number=_number, share=_share, path=_path
        )

    async def standings(self, sight: Sight, tenant: str) -> Mapping[str, int]:
        """How many accounts have each standing, a moment old: counting a million takes a tenth of a second."""
        until, found = self._standings.get(tenant, (0.0, {}))
        if until <= self.now():
            found = await sight.standings()
            self._standings = {name: one for name, one in self._standings.items() if one[0] > self.now()}
            self._standings[tenant] = (self.now() + _FRESH_S, found)
        return found

    def words(self, request: Request) -> Words:
        """The words of a visitor's language."""
        cookie = request.cookies.get("language", "")
        accepted = request.headers.get("accept-language", "")
        return Words(chosen(cookie, accepted, self.settings.console.language))


class Visit:
    """One request with whoever makes it."""

    def __init__(self, site: Site, request: Request, viewer: Viewer, form: FormData | None) -> None:
        self.site = site
        self.request = request
        self.viewer = viewer
        self.form = form
        self.words = site.words(request)
        self.sight = Sight(site.store, site.rules, viewer)

    @property
    def client(self) -> str:
        """The address that it comes from."""
        return self.request.client.host if self.request.client else ""

    def asked(self, name: str, fallback: str = "") -> str:
        """A value of the query, bounded and without control signs."""
        return _clean(self.request.query_params.get(name, fallback))

    def said(self, name: str) -> str:
        """A value of the form, likewise."""
        return _clean(self.typed(name))

    def typed(self, name: str) -> str:
        """A value of the form exactly as it came: a password."""
        value = self.form.get(name, "") if self.form is not None else ""
        return value if isinstance(value, str) else ""

    def path(self, name: str) -> str:
        """A part of the path, likewise."""
        return _clean(str(self.request.path_params[name]))

    def show(self, page: str, status: int = 200, **values: Any) -> Response:
        """A page."""
        site = self.site
        everywhere = {
            "t": self.words,
            "viewer": self.viewer,
            "path": self.request.url.path,
            "mode": site.settings.judge.mode.value,
            "languages": LANGUAGES,
            "now": site.now(),
            "done": self.asked("done"),
            "count": self.asked("count", "0"),
            "failed": self.asked("failed", "0"),
            "link": self.link,
        }
        return HTMLResponse(site.pages.get_template(page).render(everywhere | values), status)

    def link(self, **changes: object) -> str:
        """This page with other values in its query."""
        kept = {name: value for name, value in self.request.query_params.items() if name not in ("done", "count")}
        kept |= {name: str(value) for name, value in changes.items()}
        return f"{self.request.url.path}?{urlencode({name: value for name, value in kept.items() if value})}"

    def back(self, to: str, done: str, **more: object) -> Response:
        """See another page after something was done there."""
        return RedirectResponse(f"{to}?{urlencode({'done': done, **more})}", 303)


Endpoint = Callable[[Visit], Awaitable[Response]]


class Door(Struct, frozen=True):
    """A page or action, and for whom it opens."""

    path: str
    endpoint: Endpoint
    method: str = "GET"
    role: Role | None = Role.READ
    """None opens to everybody, without a login."""
    is_whole: bool = False
    """Whether it is closed to those who see one tenant alone."""


async def enter(site: Site, door: Door, request: Request) -> Response:
    """Let a request through a door, or say why not."""
    viewer = await _viewer(site, request)
    form = await request.form(max_files=0, max_fields=500) if door.method == "POST" else None
    visit = Visit(site, request, viewer or NOBODY, form)
    try:
        if door.role is not None:
            if viewer is None:
                wish = request.url.path if door.method == "GET" else "/"
                return RedirectResponse(f"/login?next={quote(wish)}", 303)
            if not viewer.may(door.role, is_whole=door.is_whole):
                return trouble(visit, 403, "This is not open to you.")
            if form is not None and not compare_digest(visit.said("form_token"), viewer.form_token):
                return trouble(visit, 403, "This form is too old; go back, load the page again, and send it once more.")
        return await door.endpoint(visit)
    except NotThere:
        return trouble(visit, 404, "There is no such thing, or it is not yours to see.")
    except Refused as why:
        return trouble(visit, 409, str(why))


async def _viewer(site: Site, request: Request) -> Viewer | None:
    return await site.entrance.viewer(request.cookies.get(site.cookie, ""), "session")


def trouble(visit: Visit, status: int, text: str) -> Response:
    """A page that says what went wrong and what to do."""
    return visit.show("trouble.html", status, code=status, text=visit.words(text))


async def failed(site: Site, request: Request, why: Exception) -> Response:
    """The page for trouble of ours."""
    visit = Visit(site, request, NOBODY, None)
    if isinstance(why, StoreUnavailable):
        return trouble(
            visit, 503, "Penstock's store does not answer. Mail goes on by on_failure; try again in a moment."
        )
    log.error("not-done", where="console", path=request.url.path, trouble=repr(why), exc_info=why)
    return trouble(visit, 500, "Something went wrong here. It is in Penstock's log.")


def _clean(text: str) -> str:
    return "".join(sign for sign in text[:1000] if sign.isprintable() or sign == "\n").strip()


def number_of(text: str, fallback: float = 0.0) -> float:
    """A number that a viewer wrote; the fallback for what is none."""
    try:
        value = float(text)
    except ValueError:
        return fallback
    return value if math.isfinite(value) and abs(value) < 1e15 else fallback


def _time(at: float) -> Markup:
    """A moment; the browser shows it in the viewer's own zone."""
    if not at:
        return Markup("–")
    moment = datetime.fromtimestamp(at, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        f"{moment:%Y-%m-%dT%H:%M:%SZ}", f"{moment:%Y-%m-%d %H:%M} UTC"
    )


def _day(at: float) -> str:
    """A day in UTC, short."""
    return f"{datetime.fromtimestamp(at, UTC):%m-%d}"


def _nats(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\u202f")


def _share(value: float) -> str:
    return f"{value:.0%}"


def _size(value: int) -> str:
    for unit in ("bytes", "KB", "MB"):
        if value < 1024 or unit == "MB":
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024  # type: ignore[assignment]
    return ""


def _path(text: str) -> str:
    """A part of a path."""
    return quote(text, safe="")


Values = Mapping[str, Any]
