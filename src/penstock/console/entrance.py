"""Who may come in: passwords, second factors, sessions and tokens, each attempt counted and each entry on record."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from hashlib import blake2b

import argon2
import msgspec
import pyotp
from msgspec import Struct
from msgspec.structs import replace

from penstock.console.security_keys import NotProven, Question, SecurityKeys
from penstock.console.sessions import see
from penstock.model import Audit
from penstock.people import Key, Person, Role
from penstock.store.ports import Records, Store, Turn, Write

FEWEST_SIGNS = 12
"""Of a password, NIST SP 800-63B section 3.1.1.2 asks for length and for nothing else."""
_AT_ONCE = 2
"""Passwords that are hashed at the same time; each takes 64 MiB and a good part of a core."""
_WINDOW_S = 900.0
_MOST_OF_PAIR, _MOST_OF_CLIENT, _MOST_OF_NAME = 5, 30, 50
"""Failures within the window: of one name from one client, of one client, and of one name from everywhere."""
_STEP_S = 30
"""RFC 6238 section 5.2."""


class Viewer(Struct, frozen=True):
    """Whoever looks at the console now, and what is open to them."""

    name: str
    role: Role
    tenant: str = ""
    """Sees this tenant alone; empty means all."""
    form_token: str = ""
    """What a form of theirs must carry; empty for programs, which send no forms."""

    def may(self, role: Role, *, is_whole: bool = False) -> bool:
        """Whether a role is theirs; `is_whole` asks for somebody who is not of one tenant alone."""
        return self.role.covers(role) and not (is_whole and self.tenant)


class Entrance:
    """Lets people and programs in. All methods raise StoreUnavailable."""

    def __init__(
        self, store: Store, now: Callable[[], float], *, session_s: float, security_keys: SecurityKeys
    ) -> None:
        self._store = store
        self._now = now
        self.security_keys = security_keys
        self._session_s = session_s
        self._hasher = argon2.PasswordHasher()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        # Names that nobody has cost as much as others, so that time tells nobody who exists.
        self._nobody = self._hasher.hash(secrets.token_urlsafe(16))

    async def login(self, name: str, password: str, code: str, client: str) -> str | Question:
        """The secret of a new session, or the question that a security key answers; empty where name, password and code
        do not fit, or were tried too often."""
        name = name.strip().lower()
        person = await self.known(name, password, client)
        if person is None:
            return ""
        if person.security_keys and not (person.totp and code):
            return await self.security_keys.ask(person)
        if not await self._is_second(person, code):
            await self.refuse(name, client)
            return ""
        return await self.open(person, client)

    async def finish(self, secret: str, answer: str, client: str) -> str:
        """The secret of a new session for whoever's security key has answered; empty where it proves nothing."""
        if await self.is_closed("", client):
            return ""
        try:
            person, key = await self.security_keys.prove(secret, answer)
        except NotProven as why:
            await self.refuse(why.name, client, f"security key: {why}")
            return ""
        return await self.open(person, client, f"security key {key.name}")

    async def change_password(self, name: str, old: str, new: str, client: str) -> str:
        """The secret of a new session, once the new password is kept and all other sessions have ended; empty where the
        old one does not fit, or was tried too often. Raises ValueError for a new one that is too short."""
        person = await self.known(name, old, client, "for a new password")
        if person is None:
            return ""
        async with self._turns:
            hashed = await asyncio.to_thread(hash_password, new)

        def change(now: Person) -> Person | None:
            return replace(now, password=hashed) if now.password == person.password else None

        if not await self._store.change_person(name, change, Audit(self._now(), name, "set-password", name)):
            return ""
        audit = Audit(self._now(), name, "end-sessions", name, "new password")
        await self._store.drop_keys(person=name, kind="session", audit=audit)
        return await self.open(person, client, "new password")

    async def known(self, name: str, password: str, client: str, why: str = "") -> Person | None:
        """Whoever has this name and password; None also after too many failures. Each counts and is on record."""
        if await self.is_closed(name, client):
            return None
        person = await self._store.person(name)
        hashed = person.password if person and person.password else self._nobody
        async with self._turns:
            fits = await asyncio.to_thread(self._fits, hashed, password)
        if person is not None and fits:
            return person
        await self.refuse(name, client, why)
        return None

    async def open(self, person: Person, client: str, how: str = "") -> str:
        """The secret of a new session for somebody who has shown who they are."""
        secret, now = secrets.token_urlsafe(32), self._now()
        key = Key(digest_of(secret), "session", person.name, person.role, now, now + self._session_s, client)
        await self._store.keep_key(key, Audit(now, person.name, "log-in", person.name, how, f"from {client}"))
        return secret

    async def viewer(self, secret: str, kind: str) -> Viewer | None:
        """Who a session's or token's secret stands for; None where it opens nothing any more."""
        key = await self._store.key(digest_of(secret)) if secret else None
        if key is None or key.kind != kind or 0 < key.until <= self._now():
            return None
        person = await self._store.person(key.person)
        if person is None:
            return None
        role = min(person.role, key.role, key=list(Role).index)
        form_token = ""
        if kind == "session":
            form_token = _form_token(secret)
            await see(self._store, key.digest, self._now(), key.until)
        return Viewer(person.name, role, person.tenant, form_token)

    async def logout(self, secret: str, name: str) -> None:
        """End a session."""
        audit = Audit(self._now(), name, "log-out", name)
        await self._store.drop_keys(digest=digest_of(secret), audit=audit)

    async def _is_second(self, person: Person, code: str) -> bool:
        """Whether the second factor fits; each code counts once."""
        if not person.totp:
            return True
        now, step = self._now(), 0
        for around in (-1, 0, 1):
            at = int(now) + around * _STEP_S
            if secrets.compare_digest(pyotp.TOTP(person.totp).at(at), code.strip().replace(" ", "")):
                step = at // _STEP_S
        return bool(step) and await self._is_first_use(f"console:code|{person.name}|{step}")

    async def _is_first_use(self, key: str) -> bool:
        found = list[bool]()

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            found[:] = [state[key] is None]
            return {key: Write(b"used", 10.0 * _STEP_S)}

        await self._store.update((Turn(key, (key,), step),), Records)
        return found[0]

    def _fits(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password[:1024])
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    async def is_closed(self, name: str, client: str) -> bool:
        """Whether there were too many failures of this name, or from this client; an empty name asks for the client."""
        keys = _counters(name, client)
        state = await self._store.read(list(keys))
        return any(_failures(state[key], self._now())[0] >= most for key, most in keys.items())

    async def refuse(self, name: str, client: str, why: str = "") -> None:
        """Count a failure, and put it on record; an empty name counts the client alone."""
        now = self._now()

        def turn(key: str) -> Turn:
            def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
                count, until = _failures(state[key], now)
                return {key: Write(msgspec.msgpack.encode((count + 1, until)), _WINDOW_S)}

            return Turn(key, (key,), step)

        audit = Audit(now, name[:100], "log-in-failed", name[:100], why, f"from {client}")
        await self._store.update([turn(key) for key in _counters(name, client)], lambda: Records(audit=(audit,)))


