"""The settings of pools: their sending IPs, who uses which, when an IP leaves its pool, and how a new one warms up."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from datetime import date
from itertools import chain
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from penstock.model import Kind, Standing, transport_name
from penstock.sections.fields import NextHopAddress, Section
from penstock.sending import Severity

SHIPPED_CHOICES: dict[str, tuple[str, ...]] = {
    "trusted": ("trusted", "normal"),
    "normal": ("normal", "trusted"),
    "new": ("new", "poor", "normal"),
    "poor": ("poor", "suspect", "new"),
    "suspect": ("suspect", "poor", "new"),
    "bulk": ("bulk", "normal"),
    "forwarded": ("forwarded", "automatic", "normal"),
    "automatic": ("automatic", "forwarded", "normal"),
    "default": ("normal", "trusted"),
}
"""What holds without `choose`: for each class of mail the pools by these names, the first that there is."""

WARM_UP_CAPS = {
    "gmail": (50, 100, 200, 400, 800, 1500, 3000, 5000, 8000, 12000, 18000, 26000, 38000, 55000),
    "microsoft": (50, 100, 200, 400, 700, 1200, 2000, 3500, 5500, 8000, 12000, 18000, 26000, 38000),
    "yahoo": (30, 60, 120, 250, 500, 900, 1500, 2500, 4000, 6500, 10000, 15000, 22000, 32000),
    "apple": (30, 60, 120, 250, 500, 900, 1500, 2500, 4000, 6500, 10000, 15000, 22000, 32000),
    "other": (100, 200, 400, 800, 1500, 3000, 5000, 8000, 12000, 18000, 26000, 38000, 55000, 80000),
}
RECEIVERS = {
    "gmail": ("gmail.com", "googlemail.com"),
    "microsoft": ("outlook.*", "hotmail.*", "live.*", "msn.com", "passport.com", "windowslive.com"),
    "yahoo": ("yahoo.*", "ymail.com", "rocketmail.com", "aol.*", "aim.com", "verizon.net"),
    "apple": ("icloud.com", "me.com", "mac.com"),
}
RECEIVER_MX = {
    "gmail": ("google.com", "googlemail.com"),
    "microsoft": ("protection.outlook.com", "mx.microsoft"),
    "yahoo": ("yahoodns.net",),
    "apple": ("icloud.com",),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f'"{text}" is no IP address; write 192.0.2.7 or 2001:db8::7') from None


Ip = Annotated[str, AfterValidator(_ip)]


class SendingIpSection(Section):
    """One sending IP of a pool: the address, its name, and its IPv6 companion where one host has both."""

    ip: Ip
    """The address that mail leaves from, IPv4 or IPv6."""
    ip6: Ip | None = None
    """The IPv6 address that goes with an IPv4 one; both are drained together."""
    helo: str = ""
    """Name said in EHLO; its PTR and address records should agree. Empty means the MTA's own."""
    next_hop: NextHopAddress | None = None
    """For the relay: a next hop of its own for this IP."""
    warming_since: date | None = None
    """First day of this IP's warm-up (UTC); without one it is warm."""

    @model_validator(mode="after")
    def _is_a_pair(self) -> SendingIpSection:
        if self.ip6 is not None and (":" in self.ip or ":" not in self.ip6):
            raise ValueError(
                f'ip6 = "{self.ip6}" goes with an IPv4 address in `ip`; write ip = "192.0.2.7", ip6 = "…::7"'
            )
        return self


class PoolSection(Section):
    """One named class of sending IPs."""

    next_hop: NextHopAddress | None = None
    """A next hop of its own for this pool; without one, the pool is named in X-Penstock-Pool only."""
    ips: list[SendingIpSection] = []
    """Its sending IPs; without any, the pool is a name whose IPs Penstock does not know."""
    fallback: str = ""
    """The pool that takes over where none of these IPs is usable."""


class WarmUpSection(Section):
    """How fast new IPs take on mail."""

    caps: dict[str, list[int]] = {name: list(caps) for name, caps in WARM_UP_CAPS.items()}
    """Recipients a day for each group of receivers, from the first day on; after the last day the IP is warm."""
    receivers: dict[str, list[str]] = {name: list(domains) for name, domains in RECEIVERS.items()}
    """Which domains belong to a group; `name.*` is that name under every suffix."""
    mx: dict[str, list[str]] = {name: list(names) for name, names in RECEIVER_MX.items()}
    """Names under which the mail hosts of a group lie: a domain that `receivers` does not know belongs to the group of
    its MX, which is looked up while an IP is warming. All others are "other"."""
    rest_days: float = Field(30, ge=0)
    """An IP that has sent nothing for so many days begins its warm-up again; 0 for never. A shorter pause stops it."""

    @model_validator(mode="after")
    def _groups_have_caps(self) -> WarmUpSection:
        known = {*self.caps, *WARM_UP_CAPS}  # a shipped group without caps of its own is among the others
        faults = [f'receivers: "{one}" has no caps' for one in self.receivers if one not in known]
        faults += [f'mx: "{one}" has no caps' for one in self.mx if one not in known]
        faults += [] if self.caps.get("other") else ['caps: "other" is missing; it is for all other receivers']
        faults += [f'caps: "{name}" has no days' for name, caps in self.caps.items() if not caps and name != "other"]
        faults += [f'caps: "{name}" has a cap below 1' for name, caps in self.caps.items() if any(n < 1 for n in caps)]
        if faults:
            raise ValueError("\n".join(faults))
        return self


