"""What is remembered of accounts, their sources and campaigns: small records, their bytes, and how they fade.

An account's record holds its own past as numbers: decayed counts, a distribution of recipients per active hour, and
two generations of a Bloom filter for whom it writes to. It stays below two kilobytes however much is sent. Only mail
that left while nothing spoke against the account is learnt, so that an abuser cannot teach the record.
"""

from __future__ import annotations

from copy import copy
from functools import lru_cache

import msgspec
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from penstock.judge.streams import Stream

_BLOOM_BYTES = 576
_PLACES_BYTES = 64
_BLOOM_PROBES = 3


class Known(Struct, array_like=True):
    """A set that forgets: what was not seen during the last one or two generations is unknown again."""

    now: bytes = b""
    before: bytes = b""
    count: int = 0
    size: int = _BLOOM_BYTES
    """Bytes of one generation; it takes 0.8 texts a byte, and then a stranger passes for known once in sixty times."""

    def has(self, text: str) -> bool:
        """Whether the text was added lately (wrongly so at most in one of fifty cases)."""
        places = _places(text, self.size * 8)
        return _is_set(self.now, places) or _is_set(self.before, places)

    def add(self, text: str) -> None:
        """Remember a text."""
        places = _places(text, self.size * 8)
        if _is_set(self.now, places):
            return
        if self.count >= self.size * 4 // 5:
            self.before, self.now, self.count = self.now, b"", 0
        bits = bytearray(self.now or bytes(self.size))
        for place in places:
            bits[place >> 3] |= 1 << (place & 7)
        self.now = bytes(bits)
        self.count += 1


def _places(text: str, bits: int) -> tuple[int, ...]:
    number = xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))
    return tuple((number >> 20 * probe & 0xFFFFF) % bits for probe in range(_BLOOM_PROBES))


def _is_set(bits: bytes, places: tuple[int, ...]) -> bool:
    return bool(bits) and all(bits[place >> 3] >> (place & 7) & 1 for place in places)


class Fading(Struct, array_like=True):
    """A weighted count of yes and no, of which what is old counts less."""

    yes: float = 0.0
    no: float = 0.0

    def add(self, yes: float, no: float, keep: float) -> None:
        """Count; everything before weighs `keep` of what it did."""
        self.yes, self.no = self.yes * keep + yes, self.no * keep + no


class Moments(Struct, array_like=True):
    """Weight, mean and sum of squared deviations of a number, fading."""

    weight: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float, keep: float) -> None:
        """Take a value in (West 1979, with forgetting)."""
        self.weight, self.squares = self.weight * keep + 1.0, self.squares * keep
        step = value - self.mean
        self.mean += step / self.weight
        self.squares += step * (value - self.mean)


class Slow(Struct, array_like=True):
    """The slow start of an account whose recipients alone are odd: so many in five minutes, then four times as many."""

    began: float = 0.0
    used: int = 0
    room: int = 0


class Habits(Struct, array_like=True):
    """What an account usually does, where it is learnt of every message that is weighed, held ones too."""

    hours: Moments
    novelty: Fading
    copies: Fading
    links: Fading
    parts: Fading
    clients: Fading


