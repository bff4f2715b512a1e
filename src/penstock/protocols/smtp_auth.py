"""The dialogues of AUTH: PLAIN (RFC 4616) and the older LOGIN."""

from __future__ import annotations

import base64
import binascii

from penstock.protocols.smtp_events import AuthAsked
from penstock.protocols.smtp_syntax import SyntaxFault

METHODS = ("PLAIN", "LOGIN")
_USERNAME, _PASSWORD = "VXNlcm5hbWU6", "UGFzc3dvcmQ6"


class AuthDialog:
    """One attempt to log in: the server's prompts out, the client's lines in."""

    def __init__(self, method: str) -> None:
        """`method` is one of METHODS."""
        self._method = method
        self._user: bytes | None = None

    @property
    def prompt(self) -> str:
        """What the server says now, in base64."""
        if self._method == "PLAIN":
            return ""
        return _USERNAME if self._user is None else _PASSWORD

    def take(self, line: bytes) -> AuthAsked | None:
        """Take a line of the client; None where another follows. Raises SyntaxFault, which ends the attempt."""
        if line == b"*":
            raise SyntaxFault("Cancelled")
        try:
            data = base64.b64decode(line, validate=True)
        except binascii.Error:
            raise SyntaxFault("Not base64") from None
        if self._method == "PLAIN":
            fields = data.split(b"\0")
            if len(fields) != 3:
                raise SyntaxFault("Not what PLAIN sends")
            return self._asked(fields[1], fields[2])
        if self._user is None:
            self._user = data
            return None
        return self._asked(self._user, data)

    def _asked(self, user: bytes, password: bytes) -> AuthAsked:
        if not user:
            raise SyntaxFault("No user name")
        try:
            return AuthAsked(user.decode(), password.decode(), self._method)
        except UnicodeDecodeError:
            raise SyntaxFault("Not UTF-8") from None