def _counters(name: str, client: str) -> dict[str, int]:
    """Where failures are counted, and how many close the door."""
    who, of_client = digest_of(name), {f"console:client|{client}": _MOST_OF_CLIENT}
    of_name = {f"console:pair|{who}|{client}": _MOST_OF_PAIR, f"console:name|{who}": _MOST_OF_NAME}
    return of_name | of_client if name else of_client


def _failures(kept: bytes | None, now: float) -> tuple[int, float]:
    """(failures, end of their window)."""
    if kept is not None:
        count, until = msgspec.msgpack.decode(kept, type=tuple[int, float])
        if until > now:
            return count, until
    return 0, now + _WINDOW_S


def digest_of(secret: str) -> str:
    """What is kept of a secret; it has 256 random bits, so that nothing slower is needed."""
    return blake2b(secret.encode(), digest_size=32).hexdigest()


def _form_token(secret: str) -> str:
    return blake2b(secret.encode(), digest_size=24, person=b"form").hexdigest()


def hash_password(text: str) -> str:
    """A password as it is kept. Raises ValueError for one that is too short."""
    if len(text) < FEWEST_SIGNS:
        raise ValueError(f"a password has {FEWEST_SIGNS} signs or more; this has {len(text)}")
    return argon2.PasswordHasher().hash(text)


def new_token(person: Person, role: Role, label: str, *, now: float, until: float = 0.0) -> tuple[str, Key]:
    """A token's secret, which is shown once, and what is kept of it. Raises ValueError for more than its person may."""
    if not person.role.covers(role):
        raise ValueError(f"{person.name} may {person.role}; a token may not do more ({role})")
    secret = f"pst_{secrets.token_urlsafe(32)}"
    return secret, Key(digest_of(secret), "token", person.name, role, now, until, label)


def with_second_factor(person: Person) -> Person:
    """The person with a new secret for one-time codes."""
    return replace(person, totp=pyotp.random_base32())


def otp_address(person: Person, issuer: str) -> str:
    """What an authenticator app takes in, as an `otpauth:` address."""
    return pyotp.TOTP(person.totp).provisioning_uri(name=person.name, issuer_name=issuer)
