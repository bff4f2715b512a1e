"""Single sign-on: who comes back from the OpenID Connect provider, and whether they come in, as whom."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from enum import StrEnum
from hmac import compare_digest

import structlog
from msgspec.structs import replace

from penstock.clients.openid import OpenIdProvider, Unreachable
from penstock.config import Settings
from penstock.console.entrance import Entrance
from penstock.model import Audit
from penstock.people import Person, Role
from penstock.protocols.openid import Attempt, Claims, Client, NotProven, texts_of
from penstock.sections.console import OidcSection, SignOnRole
from penstock.store.ports import Store

log = structlog.get_logger()
BACK = "/login/sign-on/back"
ATTEMPT_S = 600
"""So long may somebody take at the provider."""
_MOST_SIGNS = 200
_WHO = "single sign-on"
"""Who changes people by what the provider says, in the audit."""


class Why(StrEnum):
    """Why somebody does not come in, in words for the login page; `{name}` is the provider's, `{claim}` a claim's."""

    AWAY = "{name} does not answer. Try again in a moment, or log in with a password."
    OFTEN = "There were too many attempts. Wait fifteen minutes."
    OTHER_WINDOW = "This login took too long, or was begun in another window. Try again."
    CALLED_OFF = "The login at {name} was not finished. Try again."
    NOT_PROVEN = "What {name} said could not be proven. It is in Penstock's log."
    NAMELESS = "{name} does not say who you are: {claim} is missing or not verified."
    NO_ROLE = "You are known at {name}, but not among those who may come in here. Ask those who run Penstock."
    SOMEBODY_ELSE = "Your name belongs to somebody else here. Ask those who run Penstock."
    LOCAL = "Your name has a password here. Log in with it, or ask those who run Penstock."


_STATUS = {Why.AWAY: 503, Why.OFTEN: 429, Why.OTHER_WINDOW: 400}


class NoEntry(Exception):
    """Somebody does not come in."""

    def __init__(self, why: Why, name: str = "") -> None:
        """`name` is what the person would be called here, where that is proven."""
        super().__init__(why)
        self.why = why
        self.name = name
        self.status = _STATUS.get(why, 403)


def make_sign_on(settings: Settings, store: Store, entrance: Entrance, now: Callable[[], float]) -> SignOn | None:
    """Single sign-on, where it is configured. Raises OSError where the client's secret cannot be read."""
    section = settings.console.oidc
    if not section.issuer:
        return None
    secret = ""
    if section.client_secret_file:
        try:
            secret = section.client_secret_file.read_text("utf-8").strip()
        except (OSError, ValueError) as trouble:
            raise OSError(f"console.oidc.client_secret_file cannot be read: {trouble}") from None
    back = f"{settings.console.base_url}{BACK}"
    provider = OpenIdProvider(section.issuer, Client(section.client_id, secret, back, tuple(section.scopes)), now=now)
    return SignOn(section, provider, store, entrance, now)


