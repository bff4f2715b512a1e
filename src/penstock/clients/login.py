"""Who may log in at the relay: Dovecot is asked, or a file of hashed passwords."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Protocol

import argon2

from penstock.protocols.dovecot_auth import HANDSHAKE, AuthClient, AuthFault, Outcome, request

_AT_ONCE = 2
"""Passwords that are hashed at the same time; each takes 64 MiB and a good part of a core."""
_DOVECOT_S = 15.0
"""Dovecot delays the answer to a wrong password by some seconds on purpose."""


class LoginUnavailable(Exception):
    """Passwords cannot be checked now; the client is told 454 4.7.0."""


class Login(Protocol):
    """Checks a password."""

    async def check(self, user: str, password: str, client_ip: str) -> str:
        """The login's own name where the password is right, else the empty string. Raises LoginUnavailable."""


class DovecotLogin:
    """Asks Dovecot's auth client socket, with a connection of its own for each login."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def check(self, user: str, password: str, client_ip: str) -> str:
        """Ask Dovecot; it may answer with another spelling of the name."""
        try:
            async with asyncio.timeout(_DOVECOT_S):
                outcome = await self._ask(user, password, client_ip)
        except (OSError, TimeoutError, AuthFault) as trouble:
            raise LoginUnavailable(f"{self._path}: {trouble!r}") from trouble
        except ValueError:
            return ""
        if outcome.is_temporary:
            raise LoginUnavailable("Dovecot says that it cannot tell now")
        return (outcome.user or user) if outcome.is_good else ""

    async def _ask(self, user: str, password: str, client_ip: str) -> Outcome:
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            client = AuthClient()
            writer.write(HANDSHAKE.format(pid=os.getpid()).encode())
            while not client.is_ready:
                client.feed(await self._read(reader))
            writer.write(request(1, user, password, client_ip))
            while True:
                for outcome in client.feed(await self._read(reader)):
                    return outcome
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        data = await reader.read(8192)
        if not data:
            raise AuthFault("Dovecot closed the connection")
        return data


class PasswordFile:
    """Lines of `login:hash` (argon2id); read again when the file changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hasher = argon2.PasswordHasher()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._stamp = (0, 0)
        self._hashes: dict[str, str] = {}
        # Unknown logins cost as much as known ones, so that time tells nobody who exists.
        self._nobody = self._hasher.hash("nobody")

    async def check(self, user: str, password: str, client_ip: str) -> str:
        """Check against the file."""
        try:
            async with self._turns:
                return await asyncio.to_thread(self._check, user.lower(), password)
        except (OSError, UnicodeDecodeError) as trouble:
            raise LoginUnavailable(f"{self._path}: {trouble}") from trouble

    def _check(self, user: str, password: str) -> str:
        found = self._path.stat()
        stamp = (found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            self._hashes = _read(self._path)
            self._stamp = stamp
        try:
            is_right = self._hasher.verify(self._hashes.get(user, self._nobody), password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return ""
        return user if is_right and user in self._hashes else ""


def _read(path: Path) -> dict[str, str]:
    rows = {}
    for line in path.read_text("utf-8").splitlines():
        login, colon, text = line.strip().partition(":")
        if colon and login and not login.startswith("#"):
            rows[login.lower()] = text
    return rows


def hash_password(text: str) -> str:
    """A password as it is kept in the file."""
    return argon2.PasswordHasher().hash(text)
