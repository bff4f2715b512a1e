"""From evidence to what is done: one decision, its reply, its pool and the headers that go with the message."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from penstock.judge.hearing import Heard
from penstock.judge.limits import Hit
from penstock.judge.opinions import for_virus
from penstock.judge.reference import account_tag, make_token
from penstock.judge.replies import UNJUDGED, reply_for, reply_for_limit
from penstock.judge.reputation import Assessment
from penstock.judge.rules import Rules
from penstock.model import Account, Action, Decision, Evidence, Kind, Mode, Reply, Standing, Submission, transport_name

_RETRY_S = 900.0
"""When to come again where a hold cannot be kept by us and becomes a delay."""

Way = tuple[str, str]
"""Pool and sending IP of a message that goes on; both empty where none is named."""


def decide(rules: Rules, heard: Heard, assessment: Assessment, hit: Hit | None, way: Way) -> Decision:
    """Join what the evidence and a virus ask for with what plain limits say, which speak only of what would go; in
    observe mode nothing is done about any of it."""
    submission, reply, retry_after_s = heard.submission, None, assessment.retry_after_s
    wanted, reason = for_virus(assessment.wanted, assessment.reason, heard.verdict, rules.on_virus)
    if wanted is Action.ACCEPT and hit is not None:
        wanted, reason = (Action.THROTTLE if hit.opens_at else Action.REJECT), "PS-LIMIT"
        reply = reply_for_limit(hit, submission.id, _clock)
    if wanted is Action.HOLD and not can_hold(submission):
        wanted, retry_after_s = Action.THROTTLE, _RETRY_S
    action = wanted if rules.mode is Mode.ENFORCE else Action.ACCEPT
    if action in (Action.ACCEPT, Action.HOLD):
        reply = None
    elif reply is None:
        reply = reply_for(reason, action, submission.id, retry_after_s, rules.link_of(submission.id))
    return _complete(
        rules,
        heard,
        Decision(
            id=submission.id,
            at=submission.received_at,
            account=heard.attribution.account,
            action=action,
            wanted=wanted,
            standing=assessment.standing,
            kind=heard.verdict.kind,
            score=assessment.score,
            evidence=assessment.evidence,
            findings=heard.verdict.findings,
            reply=reply,
            reason=reason,
            against_bulk=assessment.against_bulk,
            lines=assessment.lines,
        ),
        way,
    )


def delay_unheld(rules: Rules, decision: Decision) -> Decision:
    """What a hold becomes that cannot be written to disk: whoever sent the message keeps it a while longer."""
    reply = reply_for(decision.reason, Action.THROTTLE, decision.id, _RETRY_S, rules.link_of(decision.id))
    return replace(decision, action=Action.THROTTLE, wanted=Action.THROTTLE, reply=reply)


def accept_own(rules: Rules, heard: Heard, standing: Standing, way: Way) -> Decision:
    """Mail to the provider's own addresses always passes."""
    evidence = (Evidence("own-address", 0.0, ", ".join(heard.submission.envelope.rcpt_to[:3])),)
    decision = Decision(
        id=heard.submission.id,
        at=heard.submission.received_at,
        account=heard.attribution.account,
        action=Action.ACCEPT,
        wanted=Action.ACCEPT,
        standing=standing,
        kind=heard.verdict.kind,
        score=0.0,
        evidence=evidence,
        findings=heard.verdict.findings,
        reason="PS-OWN",
    )
    return _complete(rules, heard, decision, way)


def unjudged(rules: Rules, submission: Submission) -> Decision:
    """What `on_failure` says where Penstock itself cannot judge: never a 5xx, never silence."""
    must_defer = rules.must_defer_on_failure
    action = Action.THROTTLE if must_defer else Action.ACCEPT
    return Decision(
        id=submission.id,
        at=submission.received_at,
        account=Account("none", "unjudged"),
        action=action,
        wanted=action,
        standing=Standing.NORMAL,
        kind=Kind.NORMAL,
        score=0.0,
        evidence=(Evidence("not-judged", 0.0, "Penstock could not judge; on_failure decided"),),
        reply=reply_for(UNJUDGED, action, submission.id, 0.0, rules.link_of(submission.id)) if must_defer else None,
        reason=UNJUDGED,
        add_headers=() if must_defer else (("X-Penstock-Unjudged", "yes"),),
        remove_headers=(*rules.strip_headers, rules.pool_header.lower()),
        is_judged=False,
    )


def can_hold(submission: Submission) -> bool:
    """Whether the message is here whole and the listener lets Penstock keep it."""
    return not submission.is_cut and submission.connection.listener != "http"


def refusal_at_mail(rules: Rules, standing: Standing) -> Reply | None:
    """The reply to a suspended account before any content."""
    if standing is not Standing.SUSPENDED or rules.mode is Mode.OBSERVE:
        return None
    return reply_for("PS-SUSPENDED", Action.REJECT, "", 0.0, rules.link_of(""))


def may_name_pool(rules: Rules, submission: Submission) -> bool:
    """Whether a pool may be named at all: not while observing, and not where some recipient is local."""
    return rules.mode is Mode.ENFORCE and not submission.local_recipients


def _complete(rules: Rules, heard: Heard, decision: Decision, way: Way) -> Decision:
    """Add the pool and the headers of a message that goes on."""
    if decision.action is not Action.ACCEPT:
        return decision
    token = make_token(decision.id, rules.reference_key)
    add = [("X-Penstock-Ref", token)]
    if not heard.parsed.header("feedback-id"):
        tag = account_tag(heard.account, rules.reference_key)
        add.append(("Feedback-ID", f"{tag}:{decision.kind}:{rules.feedback_sender}"))
    pool, ip = way
    if pool:
        add.append((rules.pool_header, transport_name(pool, ip)))
    ours = [name for name, _ in heard.parsed.headers if name.startswith("x-penstock-")]
    remove = {*rules.strip_headers, *ours, rules.pool_header.lower()}
    return replace(
        decision,
        pool=pool,
        ip=ip,
        add_headers=tuple(add),
        remove_headers=tuple(sorted(remove)),
        token=token,
    )


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
