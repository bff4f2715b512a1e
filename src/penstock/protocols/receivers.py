"""What a receiver's reply means: why the mail is refused, how badly, and whose doing it is.

The rules are data (`replies.toml`, which says in which order they are tried), since receivers change their words. Plain
substrings decide, pairs of words that stand near each other, and one short bounded pattern for each receiver that
numbers its reasons: whatever a reply contains, reading it takes time in proportion to its length, which is cut.

Levels are what an operator would say. A mailbox that is shut, or whose owner takes no mail, is `hard`: writing again
changes nothing. Whoever has a rule that the mail does not meet (size, form, authentication, names of hosts, no relay)
is `policy`, as is a reverse name that is wanted; whoever calls us or the mail abusive is `block`.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from functools import cache

import msgspec
from msgspec import Struct
from msgspec.structs import replace

_LONGEST = 4096


class Reason(StrEnum):
    """Why a receiver does not take the mail."""

    UNKNOWN_USER = "unknown-user"
    UNKNOWN_DOMAIN = "unknown-domain"
    MAILBOX_FULL = "mailbox-full"
    MAILBOX_DISABLED = "mailbox-disabled"
    POLICY = "policy"
    SPAM_CONTENT = "spam-content"
    VIRUS = "virus"
    IP_BLOCKED = "ip-blocked"
    DOMAIN_BLOCKED = "domain-blocked"
    RATE_LIMITED = "rate-limited"
    AUTHENTICATION = "authentication"
    """SPF, DKIM, DMARC; with scope `ip`, the name of the sending host."""
    TLS = "tls"
    GREYLISTED = "greylisted"
    MESSAGE_TOO_BIG = "message-too-big"
    RELAYING_DENIED = "relaying-denied"
    NETWORK = "network"
    SYSTEM = "system"
    UNCLEAR = "unclear"


class Level(StrEnum):
    """What follows from it."""

    HARD = "hard"
    """The recipient is not there; writing again is an offence."""
    SOFT = "soft"
    """Another time it may work."""
    POLICY = "policy"
    """The receiver has a rule that this mail, or how it is sent, does not meet."""
    BLOCK = "block"
    """The receiver takes us, or this mail, for abusive."""


class Scope(StrEnum):
    """What is refused, and hence who can mend it."""

    RECIPIENT = "recipient"
    IP = "ip"
    DOMAIN = "domain"
    CONTENT = "content"
    RATE = "rate"
    ACCOUNT = "account"
    UNCLEAR = "unclear"


_USUAL: Mapping[Reason, tuple[Level, Scope]] = {
    Reason.UNKNOWN_USER: (Level.HARD, Scope.RECIPIENT),
    Reason.UNKNOWN_DOMAIN: (Level.HARD, Scope.RECIPIENT),
    Reason.MAILBOX_DISABLED: (Level.HARD, Scope.RECIPIENT),
    Reason.MAILBOX_FULL: (Level.SOFT, Scope.RECIPIENT),
    Reason.POLICY: (Level.POLICY, Scope.UNCLEAR),
    Reason.SPAM_CONTENT: (Level.BLOCK, Scope.CONTENT),
    Reason.VIRUS: (Level.BLOCK, Scope.CONTENT),
    Reason.IP_BLOCKED: (Level.BLOCK, Scope.IP),
    Reason.DOMAIN_BLOCKED: (Level.BLOCK, Scope.DOMAIN),
    Reason.RATE_LIMITED: (Level.SOFT, Scope.RATE),
    Reason.AUTHENTICATION: (Level.POLICY, Scope.DOMAIN),
    Reason.TLS: (Level.POLICY, Scope.UNCLEAR),
    Reason.GREYLISTED: (Level.SOFT, Scope.UNCLEAR),
    Reason.MESSAGE_TOO_BIG: (Level.POLICY, Scope.CONTENT),
    Reason.RELAYING_DENIED: (Level.POLICY, Scope.UNCLEAR),
    Reason.NETWORK: (Level.SOFT, Scope.UNCLEAR),
    Reason.SYSTEM: (Level.SOFT, Scope.UNCLEAR),
    Reason.UNCLEAR: (Level.SOFT, Scope.UNCLEAR),
}


class ReplyMeaning(Struct, frozen=True):
    """What a receiver's reply means."""

    reason: Reason
    level: Level
    scope: Scope
    receiver: str = ""
    """The receiver group (`google`, `microsoft` …) or filtering product; empty where unknown."""
    blocklist: str = ""
    """The list that the reply names."""
    named_ip: str = ""
    """The first IP address in the receiver's own words: ours, where scope is `ip`."""
    url: str = ""
    """Where the receiver says more."""
    code: int = 0
    status: str = ""
    """Enhanced status (RFC 3463); empty where none is told."""