class PoolsSection(Section):
    """Classes of sending IPs and who uses which."""

    header: str = "X-Penstock-Pool"
    """Header that names the pool, or its IP's transport, to the next hop."""
    named: dict[str, PoolSection] = {}
    """The pools, by name."""
    choose: dict[str, str] = {}
    """`standing/kind`, `standing` or `kind` → pool, the most specific wins; "default" for the rest.

    "suspect" is for suspended accounts and for poor ones against which much speaks just now. Empty: pools named
    normal, trusted, new, poor, suspect, bulk, forwarded and automatic are used for what they are called.
    """
    move_hours: float = Field(24, ge=0)
    """An account moves to a better pool at most once in so many hours; to a worse one it moves at once."""
    drain_severity: Severity = Severity.HIGH
    """A listing of this severity or above takes an IP out of its pool."""
    drain_last: bool = False
    """Take out even the last usable IP of a pool, so that its fallback takes over."""
    clean_checks: int = Field(3, ge=1)
    """An IP comes back after so many checks in a row that found it clean …"""
    clean_hours: float = Field(24, ge=0)
    """… over at least so many hours."""
    check_every_s: float = Field(60, gt=0)
    """Seconds between two looks at what has changed on lists; IPs leave and return at these."""
    case_hours: float = Field(24, gt=0)
    """How far back a case looks for the accounts that used the IP."""
    spf_domains: list[str] = []
    """Domains whose SPF records must include every sending IP; `penstock doctor` looks. Empty means its `helo`."""
    warm_up: WarmUpSection = WarmUpSection()

    @model_validator(mode="after")
    def _fits_together(self) -> PoolsSection:
        faults = list(chain(self._wrong_choices(), self._wrong_pools(), self._wrong_ips()))
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def choices(self) -> dict[str, str]:
        """What holds: `choose`, or what is shipped for the pools that there are."""
        if self.choose:
            return self.choose
        found = {key: next((one for one in names if one in self.named), "") for key, names in SHIPPED_CHOICES.items()}
        return {key: pool for key, pool in found.items() if pool}

    def _wrong_choices(self) -> Iterator[str]:
        standings, kinds = {*Standing, "suspect"}, set(Kind)
        for key, pool in self.choose.items():
            standing, slash, kind = key.partition("/")
            known = key == "default" or (standing in standings and kind in kinds if slash else key in standings | kinds)
            if not known:
                yield f'choose."{key}": no such standing or kind; write e.g. "poor/normal", "bulk" or "default"'
            if pool not in self.named:
                yield f'choose."{key}": no pool is named "{pool}"; there is {sorted(self.named) or "none"}'
        if not self.choices() and any(one.ips for one in self.named.values()):
            yield f'choose: nothing leads to {sorted(self.named)}; write e.g. default = "{min(self.named)}"'

    def _wrong_pools(self) -> Iterator[str]:
        for name, pool in self.named.items():
            if pool.ips and not _NAME.match(name):
                yield f'named."{name}": letters, digits, "-" and "_" only, since transports are named after it'
            seen, at = {name}, pool.fallback
            if at and at not in self.named:
                yield f'named.{name}.fallback: no pool is named "{at}"; there is {sorted(self.named)}'
            while at in self.named:
                if at in seen:
                    yield f"named.{name}.fallback: it leads back to {at}; the last pool of a chain has none"
                    break
                seen.add(at)
                at = self.named[at].fallback

    def _wrong_ips(self) -> Iterator[str]:
        owner: dict[str, str] = {}
        transports = {name: name for name, pool in self.named.items() if not pool.ips}
        for name, pool in self.named.items():
            for number, one in enumerate(pool.ips):
                place = f"named.{name}.ips[{number}]"
                for ip in filter(None, (one.ip, one.ip6)):
                    if owner.setdefault(ip, place) != place:
                        yield f"{place}: {ip} is {owner[ip]} already; an IP belongs to one pool"
                transport = transport_name(name, one.ip)
                other = transports.setdefault(transport, place)
                if other != place:
                    yield f'{place}: its transport would be "{transport}", as that of {other}; rename the pool'
