"""How an account's standing moves: slowly upward with time and good mail, downward with evidence, back with quiet."""

from __future__ import annotations

from penstock.judge.history import AccountState
from penstock.model import Standing

DAY_S = 86400.0
NORMAL_AFTER_S, NORMAL_AFTER_MESSAGES = 14 * DAY_S, 1
TRUSTED_AFTER_S, TRUSTED_AFTER_MESSAGES = 60 * DAY_S, 100
QUIET_S = 7 * DAY_S
"""So long must nothing have spoken against a poor account before it is normal again."""


def move(state: AccountState, now: float, *, is_suspect: bool, is_proven: bool, reason: str) -> None:
    """Let the standing follow the evidence. What a person suspended stays so until a person releases it."""
    at = Standing(state.standing)
    if at is Standing.SUSPENDED:
        return
    if is_proven:
        enter(state, Standing.SUSPENDED, now, reason)
    elif is_suspect:
        state.worst_at = now
        if at is not Standing.POOR and not (at is Standing.NEW and state.messages < NORMAL_AFTER_MESSAGES):
            enter(state, Standing.POOR, now, reason)
    elif state.by_hand and now - state.since < QUIET_S:
        return
    elif at is Standing.POOR and now - max(state.worst_at, state.since) > QUIET_S:
        enter(state, Standing.NORMAL, now, "quiet")
    elif at is Standing.NEW and _is_old(state, now, NORMAL_AFTER_S, NORMAL_AFTER_MESSAGES):
        enter(state, Standing.NORMAL, now, "history")
    elif at is Standing.NORMAL and _is_old(state, now, TRUSTED_AFTER_S, TRUSTED_AFTER_MESSAGES):
        enter(state, Standing.TRUSTED, now, "history")


def enter(state: AccountState, standing: Standing, now: float, reason: str, *, by_hand: bool = False) -> None:
    """Enter a standing."""
    if state.standing != standing.value or by_hand:
        state.standing, state.since, state.reason, state.by_hand = standing.value, now, reason, by_hand


def _is_old(state: AccountState, now: float, age_s: float, messages: int) -> bool:
    return (
        now - state.first_at > age_s
        and state.learnt >= messages
        and now - state.worst_at > QUIET_S
        and state.complaints.yes < 3
    )
