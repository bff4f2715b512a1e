"""The settings of what is shut, where, and how it is opened again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pydantic import Field, model_validator

from penstock.model import Rung
from penstock.sections.fields import Section


class DriverSection(Section):
    """What all drivers have."""

    host: str = ""
    """The one node (by its hostname) that carries its steps out; empty: any. A driver that writes files needs one on
    each node, with that node's name."""


class CommandSection(DriverSection):
    """Any program of yours that shuts and opens."""

    run: list[str] = Field(min_length=1)
    """The program and its arguments, e.g. ["/usr/local/sbin/shut", "{verb}", "{rung}", "{name}"]. {verb} is shut or
    open, {rung} what is meant, {name} its name, {account} the account, {reason} why, {key} the same for each try of one
    step. No shell reads them. Status 0 is done, 75 means later, anything else is a refusal. It may be run twice for one
    step and must leave the same behind."""
    rungs: list[Rung] = list(Rung)
    """What it can shut."""
    timeout_s: float = Field(30, gt=0, le=300)


class EnforcementSection(Section):
    """Shutting accounts where they live: the smallest guilty thing, each step on record, open again when it is safe.

    Penstock itself refuses a suspended account's mail; drivers carry the suspension to mail servers and panels. Nothing
    of this happens while observing.
    """

    dry_run: bool = False
    """Write down what would be shut and opened, and do nothing."""
    never: list[str] = []
    """What may never be shut beside `own_addresses` and `judge.exempt_accounts`: accounts (`kind:value`), logins,
    domains, panel accounts, networks."""
    domain_after: int = Field(5, ge=0)
    """So many suspended mailboxes of one domain shut the domain; 0: never."""
    most_share_per_hour: float = Field(0.01, gt=0, le=1)
    """The circuit breaker: at most this share of all accounts is suspended by the machine within an hour. Beyond it the
    account's mail is still held on its evidence, and you are told."""
    most_at_least: int = Field(20, ge=1)
    """So many suspensions an hour are allowed however few accounts there are."""
    give_up_hours: float = Field(72, gt=0)
    """How long a step is tried again that a driver refuses. A driver that does not answer is tried for ever."""
    command: dict[str, CommandSection] = {}
    """Drivers that run a program, by names of your choice."""

    def hosts(self) -> dict[str, str]:
        """The node that each driver runs on, by the driver's name; empty for any."""
        kinds: list[Mapping[str, DriverSection]] = [self.command]
        return {name: one.host for kind in kinds for name, one in kind.items()}

    @model_validator(mode="after")
    def _no_name_twice(self) -> EnforcementSection:
        names = Counter(name for kind in [self.command] for name in kind)
        for name, times in names.items():
            if times > 1:
                raise ValueError(f'two drivers are called "{name}"; each needs a name of its own')
        return self
