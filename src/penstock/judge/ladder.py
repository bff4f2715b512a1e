"""The smallest guilty thing: what is shut where it lives when an account is suspended, and what never may be.

A script before its owner, an application password before the mailbox, a mailbox before its domain. What was shut, and
has turned up again, is shut one rung higher; so is what has company: many mailboxes of one domain, or scripts of one
owner, at the same time. What nobody vouches for, an envelope sender, is never shut elsewhere: anybody can write it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable

from msgspec import Struct

from penstock.model import Account, Rung, Thing

_HOME = re.compile(r"/home\d*/([^/]+)/")
_SCRIPTS_OF_AN_OWNER = 2
"""Other scripts of one owner that are shut at the same time: then the owner's whole account is broken into."""


class Never(Struct, frozen=True):
    """What may never be shut, by anybody."""

    accounts: frozenset[str] = frozenset()
    """`kind:value`, as they are attributed."""
    names: frozenset[str] = frozenset()
    """Logins, domains and panel accounts, lower case."""
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    def forbids(self, thing: Thing) -> bool:
        """Whether shutting a thing would shut out what must stay."""
        name = thing.name.lower()
        match thing.rung:
            case Rung.SOURCE:
                return self._covers(name)
            case Rung.SCRIPT:
                return f"script:{thing.name}" in self.accounts or owner_of(thing.name) in self.names
            case Rung.PASSWORD:
                return self.forbids(Thing(Rung.MAILBOX, name.rpartition("/")[0])) or f"app:{name}" in self.accounts
            case Rung.MAILBOX:
                return f"sasl:{name}" in self.accounts or name in self.names or name.rpartition("@")[2] in self.names
            case Rung.DOMAIN:
                mine = (*self.names, *(one.partition(":")[2] for one in self.accounts))
                return any(one == name or one.endswith(f"@{name}") for one in mine)
            case _:
                same = {f"{kind}:{name}" for kind in ("user", "header", "sasl")}
                return name in self.names or not same.isdisjoint(self.accounts)

    def _covers(self, text: str) -> bool:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            return True
        if f"host:{text}" in self.accounts or network.is_loopback:
            return True
        return any(one.version == network.version and one.overlaps(network) for one in self.networks)


def read_never(accounts: Iterable[str], addresses: Iterable[str], more: Iterable[str]) -> Never:
    """What may never be shut: accounts that are exempt, the provider's own addresses, and what the settings name more
    (accounts, addresses, domains, networks)."""
    exempt, names, networks = set(accounts), set[str](), []
    for one in addresses:
        exempt.add(f"sasl:{one.lower()}")
    for one in more:
        try:
            networks.append(ipaddress.ip_network(one, strict=False))
        except ValueError:
            exempt.add(one) if ":" in one else names.add(one.lower())
    return Never(frozenset(exempt), frozenset(names), tuple(networks))


def choose(
    name: str, *, strikes: int = 1, company: Collection[str] = (), domain_after: int = 0, never: Never | None = None
) -> Thing | None:
    """The smallest guilty thing behind an account; None where there is none to be shut.

    `strikes` counts suspensions, this one too; `company` are other accounts of the same customer that are suspended
    now. `domain_after` mailboxes of one domain shut the domain; 0 for never.
    """
    account = Account.parse(name)
    found: list[Thing] = []
    match account.kind:
        case "host":
            found = [Thing(Rung.SOURCE, account.value)]
        case "script":
            found = [Thing(Rung.SCRIPT, account.value)]
            owner = owner_of(account.value)
            others = [one for one in company if one.startswith("script:") and owner_of(one[7:]) == owner]
            if owner and (len(others) >= _SCRIPTS_OF_AN_OWNER or strikes > _SCRIPTS_OF_AN_OWNER):
                found.append(Thing(Rung.ACCOUNT, owner))
        case "app":
            found = [Thing(Rung.PASSWORD, account.value)]
            if strikes > 1:
                found.append(Thing(Rung.MAILBOX, account.value.rpartition("/")[0]))
        case "sasl":
            found = [Thing(Rung.MAILBOX, account.value)]
            domain = account.value.rpartition("@")[2].lower()
            mates = {one for one in company if one.startswith("sasl:") and one.lower().endswith(f"@{domain}")}
            if "@" in account.value and domain_after and len(mates - {name}) + 1 >= domain_after:
                found.append(Thing(Rung.DOMAIN, domain))
        case "user" | "header":
            found = [Thing(Rung.ACCOUNT, account.value)]
    allowed = [one for one in found if one.name and not (never and never.forbids(one))]
    return allowed[-1] if allowed else None


def owner_of(script: str) -> str:
    """Whose a script is: the home it lies in, the user id before its colon, or the site at its front."""
    if home := _HOME.search(script):
        return home[1]
    head, colon, _ = script.partition(":")
    return head if colon else script.partition("/")[0]


def fit(thing: Thing, rungs: Collection[Rung]) -> Thing | None:
    """The thing as a driver can shut it: where it knows nothing smaller, a script by its owner and an application
    password by its mailbox. A mailbox, a domain or a source is never widened."""
    if thing.rung in rungs:
        return thing
    if thing.rung is Rung.SCRIPT and Rung.ACCOUNT in rungs:
        owner = owner_of(thing.name)
        return Thing(Rung.ACCOUNT, owner) if owner else None
    if thing.rung is Rung.PASSWORD and Rung.MAILBOX in rungs:
        return Thing(Rung.MAILBOX, thing.name.rpartition("/")[0])
    return None
