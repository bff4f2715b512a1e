"""What a client is told: stable tags, 5xx for a message judged bad, 4xx for a state that may be undone."""

from __future__ import annotations

from collections.abc import Callable

from penstock.judge.limits import Hit
from penstock.model import Action, Reply

UNJUDGED = "PS-FAILURE"
_TEXTS = {
    "PS-CONTENT": "This message looks like spam or fraud",
    "PS-VIRUS": "This message holds malicious software",
    "PS-CAMPAIGN": "This message belongs to a run of unwanted mail from several accounts",
    "PS-ACCOUNT": "This account sends unlike its owner; it may have been taken over",
    "PS-PROBATION": "This new account has sent to as many new recipients as it may for now",
    "PS-SUSPENDED": "Sending from this account is stopped",
    "PS-THROTTLE": "This account is slowed down while its mail is looked at",
    UNJUDGED: "This message cannot be checked at the moment",
}
_OTHER = "This message is not accepted"


def reply_for(reason: str, action: Action, id: str, retry_after_s: float, link: str) -> Reply:
    """The reply to a refused or delayed message; `link` is left out where empty.

    `id` is the decision's; empty before there is one, at MAIL.
    """
    text = _TEXTS.get(reason, _OTHER)
    if retry_after_s > 0:
        text += f"; try again in {_duration(retry_after_s)}"
    where = link or "contact your provider"
    permanent = action is Action.REJECT and reason != "PS-SUSPENDED"
    code, enhanced = (550, "5.7.1") if permanent else (450, "4.7.1")
    if reason == UNJUDGED:
        code, enhanced = 451, "4.3.0"
    reference = f" (reference {id})" if id else ""
    return Reply(code, enhanced, f"[{reason}] {text}{reference}: {where}")


def reply_for_limit(hit: Hit, id: str, clock_text: Callable[[float], str]) -> Reply:
    """The reply to a message over a plain limit: what is counted, how much, and when it opens again."""
    limit = hit.limit
    unit = limit.unit.replace("-", " ")
    whose = {"tenant": "all accounts of this customer", "automatic": "automatic mail of this account"}.get(
        limit.of, "this account"
    )
    if not hit.opens_at:
        text = f"{hit.asked} {unit} in one message; the limit for {whose} is {limit.most} per {limit.window}"
        return Reply(550, "5.5.3", f"[PS-LIMIT] {text} (reference {id})")
    text = f"{hit.used} of {limit.most} {unit} per {limit.window} used by {whose}"
    return Reply(451, "4.7.1", f"[PS-LIMIT] {text}; opens again at {clock_text(hit.opens_at)} (reference {id})")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 90 else f"{round(minutes / 60)} hours"