class _Rule(Struct, frozen=True, forbid_unknown_fields=True):
    reason: Reason
    any: tuple[str, ...] = ()
    all: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    what: tuple[str, ...] = ()
    how: tuple[str, ...] = ()
    status: str = ""
    scope: Scope | None = None
    level: Level | None = None
    list: str = ""

    def fits(self, text: str, status: str) -> bool:
        if self.status and not _in_range(status, self.status):
            return False
        return (
            (not self.any or _has_one(text, self.any))
            and all(one in text for one in self.all)
            and not _has_one(text, self.but)
            and (not self.what or _are_near(text, self.what, self.how))
        )

    def plain(self) -> _Rule:
        """The same rule for a text made plain."""
        words = (tuple(map(_plain, one)) for one in (self.any, self.all, self.but, self.what, self.how))
        return replace(self, **dict(zip(("any", "all", "but", "what", "how"), words, strict=True)))


class _Receiver(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    source: str
    domains: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()
    code: str = ""
    codes: Mapping[str, str] = {}
    rules: tuple[_Rule, ...] = ()


class _Blocklist(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    any: tuple[str, ...]
    reason: Reason = Reason.IP_BLOCKED


class _Data(Struct, frozen=True, forbid_unknown_fields=True):
    receiver: tuple[_Receiver, ...]
    blocklist: tuple[_Blocklist, ...]
    telling: tuple[_Rule, ...]
    phrase: tuple[_Rule, ...]
    status: Mapping[str, Reason]
    weak: Mapping[str, Reason]
    hint: tuple[_Rule, ...]


# The digits around keep IP addresses and version numbers from passing for a code.
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?!\d|\.\d)")
_CODE = re.compile(r"(?<![\w.:\[/-])([245]\d\d)(?=[ -]|$)")
_HOST_SAID = re.compile(
    r"^(?:delivery temporarily suspended: )?host ([\w.-]{1,255})\[[\w.:]{1,64}\](?::\d+)?"
    r" (?:said: |(?=refused to talk))"
)
_URL = re.compile(r"https?://[^\s<>\"'()\[\]]{3,300}")
_IP = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7})(?![\w:]|\.\d)")
_OPAQUE = re.compile(r"(?<![\w/+.=:?&%#-])[a-z0-9+/]{32,}={0,2}")
"""Ids and hashes, in whose letters a word may stand by chance."""
_NAMED_IP = re.compile(rf" ?[\[(<]?{_IP.pattern}[\])>]?")
"""An address within a phrase: `your IP [192.0.2.1] is listed`."""
_FROM_IP = re.compile(rf" from {_NAMED_IP.pattern}")
_MAILBOX = re.compile(r"<?(?<![\w.!#$%&'*+/=?^`{|}~-])[\w.!#$%&'*+/=?^`{|}~-]{1,128}@[\w.-]{1,255}>?")
_WHICH = re.compile(r"recipient address rejected: (?=\w)")
"""Postfix tells what it looked at before it tells what is wrong."""
_JOINS = str.maketrans(dict.fromkeys('-_"`<>', " "))
_NEAR = 40
_USING = re.compile(
    r"\b(?:blocked|listed|found|rejected|denied) (?:using|by|in|on|at) ((?:[a-z0-9-]{1,40}\.){1,5}[a-z]{2,12})\b"
)
"""`blocked using zone.example`, where no rule knows the list."""


