"""Suspensions are carried to where accounts live, and their ends too: each step once, in order, whatever fails.

Two halves meet in the outbox. The planner looks at each occasion (`enforce`): what is the account's standing, what is
shut of it, what is therefore to be done? It keeps the record, and queues steps, a topic for each driver. A lane carries
out one driver's steps: in order for each account, and while one account's step is refused, or its driver is down, the
others' go on. A step is done in the outbox only after its driver said so; what is repeated after a crash is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from penstock.clients.drivers.driver import Driver, Refused, Unavailable
from penstock.clients.script_file import fingerprint, path_of
from penstock.judge.ladder import Never, choose
from penstock.judge.shutting import (
    KEEP_S,
    Shut,
    encode,
    next_verb,
    open_now,
    queued,
    read_shut,
    shut_now,
    steps_of,
    strikes_at,
)
from penstock.judge.way_back import conditions_of
from penstock.model import Account, Audit, OutboxItem, Rung, Standing, Step, Thing
from penstock.pipeline import Pipeline
from penstock.store.ports import AccountSearch, Records, Store, StoreUnavailable, Turn, Write
from penstock.workers.telling import Telling, notices_of

_BATCH = 200
_COMPANY = 200
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 900.0
_STEP_S = 330.0
"""No driver takes longer; its own bounds are shorter."""
LEASE_S = 400.0
_ALARM_AFTER_S = 600.0


class EnforcementSettings(Struct, frozen=True):
    """What the operator says about shutting."""

    acts: bool
    """False while observing, and in a dry run."""
    never: Never = Never()
    domain_after: int = 0
    telling: Telling = Telling()
    """Who is told, and the budget of an account that was let in."""


def topic_of(driver: str) -> str:
    """Where a driver's steps wait."""
    return f"enforce/{driver}"


