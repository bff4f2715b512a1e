"""The monitor: keeps asking the blocklists about what is ours, and keeps what they say with its history.

Every pair of a list and a watched range is a job with a time of its own. Grave lists and important ranges come round
more often, jitter keeps jobs from coming together, a list that does not answer is left alone for ever longer. Large
ranges are asked in slices, and the position is kept, so that a restart goes on where it stopped. The first whole round
of a job is a silent baseline.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from penstock.clients.dnsbl import Lists, Target, sort_of
from penstock.lists.catalogue import BlockList, Sort
from penstock.protocols.dnsbl import Answer, Clear, Listed, Unknown, to_ascii
from penstock.sending import Listing, ListingChange, Severity
from penstock.store.ports import Records, Store, Turn, Write

_SLICE = 256
"""Targets of one job that are asked in one go."""
_MOST_JOBS = 64
"""Jobs of one turn."""
_LONGEST_PAUSE_S = 24 * 3600.0
_JITTER = 0.1
_POSITIONS = "monitor:jobs"
_LEASE = "k:monitor"
_LEASE_S = 30.0
_FREQUENCY = {Severity.NONE: 0.5, Severity.LOW: 1.0, Severity.MEDIUM: 2.0, Severity.HIGH: 4.0, Severity.CRITICAL: 6.0}
"""How much more often a list is asked the graver its listings are."""


class Watched(Struct, frozen=True):
    """One range or domain that is watched."""

    name: str
    """A network or a domain."""
    importance: int = 1

    def sort(self) -> Sort:
        """What kind of question it is."""
        return sort_of(next(self.targets(0)))

    def targets(self, start: int) -> Iterator[Target]:
        """Its targets from a position on."""
        try:
            network = ipaddress.ip_network(self.name)
        except ValueError:
            yield from (self.name,)[start:]
            return
        for number in range(start, network.num_addresses):
            yield network[number]


class _Job(Struct):
    """Where a list and a range stand."""

    due_at: float = 0.0
    position: int = 0
    is_known: bool = False
    """Whether one whole round is done, so that changes are news."""
    failures: int = 0


class MonitorSettings(Struct, frozen=True):
    """What is watched, and how often."""

    watched: tuple[Watched, ...]
    every_s: float
    """Between two rounds at importance 1 and low severity."""


Jitter = Callable[[], float]
"""A number from 0 to 1."""
MoreWatched = Callable[[], Awaitable[Sequence[Watched]]]
"""What is to be watched besides, asked for at each turn."""


class Monitor:
    """Asks what is due. One process looks at a time, over all nodes."""

    def __init__(
        self,
        settings: MonitorSettings,
        lists: Lists,
        store: Store,
        *,
        now: Callable[[], float] = time.time,
        jitter: Jitter,
        more: MoreWatched | None = None,
    ) -> None:
        self._settings = settings
        self._lists = lists
        self._store = store
        self._now = now
        self._jitter = jitter
        self._more = more
        self._jobs: dict[str, _Job] | None = None
        self._token = f"{jitter():.17f}".encode()

    async def run_once(self) -> int:
        """Do what is due; how many changes there were. Raises StoreUnavailable."""
        now = self._now()
        if not await self._is_my_turn(now):
            self._jobs = None  # whoever's turn it is moves the positions
            return 0
        jobs = await self._load()
        due = sorted(self._due(jobs, await self._watched(), now), key=lambda one: one[0].due_at)[:_MOST_JOBS]
        if not due:
            return 0
        current = {(one.target, one.list): one for one in await self._store.listings()}
        found = await asyncio.gather(*(self._do(job, one, watched, current, now) for job, one, watched in due))
        seen = [change for changes in found for change in changes]
        if seen:
            await self._store.record_listings(seen)
        await self._store.set_meta(_POSITIONS, msgspec.msgpack.encode(jobs))
        return len(seen)

    async def _watched(self) -> list[Watched]:
        more = await self._more() if self._more is not None else ()
        return list({one.name: one for one in (*more, *self._settings.watched)}.values())

    def _due(
        self, jobs: dict[str, _Job], watched: Sequence[Watched], now: float
    ) -> Iterator[tuple[_Job, BlockList, Watched]]:
        wanted = set[str]()
        for each in watched:
            sort = each.sort()
            for one in self._lists.lists:
                if not one.takes(sort):
                    continue
                name = f"{one.name} {each.name}"
                wanted.add(name)
                job = jobs.setdefault(name, _Job())
                if job.due_at <= now:
                    yield job, one, each
        for name in jobs.keys() - wanted:
            del jobs[name]

    async def _do(
        self,
        job: _Job,
        one: BlockList,
        watched: Watched,
        current: Mapping[tuple[str, str], Listing],
        now: float,
    ) -> list[ListingChange]:
        """One slice of a job."""
        slice_ = [target for target, _ in zip(watched.targets(job.position), range(_SLICE), strict=False)]
        answers = list[tuple[Target, Answer]]()
        alone = Lists(self._lists.resolver, [one], health=self._lists.health)
        await alone.scan(lambda: slice_, lambda _, target, answer: answers.append((target, answer)))
        seen = list[ListingChange]()
        for target, answer in answers:
            change = await self._change(one, target, answer, current, now)
            if change is not None:
                seen.append(replace(change, is_baseline=not job.is_known))
        self._reschedule(job, one, watched, answers, now, is_last=len(slice_) < _SLICE)
        return seen

    async def _change(
        self,
        one: BlockList,
        target: Target,
        answer: Answer,
        current: Mapping[tuple[str, str], Listing],
        now: float,
    ) -> ListingChange | None:
        """What an answer says that must be kept. Unknown changes nothing."""
        known = current.get((str(target), one.name))
        if isinstance(answer, Clear) and known is not None:
            return ListingChange(now, "cleared", known)
        if not isinstance(answer, Listed):
            return None
        if known is not None and known.codes == answer.codes:
            return ListingChange(now, "listed", replace(known, last_seen=now))
        found = await self._lists.found(one, target, answer)
        listing = Listing(
            found.target, one.name, now, now, 0.0, answer.codes, found.meanings, found.text, found.severity
        )  # fmt: skip
        return ListingChange(now, "listed", listing)

    def _reschedule(
        self,
        job: _Job,
        one: BlockList,
        watched: Watched,
        answers: Sequence[tuple[Target, Answer]],
        now: float,
        *,
        is_last: bool,
    ) -> None:
        if answers and all(isinstance(answer, Unknown) for _, answer in answers):
            job.failures += 1
            pause_s = min(self._every_s(one, watched) * 2.0 ** min(job.failures, 20), _LONGEST_PAUSE_S)
        else:
            job.failures = 0
            job.position = 0 if is_last else job.position + len(answers)
            job.is_known = job.is_known or is_last
            pause_s = self._every_s(one, watched) if is_last else 0.0
        job.due_at = now + pause_s * (1.0 + _JITTER * (2.0 * self._jitter() - 1.0))

    def _every_s(self, one: BlockList, watched: Watched) -> float:
        gravest = max([one.severity, *(row[1] for row in (*one.codes, *one.bits))], key=lambda each: each.rank)
        return self._settings.every_s / (_FREQUENCY[gravest] * watched.importance)

    async def _load(self) -> dict[str, _Job]:
        if self._jobs is None:
            kept = await self._store.meta(_POSITIONS)
            self._jobs = msgspec.msgpack.decode(kept, type=dict[str, _Job]) if kept else {}
        return self._jobs

    async def _is_my_turn(self, now: float) -> bool:
        """Whether this process may look: it holds the lease, or nobody does any longer."""
        mine: list[bool] = []

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            mine[:] = [state[_LEASE] in (None, self._token)]
            return {_LEASE: Write(self._token, _LEASE_S)} if mine[0] else {}

        await self._store.update((Turn(_LEASE, (_LEASE,), step),), lambda: Records(must_be_durable=False))
        return mine[0]


def watched_of(names: Sequence[tuple[str, int]]) -> tuple[Watched, ...]:
    """Networks, addresses and domains with their importance, once each. Raises ValueError for what is neither."""
    found: dict[str, Watched] = {}
    for text, importance in names:
        try:
            name = str(ipaddress.ip_network(text, strict=False))
        except ValueError:
            name = to_ascii(text)
        if name not in found or found[name].importance < importance:
            found[name] = Watched(name, importance)
    return tuple(found.values())
