"""What is remembered of logins: of an account, where its owner logs in; of a source, into whose accounts it tries.

A failed login leaves nothing with an account that is not known, so that guessing names fills no memory. All lists are
bounded; what falls out is the oldest of those that came last, so that a crowd of strangers cannot push out the owner.
"""

from __future__ import annotations

import ipaddress

import msgspec
from msgspec import Struct

from penstock.attempts import Attempt, Location
from penstock.judge.history import Known, tag
from penstock.judge.streams import keep_over

LOGINS_KEEP_S = 400 * 86400.0
SPREAD_KEEP_S = 2 * 86400.0
ROUTINE_S = 3600.0
"""So long a login that is like the last one is not written down again: mail programs log in every minute."""
DAY_S = 86400.0
_MOST_SOURCES = 48
_MOST_WRONG = 32
_MOST_ACCOUNTS = 64
_KNOWN_BYTES = 64
_RATE_HALF_LIFE_S = 60 * DAY_S


class Login(Struct, frozen=True):
    """One attempt, with what is known of the account it is for and of where it comes from."""

    account: str
    """`kind:value`."""
    source: str
    """The client's network, as for messages; empty where the client is a host of ours."""
    attempt: Attempt
    location: Location = Location()

    @property
    def spread_key(self) -> str:
        """What its source is known by over all accounts: the address, of IPv6 the /64 that one customer has."""
        try:
            ip = ipaddress.ip_address(self.attempt.ip)
        except ValueError:
            return self.source
        return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


class Seen(Struct, array_like=True):
    """One source from which somebody logged in to an account."""

    source: str
    first_at: float = 0.0
    seen_at: float = 0.0
    good: int = 0
    """Good logins, those within an hour counted once."""
    services: list[str] = []
    client: str = ""
    country: str = ""
    asn: int = 0
    strangeness: float = 0.0
    """Nats that its place spoke against it when it came; nought for the owner's first places."""
    told: float = 0.0
    """Nats that the account's evidence had of it at most, so that a second login adds only what is more."""


class LoginState(Struct, array_like=True):
    """What is remembered of one account's logins."""

    sources: list[Seen] = []
    known: Known = msgspec.field(default_factory=lambda: Known(size=_KNOWN_BYTES))
    """Networks' owners (ASN), countries, clients and services that the owner used."""
    rate: float = 0.0
    """New sources, fading over months."""
    rate_at: float = 0.0
    began_at: float = 0.0
    wrong: list[tuple[int, int, float]] = []
    """Different wrong passwords: (tag of the password, tag of the source, when last)."""
    at: tuple[float, float, float] | None = None
    """Where the owner was last: (when, latitude, longitude)."""
    crowd: float = 0.0
    """What many sources at once came to, at most, and when."""
    crowd_at: float = 0.0
    refused_at: float = 0.0
    """When a login last was to be refused for its place."""

    def seen(self, source: str) -> Seen | None:
        """What is known of a source; None where it is new."""
        return next((one for one in self.sources if one.source == source), None)

    def new_a_day(self, now: float) -> tuple[float, float]:
        """(new sources, days in which they came), fading alike: the account's own rate."""
        days = max(0.0, now - self.began_at) / DAY_S if self.began_at else 0.0
        most = _RATE_HALF_LIFE_S / DAY_S * 1.44
        return self.rate * keep_over(now - self.rate_at, _RATE_HALF_LIFE_S), min(days, most)


class Spread(Struct, array_like=True):
    """What is remembered of one source over all accounts: whose passwords it had wrong, and whose right."""

    failed: list[tuple[int, float]] = []
    good: list[tuple[int, float]] = []

    def others(self, account: str, now: float) -> tuple[int, int]:
        """Other accounts than this one that it failed and succeeded at within a day."""
        mine = tag(account)
        fresh = [sum(at > now - DAY_S and one != mine for one, at in rows) for rows in (self.failed, self.good)]
        return fresh[0], fresh[1]


_encoder = msgspec.msgpack.Encoder()
_logins = msgspec.msgpack.Decoder(LoginState)
_spread = msgspec.msgpack.Decoder(Spread)


