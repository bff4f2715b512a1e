"""Coming in and going out, and the language of what is shown."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from penstock.console.language import LANGUAGES
from penstock.console.security_keys import Question
from penstock.console.site import Door, Visit

_YEAR_S = 365 * 86400
_WRONG = (
    "This name, password and code do not fit together, or there were too many attempts. "
    "Wait fifteen minutes if you are sure."
)
_NO_KEY = "The security key's answer proves nothing, or came too late. Log in again."


async def show_login(visit: Visit) -> Response:
    """The form to log in with."""
    return show_form(visit, next=safe(visit.asked("next")), nobody=not await _anybody(visit))


def show_form(visit: Visit, status: int = 200, *, next: str, trouble: str = "", nobody: bool = False) -> Response:
    """The form, with what went wrong at the last attempt."""
    sign_on = visit.site.sign_on.section.name if visit.site.sign_on else ""
    return visit.show("login.html", status, next=next, trouble=trouble, nobody=nobody, sign_on=sign_on)


async def log_in(visit: Visit) -> Response:
    """Let somebody in, or say that it was not right without saying what."""
    found = await visit.site.entrance.login(
        visit.said("name"), visit.typed("password"), visit.said("code"), visit.client
    )
    wish = safe(visit.said("next"))
    if isinstance(found, Question):
        return visit.show("key.html", question=found, verb="show", next=wish, path="/login")
    return let_in(visit, found, wish) if found else show_form(visit, 401, trouble=visit.words(_WRONG), next=wish)


async def show_key(visit: Visit) -> Response:
    """Let somebody in whose security key has answered."""
    secret = await visit.site.entrance.finish(visit.said("secret"), visit.typed("answer"), visit.client)
    wish = safe(visit.said("next"))
    return let_in(visit, secret, wish) if secret else show_form(visit, 401, trouble=visit.words(_NO_KEY), next=wish)


def let_in(visit: Visit, secret: str, to: str) -> Response:
    """Give a browser its session, and lead it on."""
    answer = RedirectResponse(to, 303)
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
    answer = RedirectResponse(safe(visit.asked("next")), 303)
    if visit.asked("to") in LANGUAGES:
        answer.set_cookie("language", visit.asked("to"), max_age=_YEAR_S, samesite="lax", secure=visit.site.is_secure)
    return answer


async def _anybody(visit: Visit) -> bool:
    return bool(await visit.site.store.people())


def safe(path: str) -> str:
    """A path of this site; anything else leads to the first page."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and "\n" not in path else "/"


DOORS = (
    Door("/login", show_login, role=None),
    Door("/login", log_in, "POST", role=None),
    Door("/login/key", show_key, "POST", role=None),
    Door("/logout", log_out, "POST"),
    Door("/language", speak, role=None),
)
