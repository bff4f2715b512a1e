"""One message's read-judge-write: turns over its campaigns, tenant, account and IPs, and the rows that it leaves."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.judge import limits, pools, reputation, rows, warmup
from penstock.judge.campaigns import CampaignView, Share, observe_campaign
from penstock.judge.decision import decide, delay_unheld, may_name_pool
from penstock.judge.hearing import Heard, kind_for_limits, kind_for_pool
from penstock.judge.learnt import remembered
from penstock.judge.limits import Counted
from penstock.judge.opinions import for_virus
from penstock.judge.pools import LEVELS, PLACE_KEEP_S, Live, Place, Pools, Route
from penstock.judge.reputation import CAMPAIGN_KEEP_S, KEEP_S, SOURCE_KEEP_S, Assessment
from penstock.judge.rules import Rules
from penstock.model import Action, Decision, DecisionRow, Standing
from penstock.sending import SendingIp
from penstock.steering import LIMITS_KEEP_S
from penstock.store.ports import HeldMessage, Records, Turn, Write

_TENANT_KEEP_S = 2 * 86400.0


class Judging:
    """A message between its first turn and its rows; a step that the store runs again overwrites what it found."""

    def __init__(self, heard: Heard, rules: Rules, pools: Pools, live: Live, *, is_remembered: bool) -> None:
        """`pools` and `live` as they stand now; `is_remembered` where people's verdicts are to be learnt from."""
        self._heard = heard
        self._rules = rules
        self._pools = pools
        self._live = live
        self._is_remembered = is_remembered
        self._views: dict[str, CampaignView] = {}
        self._share = Share(0.0, 0.0, is_usual=False)
        self._tenant: Counted | None = None
        self._counted: Counted | None = None
        self._assessment: Assessment | None = None
        self._place: Place | None = None
        self._moved_from: Place | None = None
        self._has_room = False
        self.row: DecisionRow | None = None
        """The decision's row, once the records were asked for."""

    def turns(self) -> list[Turn]:
        """Campaigns first, then tenant and account, which see what these told; what was charged too early goes back."""
        is_told = bool(self._heard.verdict.fingerprints)
        told = [self._peek(), *self._campaign_turns()] if is_told else []
        return [*told, *self._tenant_turns(), self._account_turn(), *self._tenant_undo(), *self._warm_up_turns()]

    def records(self) -> Records:
        """The decision, and the rows that this message leaves behind. Called after the turns."""
        assert self._assessment is not None, "the account's turn has run"
        hit = next((one.hit for one in (self._tenant, self._counted) if one is not None and one.hit), None)
        return self._leave(decide(self._rules, self._heard, self._assessment, hit, self._way()))

    def records_unheld(self) -> Records:
        """The rows where the message was to be held, but could not be kept: the client is to try again."""
        assert self.row is not None, "its records were asked for"
        return self._leave(delay_unheld(self._rules, self.row.decision))

    @property
    def is_suspended_now(self) -> bool:
        """Whether this message suspended its account."""
        return self._assessment is not None and self._assessment.is_suspended_now

    def _peek(self) -> Turn:
        """What the content is worth for this account, before its campaigns are told."""
        account, source = f"a:{self._heard.account}", f"s:{self._heard.account}|{self._heard.message.source}"

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            self._share = reputation.for_campaigns(state[account], state[source], self._heard.message)
            return {}

        return Turn(account, (account, source), step)

    def _campaign_turns(self) -> list[Turn]:
        message = self._heard.message

        def turn(fingerprint: str) -> Turn:
            key = f"c:{fingerprint}"

            def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
                data, self._views[fingerprint] = observe_campaign(
                    state[key],
                    fingerprint,
                    account=message.account,
                    tenant=message.tenant,
                    source=message.source,
                    recipients=len(message.recipients),
                    share=self._share,
                    now=message.now,
                )
                return {key: Write(data, CAMPAIGN_KEEP_S)}

            return Turn(key, (key,), step)

        return [turn(one) for one in sorted(message.verdict.fingerprints)]

    def _tenant_turns(self) -> list[Turn]:
        _, tenant_limits = self._rules.limits(self._heard.attribution.plan, kind_for_limits(self._heard))
        if not tenant_limits or not self._heard.message.tenant:
            return []
        key = f"t:{self._heard.message.tenant}"

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            self._tenant = limits.count(state[key], tenant_limits, self._amounts(0), self._heard.message.now)
            return {key: Write(self._tenant.state, _TENANT_KEEP_S)}

        return [Turn(key, (key,), step)]

    def _tenant_undo(self) -> list[Turn]:
        """What the tenant was charged goes back where the account's evidence or limits refuse the message."""
        _, tenant_limits = self._rules.limits(self._heard.attribution.plan, kind_for_limits(self._heard))
        if not tenant_limits or not self._heard.message.tenant:
            return []
        key = f"t:{self._heard.message.tenant}"

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            if self._tenant is None or self._tenant.hit or not self._is_refused():
                return {}
            data = limits.uncount(state[key], tenant_limits, self._amounts(0), self._heard.message.now)
            return {key: Write(data, _TENANT_KEEP_S)}

        return [Turn(key, (key,), step)]

    def _account_turn(self) -> Turn:
        rules, message = self._rules, self._heard.message
        account, source, limit = f"a:{message.account}", f"s:{message.account}|{message.source}", f"l:{message.account}"
        place = f"p:{message.account}"
        is_placed = bool(self._pools.choices) and may_name_pool(rules, self._heard.submission)
        account_limits, _ = rules.limits(self._heard.attribution.plan, kind_for_limits(self._heard))

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            views = tuple(self._views.values())
            self._assessment = self._counted = None

            def may_leave(new_recipients: int) -> bool:
                if (account_limits or state[limit]) and not self._is_refused():
                    amounts = self._amounts(new_recipients)
                    self._counted = limits.count(state[limit], account_limits, amounts, message.now)
                return not self._is_refused()

            found = reputation.observe_message(
                state[account], state[source], message, views, rules.policy, may_leave=may_leave
            )
            self._assessment = found
            written = {account: Write(found.account, KEEP_S), source: Write(found.source, SOURCE_KEEP_S)}
            if self._counted is not None:
                written[limit] = Write(self._counted.state, LIMITS_KEEP_S)
            if is_placed:
                level = pools.level_of(found.standing, found.score, rules.policy.throttle)
                self._place, moved = pools.settle(state[place], level, message.now, self._pools.move_after_s)
                self._moved_from = pools.read_place(state[place]) if moved else None
                if moved:
                    written[place] = Write(moved, PLACE_KEEP_S)
            return written

        return Turn(account, (account, source, limit, *((place,) if is_placed else ())), step)

    def _is_refused(self) -> bool:
        """Whether evidence, a virus or a limit keeps the message here, so that it uses up no limit and no share."""
        asked = self._assessment.wanted if self._assessment is not None else Action.ACCEPT
        wanted, _ = for_virus(asked, "", self._heard.verdict, self._rules.on_virus)
        return wanted is not Action.ACCEPT or any(one and one.hit for one in (self._tenant, self._counted))

    # The way out.

    def _route(self) -> Route:
        if self._place is None:
            return Route()
        kind, now = kind_for_pool(self._heard), self._heard.message.now
        return pools.find_route(self._pools, self._live, self._heard.account, self._place.level, kind, now=now)

    def _way(self) -> tuple[str, str]:
        warm_up = self._pools.warm_up
        return pools.pick(self._route(), warm_up, self._heard.message.now, has_room=self._has_room)

    def _warm_up_turns(self) -> list[Turn]:
        """A turn for each warming IP that may turn out to be the account's; one of them counts."""
        rules, message = self._rules, self._heard.message
        warm_up, kind = self._pools.warm_up, kind_for_pool(self._heard)
        if not may_name_pool(rules, self._heard.submission) or not self._pools.has_warming(message.now):
            return []

        def turn(ip: SendingIp) -> Turn:
            key = f"w:{ip.ip}"

            def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
                is_first = pools.first_warming(self._route(), warm_up, message.now) == ip
                if not is_first or self._is_refused():
                    return {}
                data, self._has_room = warmup.count(state[key], warm_up, ip, message.recipients, message.now)
                return {key: Write(data, warmup.KEEP_S)} if data is not None else {}

            return Turn(key, (key,), step)

        routes = [
            pools.find_route(self._pools, self._live, message.account, level, kind, now=message.now) for level in LEVELS
        ]
        warming = {one for one in (pools.first_warming(route, warm_up, message.now) for route in routes) if one}
        return [turn(one) for one in sorted(warming, key=lambda one: one.ip)]

    def _leave(self, decision: Decision) -> Records:
        found = self._assessment
        assert found is not None
        row = self.row = rows.decision_row(decision, self._heard.submission, self._heard)
        account = rows.account_row(self._heard, found, decision)
        has_moved = found.standing is not found.previous
        outbox = (
            *rows.limit_notices(self._heard, self._tenant, self._counted),
            *(rows.moved_outbox(self._heard, found) if has_moved else ()),
        )
        audit = rows.moved_audit(self._heard, found, decision)
        if decision.standing is not Standing.SUSPENDED:
            audit += rows.pool_move(self._heard, self._pools.choices, self._moved_from, self._place)
        held: tuple[HeldMessage, ...] = ()
        if decision.action is Action.HOLD:
            held = (HeldMessage(rows.held_row(self._heard, decision), self._heard.submission.raw),)
        return Records(
            decisions=(row,),
            accounts=(account,),
            held=held,
            audit=audit,
            outbox=outbox,
            remembered=remembered(self._heard, decision) if self._is_remembered else (),
            must_be_durable=decision.action is not Action.ACCEPT or has_moved or bool(outbox),
        )

    def _amounts(self, new_recipients: int) -> dict[str, int]:
        recipients = len(self._heard.message.recipients)
        return {"messages": 1, "recipients": recipients, "new-recipients": new_recipients}
