"""The settings of what comes back: delivery logs, mailboxes for bounces and complaints, addresses that nobody uses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from penstock.sections.fields import Address, Section


def _trap(text: str) -> str:
    local, at, domain = text.lower().rpartition("@")
    if not domain or "." not in domain or (at and not local and text.count("@") != 1):
        raise ValueError(f'"{text}" is neither an address nor a domain; write trap@example.com or @example.com')
    return text.lower() if at else f"@{domain}"


class FeedbackSection(Section):
    """What comes back: logs that are followed, mailboxes that are emptied, spamtraps."""

    logs: list[Path] = []
    """Delivery logs to follow, through rotation and restarts: `/var/log/mail.log`, `/var/log/exim4/mainlog`. The user
    that Penstock runs as must be able to read them (on Debian, group `adm`)."""
    log_format: Literal["postfix", "exim", "sendmail"] = "postfix"
    """Who writes them."""
    journal_units: list[str] = []
    """systemd units whose journal is followed instead of a file, e.g. `postfix@-.service`. The user that Penstock runs
    as must be in group `systemd-journal`."""
    queue_alarm: int = Field(0, ge=0)
    """The mail server's queue is looked at every minute (`postqueue -j`, `exim -bp`), and an alarm is raised where one
    account has so many recipients waiting in it, and twice what it had a minute ago. 0: the queue is not watched."""
    mailboxes: list[Path] = []
    """Maildirs that bounces and complaints of feedback loops are delivered to; what was read goes to `cur`."""
    lmtp: list[Address] = []
    """Where the mail server may hand in bounces and complaints by LMTP: `127.0.0.1:2424`, `unix:/run/penstock/lmtp`.
    Only this host may; a message that is neither bounce nor complaint is refused, so that its sender hears of it."""
    spamtraps: list[Annotated[str, AfterValidator(_trap)]] = []
    """Addresses of yours that nobody ever used (`old@example.com`), and whole domains (`@trap.example.com`): who writes
    to them has bought or guessed his recipients."""
