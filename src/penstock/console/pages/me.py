"""What everybody may see and change of themselves: the password, and where they are logged in."""

from __future__ import annotations

from starlette.responses import Response

from penstock.console.entrance import FEWEST_SIGNS, digest_of
from penstock.console.pages.entry import let_in
from penstock.console.sessions import end_session, sessions_of
from penstock.console.site import Door, Visit
from penstock.model import Audit


async def show_me(visit: Visit) -> Response:
    """Oneself."""
    return await _show(visit)


async def change_password(visit: Visit) -> Response:
    """Take a new password for whoever knows the old one; this browser goes on with a new session."""
    new = visit.typed("new")
    if new != visit.typed("again"):
        return await _show(visit, 422, trouble="two")
    if len(new) < FEWEST_SIGNS:
        return await _show(visit, 422, trouble="short")
    name = visit.viewer.name
    secret = await visit.site.entrance.change_password(name, visit.typed("old"), new, visit.client)
    return let_in(visit, secret, "/me?done=password") if secret else await _show(visit, 401, trouble="wrong")


async def end_sessions(visit: Visit) -> Response:
    """End one session of one's own, or all but this browser's; which were another's are not found."""
    name, wanted, ended = visit.viewer.name, visit.said("session"), 0
    for one in await sessions_of(visit.site.store, name, visit.site.now()):
        if one.id == wanted if wanted else one.id != _mine(visit):
            audit = Audit(visit.site.now(), name, "end-session", name, "", f"from {one.client}")
            ended += await end_session(visit.site.store, one, audit)
    return visit.back("/me", "end-session", count=ended)


async def _show(visit: Visit, status: int = 200, *, trouble: str = "") -> Response:
    name = visit.viewer.name
    person = await visit.site.store.person(name)
    return visit.show(
        "me.html",
        status,
        path="/me",
        trouble=trouble,
        has_password=person is not None and bool(person.password),
        has_code=person is not None and bool(person.totp),
        fewest=FEWEST_SIGNS,
        sessions=(await sessions_of(visit.site.store, name, visit.site.now()))[::-1],
        mine=_mine(visit),
    )


def _mine(visit: Visit) -> str:
    """The session of this browser."""
    return digest_of(visit.request.cookies.get(visit.site.cookie, ""))


DOORS = (
    Door("/me", show_me),
    Door("/me/password", change_password, "POST"),
    Door("/me/sessions", end_sessions, "POST"),
)
