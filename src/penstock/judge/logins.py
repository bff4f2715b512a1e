"""Is whoever logs in the account's owner? Evidence from where he comes, how many come, and what was tried before.

The owner travels, buys phones and forgets passwords. So all that *where* can say is one kind of evidence, capped at
four nats, and a login is to be refused only where a second kind speaks too: many places at once, guessing, a source
that tries other accounts, a list of such sources, or what the account sends. Each is a likelihood ratio against the
owner's own past, and the line comes from a budget of false refusals (detection-science §3, "login", and N8).

A source from which the owner came before is never against him: who is at home is at home.
"""

from __future__ import annotations

from math import asin, cos, exp, lgamma, log, radians, sin, sqrt

from msgspec import Struct

from penstock.judge import channels
from penstock.judge.history import AccountState, SourceState, read_account, read_source, tag
from penstock.judge.login_past import (
    DAY_S,
    Login,
    LoginState,
    Seen,
    Spread,
    learn_place,
    note_good,
    read_logins,
    read_spread,
)
from penstock.judge.policy import Policy
from penstock.judge.streams import keep_over
from penstock.model import Evidence

_STRANGE_HALF_LIFE_S = 7 * DAY_S
_SETTLED = 0.7
"""Below so many nats a place counts as one of the owner's."""
_REMEMBERED_S = 21 * DAY_S
_ENOUGH = 1.0
"""Nats from which a kind of evidence speaks."""
_HYSTERESIS = 2.3
"""Nats below the line at which the places of strangers stay refused, once one was."""
ENOUGH_GOOD, _JUST_NOW_S = 3, 3600.0
"""Good messages from a place that make it the owner's; and how late a log may tell of a login whose mail is here."""
GUESSED_MOST = 3.0
SPREAD_MOST = 4.0
CROWD_MOST = 4.0
LISTED = 2.5
"""One login in three of a thief comes from an address on such a list, and one in forty of owners: ln(0.3 / 0.025)."""
MAIL_MOST = 4.0
_SAME_OWNER = -2.0
"""A new address in a network whose owner the account knows: ln 0.1 of thieves / 0.75 of owners."""
_NEW_COUNTRY, _NEW_CLIENT, _NEW_SERVICE, _TRAVEL = 1.5, 0.7, 1.8, 2.0
_READER_S = 14 * DAY_S
"""So long must an account have been known, without ever sending, before SMTP is news."""
_FASTEST_KMH = 1000.0
_FAR_KM = 500.0
_TRAVELS = 0.05
"""Share of days, and of hours, in which the owner is on the way: with four new networks a day, one an hour."""

KINDS = {
    "new-source": "place", "known-network": "place", "new-country": "place", "new-client": "place",
    "new-service": "place", "impossible-travel": "place", "many-sources": "crowd", "guessed": "guessing",
    "tries-accounts": "guessing", "listed-source": "lists", "account-mail": "mail",
}  # fmt: skip
"""What kind of evidence a term is; two kinds are needed for a refusal."""


class Past(Struct):
    """All that is remembered of an account and of the source that logs in to it."""

    account: AccountState
    source: SourceState
    logins: LoginState
    spread: Spread

    @classmethod
    def read(
        cls,
        account: bytes | None,
        source: bytes | None,
        logins: bytes | None,
        spread: bytes | None,
        *,
        now: float,
    ) -> Past:
        """The records; what is unknown or cannot be read starts anew."""
        return cls(read_account(account, now), read_source(source), read_logins(logins), read_spread(spread))


class Weighed(Struct, frozen=True):
    """What one login came to."""

    evidence: tuple[Evidence, ...] = ()
    strangeness: float = 0.0
    """Nats of its place, at most four; nought for the owner's own places."""
    nats: float = 0.0
    """Of all kinds together, as held against the line."""
    line: float = 0.0
    is_refused: bool = False
    """Whether it is to be refused."""

    def head_start(self, *, is_first: bool) -> float:
        """Nats that the test of its source gets. What its messages weigh themselves is theirs: the mail program, the
        account's mail, and the place where a message came first."""
        leave = {"mail"} if is_first else {"mail", "place"}
        own = sum(one.nats for one in self.evidence if one.name != "new-client" and KINDS[one.name] not in leave)
        return max(0.0, min(channels.LOGIN_MOST, own))


