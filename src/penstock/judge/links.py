"""Links as a browser would open them: found in text, undisguised, with host and registrable domain."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import islice
from urllib.parse import unquote

import idna
from publicsuffixlist import PublicSuffixList

from penstock.judge.parsed import Link

_IN_URL = r"[^\s<>\"'`{}|\\^]"
# Searches begin with a few fixed characters wherever possible: the rest of a text is then passed over at full speed.
_WWW = rf"[wW]{{2}}\.{_IN_URL}{{2,2000}}"
_SCHEME_URL = re.compile(rf"://{_IN_URL}{{1,2000}}")
_ANY_URL = re.compile(rf"://{_IN_URL}{{1,2000}}|w(?<![\w@./-]w){_WWW}|W(?<![\w@./-]W){_WWW}")
_SCHEMES = ("http", "https", "ftp", "hxxp", "hxxps")
_LONGEST_SCHEME = 5
_TLD = (
    "com|net|org|info|biz|ru|cn|top|xyz|site|online|shop|club|"
    "live|click|link|icu|work|store|io|co|me|tk|ml|ga|cf|gq|su|pw|cc|de|uk|eu|us|in|br|pl|fr|it|nl"
)
_DOT = re.compile(rf"\.(?:{_TLD})(?![\w@-])", re.IGNORECASE)
_BARE = re.compile(
    r"(?<![\w@./:-])((?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,4}"
    rf"(?:{_TLD}))(/[^\s<>\"']{{0,500}})?(?![\w@.-])",
    re.IGNORECASE,
)
_IN_HOST = string.ascii_letters + string.digits + ".-\u0130\u0131\u017f\u212a"
"""The last four are what a pattern that ignores case takes for i, s and k."""
_TRAILING = ".,;:!?)]}>*_'\"»…"
_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]{0,20}):", re.IGNORECASE)
_PLAIN = re.compile(r"https?://([^/\\?#]+)", re.IGNORECASE)
_AUTHORITY = re.compile(r"^[a-z][a-z0-9+.-]{0,20}:[/\\]{2,}([^/\\?#]*)", re.IGNORECASE)
_IGNORED = re.compile(r"[\s\x00-\x1f\x7f\u00ad\u200b-\u200f\u2060\ufeff]")
_NUMERIC = re.compile(r"^(?:0x[0-9a-f]{1,8}|\d{1,11})(?:\.(?:0x[0-9a-f]{1,8}|\d{1,11})){0,3}$")
_IN_MAILBOX = string.ascii_letters + string.digits + ".!#$%&'*+/=?^_`{|}~-"
_LONGEST_MAILBOX = 64
_AT_DOMAIN = re.compile(r"@(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}")
_PHONE = re.compile(r"[+(\d](?<![\w.].)(?:(?<=\+)\(?\d|(?<=\()\d|(?<=\d))[\d ().\-/]{6,22}\d(?!\w)")
_WALLETS = re.compile(
    r"[b130T4](?<!\w.)(?:(?<=b)c1[02-9ac-hj-np-z]{25,80}|(?<=[13])[1-9A-HJ-NP-Za-km-z]{25,34}|(?<=0)x[0-9a-fA-F]{40}"
    r"|(?<=T)[1-9A-HJ-NP-Za-km-z]{33}|(?<=4)[0-9AB][1-9A-HJ-NP-Za-km-z]{93})\b"
)
# Most texts have no eight figures, and no 26 letters and figures, in a row; to see that takes a fraction of a search.
_FIGURES = b"0" * 8
_AS_FIGURES = bytes(48 if chr(sign) in "0123456789 ().-/" else 32 for sign in range(256))
_PURSE = b"0" * 26
_AS_PURSE = bytes(48 if chr(sign) in string.ascii_letters + string.digits else 32 for sign in range(256))
_NO_DIGIT = re.compile(r"\D")
_NOT_WEB = frozenset(
    (
        "mailto",
        "tel",
        "cid",
        "data",
        "javascript",
        "sms",
        "callto",
        "about",
        "file",
        "mid",
        "news",
        "x-apple-data-detectors",
    )
)
MAX_FOUND = 50
_LONGEST_HOST = 130
_LONGEST_PATH = 510


def links_in_text(text: str, most: int, *, is_quoted: bool = False, where: str = "text") -> list[Link]:
    """Links in plain text: with a scheme, with www., or a bare host under a common top-level domain."""
    found = [make_link(url, where=where, is_quoted=is_quoted) for url in islice(_urls_in(text), most)]
    done = 0
    for dot in _DOT.finditer(text):
        if len(found) >= most:
            break
        at = dot.start()
        if at < done:
            continue
        before = text[max(done, at - _LONGEST_HOST) : at]
        start = at - len(before) + len(before.rstrip(_IN_HOST))
        match = _BARE.match(text, start, dot.end() + _LONGEST_PATH)
        if match is not None and match.end(1) >= dot.end():
            found.append(make_link("http://" + match[0].rstrip(_TRAILING), where=where, is_quoted=is_quoted))
            done = match.end()
    return found


def _urls_in(text: str) -> Iterator[str]:
    """What begins with a scheme or with www., in order, without signs that end a sentence."""
    has_web = "www." in text.lower()
    if not has_web and "://" not in text:
        return
    pattern = _ANY_URL if has_web else _SCHEME_URL
    at = done = 0
    while (match := pattern.search(text, at)) is not None:
        start, at = match.span()
        if text[start] == ":":
            before = text[max(done, start - _LONGEST_SCHEME) : start].lower()
            scheme = next((one for one in _SCHEMES if before.endswith(one)), "")
            if not scheme:
                at = start + 3
                continue
            start -= len(scheme)
        done = at
        yield text[start:at].rstrip(_TRAILING)


def make_link(url: str, *, label: str = "", where: str = "text", is_quoted: bool = False) -> Link:
    """A link from an address as written; never raises."""
    is_clean = url.isascii() and url.isprintable() and " " not in url
    cleaned = (url if is_clean else _IGNORED.sub("", url))[:2000]
    plain = _PLAIN.match(cleaned)
    if plain is not None:
        host = host_of(plain[1])
        return Link(cleaned, host, domain_of(host) if host else "", label[:200], where, is_quoted)
    scheme = _SCHEME.match(cleaned)
    if scheme is not None and scheme[1].lower() in _NOT_WEB:
        return Link(cleaned[:500], "", "", label[:200], where, is_quoted)
    if cleaned[:4].lower() == "hxxp":
        cleaned = "http" + cleaned[4:]
    if cleaned.startswith("//"):
        cleaned = "http:" + cleaned
    elif scheme is None or "." in scheme[1]:
        cleaned = "http://" + cleaned  # no scheme, or `host.example:8080/…`
    authority = _AUTHORITY.match(cleaned)
    host = host_of(authority[1]) if authority else ""
    return Link(cleaned, host, domain_of(host) if host else "", label[:200], where, is_quoted)


@lru_cache(maxsize=8192)
def host_of(authority: str) -> str:
    """The host of a URL's authority as a browser reads it: no user, no port, IDNA as Unicode, numbers as IPv4."""
    host = authority.rpartition("@")[2]
    if host.startswith("["):
        return host.partition("]")[0].lstrip("[").lower()
    host = unquote(host.partition(":")[0]).strip(".").lower().replace("。", ".").replace("．", ".")
    if _NUMERIC.match(host):
        return _as_address(host)
    if "xn--" in host:
        try:
            return idna.decode(host)
        except (idna.IDNAError, UnicodeError):
            return host
    return host[:253]


