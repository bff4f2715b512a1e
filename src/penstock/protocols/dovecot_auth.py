"""Dovecot's auth client protocol, version 1.2, for one PLAIN login at a time; no I/O."""

from __future__ import annotations

import base64

from msgspec import Struct

_MOST_BYTES = 65_536
HANDSHAKE = "VERSION\t1\t2\nCPID\t{pid}\n"


class AuthFault(Exception):
    """The server does not speak the auth protocol as we know it."""


class Outcome(Struct, frozen=True):
    """The answer to a request."""

    id: int
    is_good: bool
    user: str = ""
    is_temporary: bool = False


class AuthClient:
    """Bytes of the server in, answers out."""

    def __init__(self) -> None:
        self._input = bytearray()
        self._mechanisms: set[str] = set()
        self.is_ready = False
        """Whether the server's handshake is done."""

    def feed(self, data: bytes) -> list[Outcome]:
        """Take bytes. Raises AuthFault."""
        self._input += data
        found = []
        while (end := self._input.find(b"\n")) >= 0:
            line = bytes(self._input[:end]).decode("utf-8", "replace")
            del self._input[: end + 1]
            outcome = self._take(line.split("\t"))
            if outcome is not None:
                found.append(outcome)
        if len(self._input) > _MOST_BYTES:
            raise AuthFault("a line without end")
        return found

    def _take(self, fields: list[str]) -> Outcome | None:
        match fields[0]:
            case "VERSION" if fields[1:2] != ["1"]:
                raise AuthFault(f"version {'.'.join(fields[1:])}")
            case "MECH" if len(fields) > 1:
                self._mechanisms.add(fields[1].upper())
            case "DONE":
                if "PLAIN" not in self._mechanisms:
                    raise AuthFault("the server offers no PLAIN")
                self.is_ready = True
            case "OK" | "FAIL" | "CONT" if len(fields) > 1 and fields[1].isdigit():
                facts = dict(one.partition("=")[::2] for one in fields[2:])
                is_temporary = "temp" in facts or facts.get("code") == "temp_fail"
                return Outcome(int(fields[1]), fields[0] == "OK", facts.get("user", ""), is_temporary)
            case _:
                pass
        return None


def request(id: int, user: str, password: str, client_ip: str, *, is_secured: bool = True) -> bytes:
    """A PLAIN request (RFC 4616). Raises ValueError for a NUL in either."""
    if "\0" in user or "\0" in password:
        raise ValueError("NUL in a login")
    response = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    fields = ["AUTH", str(id), "PLAIN", "service=smtp", "nologin"]
    if is_secured:
        fields.append("secured")
    if client_ip and not set(client_ip) - set("0123456789abcdefABCDEF.:"):
        fields.append(f"rip={client_ip}")
    return ("\t".join([*fields, f"resp={response}"]) + "\n").encode()
