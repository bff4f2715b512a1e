"""What an SMTP session is told and what it asks: settings in, events out."""

from __future__ import annotations

from msgspec import Struct


class ServerSettings(Struct, frozen=True):
    """What a session announces and tolerates."""

    hostname: str
    max_message_bytes: int
    max_recipients: int
    max_line_bytes: int
    max_errors: int
    has_tls: bool = False
    has_auth: bool = False
    auth_without_tls: bool = False
    is_lmtp: bool = False
    """Speak LMTP (RFC 2033): LHLO instead of EHLO, and an answer to a message for each of its recipients."""


class MailAsked(Struct, frozen=True):
    """MAIL: answer with `answer`."""

    mail_from: str
    parameters: tuple[str, ...]


class RcptAsked(Struct, frozen=True):
    """RCPT: answer with `answer`."""

    address: str


class MessageAsked(Struct, frozen=True):
    """A whole message: answer with `answer`. The pieces still count as in flight until then."""

    chunks: tuple[bytes, ...]


class AuthAsked(Struct, frozen=True):
    """AUTH: answer with `authenticated` or `answer` (a refusal)."""

    user: str
    password: str
    method: str


class TlsAsked(Struct, frozen=True):
    """STARTTLS was answered with 220; begin the handshake after sending, then call `encrypted`."""


class Reset(Struct, frozen=True):
    """RSET, EHLO or the like ended a transaction that had begun; nothing to answer."""


class Closed(Struct, frozen=True):
    """Send what there is and close the connection."""


Event = MailAsked | RcptAsked | MessageAsked | AuthAsked | TlsAsked | Reset | Closed
