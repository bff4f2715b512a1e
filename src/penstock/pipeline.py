"""The order of all steps: admit at MAIL, judge the whole message, absorb what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from penstock.absorbing import Lessons
from penstock.attempts import Attempt, Permission
from penstock.judge import limits, pools, reputation, rows, warmup
from penstock.judge.campaigns import CampaignView, Share, observe_campaign
from penstock.judge.decision import accept_own, decide, delay_unheld, may_name_pool, refusal_at_mail, unjudged
from penstock.judge.hearing import Content, Heard, hear, kind_for_limits, kind_for_pool
from penstock.judge.learnt import remembered
from penstock.judge.limits import Counted
from penstock.judge.opinions import for_virus, with_opinions
from penstock.judge.pools import LEVELS, PLACE_KEEP_S, Live, Place, Route
from penstock.judge.reputation import CAMPAIGN_KEEP_S, KEEP_S, SOURCE_KEEP_S, Assessment
from penstock.judge.rules import Rules
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
from penstock.sending import SendingIp
from penstock.steering import LIMITS_KEEP_S, Steering
from penstock.store.ports import HeldMessage, Records, Store, Turn, Write

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


class _Outcome(Struct):
    """What the turns of one message came to; each run of a step overwrites it."""

    views: dict[str, CampaignView] = {}
    share: Share = Share(0.0, 0.0, is_usual=False)
    tenant: Counted | None = None
    counted: Counted | None = None
    assessment: Assessment | None = None
    place: Place | None = None
    moved_from: Place | None = None
    """The place before, where this message moved the account."""
    has_room: bool = False
    """Whether a warming IP took the message into its share."""
    row: DecisionRow | None = None


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
        way = self._warm_way(str(account), place.level if place else standing.value, Kind.NORMAL, opening.now)
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
        """One atomic read-judge-write: campaigns, tenant, account, then the decision and its rows."""
        rules, outcome = self._rules, _Outcome({})
        recipients = heard.message.recipients
        if recipients and all(map(rules.is_own, recipients)):
            return await self._pass_own(heard)
        turns = (
            [self._peek(heard, outcome), *self._campaign_turns(heard, outcome)] if heard.verdict.fingerprints else []
        )
        turns += [*self._tenant_turns(heard, outcome), self._account_turn(heard, outcome)]
        turns += [*self._tenant_undo(heard, outcome), *self._warm_up_turns(heard, outcome)]

        def records() -> Records:
            assert outcome.assessment is not None
            hit = next((one.hit for one in (outcome.tenant, outcome.counted) if one is not None and one.hit), None)
            return self._records(
                heard, outcome, decide(rules, heard, outcome.assessment, hit, self._way(heard, outcome))
            )

        row = await self._keep(turns, records, heard, outcome)
        if outcome.assessment is not None and outcome.assessment.is_suspended_now:
            await self.note_suspension(heard.message.now)
        for trap in rules.trapped(heard.submission.envelope.rcpt_to):
            # A trap that is tried again the same day has not been bought again.
            now, key = heard.message.now, f"spamtrap/{trap}/{heard.message.now // 86400:.0f}"
            await self.absorb(Event(now, "spamtrap", heard.account, row.decision.id, trap, detail=trap, key=key))
        return row

    async def _keep(
        self, turns: Sequence[Turn], records: Callable[[], Records], heard: Heard, outcome: _Outcome
    ) -> DecisionRow:
        try:
            await self._store.update(turns, records)
        except OSError as trouble:
            if outcome.row is None or outcome.row.decision.action is not Action.HOLD:
                raise
            # The turns are kept: what the message says has counted, and another try of it is known again.
            self._watcher.failed("hold", trouble)
            delayed = delay_unheld(self._rules, outcome.row.decision)
            await self._store.update((), lambda: self._records(heard, outcome, delayed))
        assert outcome.row is not None
        return outcome.row

    async def _pass_own(self, heard: Heard) -> DecisionRow:
        key = f"a:{heard.account}"
        state = (await self._store.read((key,)))[key]
        standing = reputation.admit(state, heard.message.now, self._rules.policy, heard.account)
        level = pools.level_of(standing, 0.0, self._rules.policy.throttle)
        is_named = may_name_pool(self._rules, heard.submission)
        way = self._warm_way(heard.account, level, Kind.NORMAL, heard.message.now) if is_named else ("", "")
        decision = accept_own(self._rules, heard, standing, way)
        row = rows.decision_row(decision, heard.submission, heard)
        await self._store.update((), lambda: Records(decisions=(row,), must_be_durable=False))
        return row

    def _peek(self, heard: Heard, outcome: _Outcome) -> Turn:
        """What the content is worth for this account, before its campaigns are told."""
        account, source = f"a:{heard.account}", f"s:{heard.account}|{heard.message.source}"

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            outcome.share = reputation.for_campaigns(state[account], state[source], heard.message)
            return {}

        return Turn(account, (account, source), step)

    def _campaign_turns(self, heard: Heard, outcome: _Outcome) -> list[Turn]:
        message = heard.message

        def turn(fingerprint: str) -> Turn:
            key = f"c:{fingerprint}"

            def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
                data, outcome.views[fingerprint] = observe_campaign(
                    state[key],
                    fingerprint,
                    account=message.account,
                    tenant=message.tenant,
                    source=message.source,
                    recipients=len(message.recipients),
                    share=outcome.share,
                    now=message.now,
                )
                return {key: Write(data, CAMPAIGN_KEEP_S)}

            return Turn(key, (key,), step)

        return [turn(one) for one in sorted(message.verdict.fingerprints)]

    def _tenant_turns(self, heard: Heard, outcome: _Outcome) -> list[Turn]:
        _, tenant_limits = self._rules.limits(heard.attribution.plan, kind_for_limits(heard))
        if not tenant_limits or not heard.message.tenant:
            return []
        key = f"t:{heard.message.tenant}"

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            outcome.tenant = limits.count(state[key], tenant_limits, _amounts(heard, 0), heard.message.now)
            return {key: Write(outcome.tenant.state, _TENANT_KEEP_S)}

        return [Turn(key, (key,), step)]

    def _tenant_undo(self, heard: Heard, outcome: _Outcome) -> list[Turn]:
        """What the tenant was charged goes back where the account's evidence or limits refuse the message."""
        _, tenant_limits = self._rules.limits(heard.attribution.plan, kind_for_limits(heard))
        if not tenant_limits or not heard.message.tenant:
            return []
        key = f"t:{heard.message.tenant}"

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            if outcome.tenant is None or outcome.tenant.hit or not self._is_refused(heard, outcome):
                return {}
            data = limits.uncount(state[key], tenant_limits, _amounts(heard, 0), heard.message.now)
            return {key: Write(data, _TENANT_KEEP_S)}

        return [Turn(key, (key,), step)]

    def _account_turn(self, heard: Heard, outcome: _Outcome) -> Turn:
        rules, message = self._rules, heard.message
        account, source, limit = f"a:{message.account}", f"s:{message.account}|{message.source}", f"l:{message.account}"
        place = f"p:{message.account}"
        is_placed = bool(self.pools.choices) and may_name_pool(rules, heard.submission)
        account_limits, _ = rules.limits(heard.attribution.plan, kind_for_limits(heard))

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            views = tuple(outcome.views.values())
            outcome.assessment = outcome.counted = None

            def may_leave(new_recipients: int) -> bool:
                if (account_limits or state[limit]) and not self._is_refused(heard, outcome):
                    amounts = _amounts(heard, new_recipients)
                    outcome.counted = limits.count(state[limit], account_limits, amounts, message.now)
                return not self._is_refused(heard, outcome)

            found = reputation.observe_message(
                state[account], state[source], message, views, rules.policy, may_leave=may_leave
            )
            outcome.assessment = found
            written = {account: Write(found.account, KEEP_S), source: Write(found.source, SOURCE_KEEP_S)}
            if outcome.counted is not None:
                written[limit] = Write(outcome.counted.state, LIMITS_KEEP_S)
            if is_placed:
                level = pools.level_of(found.standing, found.score, rules.policy.throttle)
                outcome.place, moved = pools.settle(state[place], level, message.now, self.pools.move_after_s)
                outcome.moved_from = pools.read_place(state[place]) if moved else None
                if moved:
                    written[place] = Write(moved, PLACE_KEEP_S)
            return written

        return Turn(account, (account, source, limit, *((place,) if is_placed else ())), step)

    def _is_refused(self, heard: Heard, outcome: _Outcome) -> bool:
        """Whether evidence, a virus or a limit keeps the message here, so that it uses up no limit and no share."""
        asked = outcome.assessment.wanted if outcome.assessment is not None else Action.ACCEPT
        wanted, _ = for_virus(asked, "", heard.verdict, self._rules.on_virus)
        return wanted is not Action.ACCEPT or any(one and one.hit for one in (outcome.tenant, outcome.counted))

    # The way out.

    def _route(self, heard: Heard, outcome: _Outcome) -> Route:
        if outcome.place is None:
            return Route()
        kind, now = kind_for_pool(heard), heard.message.now
        return pools.find_route(self.pools, self.live, heard.account, outcome.place.level, kind, now=now)

    def _way(self, heard: Heard, outcome: _Outcome) -> tuple[str, str]:
        warm_up = self.pools.warm_up
        return pools.pick(self._route(heard, outcome), warm_up, heard.message.now, has_room=outcome.has_room)

    def _warm_way(self, account: str, level: str, kind: Kind, now: float) -> tuple[str, str]:
        """The way of what is not counted: over warm IPs."""
        route = pools.find_route(self.pools, self.live, account, level, kind, now=now)
        return pools.pick(route, self.pools.warm_up, now, has_room=False)

    def _warm_up_turns(self, heard: Heard, outcome: _Outcome) -> list[Turn]:
        """A turn for each warming IP that may turn out to be the account's; one of them counts."""
        rules, message = self._rules, heard.message
        warm_up = self.pools.warm_up
        if not may_name_pool(rules, heard.submission) or not self.pools.has_warming(message.now):
            return []

        def turn(ip: SendingIp) -> Turn:
            key = f"w:{ip.ip}"

            def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
                is_first = pools.first_warming(self._route(heard, outcome), warm_up, message.now) == ip
                if not is_first or self._is_refused(heard, outcome):
                    return {}
                data, outcome.has_room = warmup.count(state[key], warm_up, ip, message.recipients, message.now)
                return {key: Write(data, warmup.KEEP_S)} if data is not None else {}

            return Turn(key, (key,), step)

        routes = [
            pools.find_route(self.pools, self.live, heard.account, level, kind_for_pool(heard), now=message.now)
            for level in LEVELS
        ]
        warming = {one for one in (pools.first_warming(route, warm_up, message.now) for route in routes) if one}
        return [turn(one) for one in sorted(warming, key=lambda one: one.ip)]

    def _records(self, heard: Heard, outcome: _Outcome, decision: Decision) -> Records:
        """The rows that this message leaves behind."""
        found = outcome.assessment
        assert found is not None
        row = outcome.row = rows.decision_row(decision, heard.submission, heard)
        account = rows.account_row(heard, found, decision)
        has_moved = found.standing is not found.previous
        outbox = (
            *rows.limit_notices(heard, outcome.tenant, outcome.counted),
            *(rows.moved_outbox(heard, found) if has_moved else ()),
        )
        audit = rows.moved_audit(heard, found, decision)
        if decision.standing is not Standing.SUSPENDED:
            audit += rows.pool_move(heard, self.pools.choices, outcome.moved_from, outcome.place)
        held: tuple[HeldMessage, ...] = ()
        if decision.action is Action.HOLD:
            held = (HeldMessage(rows.held_row(heard, decision), heard.submission.raw),)
        return Records(
            decisions=(row,),
            accounts=(account,),
            held=held,
            audit=audit,
            outbox=outbox,
            remembered=remembered(heard, decision) if self._lessons is not None else (),
            must_be_durable=decision.action is not Action.ACCEPT or has_moved or bool(outbox),
        )

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


def _amounts(heard: Heard, new_recipients: int) -> dict[str, int]:
    return {"messages": 1, "recipients": len(heard.message.recipients), "new-recipients": new_recipients}
