"""Settings of what is watched on blocklists, and who is told."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from penstock.sections.fields import Network, Section
from penstock.sending import Severity


class RangeSection(Section):
    """A range of addresses to watch, with people of its own to tell."""

    network: Network
    """An address or network: "192.0.2.0/24"."""
    contacts: list[str] = []
    """Mail addresses that are told of this range's changes; empty means those of [notices]."""
    importance: int = Field(1, ge=1, le=10)
    """How often it is looked at: an importance of 4 is looked at four times as often as one of 1."""


class BlocklistsSection(Section):
    """Blocklists: which are asked, what is watched there, and who is told."""

    watch: bool = False
    """Watch the sending IPs of the pools, and `ranges` and `domains`, as a part of `penstock run`."""
    ranges: list[RangeSection] = []
    """Further addresses to watch."""
    domains: list[str] = []
    """Domains to watch: those of envelope senders, From, DKIM."""
    sent_domains: int = Field(0, ge=0, le=10_000)
    """Watch so many domains of the last day's mail too, the busiest first: of envelope senders, From, DKIM signatures
    and the links that customers send. 0 for none."""
    every_minutes: float = Field(60, gt=0)
    """How often a target of importance 1 is asked for at a list of low severity."""
    sending_importance: int = Field(6, ge=1, le=10)
    """The importance of the pools' own IPs."""
    resolver: str = ""
    """The recursive resolver to ask, e.g. "127.0.0.1:53"; empty means the system's. Lists refuse public resolvers."""
    lists_file: Path | None = None
    """Own lists and overrides, in the form of the catalogue."""
    disable: list[str] = []
    """Names of lists that are not asked."""
    enable: list[str] = []
    """Names of lists that are asked though the catalogue leaves them out."""
    keys: dict[str, str] = Field({}, repr=False)
    """Keys by list name, or for all lists of an operator: spamhaus = "…", abusix = "…"."""
    alert_severity: Severity = Severity.MEDIUM
    """Changes below this are kept, and nobody is told."""
    alert_lists: int = Field(1, ge=1)
    """A listing is told of once its target is on so many lists of that severity."""
    digest_minutes: float = Field(10, ge=0)
    """Changes within so many minutes are told together."""
    webhook: str = ""
    """URL that gets a signed POST for each change that is told of, with what was before and after."""
    webhook_secret: str = Field("", repr=False)
    """Secret of the signature in `X-Penstock-Signature`."""
