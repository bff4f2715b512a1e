"""The sequential tests of one stream of messages: Page's CUSUM under several models of abuse, and against good bulk.

An abuser writes to strangers or to the owner's contacts, in bursts or slowly, with a text that reads like abuse or
like anybody's. No single sum of evidence fits all of them: what speaks for one speaks against another. So each model
adds up the kinds of evidence that it predicts, and the statistic is the logarithm of the mean of e^W over the models.
A mean of e-detectors is an e-detector (Shin, Ramdas and Rinaldo 2022), so the mean number of messages between false
alarms stays at least e^h, at a price of at most ln 4 nats.

A second statistic asks whether a good customer's change of habits (a newsletter, a shop's robot, a greeting to
everybody) explains the stream as well: whom it goes to and how fast says nothing there (detection-science §3,
"confusing change").
"""

from __future__ import annotations

from copy import copy
from math import exp, log

import msgspec
from msgspec import Struct

from penstock.model import Evidence

MOST = 30.0
"""A statistic's ceiling, so that good mail can bring it down again."""
GROUP_MOST = {
    "content": 8.0,
    "links": 4.0,
    "login": 4.0,
    "copies": 6.0,
    "novelty": 10.0,
    "velocity": 10.0,
    "campaign": 8.0,
    "listings": 2.0,
}
"""How much each kind of evidence can add to a test before another one must come."""
COPIES_ELSEWHERE = 2.0
"""Nats that copies from a place which is itself news can add beyond that: an owner's newsletter comes from home."""
_ALWAYS = ("links", "login", "campaign", "complaints", "traps", "listings")
ABUSE = (
    ("content", "novelty", "bounces", *_ALWAYS),
    ("novelty", "bounces", "copies", *_ALWAYS),
    ("content", "velocity", *_ALWAYS),
    ("velocity", "copies", *_ALWAYS),
)
"""What each model of abuse predicts: a list of strangers, the same with a harmless text, a blast, and a letter to the
owner's own contacts."""
BULK = (
    ("content", "bulk-bounces", "login", "campaign", "complaints", "traps"),
    ("login", "campaign", "traps"),
)
"""What abuse is expected to show and good bulk is not; the second is abuse whose text reads like anybody's."""
BULK_CONTENT = 0.5
"""Nats by which good bulk reads more like abuse than letters do."""
BULK_MOST = {"content": 5.0, "login": 4.0, "campaign": 2.0}
"""How much can be said against good bulk by its text, and by others who send the like: shops share their templates."""
BULK_COMPLAINT = 0.33
"""Share of a complaint's evidence that is left: good bulk has some too."""
CLASSES = {"novelty": "recipients", "velocity": "recipients", "copies": "recipients", "traps": "bounces"}
"""Groups that depend on each other count as one kind of evidence."""
_HALF_LIFE_S = 7 * 86400.0
_LONG_HALF_LIFE_S = 21 * 86400.0
_LN2 = 0.6931471805599453


def _places(models: tuple[tuple[str, ...], ...]) -> dict[str, tuple[int, ...]]:
    groups = dict.fromkeys(group for model in models for group in model)
    return {group: tuple(place for place, model in enumerate(models) if group in model) for group in groups}


_IN_ABUSE, _IN_BULK = _places(ABUSE), _places(BULK)


