"""Security keys (WebAuthn level 3) as second factors: what browsers are asked, and what their answers prove.

A question is made by us, kept in the store for some minutes and asked once. Its answer counts only where it was made
for this console's own address, by a key that its person has, with a counter that went on where the key counts
(section 7.2). That a key was made by whoever says so (attestation) is not asked for.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from hashlib import blake2b
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import msgspec
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from msgspec import Struct
from msgspec.structs import replace

from penstock.model import Audit
from penstock.people import Person, SecurityKey
from penstock.store.ports import Records, Store, Turn, Write

QUESTION_S = 300.0
MOST_KEYS = 20
"""Of one person."""
_MOST_SIGNS = 60
"""Of a key's name."""
# A second factor after the password: presence is enough, and the key need not remember anything.
_USER_VERIFICATION, _RESIDENT = UserVerificationRequirement.DISCOURAGED, ResidentKeyRequirement.DISCOURAGED


class Question(Struct, frozen=True):
    """What a browser is to ask a key."""

    secret: str
    """Brings the answer back to its question, once."""
    options: str
    """For the browser, as JSON (WebAuthn sections 5.1.8 and 5.1.9)."""


class _Asked(Struct, frozen=True):
    """A question that waits for its answer."""

    person: str
    is_new: bool
    state: dict[str, str]


class NotProven(Exception):
    """An answer that proves nothing."""

    def __init__(self, why: str, name: str = "") -> None:
        """`name` is the person who was asked, empty where no question was open."""
        super().__init__(why)
        self.name = name


class SecurityKeys:
    """Asks for keys and checks answers. All methods raise StoreUnavailable."""

    def __init__(self, store: Store, now: Callable[[], float], base_url: str) -> None:
        """`base_url` is the console's own address; keys are tied to its host."""
        self._store = store
        self._now = now
        host = urlsplit(base_url).hostname or ""
        self.is_possible = bool(host) and not _is_address(host)
        """Whether keys can be tied to this console; browsers refuse to for one that has no name."""
        self._server = Fido2Server(
            PublicKeyCredentialRpEntity(id=host or "localhost", name="Penstock"),
            verify_origin=lambda origin: self.is_possible and origin == base_url,
        )

    async def ask_new(self, person: Person) -> Question:
        """The question that makes a new key of somebody."""
        id = blake2b(person.name.encode(), digest_size=32, person=b"webauthn").digest()
        user = PublicKeyCredentialUserEntity(id=id, name=person.name, display_name=person.name)
        options, state = self._server.register_begin(
            user, _credentials(person), user_verification=_USER_VERIFICATION, resident_key_requirement=_RESIDENT
        )
        return await self._ask(person, options, state, is_new=True)

    async def keep(self, person: str, secret: str, answer: str, name: str) -> None:
        """Keep somebody's new key under a name that they give it. Raises NotProven."""
        asked = await self._asked(secret, is_new=True)
        if asked.person != person:
            raise NotProven("the question was somebody else's")
        try:
            found = self._server.register_complete(asked.state, _read(answer))
            credential = bytes(found.credential_data or b"")
            added = SecurityKey(name[:_MOST_SIGNS], credential, found.counter, self._now())
            id = AttestedCredentialData(credential).credential_id
        # The library names no set of exceptions for what is no answer: values, keys, types, CBOR, signatures.
        except Exception as why:
            raise NotProven(str(why) or "no answer", person) from None

        def change(person: Person) -> Person | None:
            known, names = [one.credential_id for one in _credentials(person)], _names(person)
            if id in known or not added.name or added.name in names or len(names) >= MOST_KEYS:
                return None
            return replace(person, security_keys=(*person.security_keys, added))

        audit = Audit(self._now(), person, "add-security-key", person, "", added.name)
        if not await self._store.change_person(person, change, audit):
            raise NotProven("the key, or its name, is there already", person)

    async def ask(self, person: Person) -> Question:
        """The question that one of somebody's keys answers."""
        options, state = self._server.authenticate_begin(_credentials(person), user_verification=_USER_VERIFICATION)
        return await self._ask(person, options, state, is_new=False)

    async def prove(self, secret: str, answer: str) -> tuple[Person, SecurityKey]:
        """Whose key answered, and which; its counter is kept. Raises NotProven."""
        asked = await self._asked(secret, is_new=False)
        person = await self._store.person(asked.person)
        if person is None:
            raise NotProven("there is no such person any more")
        try:
            heard = _read(answer)
            id = self._server.authenticate_complete(asked.state, _credentials(person), heard).credential_id
            counter = AuthenticationResponse.from_dict(heard).response.authenticator_data.counter
        except Exception as why:
            raise NotProven(str(why) or "no answer", person.name) from None
        used = list[SecurityKey]()

        def change(person: Person) -> Person | None:
            used.clear()
            kept = []
            for one in person.security_keys:
                if AttestedCredentialData(one.credential).credential_id == id:
                    # Section 6.1.1: one that goes back was made by a copy of the key.
                    if (counter or one.counter) and counter <= one.counter:
                        return None
                    used.append(replace(one, counter=counter, used_at=self._now()))
                    kept.append(used[0])
                else:
                    kept.append(one)
            return replace(person, security_keys=tuple(kept)) if used else None

        if not await self._store.change_person(person.name, change, None):
            raise NotProven("its counter went back, as a copy's would, or it was removed", person.name)
        return person, used[0]

    async def _ask(
        self, person: Person, options: Mapping[str, Any], state: dict[str, str], *, is_new: bool
    ) -> Question:
        secret = secrets.token_urlsafe(32)
        asked = msgspec.msgpack.encode(_Asked(person.name, is_new, state))
        key = _place(secret)
        await self._store.update((Turn(key, (key,), lambda state: {key: Write(asked, QUESTION_S)}),), Records)
        return Question(secret, json.dumps(options["publicKey"], default=dict))

    async def _asked(self, secret: str, *, is_new: bool) -> _Asked:
        """A question's own, once."""
        key, found = _place(secret), list[bytes | None]()

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            found[:] = [state[key]]
            return {key: Write(None, 0.0)} if state[key] is not None else {}

        await self._store.update((Turn(key, (key,), step),), Records)
        asked = msgspec.msgpack.decode(found[0], type=_Asked) if found[0] is not None else None
        if asked is None or asked.is_new is not is_new:
            raise NotProven("the question was answered, or is too old")
        return asked


async def remove_key(store: Store, person: str, name: str, audit: Audit) -> bool:
    """Take a key away; whether there was one of that name. Raises StoreUnavailable."""

    def change(person: Person) -> Person | None:
        kept = tuple(one for one in person.security_keys if one.name != name)
        return replace(person, security_keys=kept) if len(kept) < len(person.security_keys) else None

    return await store.change_person(person, change, audit)


def _place(secret: str) -> str:
    return f"console:question|{blake2b(secret.encode(), digest_size=32).hexdigest()}"


def _credentials(person: Person) -> list[AttestedCredentialData]:
    return [AttestedCredentialData(one.credential) for one in person.security_keys]


def _names(person: Person) -> list[str]:
    return [one.name for one in person.security_keys]


def _read(answer: str) -> dict[str, Any]:
    read = json.loads(answer)
    if not isinstance(read, dict):
        raise ValueError("no answer")
    return read


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
