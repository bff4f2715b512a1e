"""The settings of logins: who may, where addresses are, and where logins are told from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from penstock.sections.fields import Network, Section


class LoginsSection(Section):
    """Logins: a stolen password shows before its first spam. Asked and told over HTTP (`http.listen`) by Dovecot
    (`/?command=`) and panels (`/login`), or read from logs."""

    refuse: bool = True
    """In enforce mode, refuse logins from places that are not the owner's where two kinds of evidence speak against
    them. The account stays open for its owner."""
    false_refusals_per_account_year: float = Field(0.02, gt=0, le=10)
    """Budget from which the line of a refusal is derived: how often an owner on a journey may be refused."""
    suspended: Literal["smtp", "all", "nothing"] = "smtp"
    """What a suspended account is refused in enforce mode: logins on SMTP, so that its owner still reads what he is
    told, all logins, or nothing."""
    own_hosts: list[Network] = ["127.0.0.1/32", "::1/128"]
    """Web-mail and panels that log in for customers: their address says nothing of where a customer is."""
    from_relay: bool = True
    """Count logins at Penstock's own relay. Switch it off where the relay asks a Dovecot that tells of them itself."""
    logs: list[Path] = []
    """Logs that tell of logins, where Dovecot does not ask Penstock: Dovecot's, Postfix's or Exim's own, Roundcube's
    `userlogins.log`, in one file or several. Those of [feedback] may be named here again. A login that is read from a
    log can be weighed, not refused."""
    journal_units: list[str] = []
    """systemd units whose journal is followed instead of a file, e.g. `dovecot.service`."""
    databases: list[Path] = []
    """Files in MaxMind's format (.mmdb), of any vendor, that tell networks' owners (ASN), countries or places of
    addresses. They need the extra `geo`. Without one, networks are told apart by their prefix."""
    lists: list[str] = []
    """Lists of known-bad login sources that are asked about new places, by their names in `penstock lists`:
    ["spamrats-auth"], or with a key in [blocklists.keys] "spamhaus-authbl", "abusix-authbl"."""
    lists_s: float = Field(0.5, gt=0, le=1)
    """Seconds that they may take, together; whoever has not answered by then has said nothing."""
