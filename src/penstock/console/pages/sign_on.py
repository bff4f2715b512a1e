"""The way to the OpenID Connect provider and back."""

from __future__ import annotations

from urllib.parse import quote, unquote

from starlette.responses import RedirectResponse, Response

from penstock.console.pages.entry import let_in, safe, show_form
from penstock.console.sign_on import ATTEMPT_S, BACK, NoEntry, SignOn
from penstock.console.site import Door, Visit
from penstock.desk import NotThere


async def go_out(visit: Visit) -> Response:
    """Send somebody to the provider, with a secret that only their browser keeps."""
    wish = safe(visit.asked("next"))
    try:
        url, secret = await _sign_on(visit).begin(visit.client)
    except NoEntry as no:
        return _refused(visit, no, wish)
    answer = RedirectResponse(url, 303)
    # Lax: the way back begins at the provider's site.
    answer.set_cookie(
        _cookie(visit), f"{secret}.{quote(wish, safe='')}", max_age=ATTEMPT_S, httponly=True,
        secure=visit.site.is_secure, samesite="lax", path="/",
    )  # fmt: skip
    return answer


async def come_back(visit: Visit) -> Response:
    """Let somebody in whom the provider sent back, or say why not; the way back is used up either way."""
    secret, _, wish = visit.request.cookies.get(_cookie(visit), "").partition(".")
    wish = safe(unquote(wish))
    try:
        answer = let_in(visit, await _sign_on(visit).finish(secret, visit.request.query_params, visit.client), wish)
    except NoEntry as no:
        answer = _refused(visit, no, wish)
    answer.delete_cookie(_cookie(visit), httponly=True, secure=visit.site.is_secure, samesite="lax", path="/")
    return answer


def _refused(visit: Visit, no: NoEntry, wish: str) -> Response:
    section = _sign_on(visit).section
    text = visit.words(no.why.value, name=section.name, claim=section.person_claim)
    return show_form(visit, no.status, trouble=text, next=wish)


def _sign_on(visit: Visit) -> SignOn:
    if visit.site.sign_on is None:
        raise NotThere("there is no single sign-on")
    return visit.site.sign_on


def _cookie(visit: Visit) -> str:
    return f"{visit.site.cookie}-sign-on"


DOORS = (
    Door("/login/sign-on", go_out, role=None),
    Door(BACK, come_back, role=None),
)
