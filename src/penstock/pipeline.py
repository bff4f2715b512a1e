"""The order of all steps: admit at MAIL, judge the whole message, absorb what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from penstock.absorbing import Lessons
from penstock.attempts import Attempt, Permission
from penstock.judge import pools, reputation, rows
from penstock.judge.decision import accept_own, may_name_pool, refusal_at_mail, unjudged
from penstock.judge.hearing import Content, Heard, hear
from penstock.judge.opinions import with_opinions
from penstock.judge.pools import Live
from penstock.judge.rules import Rules
from penstock.judging import Judging
from penstock.logging_in import Locator, LoginWatcher
from penstock.model import (
    Action,
    Admission,
    Decision,
    DecisionRow,
    Delivered,
    Envelope,
    Event,
    Kind,
    Mode,
    Opening,
    Opinion,
    Standing,
    Submission,
    bounce_key,
)
from penstock.steering import Steering
from penstock.store.ports import Records, Store

_LARGE_BYTES = 256 * 1024
"""Messages beyond are read in a thread, so that none of the others waits."""
_TENANT_KEEP_S = 2 * 86400.0


class Gate(Protocol):
    """What listeners ask of the pipeline. None but the last two raise: trouble of ours is an answer (`on_failure`)."""

    @property
    def may_refuse(self) -> bool:
        """Whether `admit` may say anything but go on, so that it has to be asked."""

    async def admit(self, opening: Opening) -> Admission:
        """Answer at MAIL (and at RCPT, where `opening.rcpt_to` is set): standing and limits only, cheap."""

    async def judge(self, submission: Submission) -> Decision:
        """Judge a whole message. A held message is on disk, and whatever acts is durable, when this returns."""

    async def delivered(self, delivered: Delivered) -> None:
        """Take note of what the next hop answered for a decision."""

    async def may_log_in(self, attempt: Attempt) -> Permission:
        """Whether a login may go on, if its password is right."""

    async def logged_in(self, attempt: Attempt) -> Standing | None:
        """Take in a login that was good or failed. Raises StoreUnavailable."""

    async def password_changed(self, account: str, *, who: str, reason: str, now: float) -> None:
        """Take in that a password was changed. Raises StoreUnavailable."""


class Watcher(LoginWatcher, Protocol):
    """Who is told of what happens: counters and the log."""

    def decided(self, row: DecisionRow, judged_s: float) -> None:
        """One decision, and the CPU-and-wait seconds that it took."""

    def failed(self, where: str, trouble: BaseException) -> None:
        """Penstock could not do its work; `on_failure` decided."""

    def logged_in(self, attempt: Attempt, permission: Permission, *, is_asked: bool) -> None:
        """A login was asked about, or was counted."""


class Asker(Protocol):
    """Who asks other scanners."""

    async def ask(self, submission: Submission) -> Sequence[Opinion]:
        """All their opinions, within a deadline of its own. Never raises."""


class Unwatched:
    """Nobody watches, as in replays and measurements; a fault of ours must not pass for a verdict there."""

    def decided(self, row: DecisionRow, judged_s: float) -> None:
        """Nothing to tell."""

    def logged_in(self, attempt: Attempt, permission: Permission, *, is_asked: bool) -> None:
        """Nothing to tell."""

    def failed(self, where: str, trouble: BaseException) -> None:
        """Raise it."""
        raise trouble


class Pipeline(Steering):
    """Three entries for mail; those for what comes back and for the operator are parts of their own."""

    def __init__(
        self,
        store: Store,
        content: Content,
        rules: Rules,
        watcher: Watcher,
        *,
        clock: Callable[[], float],
        asker: Asker | None = None,
        lessons: Lessons | None = None,
        locator: Locator | None = None,
    ) -> None:
        """`clock` measures how long judging takes; times of the mail itself come with it."""
        self._store = store
        self._content = content
        self._rules = rules
        self.may_refuse = rules.mode is Mode.ENFORCE
        self._watcher: Watcher = watcher
        self._clock = clock
        self._asker = asker
        self._lessons = lessons
        self._locator = locator
        self.pools, self.live = rules.pools, Live()
        """Pools with the warm-up as it stands, and IPs taken out, and pins; whoever reads the store puts them here."""

    # Mail.

    async def admit(self, opening: Opening) -> Admission:
        """Answer at MAIL or RCPT. Never raises."""
        if not self.may_refuse:
            return Admission()
        try:
            async with asyncio.timeout(self._rules.patience_s):
                return await self._admit(opening)
        except Exception as trouble:
            self._watcher.failed("admit", trouble)
            return Admission()

    async def _admit(self, opening: Opening) -> Admission:
        rules, connection = self._rules, opening.connection
        if not connection.login and connection.is_trusted_peer:
            return Admission()  # whose mail it is stands in its headers
        envelope = Envelope(opening.mail_from, ())
        account = rules.identity.attribute(connection, envelope, ()).account
        keys = (f"a:{account}", f"p:{account}")
        state = await self._store.read(keys)
        standing = reputation.admit(state[keys[0]], opening.now, rules.policy, str(account))
        place = pools.read_place(state[keys[1]])
        way = self._warm_way(str(account), place.level if place else standing.value, opening.now)
        if opening.rcpt_to and rules.is_own(opening.rcpt_to):
            return Admission(None, *way)
        if rules.own_addresses and not opening.rcpt_to:
            return Admission(None, *way)  # mail to the provider's own addresses must pass, and none is named yet
        return Admission(refusal_at_mail(rules, standing), *way)

    async def judge(self, submission: Submission) -> Decision:
        """Judge a whole message. Never raises."""
        began = self._clock()
        try:
            async with asyncio.timeout(self._rules.patience_s):
                row = await self._judge(await self._ask(await self._hear(submission)))
        except Exception as trouble:
            self._watcher.failed("judge", trouble)
            row = rows.decision_row(unjudged(self._rules, submission), submission, None)
        self._watcher.decided(row, self._clock() - began)
        return row.decision

    async def _hear(self, submission: Submission) -> Heard:
        if len(submission.raw) > _LARGE_BYTES:
            return await asyncio.to_thread(hear, submission, self._content, self._rules)
        return hear(submission, self._content, self._rules)

    async def _ask(self, heard: Heard) -> Heard:
        if self._asker is None:
            return heard
        opinions = await self._asker.ask(heard.submission)
        return heard.with_verdict(with_opinions(heard.verdict, opinions, self._rules.scales))

    async def _judge(self, heard: Heard) -> DecisionRow:
        """One atomic read-judge-write, then what a suspension and a spamtrap bring with them."""
        recipients = heard.message.recipients
        if recipients and all(map(self._rules.is_own, recipients)):
            return await self._pass_own(heard)
        judging = Judging(heard, self._rules, self.pools, self.live, is_remembered=self._lessons is not None)
        row = await self._keep(judging)
        if judging.is_suspended_now:
            await self.note_suspension(heard.message.now)
        for trap in self._rules.trapped(heard.submission.envelope.rcpt_to):
            # A trap that is tried again the same day has not been bought again.
            now, key = heard.message.now, f"spamtrap/{trap}/{heard.message.now // 86400:.0f}"
            await self.absorb(Event(now, "spamtrap", heard.account, row.decision.id, trap, detail=trap, key=key))
        return row

    async def _keep(self, judging: Judging) -> DecisionRow:
        try:
            await self._store.update(judging.turns(), judging.records)
        except OSError as trouble:
            if judging.row is None or judging.row.decision.action is not Action.HOLD:
                raise
            # The turns are kept: what the message says has counted, and another try of it is known again.
            self._watcher.failed("hold", trouble)
            await self._store.update((), judging.records_unheld)
        assert judging.row is not None, "an update that succeeded asked for the records"
        return judging.row

    async def _pass_own(self, heard: Heard) -> DecisionRow:
        key = f"a:{heard.account}"
        state = (await self._store.read((key,)))[key]
        standing = reputation.admit(state, heard.message.now, self._rules.policy, heard.account)
        level = pools.level_of(standing, 0.0, self._rules.policy.throttle)
        is_named = may_name_pool(self._rules, heard.submission)
        way = self._warm_way(heard.account, level, heard.message.now) if is_named else ("", "")
        decision = accept_own(self._rules, heard, standing, way)
        row = rows.decision_row(decision, heard.submission, heard)
        await self._store.update((), lambda: Records(decisions=(row,), must_be_durable=False))
        return row

    def _warm_way(self, account: str, level: str, now: float) -> tuple[str, str]:
        """The way of what is not counted: over warm IPs."""
        route = pools.find_route(self.pools, self.live, account, level, Kind.NORMAL, now=now)
        return pools.pick(route, self.pools.warm_up, now, has_room=False)

    async def delivered(self, delivered: Delivered) -> None:
        """Keep what the next hop answered; an unknown recipient there is a bounce. Never raises."""
        try:
            await self._store.delivered(delivered)
            for recipient, code, text in delivered.replies:
                if code >= 500:
                    who = (delivered.account, delivered.decision_id, recipient)
                    key = bounce_key(delivered.decision_id, recipient)
                    await self.absorb(Event(delivered.at, "bounced", *who, detail=f"{code} {text}", key=key))
        except Exception as trouble:
            self._watcher.failed("delivered", trouble)