def _has_one(text: str, words: tuple[str, ...]) -> bool:
    for one in words:  # noqa: SIM110 - a generator costs as much as the look-ups
        if one in text:
            return True
    return False


def _are_near(text: str, what: tuple[str, ...], how: tuple[str, ...]) -> bool:
    """Whether a word of each stands within `_NEAR` characters of the other, in either order; without `how`, whether a
    word of `what` is there."""
    if not _has_one(text, what) or (how and not _has_one(text, how)):
        return False
    return bool(_near(what, how).search(text))


@cache
def _near(what: tuple[str, ...], how: tuple[str, ...]) -> re.Pattern[str]:
    """Words begin where they are looked for, and may go on: `user` is in `users`, but `ip` is not in `recipient`."""
    one, other = (r"(?<![^\W_])(?:" + "|".join(map(re.escape, words)) + ")" for words in (what, how))
    if not how:
        return re.compile(one)
    return re.compile(f"{one}.{{0,{_NEAR}}}?{other}|{other}.{{0,{_NEAR}}}?{one}")


def _plain(text: str) -> str:
    """A text in lower case in the form in which phrases are compared: without accents, addresses and named IPs, `n't`
    written out, and one space for what joins words."""
    if not text.isascii():
        apart = unicodedata.normalize("NFKD", text.replace("’", "'"))[:_LONGEST]
        text = "".join(one for one in apart if not unicodedata.combining(one))
    text = _FROM_IP.sub(" from ip ", _WHICH.sub("", _MAILBOX.sub("@", text)))
    text = _NAMED_IP.sub("", text).replace("can't", "can not").replace("cannot", "can not").replace("n't", " not")
    return " ".join(text.translate(_JOINS).split())


def _blanked(found: re.Match[str]) -> str:
    """As many signs that say nothing: what stands around it comes no nearer."""
    return "x" * len(found[0])


def _in_range(status: str, wanted: str) -> bool:
    """Whether a status is `5.7.1`, or within `5.7.606-649`."""
    first, dash, last = wanted.partition("-")
    if not dash:
        return status == wanted
    head, _, low = first.rpartition(".")
    ours, _, detail = status.rpartition(".")
    return ours == head and detail.isdigit() and int(low) <= int(detail) <= int(last)


