"""What people do about accounts, held mail, pools and cases: one way for the command line and the console, each on
record with who and why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from msgspec.structs import replace

from penstock.examples import Lesson
from penstock.judge.limits import UNITS, WINDOWS, Override
from penstock.judge.review import Hand
from penstock.judge.way_back import Condition
from penstock.learning import Lessons, Said, Taken, is_telling
from penstock.model import Audit, OutboxItem, Standing
from penstock.sending import Case, IpState, Pin
from penstock.steering import Steering
from penstock.store.ports import ExampleSearch, PoolRecords, Records, Store
from penstock.workers.held import Kept, Outcome, Release, drop


class Refused(ValueError):
    """What is asked for cannot be; the text says why."""


class NotThere(Refused):
    """What is named does not exist."""


class Desk:
    """The operations of the abuse desk. All raise StoreUnavailable."""

    def __init__(
        self,
        store: Store,
        steering: Steering,
        lessons: Lessons,
        release: Release | None,
        *,
        pools: Mapping[str, Sequence[str]],
        now: Callable[[], float],
    ) -> None:
        """`release` is None without a next hop; `pools` has the sending IPs of each pool."""
        self._store = store
        self._steering = steering
        self._lessons = lessons
        self._release = release
        self._pools = pools
        self._now = now

    # Accounts.

    async def suspend(self, account: str, *, who: str, reason: str) -> Standing:
        """Stop an account's mail, until it is released. Raises Refused for what may never be shut out."""
        try:
            return await self._steering.steer(account, Standing.SUSPENDED, who=who, reason=reason, now=self._now())
        except ValueError as trouble:
            raise Refused(str(trouble)) from None

    async def release(self, account: str, *, who: str, reason: str) -> Standing:
        """Give an account back to its owner: what spoke against it is forgotten, the evidence decides again."""
        return await self._steering.steer(account, None, who=who, reason=reason, now=self._now(), forget=True)

    async def trust(self, account: str, *, who: str, reason: str) -> Standing:
        """Set an account's standing to trusted."""
        standing = Standing.TRUSTED
        return await self._steering.steer(account, standing, who=who, reason=reason, now=self._now(), forget=True)

    async def confirm(self, account: str, condition: Condition, *, who: str, reason: str) -> None:
        """Say that a release condition is met."""
        await self._steering.confirm(account, condition, who=who, reason=reason, now=self._now())

    async def note(self, target: str, *, who: str, reason: str) -> None:
        """Keep a remark beside an account. Raises Refused where it is empty."""
        if not reason.strip():
            raise Refused("a note without words is none")
        await self._audit(Audit(self._now(), who, "note", target, reason))

    async def review(self, account: str, *, is_right: bool, who: str) -> None:
        """Keep whether an account was, or would have been, stopped rightly."""
        await self._audit(Audit(self._now(), who, "review-right" if is_right else "review-false-alarm", account))

    async def claim(self, target: str, *, decision_id: str) -> None:
        """A customer says that a message was his own; that is told to people and changes nothing."""
        now = self._now()
        entry = Audit(now, "customer", "claim-own", target, "says: this was me", decision_id)
        payload: dict[str, object] = {"what": "claim", "decision": decision_id}
        notice = OutboxItem(f"claim/{decision_id}", now, "notice", target, payload)
        await self._store.update((), lambda: Records(audit=(entry,), outbox=(notice,)))

    async def limit(self, account: str, override: Override, *, who: str, reason: str) -> str:
        """Give one account another limit than its plan's; says what that means. Raises Refused for what is no limit."""
        if override.unit not in UNITS or override.window not in WINDOWS:
            units, windows = ", ".join(UNITS), " and ".join(WINDOWS)
            raise Refused(
                f'no limit of "{override.unit}" per "{override.window}"; units are {units}, windows {windows}'
            )
        await self._steering.set_limit(account, override, who=who, reason=reason, now=self._now())
        if override.most < 0:
            return f"{account} has its plan's {override.unit} per {override.window}"
        return f"{account}: {override.most or 'any number of'} {override.unit} per {override.window}"

    # Pools.

    async def pin(
        self, account: str, pool: str, *, who: str, reason: str, ip: str = "", until: float = 0.0, dry_run: bool = False
    ) -> str:
        """Tie an account to a pool, or to one IP of it; says what that means. Raises NotThere."""
        if pool not in self._pools:
            raise NotThere(f'no pool is named "{pool}"; there is {", ".join(sorted(self._pools)) or "none"}')
        if ip and ip not in self._pools[pool]:
            raise NotThere(f"{ip} is no IP of pool {pool}")
        said = f"{account} uses pool {pool}{f', IP {ip}' if ip else ''}"
        now = self._now()
        audit = Audit(now, who, "pin-account", account, reason, f"{said} until {until:.0f}" if until else said)
        if not dry_run:
            pin = Pin(account, pool, now, who, ip, until, reason)
            await self._store.record_pools(PoolRecords(pins=(pin,), audit=(audit,)))
        return said

    async def unpin(self, account: str, *, who: str, reason: str, dry_run: bool = False) -> str:
        """The table of choices decides again."""
        audit = Audit(self._now(), who, "unpin-account", account, reason)
        if not dry_run:
            await self._store.record_pools(PoolRecords(unpinned=(account,), audit=(audit,)))
        return f"{account} goes by the table"

    async def set_ip(
        self, ip: str, *, is_drained: bool, who: str, reason: str, last: bool = False, dry_run: bool = False
    ) -> str:
        """Take an IP out of its pool, or bring it back.

        Raises NotThere for one that is in no pool, and Refused for a pool's last usable one, unless `last` says that
        its mail shall take the fallback.
        """
        pool = next((name for name, ips in self._pools.items() if ip in ips), None)
        if pool is None:
            raise NotThere(f"{ip} is in no pool; `penstock pools show` lists the sending IPs")
        if is_drained and not last:
            states = {kept.ip: kept.state for kept in (await self._store.pool_state()).ips}
            if not any(other != ip and states.get(other, "active") == "active" for other in self._pools[pool]):
                raise Refused(
                    f"{ip} is the last usable IP of pool {pool}; say --last if its mail shall take the fallback"
                )
        state, now = "drained" if is_drained else "active", self._now()
        audit = Audit(now, who, "drain-ip" if is_drained else "undrain-ip", ip, reason, f"pool {pool}")
        if not dry_run:
            kept = IpState(ip, pool, state, now, who, reason)
            await self._store.record_pools(PoolRecords((kept,), audit=(audit,)))
        return f"{ip} of pool {pool} is {state}"

    async def close_case(self, case: Case, *, who: str, reason: str) -> Case:
        """Close a case by hand; the IP comes back by its own rule. Raises Refused where it is closed."""
        if case.closed_at:
            raise Refused(f"case {case.id} was closed by {case.closed_by}")
        now = self._now()
        done = replace(case, closed_at=now, closed_by=who, reason=reason)
        audit = Audit(now, who, "close-case", case.ip, reason, case.id)
        await self._store.record_pools(PoolRecords(cases=(done,), audit=(audit,)))
        return done

    # Held mail.

    @property
    def can_release(self) -> bool:
        """Whether there is a next hop to send held mail to."""
        return self._release is not None

    async def release_held(self, id: str, *, who: str, reason: str, learn: bool) -> Outcome:
        """Send one held message on; `learn` makes it an example of good mail. Raises NotThere without a next hop."""
        release = self._release
        if release is None:
            raise NotThere("a release needs next_hop.address in the configuration")
        said = Said(who, False, self._now(), reason or "released")
        return await self._settled(id, said, learn, lambda: release(id, who=who, reason=reason))

    async def drop_held(self, id: str, *, who: str, reason: str, learn: bool) -> Outcome:
        """Remove one held message for good; `learn` makes it an example of abuse."""
        said = Said(who, True, self._now(), reason or "dropped")
        return await self._settled(id, said, learn, lambda: drop(self._store, id, who=who, reason=reason, now=said.at))

    async def settle_held(self, kept: Sequence[Kept], *, who: str, reason: str) -> list[Outcome]:
        """Settle what was reviewed: the owner's goes on, abuse is dropped, and what nobody can say stays.

        Raises NotThere without a next hop.
        """
        outcomes = []
        for one in kept:
            if one.hand is Hand.OWNER:
                outcomes.append(await self.release_held(one.held.id, who=who, reason=reason, learn=False))
            elif one.hand is Hand.ABUSE:
                outcomes.append(await self.drop_held(one.held.id, who=who, reason=reason, learn=False))
            else:
                outcomes.append(Outcome(one.held.id, False, "nobody can say whose it is; it stays held"))
        return outcomes

    # Learning.

    async def teach(self, ids: Sequence[str], *, is_abuse: bool, who: str, reason: str) -> Taken:
        """Say of decisions' messages what they are; what is held stays held."""
        said = Said(who, is_abuse, self._now(), reason)

        async def lessons() -> AsyncIterator[tuple[str, Lesson | None]]:
            for id in ids:
                yield id, await self._lessons.of_decision(id, said)

        return await self._lessons.teach(lessons(), reason=reason)

    async def unlearn(self, ids: Sequence[str], *, who: str, reason: str) -> int:
        """Take examples back, as if they had never been; how many were there."""
        search = ExampleSearch(tuple(ids))
        return await self._lessons.undo(search, who=who, reason=reason, now=self._now()) if ids else 0

    async def _settled(self, id: str, said: Said, learn: bool, settle: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Let a message go, and learn from it once it is gone; its bytes are read before."""
        lesson = await self._lessons.of_held(id, said) if learn else None
        outcome = await settle()
        if lesson is not None and outcome.is_done and is_telling(lesson):
            await self._lessons.take([lesson], reason=said.reason)
        return outcome

    async def _audit(self, entry: Audit) -> None:
        await self._store.update((), lambda: Records(audit=(entry,)))