class AccountState(Struct, array_like=True):
    """Everything that is remembered of one account."""

    first_at: float = 0.0
    seen_at: float = 0.0
    standing: str = "new"
    since: float = 0.0
    reason: str = ""
    by_hand: bool = False
    """Whether a person set the standing."""
    messages: int = 0
    recipients: int = 0
    learnt: int = 0
    """Messages that its past is learnt from."""
    stream: Stream = msgspec.field(default_factory=Stream)
    worst_at: float = 0.0
    """When the statistic last was above the watch line."""
    known: Known = msgspec.field(default_factory=Known)
    novelty: Fading = msgspec.field(default_factory=Fading)
    hours: Moments = msgspec.field(default_factory=Moments)
    """ln(1 + recipients) of hours in which anything was sent."""
    week: list[float] = []
    """Active hours by part of the week, fading."""
    hour: int = 0
    hour_recipients: float = 0.0
    content: Fading = msgspec.field(default_factory=Fading)
    """Sum of e^evidence, and its weight: the mean of the content e-value over the owner's own mail."""
    centre: float = 0.0
    """Mean log-odds of the content of the owner's own mail, shrunk towards nought."""
    links: Fading = msgspec.field(default_factory=Fading)
    parts: Fading = msgspec.field(default_factory=Fading)
    fresh: dict[int, int] = {}
    """Tags of link domains and attachment types that are new to the account, with the time of the first."""
    places: Known = msgspec.field(default_factory=lambda: Known(size=_PLACES_BYTES))
    """Link domains and attachment types sent before."""
    copies: Fading = msgspec.field(default_factory=Fading)
    """Messages that repeat a text or a new link of the same day, and others."""
    sources: Fading = msgspec.field(default_factory=Fading)
    clients: Fading = msgspec.field(default_factory=Fading)
    """New sources that brought a mail program which the account never used, and others."""
    bounces: Fading = msgspec.field(default_factory=Fading)
    day: int = 0
    day_new: int = 0
    """First-time recipients today, for the probation of new accounts."""
    slow: Slow = msgspec.field(default_factory=Slow)
    last: list[int] = []
    """Digests of the last messages, so that an MTA's retry is no new evidence."""
    complaints: Fading = msgspec.field(default_factory=Fading)
    traps: int = 0
    dead: list[int] = []
    """Tags of the last recipients that turned out unknown: each counts once, however often it is written to."""
    reset_at: float = 0.0
    """When its credentials last changed or a person cleared it; evidence of sources from before is void."""
    uncomplained: int = 0
    """Recipients of mail that left since a complaint last came."""
    owners: Habits | None = None
    """Of an account whose standing is poor or worse, its habits from before, which are its owner's."""

    @property
    def has_places(self) -> bool:
        """Whether it is known from where the account acts, so that another place is news."""
        return self.sources.yes + self.sources.no > 0.0

    def habits(self) -> Habits:
        """A copy of what the account usually does."""
        return Habits(*(copy(getattr(self, name)) for name in Habits.__struct_fields__))

    def resume(self, habits: Habits) -> None:
        """Take habits up again as if nothing had been seen since."""
        for name in Habits.__struct_fields__:
            setattr(self, name, copy(getattr(habits, name)))


class SourceState(Struct, array_like=True):
    """What is remembered of one source of one account."""

    stream: Stream = msgspec.field(default_factory=Stream)
    client: str = ""
    good: int = 0
    """Messages that left from here while nothing spoke against them."""


class CampaignState(Struct, array_like=True):
    """What is remembered of one fingerprint over all accounts."""

    first_at: float = 0.0
    seen_at: float = 0.0
    accounts: list[int] = []
    """Tags of distinct accounts, at most 64."""
    tenants: list[int] = []
    sources: list[int] = []
    recipients: int = 0
    nats: float = 0.0
    good_tenants: list[int] = []
    """Tenants from whose trusted accounts it came with harmless content: what many good people share is no campaign."""


_encoder = msgspec.msgpack.Encoder()
_account = msgspec.msgpack.Decoder(AccountState)
_source = msgspec.msgpack.Decoder(SourceState)
_campaign = msgspec.msgpack.Decoder(CampaignState)


def encode(state: AccountState | SourceState | CampaignState) -> bytes:
    """A record's bytes."""
    return _encoder.encode(state)


def read_account(data: bytes | None, now: float) -> AccountState:
    """An account's record; what is unknown or cannot be read starts anew."""
    try:
        return _account.decode(data) if data else AccountState(first_at=now, since=now)
    except msgspec.MsgspecError:
        return AccountState(first_at=now, since=now)


def read_source(data: bytes | None) -> SourceState:
    """A source's record; what is unknown or cannot be read starts anew."""
    try:
        return _source.decode(data) if data else SourceState()
    except msgspec.MsgspecError:
        return SourceState()


def read_campaign(data: bytes | None, now: float) -> CampaignState:
    """A campaign's record; what is unknown or cannot be read starts anew."""
    try:
        return _campaign.decode(data) if data else CampaignState(first_at=now)
    except msgspec.MsgspecError:
        return CampaignState(first_at=now)


@lru_cache(maxsize=16384)
def tag(text: str) -> int:
    """Thirty-two bits for a name, to tell names apart in small numbers."""
    return xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) & 0xFFFFFFFF


def remember(tags: list[int], text: str, most: int) -> bool:
    """Add a name's tag where it is new; whether it was. The oldest goes where there are too many."""
    one = tag(text)
    if one in tags:
        return False
    tags.append(one)
    if len(tags) > most:
        del tags[0]
    return True