class Planner:
    """Turns occasions into steps."""

    def __init__(
        self,
        settings: EnforcementSettings,
        drivers: Mapping[str, Driver],
        store: Store,
        pipeline: Pipeline,
        *,
        hostname: str,
        now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._hostname = hostname
        self._drivers = drivers
        self._store = store
        self._now = now

    @property
    def acts(self) -> bool:
        """Whether steps are queued at all."""
        return self._settings.acts

    async def run_once(self) -> int:
        """Look at every occasion that waits; how many. Raises StoreUnavailable."""
        items = await self._store.outbox(topic="enforce", limit=_BATCH)
        for item in items:
            outcome = await self.settle(item.target, str(item.payload.get("reason", "")))
            await self._store.outbox_done(item.key, at=self._now(), outcome=outcome[:200])
        return len(items)

    async def settle(self, name: str, reason: str) -> str:
        """Bring what is shut of an account in line with its standing; what came of it. Raises StoreUnavailable."""
        shut = await self._record(name)
        if not shut.is_queued:  # what a crash interrupted
            await self._queue(name, shut)
        row = await self._store.account(name)
        verb = next_verb(shut, row.standing if row is not None else Standing.NEW)
        if not verb:
            return "nothing to be done"
        now = self._now()
        if verb == "open":
            after = open_now(shut, now, reason)
        else:
            thing = await self.guilty(name, strikes_at(shut, now))
            after = shut_now(shut, [thing] if thing else [], now, reason)
            after.script = self._script(thing)
        if not self._settings.acts:
            return await self._only_told(name, after)
        await self._keep(name, lambda found: after if found.number == shut.number else found)
        if verb == "open" and row is not None and row.standing is not Standing.TRUSTED:
            telling = self._settings.telling
            until, most = now + telling.probation_days * 86400.0, telling.probation_recipients
            await self._pipeline.begin_probation(name, most, until=until, now=now)
        return await self._queue(name, await self._record(name))

    def _script(self, thing: Thing | None) -> tuple[str, str, str]:
        """What a script's file is now, to be compared when it is asked whether it changed."""
        path = path_of(thing.name) if thing is not None and thing.rung is Rung.SCRIPT else ""
        return (self._hostname, path, fingerprint(path)) if path else ("", "", "")

    async def unsettled(self) -> list[str]:
        """Suspended accounts that are not shut where they live, as after observing. Raises StoreUnavailable."""
        found: list[str] = []
        search = AccountSearch(standing=Standing.SUSPENDED.value, order="account", limit=_BATCH)
        while rows := await self._store.accounts(search):
            for one in rows:
                if not (await self._record(one.account)).is_shut:
                    found.append(one.account)
            search = replace(search, after=(rows[-1].account, rows[-1].account))
        return found

    async def guilty(self, name: str, strikes: int) -> Thing | None:
        """The smallest guilty thing behind an account. Raises StoreUnavailable."""
        company = await self._company(name)
        settings = self._settings
        return choose(name, strikes=strikes, company=company, domain_after=settings.domain_after, never=settings.never)

    async def planned(self, name: str) -> list[str]:
        """What would be done if the account were suspended now, a line for each driver. Raises StoreUnavailable."""
        shut, now = await self._record(name), self._now()
        thing = await self.guilty(name, strikes_at(shut, now))
        after = shut_now(shut, [thing] if thing else [], now, "")
        return [f"{driver}: {self._drivers[driver].describe(step)}" for driver, step in self._steps(name, after, ())]

    async def _company(self, name: str) -> list[str]:
        """Other accounts of the same customer that are suspended now."""
        account = Account.parse(name)
        row = await self._store.account(name)
        tenant = row.tenant if row is not None and row.tenant else ""
        domain = account.value.rpartition("@")[2] if account.kind == "sasl" and "@" in account.value else ""
        if not tenant and not domain and account.kind != "script":
            return []
        text = "" if tenant else f"@{domain}" if domain else "script:"
        search = AccountSearch(text, Standing.SUSPENDED.value, tenant, limit=_COMPANY)
        return [one.account for one in await self._store.accounts(search) if one.account != name]

    async def _record(self, name: str) -> Shut:
        key = f"x:{name}"
        return read_shut((await self._store.read((key,)))[key])

    async def _keep(self, name: str, change: Callable[[Shut], Shut]) -> None:
        key = f"x:{name}"

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            return {key: Write(encode(change(read_shut(state[key]))), KEEP_S)}

        await self._store.update((Turn(f"a:{name}", (key,), step),), Records)

    async def _queue(self, name: str, shut: Shut) -> str:
        """Put the steps of the record's last change into the outbox, once."""
        kept: list[Thing] = []
        if not shut.is_shut:
            records = [await self._record(one) for one in await self._company(name)]
            kept = [thing for one in records if one.is_shut for thing in one.things]
        steps = self._steps(name, shut, kept)
        items = tuple(
            OutboxItem(step.key, step.at, topic_of(driver), name, msgspec.to_builtins(step)) for driver, step in steps
        )
        row = await self._store.account(name)
        asked = tuple(sorted({one.value for thing in shut.things for one in conditions_of(thing.rung)}))
        asked = tuple(one for one in asked if one in self._settings.telling.conditions)
        tenant = row.tenant if row is not None else ""
        items += await notices_of(
            self._settings.telling, self._store, name, shut,
            tenant=tenant, asked=asked, has_probation=row is None or row.standing is not Standing.TRUSTED,
        )  # fmt: skip
        await self._store.update((), lambda: Records(outbox=items))
        await self._keep(name, lambda found: queued(found, shut.number))
        return _told(shut, steps)

    def _steps(self, name: str, shut: Shut, kept: list[Thing] | tuple[()]) -> list[tuple[str, Step]]:
        rungs = {driver: one.rungs for driver, one in self._drivers.items()}
        steps = steps_of(shut, name, rungs, kept)
        never = self._settings.never
        return [
            (driver, step)
            for driver, step in steps
            if self._drivers[driver].knows(step) and not (step.verb == "shut" and never.forbids(step.thing))
        ]

    async def _only_told(self, name: str, after: Shut) -> str:
        """Observing, or a dry run: the record stays as it is."""
        steps = self._steps(name, after, ())
        lines = [f"{driver}: {self._drivers[driver].describe(step)}" for driver, step in steps]
        what = "would-shut" if after.is_shut else "would-open"
        detail = "; ".join(lines) or "no driver is asked"
        audit = Audit(self._now(), "penstock", what, name, after.reason, detail[:1000])
        await self._store.update((), lambda: Records(audit=(audit,)))
        return f"not done: {what}"


def _told(shut: Shut, steps: list[tuple[str, Step]]) -> str:
    verb = "shut" if shut.is_shut else "open"
    things = ", ".join(map(str, shut.things)) or "nothing that lives elsewhere"
    return f"{verb} {things} at {', '.join(driver for driver, _ in steps) or 'no driver'}"


class Lane:
    """Carries out one driver's steps."""

    def __init__(
        self,
        name: str,
        driver: Driver,
        store: Store,
        now: Callable[[], float],
        *,
        holder: str,
        give_up_s: float,
        step_s: float = _STEP_S,
    ) -> None:
        """`holder` is this node: of several, one at a time has the lane."""
        self._name = name
        self._driver = driver
        self._store = store
        self._now = now
        self._holder = holder
        self._give_up_s = give_up_s
        self._step_s = step_s
        self._pause_s, self._next_at, self._down_since = 0.0, 0.0, 0.0
        self._refused: dict[str, tuple[float, float]] = {}
        """Of accounts: when to try again, and the pause before."""

    async def run_once(self) -> int:
        """Carry out what waits, oldest first; how many steps are done. Raises StoreUnavailable."""
        if self._now() < self._next_at:
            return 0
        done, waiting = 0, set[str]()
        for item in await self._store.outbox(topic=topic_of(self._name), limit=_BATCH):
            if item.target in waiting or self._now() < self._refused.get(item.target, (0.0, 0.0))[0]:
                waiting.add(item.target)
                continue
            if not await self._has_lease():
                break
            step = msgspec.convert(item.payload, Step)
            try:
                outcome = await self._carry_out(step)
            except Unavailable as trouble:
                await self._wait_for_driver(str(trouble))
                break
            except Refused as trouble:
                if not await self._is_given_up(item, step, str(trouble)):
                    waiting.add(item.target)
                continue
            self._pause_s, self._down_since = 0.0, 0.0
            self._refused.pop(item.target, None)
            await self._done(item, step, f"{step.verb}-{step.thing.rung}", outcome)
            done += 1
        return done

    async def _carry_out(self, step: Step) -> str:
        try:
            async with asyncio.timeout(self._step_s):
                return await self._driver.carry_out(step)
        except (Unavailable, Refused, StoreUnavailable):
            raise
        except TimeoutError:
            raise Unavailable(f"no answer within {self._step_s:.0f} s") from None
        except Exception as trouble:  # a fault of the driver's keeps this account's steps back, and nobody else's
            raise Refused(f"fault in the driver: {trouble!r}") from trouble

    async def _has_lease(self) -> bool:
        """Take the lane, or keep it; False while another node has it. Nobody else begins before the lease ends."""
        key, now, mine = f"y:lane/{self._name}", self._now(), [False]

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            holder, _, until = (state[key] or b"").decode().rpartition("|")
            mine[0] = holder in ("", self._holder) or float(until) < now
            return {key: Write(f"{self._holder}|{now + LEASE_S}".encode(), LEASE_S)} if mine[0] else {}

        await self._store.update((Turn(key, (key,), step),), Records)
        return mine[0]

    async def _done(self, item: OutboxItem, step: Step, what: str, outcome: str) -> None:
        audit = Audit(self._now(), "penstock", what, step.account, step.reason, f"{self._name}: {outcome}"[:1000])
        await self._store.update((), lambda: Records(audit=(audit,)))
        await self._store.outbox_done(item.key, at=self._now(), outcome=outcome[:200])

    async def _wait_for_driver(self, trouble: str) -> None:
        now = self._now()
        self._down_since = self._down_since or now
        self._pause_s = min(max(self._pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._next_at = now + self._pause_s
        if now - self._down_since >= _ALARM_AFTER_S:
            await self._tell(f"driver/{self._name}/{self._down_since:.0f}", self._name, trouble)

    async def _is_given_up(self, item: OutboxItem, step: Step, trouble: str) -> bool:
        """Told at once; tried again, less and less often, until it is given up."""
        now = self._now()
        await self._tell(f"refused/{item.key}", step.account, f"cannot {step.verb} {step.thing}: {trouble}")
        if now - item.at > self._give_up_s:
            await self._done(item, step, f"{step.verb}-given-up", f"given up: {trouble}")
            self._refused.pop(item.target, None)
            return True
        pause = min(max(self._refused.get(item.target, (0.0, 0.0))[1] * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._refused[item.target] = (now + pause, pause)
        return False

    async def _tell(self, key: str, target: str, reason: str) -> None:
        payload: dict[str, object] = {"what": "driver", "driver": self._name, "reason": reason[:300]}
        item = OutboxItem(key, self._now(), "notice", target, payload)
        await self._store.update((), lambda: Records(outbox=(item,)))
