"""Asks blocklists: every list in a lane of its own, politely, and never before its test points were right.

A lane has a bounded number of questions at once and a rate, ends by itself when its list stops answering, and draws its
targets from an iterator, so that a /16 costs no more memory than a /24.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from msgspec import Struct

from penstock.clients.dns import Resolver
from penstock.lists.catalogue import BlockList, Sort
from penstock.protocols.dns_wire import Kind, ending, labels
from penstock.protocols.dnsbl import (
    Address,
    Answer,
    Clear,
    Health,
    Listed,
    Trouble,
    Unknown,
    believed,
    canaries,
    judge,
    name_of_address,
    name_of_domain,
    read,
    reversed_address,
    to_ascii,
)
from penstock.sending import Severity

_MOST_AT_ONCE = 600
"""Questions at once over all lists; what a local resolver takes without dropping any."""
_MOST_PER_LIST = 64
_HEALTH_KEPT_S = 600.0
_MOST_SILENCES = 20
"""So many silent answers in a row end a lane: what follows would wait for nothing and burden the list."""

Target = Address | str
"""An address, or a domain."""


class Found(Struct, frozen=True):
    """What one list says of one target."""

    list: BlockList
    target: str
    answer: Answer
    meanings: tuple[str, ...] = ()
    severity: Severity = Severity.NONE
    text: str = ""


class Sound(Struct, frozen=True):
    """A list's state at its test points."""

    health: Health
    why: str


Seen = Callable[[BlockList, Target, Answer], None]


def sort_of(target: Target) -> Sort:
    """What kind of question a target is."""
    if isinstance(target, str):
        return "domain"
    return "ipv4" if target.version == 4 else "ipv6"


class Lists:
    """Blocklists behind one resolver."""

    def __init__(
        self,
        resolver: Resolver,
        lists: Sequence[BlockList],
        *,
        at_once: int = _MOST_AT_ONCE,
        health: dict[tuple[str, Sort], tuple[float, Sound]] | None = None,
    ) -> None:
        """`health` is what is known already of the lists, shared with another of these."""
        self.lists = lists
        self.resolver = resolver
        self.health = {} if health is None else health
        self._at_once = at_once
        self._asking: dict[tuple[str, Sort], asyncio.Lock] = {}

    async def sound(self, one: BlockList, sort: Sort) -> Sound:
        """A list's health by its test points, remembered for ten minutes."""
        key = (one.name, sort)
        async with self._asking.setdefault(key, asyncio.Lock()):  # a lane has many hands; one of them asks
            now = asyncio.get_running_loop().time()
            kept = self.health.get(key)
            if kept is None or kept[0] <= now:
                kept = self.health[key] = (now + _HEALTH_KEPT_S, await self._ask_points(one, sort))
        return kept[1]

    async def _ask_points(self, one: BlockList, sort: Sort) -> Sound:
        points, dialect = canaries(one.asked, sort, one.test), one.dialect()
        listed, clear = await asyncio.gather(self.resolver.ask(points.listed), self.resolver.ask(points.clear))
        return Sound(*judge(read(listed, dialect), read(clear, dialect), has_test_point=one.has_test_point))

    async def look(self, one: BlockList, target: Target) -> Answer:
        """What a list says of a target, in the light of its health."""
        found: list[Answer] = []
        await _Lane(one, (target,), self, lambda _, __, answer: found.append(answer)).work()
        return found[0] if found else Unknown(Trouble.SILENT, f"{one.name} cannot be asked for {target}")

    async def found(self, one: BlockList, target: Target, answer: Answer) -> Found:
        """An answer with its meaning; only of a listing the list is asked for its text."""
        if not isinstance(answer, Listed):
            return Found(one, str(target), answer)
        meanings, severity = one.explain(answer.codes)
        reply = await self.resolver.ask(name_at(one, target), Kind.TXT)
        return Found(one, str(target), answer, meanings, severity, " ".join(reply.values)[:500])

    async def scan(self, targets: Callable[[], Iterable[Target]], seen: Seen) -> None:
        """Ask every list about every target. `targets` gives a fresh iterator for each lane; `seen` is told each answer
        and must not wait. A list that is not sound is not asked: `seen` is told so once for each target.
        """
        lanes = max(len(self.lists), 1)
        width = max(1, min(_MOST_PER_LIST, self._at_once // lanes))
        await asyncio.gather(*(self._lane(one, targets(), seen, width) for one in self.lists))

    async def _lane(self, one: BlockList, targets: Iterable[Target], seen: Seen, width: int) -> None:
        lane = _Lane(one, iter(targets), self, seen)
        await asyncio.gather(*(lane.work() for _ in range(width)))


class _Lane:
    """One list's part of a scan. Its zone is put into wire form once, and its health asked once."""

    def __init__(self, one: BlockList, targets: Iterable[Target], lists: Lists, seen: Seen) -> None:
        self._list = one
        self._targets = iter(targets)
        self._lists = lists
        self._seen = seen
        self._next_at = 0.0
        self._silences = 0
        self._stopped: Unknown | None = None
        self._dialect = one.dialect()
        self._ending = labels(one.asked) + ending(Kind.A)
        self._sound: dict[Sort, Unknown | None] = {}
        """What every answer of a kind is where the list is not sound; None where it is."""

    async def work(self) -> None:
        """One of the lane's hands."""
        one, per_second, ask, dialect = self._list, self._list.per_second, self._lists.resolver.ask_wire, self._dialect
        for target in self._targets:
            sort = sort_of(target)
            if not one.takes(sort):
                continue
            if sort not in self._sound:
                self._sound[sort] = _unsound(await self._lists.sound(one, sort))
            answer: Answer | None = self._stopped or self._sound[sort]
            if answer is None:
                if per_second:
                    await self._turn(1.0 / per_second)
                answer = read(await ask(_in_front(target) + self._ending), dialect)
                self._mind(answer)
            self._seen(one, target, answer)

    async def _turn(self, pause_s: float) -> None:
        """Wait for this list's next turn."""
        now = asyncio.get_running_loop().time()
        at = self._next_at = max(now, self._next_at + pause_s)
        if at > now:
            await asyncio.sleep(at - now)

    def _mind(self, answer: Answer) -> None:
        """Stop where the list refuses us or has gone silent."""
        if not isinstance(answer, Unknown):
            self._silences = 0
        elif answer.trouble is Trouble.BLOCKED:
            self._stopped = answer
        else:
            self._silences += 1
            if self._silences >= _MOST_SILENCES:
                self._stopped = Unknown(answer.trouble, f"{answer.why}; given up after {self._silences} in a row")


@lru_cache(8192)
def _in_front(target: Target) -> bytes:
    """A target as labels. Every list asks for the same ones at about the same time. Raises ValueError."""
    return labels(to_ascii(target) if isinstance(target, str) else reversed_address(target))


def _unsound(sound: Sound) -> Unknown | None:
    answer = believed(Clear(), sound.health, sound.why)
    return answer if isinstance(answer, Unknown) else None


def name_at(one: BlockList, target: Target) -> str:
    """The name to ask. Raises ValueError for what is no domain."""
    if isinstance(target, str):
        return name_of_domain(target, one.asked)
    return name_of_address(target, one.asked)


def target_of(text: str) -> Target:
    """An address, or else a domain as it stands. Raises ValueError for neither."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return text
