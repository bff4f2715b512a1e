"""Header fields: where they end, RFC 2047 words, RFC 2231 parameters, addresses; each in one pass over its input."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable

from penstock.judge.encodings import decode_base64, decode_text

_BLANK = re.compile(rb"\n\r*\n")
_NAME = r"[!-9;-~]++[ \t]*+:"
_BLOCK = re.compile(rf"(?:{_NAME}.*+(?:\n[ \t].*+)*+\n?)*+")
_FIELD = re.compile(r"^([!-9;-~]++)[ \t]*+:(.*+(?:\n[ \t].*+)*+)", re.MULTILINE)
_FOLD = re.compile(r"[\r\n]+[ \t]*")
# At most four bare question marks inside a word: each start looks at a bounded number of them, so this stays linear.
_WORD = re.compile(r"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,30})?\?([bBqQ])\?([^?]*+(?:\?(?!=)[^?]*+){0,4})\?=(\s*(?==\?))?")
_PARAMETER = re.compile(r';[\s;]*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]++|\\.)*+)"?+|([^;"]*+))', re.DOTALL)
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ADDRESS_TOKEN = re.compile(r'"((?:[^"\\]++|\\.)*+)"?+|<([^<>]*+)>?+|([(),;:])|([^"<>(),;:]++)|>', re.DOTALL)
_ONE_ADDRESS = re.compile(r'(?:([^"<>(),;:\\=]*+)<)?+([^\s"<>(),;:\\=]++@[^\s"<>(),;:\\]++)(>)?')
MAX_PARAMETERS = 500


def read_fields(raw: bytes, start: int, limit: int) -> tuple[list[tuple[str, str]], int, bool]:
    """Read the fields from `start`: (lower-case name, unfolded value) each, where the body starts, and whether the
    block ended as RFC 5322 §2.1 wants it. As in Postfix, a line that is no field starts the body."""
    if raw.startswith((b"\n", b"\r\n"), start):
        return [], start + (1 if raw[start] == 10 else 2), True
    blank = _BLANK.search(raw, start, limit)
    end = blank.start() + 1 if blank else limit
    block = raw[start:end].decode("latin-1")
    match = _BLOCK.match(block)
    stop = match.end() if match else 0
    fields = [(name.lower(), _value(value)) for name, value in _FIELD.findall(block, 0, stop)]
    if stop < len(block):
        return fields, start + stop, False
    return fields, blank.end() if blank else end, True


def _value(value: str) -> str:
    if not value.isascii():
        value = decode_text(value.encode("latin-1"), "")
    value = value.strip()
    if "\r" in value:
        value = value.replace("\r\n", "\n")
        if "\r" in value:
            return _FOLD.sub(" ", value)
    return " ".join([line.lstrip(" \t") for line in value.split("\n")]) if "\n" in value else value


def decode_words(value: str) -> str:
    """Decode RFC 2047 encoded words; what is no word stays as it is. Neighbours in one charset are joined as bytes."""
    if "=?" not in value:
        return value
    out: list[str] = []
    pending, charset, at = b"", "", 0
    for match in _WORD.finditer(value):
        name, encoding, content, _ = match.groups()
        between = value[at : match.start()]
        if between or name.lower() != charset:
            if pending:
                out.append(decode_text(pending, charset))
                pending = b""
            out.append(between)
        data = content.encode("utf-8", "replace")
        pending += decode_base64(data)[0] if encoding in "bB" else binascii.a2b_qp(data, header=True)
        charset, at = name.lower(), match.end()
    if pending:
        out.append(decode_text(pending, charset))
    out.append(value[at:])
    return "".join(out)


def read_parameters(value: str) -> tuple[str, dict[str, str]]:
    """Split `text/plain; charset=x; name*0*=…` into the lower-case value and its parameters (RFC 2045, RFC 2231)."""
    head = value.partition(";")[0].strip().lower()
    if ";" not in value:
        return head, {}
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[bool, str]]] = {}
    for count, match in enumerate(_PARAMETER.finditer(value)):
        if count >= MAX_PARAMETERS:
            break
        name, quoted, bare = match.groups()
        text = _ESCAPE.sub(r"\1", quoted) if quoted is not None else bare.strip()
        base, star, rest = name.lower().partition("*")
        if not star:
            plain.setdefault(base, text)
            continue
        number = rest.rstrip("*")
        if number == "" or (number.isascii() and number.isdigit() and len(number) < 4):
            pieces.setdefault(base, {}).setdefault(int(number or 0), (rest.endswith("*") or not rest, text))
    for base, parts in pieces.items():
        plain[base] = _join_extended(parts)
    return head, plain


def _join_extended(parts: dict[int, tuple[bool, str]]) -> str:
    """RFC 2231 §4.1: pieces in order, the first of which names the charset; only marked pieces are percent-encoded."""
    charset, out = "", b""
    for place, number in enumerate(sorted(parts)):
        is_encoded, text = parts[number]
        if place == 0 and is_encoded and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        data = text.encode("utf-8", "replace")
        out += _PERCENT.sub(lambda hex_: bytes((int(hex_[1], 16),)), data) if is_encoded else data
    return decode_text(out, charset)


def read_addresses(value: str) -> list[tuple[str, str]]:
    """Read a list of mailboxes as (address, name), groups flattened (RFC 5322 §3.4); garbage gives what looks alike."""
    one = _ONE_ADDRESS.fullmatch(value)
    if one is not None and (one[1] is None) == (one[3] is None):
        return [(one[2], _folded(one[1]) if one[1] else "")]
    found: list[tuple[str, str]] = []
    words: list[str] = []
    angle, comment, depth = "", "", 0

    def finish() -> None:
        nonlocal angle, comment
        text = _folded("".join(words))
        if angle:
            found.append((angle, decode_words(text)))
        elif text:
            address = text.replace(" ", "") if "@" in text else ""
            found.append((address, decode_words(comment if address else text)))
        words.clear()
        angle = comment = ""

    for quoted, inside, sign, plain in _ADDRESS_TOKEN.findall(value):
        if sign == "(":
            depth += 1
        elif sign == ")":
            depth = max(0, depth - 1)
        elif depth:
            comment += quoted or plain if len(comment) < 200 else ""
        elif sign == ":" and not angle:
            words.clear()
        elif sign in (",", ";"):
            finish()
        elif inside:
            angle = angle or inside.strip()
        else:
            words.append(_ESCAPE.sub(r"\1", quoted) if quoted else plain)
    finish()
    return [(address, name.strip()) for address, name in found if address or name]


def _folded(text: str) -> str:
    return " ".join(text.split())


def first_address(values: Iterable[str]) -> tuple[str, str]:
    """The first (address, name) of the first value that has one; empty strings where none has."""
    for value in values:
        for address, name in read_addresses(value):
            return address, name
    return "", ""
