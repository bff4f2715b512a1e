"""The catalogue of blocklists: facts about each as data, and what an operator adds, overrides, turns off or holds a key
for."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from penstock.protocols.dnsbl import Dialect, to_ascii
from penstock.sending import Severity

Sort = Literal["ipv4", "ipv6", "domain"]
"""What is asked for."""

Dislike = Literal["traps", "bounces", "complaints", "content", "links", "hijack", "policy"]
"""Mail to traps, backscatter and unknown recipients, complaints, what mail says, its links, what a thief does; or no
offence, by the operator's policy."""


class BlockList(Struct, frozen=True, forbid_unknown_fields=True):
    """One list."""

    name: str
    """Stable, kebab-case; what listings are kept under."""
    title: str = ""
    zone: str = ""
    """Where it is asked; empty where it answers with a key only."""
    key_zone: str = ""
    """Where it is asked with a key, `{key}` in its place."""
    key: str = msgspec.field(default="", name="-key")
    """The operator's key; never shown."""
    kind: Literal["ip", "domain", "both"] = "ip"
    ipv4: bool = True
    ipv6: bool = False
    default: bool = True
    """Asked unless it is turned off; otherwise only where it is turned on."""
    has_test_point: bool = True
    test: str = ""
    """What it always lists, in place of RFC 5782's 127.0.0.2 or TEST."""
    severity: Severity = Severity.LOW
    """Of a listing whose code is not known."""
    operator: str = ""
    source: str = ""
    """The page that these facts come from."""
    delist: str = ""
    """The list's own page for getting off."""
    terms: str = ""
    """Query limits, registration, key."""
    causes: str = ""
    """What usually leads to a listing."""
    dislikes: list[Dislike] = []
    """The same in words that cases know: what of an account's evidence speaks for its being the cause."""
    refusals: dict[str, str] = {}
    not_listed: list[str] = []
    codes: list[tuple[str, Severity, str]] = []
    """(code, or a range such as `127.0.2.2-24`; severity; meaning)."""
    bits: list[tuple[int, Severity, str]] = []
    """Where the last number of the answer is a sum: (bit, severity, meaning)."""
    per_second: float = 50.0
    """Questions a second at most; 0 for no limit, for a mirror of one's own."""
    dead: str = ""
    """Since when and how it is dead; such a list is never asked."""

    @property
    def asked(self) -> str:
        """The zone that questions go to; holds the key, so that it is never shown."""
        return self.key_zone.replace("{key}", self.key) if self.key and self.key_zone else self.zone

    def takes(self, sort: Sort) -> bool:
        """Whether it can be asked for this."""
        if sort == "domain":
            return self.kind != "ip"
        return self.kind != "domain" and (self.ipv6 if sort == "ipv6" else self.ipv4)

    def dialect(self) -> Dialect:
        """How its answers differ from the rule."""
        return Dialect(self.refusals, frozenset(self.not_listed))

    def explain(self, codes: Iterable[str]) -> tuple[tuple[str, ...], Severity]:
        """What codes mean, as far as is known, and the gravest severity among them."""
        found: list[tuple[Severity, str]] = []
        for code in codes:
            found += self._explain_one(code) or [(self.severity, "")]
        gravest = max((severity for severity, _ in found), key=lambda one: one.rank, default=self.severity)
        return tuple(dict.fromkeys(meaning for _, meaning in found if meaning)), gravest

    def _explain_one(self, code: str) -> list[tuple[Severity, str]]:
        head, _, last = code.rpartition(".")
        if self.bits:
            return [(severity, meaning) for bit, severity, meaning in self.bits if int(last) & bit]
        for known, severity, meaning in self.codes:
            start, _, last_known = known.rpartition(".")
            low, dash, high = last_known.partition("-")
            if start == head and (int(low) <= int(last) <= int(high) if dash else last == last_known):
                return [(severity, meaning)]
        return []


class Choice(Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator makes of the catalogue; the form of a lists file too."""

    lists: list[dict[str, Any]] = msgspec.field(default_factory=list, name="list")
    """Own lists by new names, or fields to override by known ones."""
    disable: Sequence[str] = ()
    enable: Sequence[str] = ()
    keys: Mapping[str, str] = {}
    """Keys by list name; a key of `spamhaus` or `abusix` opens all lists of that operator that have a key zone."""
    only: bool = False
    """Only the lists of the file, none of the catalogue."""
    checked: str = ""


def read_choice(text: str) -> Choice:
    """A lists file, as TOML. Raises ValueError with what is wrong."""
    try:
        return msgspec.convert(tomllib.loads(text), Choice)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as trouble:
        raise ValueError(f"not a lists file: {trouble}") from None


def shipped() -> Choice:
    """The catalogue that comes with Penstock."""
    return read_choice((resources.files("penstock.lists") / "catalogue.toml").read_text("utf-8"))


def known_lists(*choices: Choice) -> list[BlockList]:
    """Every list that is known, dead and turned-off ones too. Raises ValueError for a list that makes no sense."""
    ours = [] if any(one.only for one in choices) else shipped().lists
    rows: dict[str, dict[str, Any]] = {}
    for row in (*ours, *(row for choice in choices for row in choice.lists)):
        name = row.get("name")
        if not isinstance(name, str) or not name:
            raise ValueError(f"a list has no name: {row!r:.80}")
        rows[name] = rows.get(name, {}) | row
    return [_entry(row, choices) for row in rows.values()]


def chosen_lists(*choices: Choice) -> list[BlockList]:
    """The lists that are asked. Raises ValueError for unknown names and lists that make no sense."""
    known = known_lists(*choices)
    names = {one.name for one in known}
    on = {name for choice in choices for name in choice.enable}
    off = {name for choice in choices for name in choice.disable}
    for name in sorted((on | off) - names):
        raise ValueError(f'no list is named "{name}"; `penstock lists` shows them')
    return [
        one for one in known if not one.dead and one.asked and one.name not in off and (one.default or one.name in on)
    ]


def _entry(row: dict[str, Any], choices: Sequence[Choice]) -> BlockList:
    try:
        one = msgspec.convert(row, BlockList)
    except msgspec.ValidationError as trouble:
        raise ValueError(f'list "{row["name"]}": {trouble}') from None
    if not one.zone and not one.key_zone:
        raise ValueError(f'list "{one.name}" has no zone; write zone = "bl.example.com"')
    if one.zone:
        to_ascii(one.zone)
    for choice in choices:
        key = choice.keys.get(one.name) or (choice.keys.get(one.name.partition("-")[0]) if one.key_zone else None)
        if key:
            one = replace(one, key=key)
    return one