class SignOn:
    """Lets people in whom a provider vouches for. Methods raise NoEntry and StoreUnavailable."""

    def __init__(
        self,
        section: OidcSection,
        provider: OpenIdProvider,
        store: Store,
        entrance: Entrance,
        now: Callable[[], float],
    ) -> None:
        self.section = section
        self._provider = provider
        self._store = store
        self._entrance = entrance
        self._now = now

    async def begin(self, client: str) -> tuple[str, str]:
        """(where the browser goes, the secret that it keeps until it comes back)."""
        if await self._entrance.is_closed("", client):
            raise NoEntry(Why.OFTEN)
        attempt = Attempt(secrets.token_urlsafe(32))
        try:
            return await self._provider.login_url(attempt), attempt.secret
        except (Unreachable, NotProven) as trouble:
            raise self._told(trouble) from None

    async def finish(self, secret: str, answer: Mapping[str, str], client: str) -> str:
        """The secret of a new session for somebody who comes back with an answer; each failure counts and is on
        record."""
        if await self._entrance.is_closed("", client):
            raise NoEntry(Why.OFTEN)
        try:
            person = await self._person(await self._claims(secret, answer))
        except NoEntry as no:
            if no.why is not Why.AWAY:
                await self._entrance.refuse(no.name, client, f"{_WHO}: {no.why.name.lower()}")
            raise
        return await self._entrance.open(person, client, _WHO)

    async def _claims(self, secret: str, answer: Mapping[str, str]) -> Claims:
        """What the provider says of somebody; nothing of the answer is believed before its state fits the browser."""
        attempt = Attempt(secret)
        if not secret or not compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise NoEntry(Why.OTHER_WINDOW)
        if answer.get("iss", self.section.issuer) != self.section.issuer:  # RFC 9207
            raise self._told(NotProven("the answer is another provider's (iss)"))
        if "error" in answer or not answer.get("code"):
            raise NoEntry(Why.CALLED_OFF)
        wanted = (self.section.person_claim, *([self.section.roles_claim] if self.section.roles else []))
        try:
            return await self._provider.claims(attempt, answer["code"], wanted)
        except (Unreachable, NotProven) as trouble:
            raise self._told(trouble) from None

    def _told(self, trouble: Exception) -> NoEntry:
        log.warning("sign-on-failed", issuer=self.section.issuer, trouble=str(trouble))
        return NoEntry(Why.AWAY if isinstance(trouble, Unreachable) else Why.NOT_PROVEN)

    async def _person(self, claims: Claims) -> Person:
        """Who they are here, made or changed as the provider says where that is wanted."""
        section = self.section
        subject = f"{section.issuer} {claims['sub']}"
        known, fitting = await self._known(subject, claims.get(section.person_claim)), self._fitting(claims)
        name = known.name if known is not None else self._name(claims)
        if known is None:
            known = await self._store.person(name)
            if known is not None and known.subject:
                raise NoEntry(Why.SOMEBODY_ELSE, name)
            if known is not None and known.password:
                raise NoEntry(Why.LOCAL, name)
        if section.roles and fitting is None:
            if known is not None and known.subject:
                audit = Audit(self._now(), _WHO, "end-sessions", name, "without a role at the provider")
                await self._store.drop_keys(person=name, audit=audit)
            raise NoEntry(Why.NO_ROLE, name)
        if known is None and not section.new_people:
            raise NoEntry(Why.NO_ROLE, name)
        person = replace(known or Person(name, Role.READ, "", added_at=self._now()), subject=subject)
        if fitting is not None:
            person = replace(person, role=Role(fitting.role), tenant=fitting.tenant)
        if person != known:
            what, detail = (
                "change-person" if known else "add-person",
                f"{person.role}, {person.tenant or 'all tenants'}",
            )
            await self._store.keep_person(person, Audit(self._now(), _WHO, what, name, "", detail))
        return person

    async def _known(self, subject: str, called: object) -> Person | None:
        """Who came in before as this subject, the only claim that never changes (OpenID Connect Core, section 5.7).

        Where there are several, made when names were asked first: the one who is called so, else the oldest.
        """
        found = [one for one in await self._store.people() if one.subject == subject]
        return min(found, key=lambda one: (one.name != str(called).lower(), one.added_at), default=None)

    def _name(self, claims: Claims) -> str:
        """What they are called here; names are as `penstock people add` takes them."""
        claim = self.section.person_claim
        value = claims.get(claim)
        name = value.strip().lower() if isinstance(value, str) else ""
        is_name = name.isprintable() and not any(sign.isspace() for sign in name) and 0 < len(name) <= _MOST_SIGNS
        # Some providers write it as text.
        if not is_name or (claim == "email" and claims.get("email_verified") not in (True, "true")):
            raise NoEntry(Why.NAMELESS)
        return name

    def _fitting(self, claims: Claims) -> SignOnRole | None:
        """The first row of the settings that one of their values fits."""
        values = texts_of(claims, self.section.roles_claim)
        return next((row for row in self.section.roles if row.value in values), None)