class Stream(Struct, array_like=True):
    """One stream's statistics, and which evidence they are made of."""

    walks: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(ABUSE))
    """W of each model of abuse, never below zero."""
    bulk: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(BULK))
    groups: dict[str, float] = {}
    """Evidence since all statistics last were zero, by group."""
    messages: int = 0
    first_at: float = 0.0
    seen_at: float = 0.0
    texts: list[int] = []
    """Tags of the last texts, each of which counts as content once; negative where it spoke for the owner."""
    asked: float = 0.0
    """First-time recipients of messages that left, and how many of them turned out unknown."""
    unknown: float = 0.0
    is_closed: bool = False
    """Whether its mail is held, until the statistic is well below the line again."""
    causes: dict[str, tuple[str, int]] = {}
    """By group, the name of the strongest single term and its tenths of a nat, for explanations."""

    @property
    def nats(self) -> float:
        """The statistic that is held against the lines."""
        return _log_mean(self.walks)

    @property
    def against_bulk(self) -> float:
        """The statistic that a good customer's change of habits leaves low."""
        return _log_mean(self.bulk)

    @property
    def is_silent(self) -> bool:
        """Whether no message has spoken for abuse yet with a nat, whatever a login said."""
        return self.nats < 1.0 + max(0.0, self.groups.get("login", 0.0))

    def fade(self, now: float) -> None:
        """What was seen days ago says less about today; lowering an e-process keeps it valid."""
        silent_s = now - self.seen_at
        if silent_s <= 0 or not (self.seen_at and (any(self.walks) or any(self.bulk))):
            return
        # What began a run of abuse stays while it is held, or a patient abuser would only have to wait.
        keep = keep_over(silent_s, _LONG_HALF_LIFE_S if self.is_closed else _HALF_LIFE_S)
        self.walks = [nats * keep for nats in self.walks]
        self.groups = {group: nats * keep for group, nats in self.groups.items()}
        self.asked, self.unknown = self.asked * keep, self.unknown * keep
        keep = keep_over(silent_s, _LONG_HALF_LIFE_S)
        self.bulk = [nats * keep for nats in self.bulk]
        self.seen_at = now

    def add(self, terms: dict[str, float]) -> None:
        """One step of all tests with the evidence of one message or event, by group."""
        walks, bulk = [0.0] * len(ABUSE), [0.0] * len(BULK)
        for group, nats in terms.items():
            before = self.groups.get(group, 0.0)
            after = max(-MOST, min(self._most(group), before + nats))
            self.groups[group] = after
            # What is beyond a group's most adds nothing: no kind of evidence can go on and on by itself.
            step = min(nats, max(0.0, after - before)) if nats > 0 else nats
            for place in _IN_ABUSE.get(group, ()):
                walks[place] += step
            if group in _IN_BULK:
                step = _against_bulk(group, nats, before)
                for place in _IN_BULK[group]:
                    bulk[place] += step
        self.walks = [min(MOST, max(0.0, at + step)) for at, step in zip(self.walks, walks, strict=True)]
        self.bulk = [min(MOST, max(0.0, at + step)) for at, step in zip(self.bulk, bulk, strict=True)]
        if not any(self.walks):
            self.groups, self.causes, self.asked, self.unknown = {}, {}, 0.0, 0.0

    def _most(self, group: str) -> float:
        is_elsewhere = group == "copies" and self.groups.get("login", 0.0) >= COPIES_ELSEWHERE
        return GROUP_MOST.get(group, MOST) + (COPIES_ELSEWHERE if is_elsewhere else 0.0)

    def name(self, terms: tuple[Evidence, ...]) -> None:
        """Remember what the evidence just added was called, where some model of abuse goes by it."""
        for term in terms:
            tenths = round(10.0 * term.nats)
            if term.group in self.groups and tenths > self.causes.get(term.group, ("", 0))[1]:
                self.causes[term.group] = term.name, tenths

    def by_cause(self) -> dict[str, float]:
        """The statistic as a sum over the names of what it is made of: the kinds of evidence that the likeliest model
        of abuse goes by, each with its share; `carried` where what spoke for abuse is outweighed by now."""
        nats = self.nats
        if not nats:
            return {}
        model = ABUSE[max(range(len(ABUSE)), key=self.walks.__getitem__)]
        spoke = {group: self.groups[group] for group in model if self.groups.get(group, 0.0) > 0.0}
        total = sum(spoke.values())
        shares = {self.causes.get(group, (group,))[0]: nats * part / total for group, part in spoke.items()}
        return shares or {"carried": nats}

    def at(self, source: Stream) -> Stream:
        """This account's stream as it looks for a message from one source: with what that source's login says.

        What a login from another place says is no evidence about mail from here.
        """
        login = max(0.0, source.groups.get("login", 0.0))
        joined = copy(self)
        joined.walks = [nats + login for nats in self.walks]
        joined.bulk = [nats + login for nats in self.bulk]
        joined.groups = {**self.groups, "login": login}
        joined.causes = {**self.causes, **{group: one for group, one in source.causes.items() if group == "login"}}
        return joined

    def leading(self, terms: dict[str, float]) -> float:
        """What one message's evidence comes to under the model that is ahead."""
        model = ABUSE[max(range(len(ABUSE)), key=self.walks.__getitem__)]
        return sum(nats for group, nats in terms.items() if group in model)

    def kinds(self, enough: float) -> set[str]:
        """The independent kinds of evidence that speak for abuse with so many nats."""
        return {CLASSES.get(group, group) for group, nats in self.groups.items() if nats >= enough}


def _against_bulk(group: str, nats: float, before: float) -> float:
    """What one term says against good bulk; `before` is what its group came to until then."""
    if group == "content":
        nats -= BULK_CONTENT
    elif group == "complaints":
        nats *= BULK_COMPLAINT
    return min(nats, max(0.0, BULK_MOST.get(group, MOST) - max(0.0, before)))


def _log_mean(walks: list[float]) -> float:
    top = max(walks)
    if top <= 0.0:
        return 0.0
    return max(0.0, top + log(sum(exp(one - top) for one in walks) / len(walks)))


def keep_over(seconds: float, half_life_s: float) -> float:
    """What share of a weight is left after some time."""
    return exp(-_LN2 * max(0.0, seconds) / half_life_s)
