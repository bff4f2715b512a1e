"""Replays a trace through a judge, with a clock of its own, and writes down what became of every message.

The world around the judge is simulated as a provider sees it: what is throttled is tried again by the sending side
(after 5, 15, 30, 60, 120 and 240 minutes, then given up); what bounces or is complained about must have left
first; and when an owner's account is suspended by mistake, an operator undoes it after four hours by changing the
password. Nothing of `truth`, `model` and `campaign` reaches the judge.
"""

from __future__ import annotations

import heapq
from time import process_time
from typing import Protocol

from msgspec import Struct
from xxhash import xxh3_64_intdigest

from penstock.evaluation.trace import (
    ComplaintSeen,
    DeliverySeen,
    LoginSeen,
    MessageSent,
    PasswordChanged,
    Trace,
    TraceEvent,
)
from penstock.judge.identity import network_of
from penstock.model import Account, Action, Connection, Decision, Envelope, Event, Standing, Submission, make_id

RETRIES_S = (300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
OPERATOR_AFTER_S = 4 * 3600.0
ACCOUNT_HEADER = "X-Trace-Account"
"""Carries accounts that are no logins, written as a trusted host would write it: `kind:value`."""


class Judge(Protocol):
    """What a trace can be replayed through: the product's pipeline, or a baseline."""

    async def judge(self, submission: Submission) -> Decision:
        """Judge a whole message."""

    async def absorb(self, event: Event) -> object:
        """Take note of what came back about an account."""


class Outcome(Struct, frozen=True):
    """What became of one message."""

    t: float
    account: str
    truth: str
    model: str
    campaign: str
    recipients: int
    action: Action
    """The first answer."""
    left_at: float | None
    """None where it never left."""
    nats: float
    """The sum of this message's own evidence, without what was carried from before."""
    is_incident: bool
    """Whether the account was in an abuser's hands at the time."""
    was_suspended: bool
    reason: str = ""
    score: float = 0.0
    """The statistic that was held against the thresholds, in nats."""
    named: tuple[str, ...] = ()
    """The strongest evidence for abuse by name, at most three, strongest first."""


class Suspension(Struct, frozen=True):
    """An account was suspended."""

    t: float
    account: str
    is_false: bool
    """Whether the account was its owner's at the time."""
    reasons: tuple[str, ...]
    """Names of the strongest evidence, strongest first."""


class Replayed(Struct, frozen=True):
    """Everything that a report is made of."""

    outcomes: tuple[Outcome, ...]
    suspensions: tuple[Suspension, ...]
    first_seen: dict[str, float]
    """Account → its first event."""
    began: float
    ended: float
    cpu_s: float
    """CPU seconds spent inside the judge."""


class _Pending(Struct):
    message: MessageSent
    raw: bytes
    first: Decision | None = None
    tries: int = 0
    waiting: list[DeliverySeen | ComplaintSeen] = []
    decision_id: str = ""
    nats: float = 0.0
    is_incident: bool = False
    left_at: float | None = None


class Replay:
    """One run of one trace through one judge."""

    def __init__(self, trace: Trace, judge: Judge) -> None:
        self._trace = trace
        self._judge = judge
        self._queue: list[tuple[float, int, _Pending | TraceEvent]] = []
        self._count = 0
        self._sent: dict[str, _Pending] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._suspensions: list[Suspension] = []
        self._suspended: set[str] = set()
        self._compromised: set[str] = set()
        self._first_seen: dict[str, float] = {}
        self._cpu_s = 0.0

    async def run(self) -> Replayed:
        """Replay everything. Raises TraceError where the trace is at fault."""
        began: float | None = None
        now = 0.0
        for event in self._trace.events():
            began = event.t if began is None else began
            now = event.t
            await self._catch_up(event.t)
            await self._take(event, event.t)
        await self._catch_up(float("inf"))
        return Replayed(
            tuple(self._outcomes.values()),
            tuple(self._suspensions),
            self._first_seen,
            began or 0.0,
            now,
            self._cpu_s,
        )

    async def _catch_up(self, until: float) -> None:
        while self._queue and self._queue[0][0] <= until:
            at, _, what = heapq.heappop(self._queue)
            if isinstance(what, _Pending):
                await self._try(what, at)
            else:
                await self._take(what, at)

    def _later(self, at: float, what: _Pending | TraceEvent) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at, self._count, what))

    async def _take(self, event: TraceEvent, now: float) -> None:
        match event:
            case MessageSent():
                self._first_seen.setdefault(event.account, now)
                if event.truth == "abuse":
                    self._compromised.add(event.account)
                pending = _Pending(event, self._trace.raw(event), is_incident=event.account in self._compromised)
                self._sent[event.id] = pending
                await self._try(pending, now)
            case DeliverySeen() | ComplaintSeen():
                await self._came_back(event, now)
            case LoginSeen():
                self._first_seen.setdefault(event.account, now)
                what = "login" if event.ok else "login-failed"
                network, client = network_of(event.source.ip), event.source.client or event.source.helo
                await self._absorb(
                    Event(now, what, event.account, source=network, client=client, service=event.service)
                )
            case PasswordChanged():
                self._compromised.discard(event.account)
                self._suspended.discard(event.account)
                await self._absorb(Event(now, "password-changed", event.account))

    async def _try(self, pending: _Pending, now: float) -> None:
        if pending.tries and pending.message.truth == "abuse" and pending.message.account not in self._compromised:
            return  # the thief's credentials are gone before the next try
        submission = submission_of(pending.message, pending.raw, now)
        started = process_time()
        decision = await self._judge.judge(submission)
        self._cpu_s += process_time() - started
        self._note_standing(pending.message.account, decision, now)
        if pending.first is None:
            pending.first = decision
            pending.nats = sum(term.nats - term.carried for term in decision.evidence)
        if decision.action is Action.ACCEPT:
            pending.left_at, pending.decision_id = now, decision.id
            delay = now - pending.message.t
            for event in pending.waiting:
                self._later(max(now, event.t + delay), event)
            pending.waiting = []
        if decision.action is Action.THROTTLE and pending.tries < len(RETRIES_S):
            self._later(pending.message.t + RETRIES_S[pending.tries], pending)
            pending.tries += 1
        else:
            pending.raw = b""
        self._outcomes[pending.message.id] = _outcome(pending, pending.first)

    def _note_standing(self, account: str, decision: Decision, now: float) -> None:
        if decision.standing is not Standing.SUSPENDED:
            self._suspended.discard(account)
            return
        if account in self._suspended:
            return
        self._suspended.add(account)
        is_false = account not in self._compromised
        self._suspensions.append(Suspension(now, account, is_false, strongest(decision)))
        if is_false:
            self._later(now + OPERATOR_AFTER_S, PasswordChanged(now + OPERATOR_AFTER_S, account))

    async def _came_back(self, event: DeliverySeen | ComplaintSeen, now: float) -> None:
        sent = self._sent[event.id]
        if sent.left_at is None:
            sent.waiting.append(event)
            return
        if now < sent.left_at + (event.t - sent.message.t):
            self._later(sent.left_at + (event.t - sent.message.t), event)
            return
        account = sent.message.account
        if isinstance(event, ComplaintSeen):
            await self._absorb(Event(now, "complaint", account, sent.decision_id))
        else:
            await self._absorb(
                Event(now, event.status, account, sent.decision_id, recipient=event.rcpt, detail=event.reply)
            )

    async def _absorb(self, event: Event) -> None:
        started = process_time()
        await self._judge.absorb(event)
        self._cpu_s += process_time() - started


