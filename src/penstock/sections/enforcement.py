"""The settings of what is shut, where, and how it is opened again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

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


class DovecotSection(DriverSection):
    """Dovecot: logins of a suspended mailbox are denied for the services that are named, and its sessions end."""

    files: list[Path] = [Path("/var/lib/penstock/shut/deny.smtp"), Path("/var/lib/penstock/shut/deny.submission")]
    """One file a service, in a passdb with `deny = yes` and `args = /var/lib/penstock/shut/deny.%s`. Without a file for
    imap the owner still reads his mail."""
    doveadm: list[str] = ["doveadm"]
    """The program, to end sessions (`doveadm kick`) and to forget cached passwords; [] for neither."""
    api: str = ""
    """URL of doveadm's HTTP API instead of the program, e.g. "http://127.0.0.1:8080/doveadm/v1"."""
    api_key: str = Field("", repr=False)
    """Dovecot's doveadm_api_key."""


class PostfixSection(DriverSection):
    """Postfix: maps for check_sasl_access and check_client_access, and what is still in its queue."""

    folder: Path = Path("/var/lib/penstock/shut")
    """Where the maps `postfix_mailboxes` and `postfix_sources` lie."""
    map_type: Literal["hash", "lmdb", "cdb", "texthash"] = "hash"
    """Type of the maps; they are compiled by postmap at each change."""
    postmap: str = "postmap"
    """The program."""
    queue: bool = True
    """Hold what is still queued of a suspended account (postsuper -h). On release what speaks for the owner goes on
    (postsuper -H), the rest stays on hold for `penstock queue`. Needs the right to run postsuper (root)."""
    configuration: str = ""
    """Postfix's configuration folder; empty: its own."""


class EximSection(DriverSection):
    """Exim: files that its ACLs look up, and what is still in its queue."""

    folder: Path = Path("/var/lib/penstock/shut")
    """Where the files `exim_mailboxes`, `exim_accounts` and `exim_sources` lie."""
    queue: bool = False
    """Freeze what is still queued of a suspended account (exim -Mf). On release what speaks for the owner is thawed
    (exim -Mt). Needs the rights of an Exim admin user."""


class CpanelSection(DriverSection):
    """cPanel & WHM: outgoing mail of the mailbox or the account."""

    url: str
    """WHM, e.g. "https://host.example.net:2087"."""
    user: str = "root"
    token: str = Field(repr=False)
    """An API token of WHM with the rights `basic-system-info`, `cpanel-api` and `suspend-acct`, or all."""
    how: Literal["suspend", "hold"] = "suspend"
    """Refuse mail, or keep it in Exim's queue."""
    check_certificate: bool = True


class PleskSection(DriverSection):
    """Plesk: a mailbox may send nothing (limit of outgoing messages 0)."""

    url: str
    """The panel, e.g. "https://host.example.net:8443"."""
    key: str = Field(repr=False)
    """A secret key of the administrator (`plesk bin secret_key -c`)."""
    limit: str = Field("default", pattern=r"^(default|-1|[0-9]{1,9})$")
    """What a mailbox may send an hour when it is open again; `default`: as its subscription says."""
    check_certificate: bool = True


class DirectAdminSection(DriverSection):
    """DirectAdmin: logins and Unix users that its Exim refuses, or whole accounts suspended over the API."""

    folder: str = "/etc/virtual"
    """Where `blacklist_smtp_usernames` and `blacklist_script_usernames` lie, on the server itself; empty: elsewhere."""
    url: str = ""
    """The panel, e.g. "https://host.example.net:2222". With it a suspended account (not a mailbox) is suspended whole,
    with its web sites."""
    user: str = "admin"
    login_key: str = Field("", repr=False)
    """A login key that may call CMD_API_SELECT_USERS."""
    check_certificate: bool = True


