"""Who logs in: whether he may, and what a login that was says about the account before its first message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from penstock.attempts import Attempt, Location, Permission
from penstock.breaking import Breaking
from penstock.judge import reputation, rows
from penstock.judge.identity import is_in, network_of
from penstock.judge.login_past import (
    LOGINS_KEEP_S,
    SPREAD_KEEP_S,
    Login,
    encode_logins,
    is_routine,
    note_spread,
    note_wrong,
    read_logins,
)
from penstock.judge.logins import Past, is_settled, weigh_login
from penstock.judge.reputation import KEEP_S, SOURCE_KEEP_S, Assessment, LoginTaken
from penstock.judge.rules import Rules
from penstock.model import AccountRow, Audit, Connection, Envelope, Event, Mode, OutboxItem, Standing
from penstock.store.ports import Records, Store, Turn, Write

_PATIENCE_S = 1.5
"""Who asks waits two seconds (Dovecot's default) and then lets the login go on."""
_SESSION_KEEP_S = 86400.0
_NOTED_AGAIN_S = 3600.0


class Locator(Protocol):
    """Who knows where addresses are."""

    async def locate(self, ip: str) -> Location:
        """What files and lists say, within a deadline of its own. Never raises."""


class LoginWatcher(Protocol):
    """Who is told of logins: counters and the log."""

    def logged_in(self, attempt: Attempt, permission: Permission, *, is_asked: bool) -> None:
        """A login was asked about, or was counted."""

    def failed(self, where: str, trouble: BaseException) -> None:
        """Penstock could not do its work."""


class _Keys(Struct, frozen=True):
    """The hot state that a login is about; all but the last are in the account's slot."""

    account: str
    source: str
    logins: str
    session: str
    spread: str

    @classmethod
    def of(cls, login: Login) -> _Keys:
        name = login.account
        told = f"e:{name}|login/{login.attempt.session}"
        return cls(f"a:{name}", f"s:{name}|{login.source}", f"i:{name}", told, f"g:{login.spread_key}")

    def past(self, state: Mapping[str, bytes | None], now: float, spread: bytes | None) -> Past:
        return Past.read(state[self.account], state[self.source], state[self.logins], spread, now=now)


class LoggingIn(Breaking):
    """The entries of the pipeline for logins."""

    _store: Store
    _rules: Rules
    _watcher: LoginWatcher
    _locator: Locator | None

    async def may_log_in(self, attempt: Attempt) -> Permission:
        """Whether a login may go on, if its password is right. Counts nothing; never raises: without a store it may."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                permission = await self._permission(self._login(attempt))
        except Exception as trouble:
            self._watcher.failed("may-log-in", trouble)
            permission = Permission(is_judged=False)
        self._watcher.logged_in(attempt, permission, is_asked=True)
        return permission

    async def logged_in(self, attempt: Attempt) -> Standing | None:
        """Take in a login that was good or failed; the account's standing after it, None where it says nothing.

        Raises StoreUnavailable: whoever reads logs keeps it until it is taken.
        """
        return await self.take_login(self._login(attempt))

    def _login(self, attempt: Attempt) -> Login:
        connection = Connection(client_ip=attempt.ip, login=attempt.login, listener="login")
        attribution = self._rules.identity.attribute(connection, Envelope("", ()), ())
        is_ours = not attempt.ip or is_in(attempt.ip, self._rules.logins.own_hosts)
        return Login(str(attribution.account), "" if is_ours else network_of(attempt.ip), attempt)

    async def _located(self, past: Past, login: Login) -> Login:
        if self._locator is None or not login.attempt.ip or is_settled(past, login):
            return login
        return replace(login, location=await self._locator.locate(login.attempt.ip))

    async def explain_login(self, attempt: Attempt) -> Permission:
        """What would be answered, and why; nothing is kept. Raises StoreUnavailable."""
        return (await self._answer(self._login(attempt)))[0]

    async def _permission(self, login: Login) -> Permission:
        found, refused_at = await self._answer(login)
        if found.reason == "PS-LOGIN" and login.attempt.at - refused_at >= _NOTED_AGAIN_S:
            await self._note_refused(login, found)
        return found

    async def _answer(self, login: Login) -> tuple[Permission, float]:
        """The answer, and when a login of this account last was to be refused."""
        keys, rules, now = _Keys.of(login), self._rules, login.attempt.at
        state = await self._store.read((keys.account, keys.source, keys.logins, keys.spread))
        if self._is_suspended(state[keys.account], login):
            return self._refusal(Permission(True, True, "PS-SUSPENDED", login.account)), 0.0
        past = keys.past(state, now, state[keys.spread])
        weighed = weigh_login(past, await self._located(past, login), rules.policy)
        found = Permission(False, False, "", login.account, weighed.evidence, weighed.nats, weighed.line)
        if weighed.is_refused:
            found = self._refusal(replace(found, is_wanted_refused=True, reason="PS-LOGIN"))
        return found, past.logins.refused_at

    def _is_suspended(self, account: bytes | None, login: Login) -> bool:
        policy, covered = self._rules.policy, self._rules.logins.suspended
        is_covered = covered in ("all", login.attempt.service)
        standing = reputation.admit(account, login.attempt.at, policy, login.account)
        return is_covered and standing is Standing.SUSPENDED

    def _refusal(self, wanted: Permission) -> Permission:
        may = self._rules.mode is Mode.ENFORCE and (wanted.reason != "PS-LOGIN" or self._rules.logins.may_refuse)
        return replace(wanted, is_refused=may)

    async def _note_refused(self, login: Login, found: Permission) -> None:
        """On record, and told to the postmaster once a day."""
        keys, now = _Keys.of(login), login.attempt.at

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            logins = read_logins(state[keys.logins])
            logins.refused_at = now
            return {keys.logins: Write(encode_logins(logins), LOGINS_KEEP_S)}

        why = "; ".join(f"{one.name}: {one.seen} ({one.nats:+.1f})" for one in found.evidence if one.nats > 0)
        where, mode = f"{login.source} over {login.attempt.service or 'unknown'}", self._rules.mode.value
        audit = Audit(now, "penstock", "refuse-login", login.account, why[:500], f"{where}, {mode}")
        told: dict[str, object] = {"what": "login", "source": login.source, "reason": why[:500], "mode": mode}
        notice = OutboxItem(f"login/{login.account}/{now // 86400:.0f}", now, "notice", login.account, told)
        turn = Turn(keys.account, (keys.logins,), step)
        await self._store.update((turn,), lambda: Records(audit=(audit,), outbox=(notice,)))

    async def take_login(self, login: Login) -> Standing | None:
        """Count a login of an account that is named already. Raises StoreUnavailable."""
        attempt = login.attempt
        if not login.source or not (attempt.is_good or attempt.is_wrong_password):
            return None
        if not attempt.is_good:
            await self._take_wrong(login)
            self._watcher.logged_in(attempt, Permission(account=login.account), is_asked=False)
            return None
        keys = _Keys.of(login)
        state = await self._store.read((keys.account, keys.source, keys.logins))
        past = keys.past(state, attempt.at, None)
        if is_routine(past.logins, login):
            return None
        return await self._take_good(await self._located(past, login))

    async def _take_good(self, login: Login) -> Standing | None:
        keys, spreads = _Keys.of(login), list[bytes | None]()
        taken, found = list[LoginTaken](), list[Assessment]()

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            taken.clear()
            found.clear()
            if login.attempt.session and state[keys.session]:
                return {}
            past = keys.past(state, login.attempt.at, spreads[0])
            one = reputation.observe_login(past, login, self._rules.policy)
            taken[:], found[:] = [one], [one.assessment]
            written = {
                keys.account: Write(one.assessment.account, KEEP_S),
                keys.source: Write(one.assessment.source, SOURCE_KEEP_S),
                keys.logins: Write(one.logins, LOGINS_KEEP_S),
            }
            if login.attempt.session:
                written[keys.session] = Write(b"1", _SESSION_KEEP_S)
            return written

        row = await self._store.account(login.account)
        turn = Turn(keys.account, (keys.account, keys.source, keys.logins, keys.session), step)
        event = Event(login.attempt.at, "login", login.account, source=login.source, service=login.attempt.service)
        records = moved_records(row, found, event)
        await self._store.update((self._spread_turn(login, spreads), turn), records)
        if not taken:
            return None
        if found[0].is_suspended_now:
            await self.note_suspension(login.attempt.at)
        weighed = taken[0].weighed
        told = Permission(
            account=login.account, evidence=weighed.evidence, nats=weighed.nats, line=weighed.line,
            is_wanted_refused=weighed.is_refused,
        )  # fmt: skip
        self._watcher.logged_in(login.attempt, told, is_asked=False)
        return taken[0].assessment.standing

    async def _take_wrong(self, login: Login) -> None:
        keys = _Keys.of(login)

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            if state[keys.account] is None:
                return {}  # of names that are only tried, nothing is kept
            logins = read_logins(state[keys.logins])
            note_wrong(logins, login)
            return {keys.logins: Write(encode_logins(logins), LOGINS_KEEP_S)}

        turn = Turn(keys.account, (keys.account, keys.logins), step)
        await self._store.update((self._spread_turn(login, []), turn), lambda: Records(must_be_durable=False))

    def _spread_turn(self, login: Login, before: list[bytes | None]) -> Turn:
        """The source's record over all accounts; `before` gets it as it was."""
        key = _Keys.of(login).spread

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            before[:] = [state[key]]
            noted = note_spread(state[key], login)
            return {key: Write(noted, SPREAD_KEEP_S)} if noted is not None else {}

        return Turn(key, (key,), step)


def moved_records(
    row: AccountRow | None, found: list[Assessment], event: Event, *, kept: tuple[Event, ...] = ()
) -> Callable[[], Records]:
    """What an event or a login leaves behind: a change of standing is on record, and told, and `kept` beside the
    account. `found` is filled by then, or empty where nothing was taken in."""

    def records() -> Records:
        if not found:
            return Records(must_be_durable=False)
        (one,) = found
        moved = rows.moved_rows(row, one)
        if one.standing is one.previous:
            return Records(accounts=moved, events=kept, must_be_durable=False)
        detail = f"{one.previous} to {one.standing}, {one.score:.1f} nats"
        audit = Audit(event.at, "penstock", "change-standing", event.account, event.what, detail)
        return Records(accounts=moved, audit=(audit,), outbox=rows.event_outbox(event, one), events=kept)

    return records