def _outcome(pending: _Pending, first: Decision) -> Outcome:
    message = pending.message
    return Outcome(
        message.t,
        message.account,
        message.truth,
        message.model or "",
        message.campaign or "",
        len(message.rcpt_to),
        first.action,
        pending.left_at,
        pending.nats,
        pending.is_incident,
        first.standing is Standing.SUSPENDED,
        first.reason,
        first.score,
        strongest(first),
    )


def strongest(decision: Decision) -> tuple[str, ...]:
    """Names of the strongest evidence for abuse, at most three, strongest first."""
    causes = (term for term in decision.evidence if term.nats > 0 and term.name not in ("carried", "models"))
    ranked = sorted(causes, key=lambda term: -term.nats)
    return tuple(term.name for term in ranked[:3])


def submission_of(message: MessageSent, raw: bytes, now: float) -> Submission:
    """The submission that the product would have seen, as a milter sees it: a login, or a header of a trusted host."""
    account = Account.parse(message.account)
    is_login = account.kind == "sasl"
    if not is_login:
        raw = f"{ACCOUNT_HEADER}: {message.account}\r\n".encode() + raw
    connection = Connection(
        client_ip=message.source.ip,
        client_name=message.source.client,
        helo=message.source.helo,
        peer_ip="127.0.0.1",
        port=587 if is_login else 25,
        login=account.value if is_login else "",
        login_method="PLAIN" if is_login else "",
        listener="milter",
        is_trusted_peer=True,
    )
    id = make_id(now, xxh3_64_intdigest(message.id.encode()))
    return Submission(id, now, connection, Envelope(message.mail_from, message.rcpt_to), raw, queue_id=message.id)


def account_of(submission: Submission) -> str:
    """The account of a submission that `submission_of` made, as the trace names it."""
    if submission.connection.login:
        return f"sasl:{submission.connection.login}"
    line = submission.raw.partition(b"\r\n")[0].decode("utf-8", "replace")
    return line.partition(": ")[2] if line.startswith(ACCOUNT_HEADER + ":") else "none:unidentified"