def encode_logins(state: LoginState | Spread) -> bytes:
    """A record's bytes."""
    return _encoder.encode(state)


def read_logins(data: bytes | None) -> LoginState:
    """An account's logins; what is unknown or cannot be read starts anew."""
    try:
        return _logins.decode(data) if data else LoginState()
    except msgspec.MsgspecError:
        return LoginState()


def read_spread(data: bytes | None) -> Spread:
    """A source's logins over accounts; what is unknown or cannot be read starts anew."""
    try:
        return _spread.decode(data) if data else Spread()
    except msgspec.MsgspecError:
        return Spread()


def is_routine(state: LoginState, login: Login) -> bool:
    """Whether a good login is like one of the last hour, or an earlier one, so that nothing is to be learnt from it."""
    found, attempt = state.seen(login.source), login.attempt
    if found is None or (attempt.service and attempt.service not in found.services):
        return False
    return attempt.at - found.seen_at < ROUTINE_S


def note_spread(data: bytes | None, login: Login) -> bytes | None:
    """The source's record after a login; None where that says nothing new."""
    attempt = login.attempt
    if not (attempt.is_good or attempt.is_wrong_password):
        return None
    spread, mine, now = read_spread(data), tag(login.account), attempt.at
    rows = spread.good if attempt.is_good else spread.failed
    if any(one == mine and 0 <= now - at < ROUTINE_S for one, at in rows):
        return None
    rows[:] = [(one, at) for one, at in rows if one != mine and at > now - DAY_S][-_MOST_ACCOUNTS + 1 :]
    rows.append((mine, now))
    return encode_logins(spread)


def note_wrong(state: LoginState, login: Login) -> bool:
    """Count a wrong password; whether it is another one than those of the last day. Where its hash is not told, it is
    one a source: an old phone repeats itself for months."""
    attempt, source = login.attempt, tag(login.source)
    password = tag(attempt.password) if attempt.password else source
    rows = [row for row in state.wrong if row[2] > attempt.at - DAY_S]
    is_new = all(row[0] != password for row in rows)
    rows = [row for row in rows if row[0] != password]
    state.wrong = [*rows, (password, source, attempt.at)][-_MOST_WRONG:]
    return is_new


def note_good(state: LoginState, login: Login, *, strangeness: float, told: float, is_usual: bool) -> None:
    """Count a good login. `strangeness` is what its place says against it where it is new, `told` what all of it came
    to; one that is not usual says nothing about the owner's rate of new places."""
    attempt, location, now = login.attempt, login.location, login.attempt.at
    state.began_at = state.began_at or now
    found = state.seen(login.source)
    if found is None:
        found = Seen(login.source, now, strangeness=strangeness)
        if state.sources and is_usual:
            state.rate, state.rate_at = state.new_a_day(now)[0] + 1.0, now
        state.sources.append(found)
        if len(state.sources) > _MOST_SOURCES:
            # Half of the places are the owner's oldest; of the others the one that was seen longest ago goes.
            later = sorted(state.sources, key=lambda one: one.first_at)[_MOST_SOURCES // 2 : -1]
            state.sources.remove(min(later, key=lambda one: one.seen_at))
    if not found.good or now - found.seen_at >= ROUTINE_S:
        found.good += 1
    found.seen_at, found.told = now, max(found.told, told)
    found.client = attempt.client or found.client
    found.country, found.asn = location.country or found.country, location.asn or found.asn
    if attempt.service and attempt.service not in found.services:
        found.services = [*found.services, attempt.service][-6:]


def learn_place(state: LoginState, login: Login) -> None:
    """The owner was here: his networks, countries, clients and services are known from now on."""
    for name in names_of(login):
        state.known.add(name)
    where = login.location
    if where.latitude is not None and where.longitude is not None:
        state.at = (login.attempt.at, where.latitude, where.longitude)


def names_of(login: Login) -> list[str]:
    """What of a login can be known or new, each with what kind of thing it is."""
    attempt, location = login.attempt, login.location
    kinds = {"asn": location.asn, "country": location.country, "client": attempt.client, "service": attempt.service}
    found = {kind: str(value) for kind, value in kinds.items() if value}
    return [*found, *(f"{kind}:{value}" for kind, value in found.items())]
