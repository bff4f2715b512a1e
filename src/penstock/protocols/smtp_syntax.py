"""The small grammar of SMTP commands: paths, parameters, xtext (RFC 5321 section 4.1.2, RFC 3461 section 4)."""

from __future__ import annotations

import ipaddress
import re

_PATH = re.compile(r"<([^<>\x00-\x20\x7f]{0,512}|\"(?:[^\"\\\x00-\x1f]|\\[ -~]){0,200}\"@[^<>\x00-\x20]{1,255})>")
_SOURCE_ROUTE = re.compile(r"^(?:@[^,:@]{1,255},)*@[^,:@]{1,255}:")
_PARAMETER = re.compile(r"^[A-Za-z0-9][A-Za-z0-9-]{0,60}(?:=[^=\x00-\x20\x7f]{1,1000})?$")
_XTEXT = re.compile(r"\+([0-9A-Fa-f]{2})")


class SyntaxFault(Exception):
    """A command that is not formed as RFC 5321 wants it; says what was found."""


def read_path(argument: str, keyword: str) -> tuple[str, tuple[str, ...]]:
    """The path and parameters of `FROM:<…> …` or `TO:<…> …`. Raises SyntaxFault.

    A source route is dropped (RFC 5321 appendix F.2). The null reverse-path gives the empty string.
    """
    head, colon, rest = argument.partition(":")
    if not colon or head.strip().upper() != keyword:
        raise SyntaxFault(f"write {keyword}:<address>")
    rest = rest.lstrip(" ")
    found = _PATH.match(rest)
    if found is None:
        raise SyntaxFault("the address is not a path in angle brackets")
    after = rest[found.end() :]
    if after and not after.startswith(" "):
        raise SyntaxFault("something stands right behind the address")
    parameters = tuple(after.split())
    if len(parameters) > 20 or not all(_PARAMETER.match(one) for one in parameters):
        raise SyntaxFault("a parameter is malformed")
    path = found[1]
    if path.startswith("@"):
        path = _SOURCE_ROUTE.sub("", path)
    return path, parameters


def is_address(path: str) -> bool:
    """Whether a forward-path has a local part and a domain, or is the postmaster of this host (RFC 5321 4.5.1)."""
    local, at, domain = path.rpartition("@")
    return bool(at and local and domain and not domain.startswith(".")) or path.lower() == "postmaster"


def read_xtext(text: str) -> str:
    """Decode xtext (RFC 3461 section 4); what is malformed stays as it is."""
    data = _XTEXT.sub(lambda found: chr(int(found[1], 16)), text)
    return data.encode("latin-1", "replace").decode("utf-8", "replace") if not data.isascii() else data


def read_attributes(argument: str) -> dict[str, str]:
    """`NAME=value …` of XCLIENT and XFORWARD; `[UNAVAILABLE]` and `[TEMPUNAVAIL]` become empty. Raises SyntaxFault."""
    found: dict[str, str] = {}
    for word in argument.split():
        name, equals, value = word.partition("=")
        if not equals or not name or len(value) > 255:
            raise SyntaxFault("write NAME=value")
        text = read_xtext(value)
        text = "" if text.upper() in ("[UNAVAILABLE]", "[TEMPUNAVAIL]") else text
        if any(sign < " " or sign == "\x7f" for sign in text):
            raise SyntaxFault("a value has control characters")
        found[name.upper()] = _read_ip(text) if name.upper() == "ADDR" else text
    if not found:
        raise SyntaxFault("write NAME=value")
    return found


def _read_ip(text: str) -> str:
    text = text[5:] if text[:5].upper() == "IPV6:" else text
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        raise SyntaxFault("ADDR is no address") from None
