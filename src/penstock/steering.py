"""What people decide about accounts: standings and limits, each on record."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.absorbing import Absorbing
from penstock.judge import limits, reputation, rows
from penstock.judge.limits import Override
from penstock.judge.reputation import KEEP_S
from penstock.judge.shutting import KEEP_S as SHUT_KEEP_S
from penstock.judge.shutting import confirmed, encode, read_shut
from penstock.judge.way_back import Condition
from penstock.model import Account, AccountRow, Audit, Event, Standing
from penstock.store.ports import Records, Turn, Write

LIMITS_KEEP_S = 400 * 86400.0


class Steering(Absorbing):
    """The entries of the pipeline that are for the operator."""

    async def steer(
        self, name: str, standing: Standing | None, *, who: str, reason: str, now: float, forget: bool = False
    ) -> Standing:
        """A person sets a standing, or (None) lets the evidence decide again.

        Raises StoreUnavailable, and ValueError for a suspension of what may never be shut out.
        """
        if standing is Standing.SUSPENDED and name in self._rules.policy.exempt:
            raise ValueError(f"{name} is exempt (own_addresses, judge.exempt_accounts) and is never shut out")
        account = f"a:{name}"
        before: list[Standing] = []
        after: list[bytes] = []

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            before[:] = [reputation.summary(state[account], now).standing]
            after[:] = [reputation.steer(state[account], standing, now, reason, forget=forget)]
            return {account: Write(after[0], KEEP_S)}

        row = await self._store.account(name)

        def records() -> Records:
            seen = reputation.summary(after[0], now)
            what = f"set-standing-{standing}" if standing else "release-account"
            audit = Audit(now, who, what, name, reason, "evidence forgotten" if forget else "")
            tenant = row.tenant if row is not None else ""
            mine = AccountRow(
                name, tenant, seen.standing, seen.score, seen.seen_at or now, seen.messages, seen.recipients,
                row.pool if row is not None else "", seen.since, seen.reason,
            )  # fmt: skip
            told = rows.order(name, before[0], seen.standing, at=now, key=f"{now:.3f}", reason=reason, who=who)
            return Records(accounts=(mine,), audit=(audit,), outbox=told)

        await self._store.update((Turn(account, (account,), step),), records)
        return reputation.summary(after[0], now).standing

    async def password_changed(self, account: str, *, who: str, reason: str, now: float) -> None:
        """A panel says that an account's password was changed. Raises StoreUnavailable."""
        await self.confirm(account, Condition.PASSWORD, who=who, reason=reason, now=now)

    async def confirm(self, name: str, condition: Condition, *, who: str, reason: str, now: float) -> None:
        """A person, or a panel, says that a release condition is met. Raises StoreUnavailable."""
        if condition is Condition.PASSWORD:
            await self.absorb(Event(now, "password-changed", name, detail=reason))
        key = f"x:{name}"

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            return {key: Write(encode(confirmed(read_shut(state[key]), condition, now)), SHUT_KEEP_S)}

        audit = Audit(now, who, "confirm-condition", name, reason, condition)
        await self._store.update((Turn(f"a:{name}", (key,), step),), lambda: Records(audit=(audit,)))

    async def begin_probation(self, name: str, recipients_per_day: int, *, until: float, now: float) -> None:
        """A tighter budget after a release: never looser than the account's plan, or what a person said.

        Raises StoreUnavailable.
        """
        key, told = f"l:{name}", [0]
        plan = self._rules.plan(self._rules.identity.tenancy.of(Account.parse(name))[1]).account

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            counts = limits.decode(state[key])
            force = limits.in_force(plan, counts, now)
            before = [one.most for one in force if (one.unit, one.window) == ("recipients", "day")]
            told[0] = min([recipients_per_day, *before])
            counts.overrides = [one for one in counts.overrides if (one.unit, one.window) != ("recipients", "day")]
            counts.overrides.append(Override("recipients", "day", told[0], until))
            return {key: Write(limits.encode(counts), LIMITS_KEEP_S)}

        def records() -> Records:
            detail = f"{told[0]} recipients per day until {until:.0f}"
            return Records(audit=(Audit(now, "penstock", "begin-probation", name, "released", detail),))

        await self._store.update((Turn(f"a:{name}", (key,), step),), records)

    async def set_limit(self, name: str, override: Override, *, who: str, reason: str, now: float) -> None:
        """A person gives one account another limit; a limit below zero takes it back. Raises StoreUnavailable."""
        key = f"l:{name}"

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            counts = limits.decode(state[key])
            same = (override.unit, override.window)
            counts.overrides = [one for one in counts.overrides if (one.unit, one.window) != same]
            if override.most >= 0:
                counts.overrides.append(override)
            return {key: Write(limits.encode(counts), LIMITS_KEEP_S)}

        until = f" until {override.until:.0f}" if override.until else ""
        detail = f"{override.most} {override.unit} per {override.window}{until}"
        audit = Audit(now, who, "set-limit", name, reason, detail)
        await self._store.update((Turn(f"a:{name}", (key,), step),), lambda: Records(audit=(audit,)))
