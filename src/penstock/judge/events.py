"""What a bounce, a complaint or a listing says about an account."""

from __future__ import annotations

from penstock.judge import channels
from penstock.judge.history import AccountState, SourceState, remember
from penstock.judge.past import answer
from penstock.model import Event, Evidence

_NOBODY_THERE = ("unknown-user", "unknown-domain", "")
"""Reasons of bounces that tell of addresses nobody ever gave; a bounce without any word counts among them."""
_DEAD_KEPT = 24


def event_evidence(account: AccountState, source: SourceState, event: Event) -> tuple[Evidence, ...]:
    match event.what:
        case "bounced":
            if event.reason not in _NOBODY_THERE:
                return ()
            if event.recipient and not remember(account.dead, event.recipient, _DEAD_KEPT):
                return ()
            usual = channels.usual_unknown(account.bounces)
            nats = answer(account.stream, account, unknown=1)
            if event.source:
                answer(source.stream, account, unknown=1)
            account.bounces.add(1.0, -1.0, 1.0)
            return (Evidence("unknown-recipient", round(nats, 3), event.detail[:100], f"{usual:.1%}", "bounces"),)
        case "complaint":
            expected = min(0.005, (account.complaints.yes + 0.1) / (account.recipients + 200.0))
            nats = channels.complained(account.uncomplained, expected)
            account.complaints.add(1.0, 0.0, 0.99)
            account.uncomplained = 0
            return (Evidence("complaint", round(nats, 3), event.detail[:100], f"{expected:.2%}", "complaints"),)
        case "spamtrap":
            account.traps += 1
            return (Evidence("spamtrap", channels.TRAP, event.detail[:100], "never", "traps"),)
        case "listing":
            # Bounded, and not among the independent groups: by itself it suspends nobody.
            nats = channels.LISTING_MOST * min(1.0, max(0.0, event.share))
            return (Evidence("listed-ip", round(nats, 3), event.detail[:100], "none", "listings"),)
        case _:
            return ()
