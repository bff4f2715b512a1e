"""What people decide about accounts: standings and limits, each on record."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.judge import limits, reputation, rows
from penstock.judge.limits import Override
from penstock.judge.reputation import KEEP_S
from penstock.judge.rules import Rules
from penstock.model import AccountRow, Audit, Standing
from penstock.store.ports import Records, Store, Turn, Write

LIMITS_KEEP_S = 400 * 86400.0


class Steering:
    """The entries of the pipeline that are for the operator."""

    _store: Store
    _rules: Rules

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
