"""What everybody may see and change of themselves: password, security keys, and where they are logged in."""

from __future__ import annotations

from starlette.responses import Response

from penstock.console.entrance import FEWEST_SIGNS, digest_of
from penstock.console.pages.entry import let_in
from penstock.console.security_keys import NotProven, remove_key
from penstock.console.sessions import end_session, sessions_of
from penstock.console.site import Door, Visit
from penstock.desk import NotThere, Refused
from penstock.model import Audit

_FOR_KEYS = "for a security key"
"""What a wrong password was given for, in the audit."""


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


async def add_key(visit: Visit) -> Response:
    """Ask a browser for a new security key, for whoever knows the password."""
    keys, name = visit.site.entrance.security_keys, visit.said("key")
    if not keys.is_possible:
        raise Refused("Security keys need console.base_url with a name that browsers know this site by.")
    person = await visit.site.entrance.known(visit.viewer.name, visit.typed("password"), visit.client, _FOR_KEYS)
    if person is None:
        return await _show(visit, 401, key_trouble="wrong")
    if not name or name in [one.name for one in person.security_keys]:
        return await _show(visit, 422, key_trouble="name")
    return visit.show("key.html", question=await keys.ask_new(person), verb="make", key=name, path="/me")


async def keep_key(visit: Visit) -> Response:
    """Keep the key that the browser has made."""
    keys = visit.site.entrance.security_keys
    try:
        await keys.keep(visit.viewer.name, visit.said("secret"), visit.typed("answer"), visit.said("key"))
    except NotProven:
        return await _show(visit, 422, key_trouble="not-proven")
    return visit.back("/me", "add-key")


async def drop_key(visit: Visit) -> Response:
    """Take one of one's own keys away, for whoever knows the password."""
    name = visit.viewer.name
    if await visit.site.entrance.known(name, visit.typed("password"), visit.client, _FOR_KEYS) is None:
        return await _show(visit, 401, key_trouble="wrong")
    audit = Audit(visit.site.now(), name, "remove-security-key", name, "", visit.said("key"))
    if not await remove_key(visit.site.store, name, visit.said("key"), audit):
        raise NotThere("no such key")
    return visit.back("/me", "remove-key")


async def end_sessions(visit: Visit) -> Response:
    """End one session of one's own, or all but this browser's; which were another's are not found."""
    name, wanted, ended = visit.viewer.name, visit.said("session"), 0
    for one in await sessions_of(visit.site.store, name, visit.site.now()):
        if one.id == wanted if wanted else one.id != _mine(visit):
            audit = Audit(visit.site.now(), name, "end-session", name, "", f"from {one.client}")
            ended += await end_session(visit.site.store, one, audit)
    return visit.back("/me", "end-session", count=ended)


async def _show(visit: Visit, status: int = 200, *, trouble: str = "", key_trouble: str = "") -> Response:
    name = visit.viewer.name
    person = await visit.site.store.person(name)
    return visit.show(
        "me.html",
        status,
        path="/me",
        trouble=trouble,
        key_trouble=key_trouble,
        security_keys=person.security_keys if person is not None else (),
        may_have_keys=visit.site.entrance.security_keys.is_possible,
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
    Door("/me/keys", add_key, "POST"),
    Door("/me/keys/keep", keep_key, "POST"),
    Door("/me/keys/remove", drop_key, "POST"),
    Door("/me/sessions", end_sessions, "POST"),
)
