"""Coming in and going out, and the language of what is shown."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from penstock.console.language import LANGUAGES
from penstock.console.site import Door, Visit

_YEAR_S = 365 * 86400


async def show_login(visit: Visit) -> Response:
    """The form to log in with."""
    return visit.show("login.html", wrong=False, next=_safe(visit.asked("next")), nobody=not await _anybody(visit))


async def log_in(visit: Visit) -> Response:
    """Let somebody in, or say that it was not right without saying what."""
    client = visit.request.client.host if visit.request.client else ""
    password = visit.form.get("password") if visit.form is not None else ""
    secret = await visit.site.entrance.login(
        visit.said("name"), password if isinstance(password, str) else "", visit.said("code"), client
    )
    if not secret:
        return visit.show("login.html", 401, wrong=True, next=_safe(visit.said("next")), nobody=False)
    answer = RedirectResponse(_safe(visit.said("next")), 303)
    answer.set_cookie(visit.site.cookie, secret, httponly=True, secure=visit.site.is_secure, samesite="lax", path="/")
    return answer


async def log_out(visit: Visit) -> Response:
    """End the session."""
    await visit.site.entrance.logout(visit.request.cookies.get(visit.site.cookie, ""), visit.viewer.name)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(visit.site.cookie, httponly=True, secure=visit.site.is_secure, samesite="lax", path="/")
    return answer


async def speak(visit: Visit) -> Response:
    """Show pages in another language from now on."""
    answer = RedirectResponse(_safe(visit.asked("next")), 303)
    if visit.asked("to") in LANGUAGES:
        answer.set_cookie("language", visit.asked("to"), max_age=_YEAR_S, samesite="lax", secure=visit.site.is_secure)
    return answer


async def _anybody(visit: Visit) -> bool:
    return bool(await visit.site.store.people())


def _safe(path: str) -> str:
    """A path of this site; anything else leads to the first page."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and "\n" not in path else "/"


DOORS = (
    Door("/login", show_login, role=None),
    Door("/login", log_in, "POST", role=None),
    Door("/logout", log_out, "POST"),
    Door("/language", speak, role=None),
)
