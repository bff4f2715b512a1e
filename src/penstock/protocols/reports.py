"""A message that came back, taken apart: its machine-readable blocks, its prose, and what it still says of ours.

Reports are rare and come from strangers, so the standard library's parser is enough, within bounds: what is longer is
cut, and what nests deeper than any report is read as prose. Nothing here raises, whatever comes in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email import policy
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from html import unescape

from msgspec import Struct

MOST_BYTES = 512 * 1024
_MOST_NESTING = 60
_MOST_PARTS = 60
_MOST_TEXT = 64 * 1024
_MOST_GROUPS = 200
_PARSER = BytesParser(policy=policy.compat32)
_NESTING = re.compile(rb"boundary\s{0,3}=|message/", re.IGNORECASE)
_TAG = re.compile(r"<(?:style|script)\b[^>]{0,200}>[^<]{0,20000}|<[!/a-zA-Z][^<>]{0,2000}>")
_BREAK = re.compile(r"<(?:br|p|/p|/div|/tr|/td|li)\b[^<>]{0,200}>", re.IGNORECASE)
_BLOCK_TYPES = ("message/delivery-status", "message/global-delivery-status", "message/feedback-report")
_HEADER_TYPES = (
    "text/rfc822-headers",
    "text/rfc822-header",
    "message/global-headers",
    "text/rfc822",
    "message/rfc822-headers",
)
_TELLING = ("final-recipient", "feedback-type", "reporting-mta", "source-ip")
# Lines after which a report of prose gives back what was sent.
_COPY = re.compile(
    r"^(?:[->=*+_ ]{2,60}+.{0,80}(?:copy of (?:the|your) message|original m(?:essage|ail)|returned message"
    r"|message header|unsent message|begin message|undelivered message|message text|headers? follow|body of).{0,60}"
    r"|.{0,30}(?:message headers? follow|original m(?:essage|ail)(?: as)? follows|copy of the message"
    r"|text of your message follows|headers? of the (?:original )?message|message was:|original message:"
    r"|received: header|the following is a copy)"
    r".{0,60}|(?:return-path|received|x-mailer|message-id|mime-version|dkim-signature): ?\S.{0,200})$",
    re.IGNORECASE | re.MULTILINE,
)
_FIELD = re.compile(r"^([A-Za-z][A-Za-z0-9-]{1,60}):[ \t]*(.*(?:\r?\n[ \t]+\S.*){0,20})$", re.MULTILINE)
_SPACE = re.compile(r"\s+")
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,128}@(?:[\w-]{1,63}\.){1,8}[A-Za-z][\w-]{1,30}")


class Original(Struct, frozen=True):
    """What a report still holds of the message that we sent; any of it may be redacted away."""

    message_id: str = ""
    reference: str = ""
    """Our `X-Penstock-Ref`, unchecked."""
    feedback_id: str = ""
    mail_from: str = ""
    """Its Return-Path, or its From where there is none."""
    recipients: tuple[str, ...] = ()
    """Addresses of its To."""
    subject: str = ""
    received: str = ""
    """Its Received lines, newest first; the first has the queue id of the MTA that sent it."""


class Report(Struct, frozen=True):
    """A returned message in parts."""

    fields: Mapping[str, str]
    """The report's own header, lower-case names, first occurrence each."""
    content_type: str
    report_type: str
    """`delivery-status`, `feedback-report` …, of a multipart/report."""
    blocks: tuple[Mapping[str, str], ...]
    """Groups of fields of the machine-readable part, lower-case names, in order."""
    block_type: str
    text: str
    """The prose, before any copy of the message."""
    original: Original
    has_original: bool


def read_report(raw: bytes) -> Report:
    """Take a message apart. Never raises."""
    raw = raw[:MOST_BYTES].replace(b"\r\n", b"\n")
    is_flat = len(_NESTING.findall(raw)) > _MOST_NESTING
    message = _PARSER.parsebytes(raw, headersonly=is_flat)
    fields = fields_of(message)
    prose: list[str] = []
    blocks: list[Mapping[str, str]] = []
    block_type, original = "", None
    for part in _walk(message):
        kind = _type(part)
        if kind in _BLOCK_TYPES and not blocks:
            blocks, block_type = _blocks(part), kind
        elif kind in ("message/rfc822", "message/global", *_HEADER_TYPES):
            original = original or _enclosed(part, kind)
        elif part.get_content_maintype() in ("text", "multipart", "application") and not _is_file(part):
            prose.append(_text(part))
    text = "\n".join(prose)[:_MOST_TEXT]
    if not blocks:
        blocks, block_type = _loose_blocks(text)
    before, copy = _cut(text)
    if original is None and copy:
        original = original_of(loose_fields(copy))
    params = str(message.get_param("report-type") or "").lower() if not is_flat else ""
    return Report(
        fields, _type(message), params, tuple(blocks), block_type, before, original or Original(), original is not None
    )


def fields_of(message: Message) -> dict[str, str]:
    """A header as a mapping: lower-case names, decoded and unfolded values, the first of each; every Received."""
    found: dict[str, str] = {}
    for name, value in message.items():
        key = name.lower()
        if key == "received" and key in found:
            found[key] += "\n" + _plain(value)
        else:
            found.setdefault(key, _plain(value))
    return found


def loose_fields(text: str) -> dict[str, str]:
    """Fields wherever a line looks like one, for what is no part of its own."""
    found: dict[str, str] = {}
    for name, value in _FIELD.findall(text[:_MOST_TEXT]):
        key = name.lower()
        if key == "received" and key in found:
            found[key] += "\n" + _plain(value)
        else:
            found.setdefault(key, _plain(value))
    return found