class Replies:
    """Reads replies by the rules of one file."""

    def __init__(self, text: str) -> None:
        """`text` is that of `replies.toml`. Raises ValueError where it is not as its first lines say."""
        try:
            data = msgspec.convert(tomllib.loads(text), _Data)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise ValueError(f"the rules for replies: {error}") from error
        self._receivers = [(one, re.compile(one.code) if one.code else None) for one in data.receiver]
        self._data = data
        self._phrases = tuple(one.plain() for one in data.phrase)
        self._hints = tuple(one.plain() for one in data.hint)
        self._by_domain = {domain: one.name for one in data.receiver for domain in one.domains}
        self._by_mx = {name: one.name for one in data.receiver for name in one.mx}

    def receiver_of(self, domain: str = "", mx: str = "") -> str:
        """The receiver group of a recipient's domain, or of the host that took the mail; empty where unknown."""
        return _nearest(mx, self._by_mx) or _nearest(domain, self._by_domain)

    def read(
        self, text: str, *, code: int = 0, status: str = "", domain: str = "", mx: str = "", guess: bool = True
    ) -> ReplyMeaning:
        """What a reply means. `text` may have code, status and the MTA's `host … said:` around it; what it says of
        itself goes before `code` and `status`, which are what the MTA made of it. Words that only stand near each
        other, or alone, say nothing in a text that is no reply (`guess` is False)."""
        folded = _OPAQUE.sub(_blanked, " ".join(text[:_LONGEST].lower().split()))
        if said := _HOST_SAID.match(folded):
            mx = mx or said[1]
            folded = folded[said.end() :]
        if found := _CODE.search(folded):
            code = int(found[1])
        if told := _STATUS.search(folded):
            status = told[1]
        receiver = self.receiver_of(domain, mx)
        rule, blocklist, group = self._rule(folded, code, status, receiver, guess)
        level, scope = _USUAL[rule.reason]
        level = rule.level or level
        if rule.reason is Reason.UNCLEAR and (code >= 500 or status.startswith("5")):
            level = Level.HARD
        elif rule.reason is Reason.UNCLEAR and (code or status):
            level = Level.SOFT
        ip, url = _IP.search(folded), _URL.search(folded)
        return ReplyMeaning(
            rule.reason,
            level,
            rule.scope or scope,
            receiver or group,
            blocklist,
            _address(ip[0]) if ip else "",
            url[0].rstrip(".,;:!") if url else "",
            code,
            status,
        )

    def reason_of(self, text: str) -> str:
        """The name of a reply's reason, as the pipeline asks for it; empty for an empty reply."""
        return self.read(text).reason.value if text.strip() else ""

    def _rule(self, text: str, code: int, status: str, receiver: str, guess: bool) -> tuple[_Rule, str, str]:
        """The rule that decides, the blocklist that is named, and the group whose words these are."""
        blocklist, listed = self._blocklist(text)
        for one, pattern in self._receivers:
            if pattern is not None and (found := pattern.search(text)) and (value := _coded(found[1], one.codes)):
                reason, _, scope = value.partition("/")
                return _Rule(Reason(reason), scope=Scope(scope) if scope else None), blocklist, one.name
            for rule in one.rules:
                if (rule.any or rule.all or receiver == one.name) and rule.fits(text, status):
                    return rule, rule.list or blocklist, one.name
        if blocklist:
            return _Rule(listed), blocklist, receiver
        for rule in self._data.telling:
            if rule.fits(text, status):
                return rule, "", receiver
        detail = status[2:]
        if detail in self._data.status:
            return _Rule(self._data.status[detail]), "", receiver
        plain = _plain(text)
        for rule in self._phrases:
            if (guess or not rule.what) and rule.fits(plain, status):
                return rule, "", receiver
        weak = self._data.weak.get(detail) or self._data.weak.get(detail.partition(".")[0])
        if weak is Reason.POLICY and status.startswith("4"):
            weak = Reason.SYSTEM  # a rule that may be another tomorrow is trouble of theirs
        if weak in (None, Reason.UNCLEAR) and guess:
            for rule in self._hints:
                if rule.fits(plain, status):
                    return rule, "", receiver
        return _Rule(weak or _BY_CODE.get(code, Reason.UNCLEAR)), "", receiver

    def _blocklist(self, text: str) -> tuple[str, Reason]:
        for one in self._data.blocklist:
            if _has_one(text, one.any):
                return one.name, one.reason
        if found := _USING.search(text):
            return found[1], Reason.IP_BLOCKED
        return "", Reason.UNCLEAR


_BY_CODE = {421: Reason.NETWORK, 452: Reason.SYSTEM, 552: Reason.MAILBOX_FULL}


def _nearest(name: str, known: Mapping[str, str]) -> str:
    """The entry of a host name, or of the closest domain above it."""
    name = name.lower().rstrip(".")
    while name:
        if name in known:
            return known[name]
        name = name.partition(".")[2]
    return ""


def _coded(found: str, codes: Mapping[str, str]) -> str:
    if found in codes:
        return codes[found]
    if found.isdigit():
        for span, value in codes.items():
            first, dash, last = span.partition("-")
            if dash and int(first) <= int(found) <= int(last):
                return value
    return ""


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