@lru_cache(maxsize=8192)
def domain_of(host: str) -> str:
    """The registrable domain by the public suffix list; the host itself where there is none, as for addresses."""
    if not host or host[-1].isdigit() or ":" in host:
        return host
    return str(_suffixes().privatesuffix(host) or host)


def addresses_in(text: str) -> list[str]:
    """E-mail addresses, lower case, at most fifty, without doubles."""
    found: list[str] = []
    done = 0
    for match in _AT_DOMAIN.finditer(text):
        at, end = match.span()
        before = text[max(done, at - _LONGEST_MAILBOX) : at]
        start = at - len(before) + len(before.rstrip(_IN_MAILBOX))
        if start < at:
            found.append(text[start:end].lower())
            done = end
        if len(found) >= MAX_FOUND:
            break
    return list(dict.fromkeys(found))


def phones_in(text: str) -> list[str]:
    """Telephone numbers as digits with their leading +, 8 to 15 digits, at most fifty, without doubles."""
    numbers: list[str] = []
    for match in islice(_maybe_phones(text), MAX_FOUND):
        digits = _NO_DIGIT.sub("", match[0])
        if 8 <= len(digits) <= 15 and len(set(digits)) > 2:
            numbers.append(("+" if match[0].startswith(("+", "(+")) else "") + digits)
    return list(dict.fromkeys(numbers))


def _maybe_phones(text: str) -> Iterator[re.Match[str]]:
    if not text.isascii():
        yield from _PHONE.finditer(text)
        return
    figures = text.encode().translate(_AS_FIGURES)
    at = figures.find(_FIGURES)
    while at >= 0:
        end = figures.find(b" ", at)
        end = len(figures) if end < 0 else end
        # The sign before may be a plus, the sign behind tells whether the number ends there.
        yield from _PHONE.finditer(text, max(0, at - 1), end + 1)
        at = figures.find(_FIGURES, end)


def wallets_in(text: str) -> list[str]:
    """Addresses of crypto wallets by their shape (Bitcoin, Ethereum, Tron, Monero), at most fifty, without doubles."""
    if text.isascii() and _PURSE not in text.encode().translate(_AS_PURSE):
        return []
    found = (match[0] for match in islice(_WALLETS.finditer(text), MAX_FOUND))
    return list(dict.fromkeys(one for one in found if not one.isalpha()))


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text, 16)
    return int(text, 8) if text.startswith("0") and len(text) > 1 else int(text)


def _as_address(host: str) -> str:
    """One to four numbers, decimal, hexadecimal or octal, as a dotted IPv4 address (WHATWG URL, IPv4 parser)."""
    try:
        numbers = [_number(part) for part in host.split(".")]
    except ValueError:
        return host
    last = numbers.pop()
    if any(number > 255 for number in numbers) or last >= 256 ** (4 - len(numbers)):
        return host
    value = last
    for place, number in enumerate(numbers):
        value += number << (8 * (3 - place))
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