def original_of(fields: Mapping[str, str]) -> Original:
    """The part of a header that leads back to who sent it."""
    sender = addresses(fields.get("return-path", "")) or addresses(fields.get("from", ""))
    return Original(
        fields.get("message-id", "").strip("<> "),
        fields.get("x-penstock-ref", ""),
        fields.get("feedback-id", ""),
        sender[0] if sender else "",
        tuple(addresses(fields.get("to", ""))),
        fields.get("subject", ""),
        fields.get("received", ""),
    )


def addresses(text: str) -> list[str]:
    """E-mail addresses in a text, each once, in order, at most fifty."""
    found: dict[str, None] = {}
    for one in _ADDRESS.findall(text[:_MOST_TEXT]):
        found.setdefault(one.strip(".'"))
        if len(found) == 50:
            break
    return list(found)


def _walk(message: Message) -> Iterator[Message]:
    """Leaves in order; a block part or an enclosed message counts as one."""
    left = [message]
    seen = 0
    while left and seen < _MOST_PARTS:
        part = left.pop(0)
        seen += 1
        kind, payload = _type(part), part.get_payload()
        is_one = kind in _BLOCK_TYPES or kind.startswith("message/") or kind in _HEADER_TYPES
        if isinstance(payload, list) and not is_one:
            left[:0] = [one for one in payload if isinstance(one, Message)]
        else:
            yield part


def _type(part: Message) -> str:
    return part.get_content_type().lower()


def _is_file(part: Message) -> bool:
    return part.get_content_maintype() == "application" or part.get_content_disposition() == "attachment"


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    text = _decode(payload, part.get_content_charset() or "utf-8")
    if _type(part) == "text/html" or (text.lstrip()[:1] == "<" and "<html" in text[:500].lower()):
        text = unescape(_TAG.sub(" ", _BREAK.sub("\n", text[:_MOST_TEXT])))
    return text


def _decode(payload: bytes, charset: str) -> str:
    try:
        return payload.decode(charset, "replace")
    except (LookupError, ValueError):
        return payload.decode("utf-8", "replace")


def _blocks(part: Message) -> list[Mapping[str, str]]:
    """The groups of fields of a machine-readable part."""
    payload = part.get_payload()
    encoding = str(part.get("content-transfer-encoding", "")).lower().strip()
    groups = [one for one in payload[:_MOST_GROUPS] if isinstance(one, Message)] if isinstance(payload, list) else []
    if not groups:
        return _loose_groups(_text(part)[:_MOST_TEXT])
    if encoding not in ("", "7bit", "8bit", "binary"):
        return _loose_groups(_unwrapped(groups, encoding)[:_MOST_TEXT])
    found: list[Mapping[str, str]] = []
    for one in groups:
        # A parser that finds no header in a group takes it for a body.
        pairs = one.items() or _FIELD.findall(str(one.get_payload())[:_MOST_TEXT])
        found += _groups([(name, _plain(value)) for name, value in pairs])
    return found


def _loose_groups(text: str) -> list[Mapping[str, str]]:
    found: list[Mapping[str, str]] = []
    for group in re.split(r"\n[ \t]*\n", text):
        found += _groups([(name, _plain(value)) for name, value in _FIELD.findall(group)])
    return found


def _groups(pairs: list[tuple[str, str]]) -> list[Mapping[str, str]]:
    """Fields as groups, also where nothing but the next recipient says that another begins."""
    found: list[dict[str, str]] = [{}]
    for name, value in pairs:
        key = name.lower()
        if key in ("final-recipient", "original-recipient") and key in found[-1]:
            found.append({})
        found[-1].setdefault(key, value)
    return [one for one in found if one]


def _unwrapped(groups: list[Message], encoding: str) -> str:
    """A machine-readable part that was transfer-encoded, which the parser took for fields."""
    inner = Message()
    inner["Content-Transfer-Encoding"] = encoding
    inner.set_payload("\n\n".join(one.as_string() for one in groups))
    decoded = inner.get_payload(decode=True)
    return decoded.decode("utf-8", "replace") if isinstance(decoded, bytes) else ""


def _loose_blocks(text: str) -> tuple[list[Mapping[str, str]], str]:
    """The groups of a report whose structure was lost on the way."""
    lowered = text.lower()
    for word, kind in (("final-recipient:", _BLOCK_TYPES[0]), ("feedback-type:", _BLOCK_TYPES[2])):
        if word in lowered:
            return [one for one in _loose_groups(text) if any(name in one for name in _TELLING)], kind
    return [], ""


def _enclosed(part: Message, kind: str) -> Original | None:
    payload = part.get_payload()
    if isinstance(payload, list):
        inner = payload[0] if payload else None
        if isinstance(inner, Message):
            fields = fields_of(inner)
            if not fields:
                fields = loose_fields(str(inner.get_payload()))
            return original_of(fields)
        return None
    return original_of(loose_fields(_text(part)))


def _cut(text: str) -> tuple[str, str]:
    """Prose and the copy of the message behind it."""
    found = _COPY.search(text)
    return (text[: found.start()], text[found.start() :]) if found else (text, "")


def _plain(value: object) -> str:
    text = _SPACE.sub(" ", str(value)[:4000]).strip()
    if "=?" in text:
        try:
            text = str(make_header(decode_header(text)))
        except (LookupError, ValueError):
            return text
    return text