def weigh_login(past: Past, login: Login, policy: Policy) -> Weighed:
    """What a login says if its password is right. Nothing changes by it."""
    account, state, now = past.account, past.logins, login.attempt.at
    seen = state.seen(login.source)
    if not login.source:
        return Weighed()  # a host of ours, which speaks for anybody
    place = [] if seen else _place(past, login)
    strangeness = min(channels.LOGIN_MOST, sum(one.nats for one in place))
    if seen is not None:
        strangeness = _faded(seen, now)
        place = [Evidence("new-source", round(strangeness, 3), f"{login.source}, seen lately", "", "login")]
    if strangeness < _SETTLED:
        return Weighed()
    others = [
        *_crowd(past, login),
        *_guessed(account, state, login),
        *_tries(past.spread, login),
        *_listed(login),
        *_mail(account),
    ]
    kinds = {"place": strangeness}
    for one in others:
        kinds[KINDS[one.name]] = kinds.get(KINDS[one.name], 0.0) + one.nats
    if kinds.get("crowd", 0.0) >= _ENOUGH:
        # Of a crowd, whoever comes late is no less strange than who came first.
        kinds["place"] = max(strangeness, *(one.strangeness for one in _lately(past, now)), 0.0)
    nats, speaking = sum(kinds.values()), sum(value >= _ENOUGH for value in kinds.values())
    is_on = state.refused_at > max(account.reset_at, now - _REMEMBERED_S)
    line = policy.login_line - (_HYSTERESIS if is_on else 0.0)
    is_refused = nats >= line and speaking >= 2 and login.account not in policy.exempt
    return Weighed((*place, *others), round(strangeness, 3), round(nats, 3), round(line, 3), is_refused)


def is_settled(past: Past, login: Login) -> bool:
    """Whether the owner is known to log in from there, so that nobody need be asked where that is."""
    seen = past.logins.seen(login.source)
    return seen is not None and _faded(seen, login.attempt.at) < _SETTLED


def _faded(seen: Seen, now: float) -> float:
    return seen.strangeness * keep_over(now - seen.first_at, _STRANGE_HALF_LIFE_S)


class LoginPlace(Struct, frozen=True):
    """A place that an account logs in from, for people."""

    source: str
    country: str
    asn: int
    services: tuple[str, ...]
    client: str
    first_at: float
    last_at: float
    logins: int
    """Good ones, those within an hour counted once."""
    strangeness: float
    """Nats that still speak against it; nought for the owner's own places."""


def places_of(logins: bytes | None, now: float) -> tuple[LoginPlace, ...]:
    """Where an account logs in from, latest first."""
    seen = sorted(read_logins(logins).sources, key=lambda one: -one.seen_at)
    return tuple(
        LoginPlace(
            one.source, one.country, one.asn, tuple(one.services), one.client, one.first_at, one.seen_at, one.good,
            round(_faded(one, now), 2),
        )
        for one in seen
    )  # fmt: skip


def take_good(past: Past, login: Login, weighed: Weighed) -> dict[str, float]:
    """Count a good login; the evidence that it adds to the source's test, by group."""
    account, source, state, stream = past.account, past.source, past.logins, past.source.stream
    now = login.attempt.at
    seen = state.seen(login.source)
    is_first = not stream.first_at
    is_new = seen is None and is_first and account.has_places
    crowd = sum(one.nats for one in weighed.evidence if one.name == "many-sources")
    # A crowd of strangers does not teach that strangers are usual here.
    is_usual = crowd < _ENOUGH
    if is_usual or not is_new:
        account.sources.add(float(is_new), float(not is_new), 0.99)
    stream.first_at, stream.seen_at = stream.first_at or now, now
    source.client = login.attempt.client or source.client
    told = weighed.head_start(is_first=is_first)
    extra = told - max(seen.told if seen else 0.0, stream.groups.get("login", 0.0))
    note_good(state, login, strangeness=weighed.strangeness, told=told, is_usual=is_usual)
    if crowd > state.crowd * keep_over(now - state.crowd_at, _REMEMBERED_S):
        state.crowd, state.crowd_at = crowd, now
    if weighed.strangeness < _SETTLED:
        learn_place(state, login)
    return {"login": extra} if extra > 0.0 else {}


def _place(past: Past, login: Login) -> list[Evidence]:
    """What a source that never logged in before says by where and what it is."""
    account, source, state = past.account, past.source, past.logins
    if not account.has_places or _is_known(account, source, login.attempt.at):
        return []
    nats = channels.new_thing(True, account.sources, abuse=0.95, prior=0.1, most=channels.LOGIN_MOST)
    found = [_term("new-source", nats, login.source)]
    where, attempt, known = login.location, login.attempt, state.known
    if where.asn and known.has(f"asn:{where.asn}"):
        found.append(_term("known-network", _SAME_OWNER, f"AS{where.asn}"))
    if where.country and known.has("country") and not known.has(f"country:{where.country}"):
        found.append(_term("new-country", _NEW_COUNTRY, where.country))
    if attempt.client and known.has("client") and not known.has(f"client:{attempt.client}"):
        found.append(_term("new-client", _NEW_CLIENT, attempt.client))
    is_reader = account.messages == 0 and attempt.at - account.first_at > _READER_S
    if attempt.service == "smtp" and is_reader and known.has("service") and not known.has("service:smtp"):
        found.append(_term("new-service", _NEW_SERVICE, "smtp", "only reads mail"))
    return found + _travel(state, login)


def _is_known(account: AccountState, source: SourceState, now: float) -> bool:
    """Whether the account sent from there, so that the place is no news: not just now, and not as a stranger."""
    stream = source.stream
    is_earlier = bool(stream.first_at) and account.reset_at < stream.seen_at and stream.first_at < now - _JUST_NOW_S
    return source.good >= ENOUGH_GOOD or (is_earlier and stream.groups.get("login", 0.0) < _SETTLED)