class IspConfigSection(DriverSection):
    """ISPConfig: a mailbox may not log in to send (`disablesmtp`)."""

    url: str
    """The panel, e.g. "https://host.example.net:8080"."""
    user: str
    """A remote user (System, Remote Users) with the mail user functions."""
    password: str = Field(repr=False)
    check_certificate: bool = True


class WebhookSection(DriverSection):
    """A service of yours that is called, signed, and shuts and opens."""

    url: str
    secret: str = Field("", repr=False)
    """Of the signature in `X-Penstock-Signature`; old ones (five minutes) are to be refused."""
    rungs: list[Rung] = list(Rung)
    """What it can shut."""


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
    domain_after: int = Field(0, ge=0)
    """So many suspended mailboxes of one domain shut the domain; 0: never. Of a domain with thousands of mailboxes some
    are always taken over, and nobody else there is guilty: set it only where domains are small."""
    most_share_per_hour: float = Field(0.01, gt=0, le=1)
    """The circuit breaker: at most this share of all accounts is suspended by the machine within an hour. Beyond it the
    account's mail is still held on its evidence, and you are told."""
    most_at_least: int = Field(20, ge=1)
    """So many suspensions an hour are allowed however few accounts there are."""
    give_up_hours: float = Field(72, gt=0)
    """How long a step is tried again that a driver refuses. A driver that does not answer is tried for ever."""
    release_conditions: list[Literal["password-changed", "sessions-ended", "forwards-reviewed", "script-changed"]] = [
        "password-changed",
        "script-changed",
    ]
    """What is asked for before an account is let in again without a person, as far as it applies: a script has no
    password. Changed passwords are told by `POST /password-changed` or `penstock accounts password-changed`; a script's
    file is looked at where it lies on this host; a Dovecot driver ends sessions; forwards are confirmed (`penstock
    accounts confirm`). Where all is met, a changed password lets the account in at once."""
    release_after_hours: list[Annotated[float, Field(gt=0)]] = []
    """So long after it was suspended by the machine an account is let in by itself, if the conditions are met: the
    first time, the second, …, e.g. [1, 8, 48]; then only a person does it. Empty: never by itself."""
    probation_days: float = Field(7, ge=0)
    """How long a tighter budget holds after a release."""
    probation_recipients_per_day: int = Field(50, ge=1)
    """That budget; a plan's own limit holds where it is lower."""
    command: dict[str, CommandSection] = {}
    """Drivers that run a program, by names of your choice. The same goes for all kinds of drivers."""
    dovecot: dict[str, DovecotSection] = {}
    postfix: dict[str, PostfixSection] = {}
    exim: dict[str, EximSection] = {}
    cpanel: dict[str, CpanelSection] = {}
    plesk: dict[str, PleskSection] = {}
    directadmin: dict[str, DirectAdminSection] = {}
    ispconfig: dict[str, IspConfigSection] = {}
    webhook: dict[str, WebhookSection] = {}

    @property
    def ends_sessions(self) -> bool:
        """Whether a driver ends a login's sessions."""
        return any(one.doveadm or one.api for one in self.dovecot.values())

    def hosts(self) -> dict[str, str]:
        """The node that each driver runs on, by the driver's name; empty for any."""
        found = {name: one.host for kind in self._kinds() for name, one in kind.items()}
        servers: dict[str, PostfixSection | EximSection] = {**self.postfix, **self.exim}
        return found | {f"{name}-queue": one.host for name, one in servers.items() if one.queue}

    def _kinds(self) -> list[Mapping[str, DriverSection]]:
        panels: list[Mapping[str, DriverSection]] = [self.cpanel, self.plesk, self.directadmin, self.ispconfig]
        return [self.command, self.dovecot, self.postfix, self.exim, *panels, self.webhook]

    @model_validator(mode="after")
    def _no_name_twice(self) -> EnforcementSection:
        names = Counter(name for kind in self._kinds() for name in kind)
        for name, times in names.items():
            if times > 1:
                raise ValueError(f'two drivers are called "{name}"; each needs a name of its own')
        return self
