"""Letters are mail reduced to what a person wrote; one writer turns every letter, good or bad, into outgoing mail.

Real mail of different years and places differs in headers that tell good from bad without reading it: received
lines, boundaries, transfer encodings, clients. So nothing but sender, recipients, time, subject, text and
attachments is kept of a message, and abuse and legitimate mail leave through the same writer.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from email import message_from_bytes
from email.header import Header, decode_header
from email.message import Message
from email.utils import formataddr, formatdate, getaddresses, parseaddr, parsedate_to_datetime

from msgspec import Struct
from xxhash import xxh3_64_hexdigest

MOST_RECIPIENTS = 200
LARGEST_ATTACHMENT = 100_000
LONGEST_TEXT = 60_000


class Attached(Struct, frozen=True):
    """A file that goes with a letter."""

    filename: str
    content_type: str
    data: bytes


class Letter(Struct, frozen=True):
    """What a person, or a program, wrote."""

    at: float
    origin: str
    """Which owner's mailbox, list or collection it comes from."""
    name: str
    sender: str
    recipients: tuple[str, ...]
    """Addresses of To, Cc and Bcc, lower case, without doubles, at most 200."""
    subject: str
    plain: str = ""
    html: str = ""
    attached: tuple[Attached, ...] = ()
    message_id: str = ""
    is_list: bool = False
    """Whether it carries a List-Unsubscribe line."""
    subject_line: str = ""
    """As it stood in the raw message, for telling campaigns apart."""


def read_letter(raw: bytes, origin: str) -> Letter | None:
    """Reduce a message to a letter; None where it has no date or no text."""
    message = message_from_bytes(raw)
    try:
        at = parsedate_to_datetime(str(message.get("Date", ""))).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    plain, html, attached = _contents(message)
    if not (plain.strip() or html.strip()) or not 0 < at < 4e9:
        return None
    name, sender = parseaddr(_decoded(message.get("From")))
    return Letter(
        at,
        origin,
        name[:60],
        sender.lower().encode("ascii", "ignore").decode(),
        _recipients(message),
        _decoded(message.get("Subject"))[:200],
        plain[:LONGEST_TEXT],
        html[:LONGEST_TEXT],
        attached,
        str(message.get("Message-ID", "")).strip()[:200],
        "list-unsubscribe" in message,
        str(message.get("Subject", "")).partition("\n")[0],
    )


def _recipients(message: Message) -> tuple[str, ...]:
    lines = [_decoded(line) for name in ("To", "Cc", "Bcc") for line in message.get_all(name, [])]
    found = [address.lower() for _, address in getaddresses(lines) if "@" in address and " " not in address]
    plain = [address for address in dict.fromkeys(found) if address.isascii() and len(address) < 200]
    return tuple(plain[:MOST_RECIPIENTS])


def _contents(message: Message) -> tuple[str, str, tuple[Attached, ...]]:
    plain: list[str] = []
    html: list[str] = []
    attached: list[Attached] = []
    for part in message.walk():
        if part.is_multipart():
            continue
        content_type, filename = part.get_content_type(), part.get_filename()
        data = part.get_payload(decode=True)
        if not isinstance(data, bytes):
            continue
        if filename or not content_type.startswith("text/"):
            if len(data) <= LARGEST_ATTACHMENT and len(attached) < 5:
                attached.append(Attached(_decoded(filename)[:100] or "file", content_type, data))
        elif content_type == "text/html":
            html.append(_text(data, part))
        else:
            plain.append(_text(data, part))
    return "\n".join(plain), "\n".join(html), tuple(attached)


def _text(data: bytes, part: Message) -> str:
    try:
        return data.decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):
        return data.decode("latin-1")


def _decoded(value: object) -> str:
    if value is None:
        return ""
    try:
        pieces = [
            piece.decode(charset or "latin-1", "replace") if isinstance(piece, bytes) else piece
            for piece, charset in decode_header(str(value))
        ]
    except (LookupError, ValueError):
        pieces = [str(value)]
    text = " ".join("".join(pieces).split())
    return "".join(sign for sign in text if sign.isprintable()).encode("utf-8", "replace").decode()


def write(
    letter: Letter,
    *,
    sender: str,
    shown: Sequence[str],
    at: float,
    name: str = "",
    client: str = "",
    extra: Sequence[tuple[str, str]] = (),
    seed: str = "",
) -> bytes:
    """The letter as an outgoing message with CRLF line ends.

    `shown` are the addresses of To (empty for undisclosed ones), `extra` goes below the usual headers, and `seed`
    makes the Message-ID and the boundaries, so that the same call writes the same bytes.
    """
    token = xxh3_64_hexdigest(f"{seed}|{at}|{sender}|{letter.subject}".encode("utf-8", "replace"))
    host = sender.rpartition("@")[2] or "localhost"
    headers = [
        ("From", formataddr((name, sender))),
        ("To", ",\r\n ".join(shown) if shown else "undisclosed-recipients:;"),
        ("Subject", _encoded(letter.subject)),
        ("Date", formatdate(at)),
        ("Message-ID", f"<{token}@{host}>"),
        *([("User-Agent", client)] if client else []),
        *extra,
        ("MIME-Version", "1.0"),
    ]
    top = "".join(f"{key}: {value}\r\n" for key, value in headers).encode("utf-8", "replace")
    return top + _body(letter, token)


def _encoded(subject: str) -> str:
    return subject if subject.isascii() else Header(subject, "utf-8").encode(linesep="\r\n")


def _body(letter: Letter, token: str) -> bytes:
    texts = [
        _part(f"text/{kind}; charset=utf-8", text.encode("utf-8", "replace"), is_text=True)
        for kind, text in (("plain", letter.plain), ("html", letter.html))
        if text
    ]
    body = texts[0] if len(texts) == 1 else _multipart("alternative", texts, token + "a")
    if not letter.attached:
        return body
    files = [
        _part(
            f'{one.content_type}; name="{_quoted(one.filename)}"',
            one.data,
            is_text=one.content_type == "message/rfc822",
            disposition=f'attachment; filename="{_quoted(one.filename)}"',
        )
        for one in letter.attached
    ]
    return _multipart("mixed", [body, *files], token + "m")


def _quoted(filename: str) -> str:
    return "".join(sign for sign in filename if sign.isascii() and sign.isprintable() and sign not in '"\\') or "file"


def _multipart(kind: str, parts: Sequence[bytes], boundary: str) -> bytes:
    head = f'Content-Type: multipart/{kind};\r\n boundary="{boundary}"\r\n\r\n'.encode()
    return (
        head
        + b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
        + b"--%s--\r\n" % (boundary.encode())
    )


def _part(content_type: str, data: bytes, *, is_text: bool, disposition: str = "") -> bytes:
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\0", b"").split(b"\n") if is_text else []
    fits = is_text and all(len(line) < 990 for line in lines)
    body = b"\r\n".join(lines) if fits else base64.encodebytes(data).replace(b"\n", b"\r\n")
    encoding = ("7bit" if body.isascii() else "8bit") if fits else "base64"
    head = f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n"
    if disposition:
        head += f"Content-Disposition: {disposition}\r\n"
    return head.encode("utf-8", "replace") + b"\r\n" + body