def _travel(state: LoginState, login: Login) -> list[Evidence]:
    """Two places that nobody can have been at within the time between."""
    where, now = login.location, login.attempt.at
    if state.at is None or where.latitude is None or where.longitude is None:
        return []
    at, latitude, longitude = state.at
    km = _km((latitude, longitude), (where.latitude, where.longitude))
    hours = max(now - at, 60.0) / 3600.0
    if km < _FAR_KM or km / hours < _FASTEST_KMH:
        return []
    return [_term("impossible-travel", _TRAVEL, f"{km:.0f} km in {hours:.1f} h", f"{_FASTEST_KMH:.0f} km/h")]


def _km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Length of the great circle between two points given in degrees (haversine)."""
    (lat1, lon1), (lat2, lon2) = (tuple(map(radians, place)) for place in (one, other))
    half = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin((lon2 - lon1) / 2) ** 2
    return 12742.0 * asin(sqrt(min(1.0, half)))


def _lately(past: Past, now: float) -> list[Seen]:
    """Strange places that came within a day, since the password last changed."""
    since = max(past.account.reset_at, now - DAY_S)
    return [one for one in past.logins.sources if one.strangeness >= _SETTLED and one.first_at > since]


def _crowd(past: Past, login: Login) -> list[Evidence]:
    """More new places in an hour, or a day, than this owner's habits and travels explain."""
    state, now, mine = past.logins, login.attempt.at, login.location.asn or login.source
    # Networks of one owner are one place where that is known: mobile users get another one with each cell.
    places = {one.asn or one.source: one.first_at for one in _lately(past, now)}
    places[mine] = min(places.get(mine, now), now)
    day, hour = len(places), sum(at > now - 3600.0 for at in places.values())
    new, days = state.new_a_day(now)
    ratios = [_many(day, (new + 0.5) / (days + 2.0), new + 0.5, 4.0)]
    ratios.append(_many(hour, (new + 0.5) / (days + 2.0) / 16.0, new + 0.5, 1.0))
    nats = log(sum(exp(min(20.0, one)) for one in ratios) / 2.0)
    if state.crowd_at > past.account.reset_at:
        nats = max(nats, state.crowd * keep_over(now - state.crowd_at, _REMEMBERED_S))
    if nats <= 0.0:
        return []
    return [_term("many-sources", min(CROWD_MOST, nats), f"{day} new places in a day", f"{new / (days + 2.0):.1f}")]


def _many(count: int, mean: float, shape: float, travels: float) -> float:
    """So many new places against the owner's rate, gamma-Poisson, with days on which he travels; given that there is
    one. A thief's number is anything up to sixty-four."""
    if count < 1:
        return -20.0
    p = shape / (shape + mean)

    def owner(n: int) -> float:
        usual = lgamma(n + shape) - lgamma(shape) - lgamma(n + 1) + shape * log(p) + n * log(1.0 - p)
        return (1.0 - _TRAVELS) * exp(usual) + _TRAVELS * exp(n * log(travels) - travels - lgamma(n + 1))

    return log((1.0 - owner(0)) / (count * log(64.0) * max(owner(count), 1e-30)))


def _guessed(account: AccountState, state: LoginState, login: Login) -> list[Evidence]:
    """Different wrong passwords of the last day from places that are not the owner's, before a right one.

    Owners mistype, one in four times anew; who guesses may try any number.
    """
    own = {tag(one.source) for one in state.sources if one.strangeness < _SETTLED}
    since = max(account.reset_at, login.attempt.at - DAY_S)
    count = sum(at > since and source not in own for _, source, at in state.wrong)
    nats = log(0.3 / (count + 1)) - log(0.75) - count * log(0.25)
    if count < 2 or nats <= 0.0:
        return []
    return [_term("guessed", min(GUESSED_MOST, nats), f"after {count} different wrong passwords", "0 or 1")]


def _tries(spread: Spread, login: Login) -> list[Evidence]:
    """The same source has the passwords of others, or tries them: ln(0.95/0.4) for each account that it fails at, and
    ln(0.2/0.8) for each that it gets into."""
    failed, good = spread.others(login.account, login.attempt.at)
    nats = 0.87 * failed - 1.39 * good
    if failed < 3 or nats <= 0.0:
        return []
    seen = f"failed at {failed} other accounts, good at {good}"
    return [_term("tries-accounts", min(SPREAD_MOST, nats), seen, "0")]


def _listed(login: Login) -> list[Evidence]:
    return [_term("listed-source", LISTED, ", ".join(login.location.lists), "0")] if login.location.lists else []


def _mail(account: AccountState) -> list[Evidence]:
    """What the account's own mail says against it, whichever source it came from."""
    nats = min(MAIL_MOST, account.stream.nats)
    return [_term("account-mail", nats, "what it sends", "0")] if nats >= _ENOUGH else []


def _term(name: str, nats: float, seen: str, expected: str = "") -> Evidence:
    return Evidence(name, round(nats, 3), seen[:100], expected, "login")
