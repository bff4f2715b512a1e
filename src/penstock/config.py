"""One typed settings model that explains itself: every field carries its prose, and all faults are shown at once."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticUndefined

from penstock.model import Mode
from penstock.sections.blocklists import BlocklistsSection
from penstock.sections.console import ConsoleSection
from penstock.sections.enforcement import EnforcementSection
from penstock.sections.feedback import FeedbackSection
from penstock.sections.fields import Address, Network, NextHopAddress, Pattern, Section
from penstock.sections.learning import LearningSection
from penstock.sections.logins import LoginsSection
from penstock.sections.notices import NoticesSection
from penstock.sections.pools import PoolsSection
from penstock.sections.scanners import ScannersSection


class ConfigurationError(Exception):
    """The operator's fault: every fault of the file, each with its place and what is wanted."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class TlsSection(Section):
    """Certificate for STARTTLS and implicit TLS."""

    certificate: Path | None = None
    """PEM file with the certificate chain, read again when it is renewed; without one STARTTLS is not announced."""
    key: Path | None = None
    """PEM file with the private key; empty where the certificate file holds it too."""


class AuthSection(Section):
    """Who may log in at the SMTP relay."""

    dovecot: str = ""
    """Path of a Dovecot auth client socket, e.g. /run/dovecot/auth-client."""
    passwords: Path | None = None
    """File with one `login:hash` a line; make lines with `penstock password`."""
    without_tls: bool = False
    """Offer AUTH on unencrypted connections too. Only for tests and loopback."""


class SmtpSection(Section):
    """The SMTP relay: smarthost for other mail servers, or Postfix before-queue proxy."""

    listen: list[Address] = []
    """Addresses to listen on, e.g. ["127.0.0.1:2525"]; empty turns the relay off."""
    listen_tls: list[Address] = []
    """Addresses with implicit TLS (submissions, port 465)."""
    trusted_networks: list[Network] = ["127.0.0.0/8", "::1/128"]
    """Clients that may relay without logging in."""
    forwarding_hosts: list[Network] = []
    """Hosts whose XCLIENT and XFORWARD are believed, such as the Postfix in front."""
    tls: TlsSection = TlsSection()
    auth: AuthSection = AuthSection()
    max_message_bytes: int = Field(52_428_800, ge=1024)
    """Largest message, announced by SIZE."""
    max_recipients: int = Field(1000, ge=1)
    """Recipients of one message; more are answered 452."""
    max_connections: int = Field(1000, ge=1)
    """Connections at once, for one worker process."""
    max_connections_per_client: int = Field(200, ge=1)
    """Connections at once from one client address, for one worker process."""
    max_errors: int = Field(20, ge=1)
    """Errors of one connection before it is closed with 421."""
    max_line_bytes: int = Field(65_536, ge=1000)
    """Longest line of a message."""
    idle_s: float = Field(300, gt=0)
    """Seconds without a byte before a connection is closed (RFC 5321 4.5.3.2 wants five minutes)."""
    session_s: float = Field(3600, gt=0)
    """Seconds that one connection may last altogether."""
    in_flight_bytes: int = Field(268_435_456, ge=1024)
    """Bytes of messages in memory at once in one worker process; beyond it, 452 4.3.1."""


class MilterSection(Section):
    """The milter: the listener of choice beside Postfix or Sendmail."""

    listen: list[Address] = []
    """Addresses to listen on, e.g. ["127.0.0.1:9901"] or ["unix:/run/penstock/milter.sock"]; empty turns it off."""
    trusted_networks: list[Network] = ["127.0.0.0/8", "::1/128"]
    """Mail servers that may connect."""
    max_message_bytes: int = Field(52_428_800, ge=1024)
    """What lies beyond is not looked at; the message passes on the strength of its first part."""
    outbound_only: bool = False
    """The mail server delivers nothing locally, so that a pool may always be named."""
    remote_mailers: list[str] = ["smtp", "relay", "smtps"]
    """Values of {rcpt_mailer} that mean delivery to another host."""


class HttpSection(Section):
    """The HTTP listener: rspamd's port, for Exim, Haraka, ZoneMTA …, with logins (Dovecot, panels), /health and
    /metrics."""

    listen: list[Address] = []
    """Addresses to listen on, e.g. ["127.0.0.1:11333"]; empty turns it off."""
    trusted_networks: list[Network] = ["127.0.0.0/8", "::1/128"]
    """Clients whose User, IP and Queue-Id are believed, and who may tell of logins."""
    password: str = Field("", repr=False)
    """If set, requests must carry it in a `Password:` header."""
    max_message_bytes: int = Field(52_428_800, ge=1024)


class NextHopSection(Section):
    """The MTA that delivers."""

    address: NextHopAddress | None = None
    """Where accepted mail goes, e.g. "127.0.0.1:10025". The relay, and the release of held mail, need it.

    "maildir:/path" writes it to a Maildir instead, for trying things out.
    """
    helo: str = ""
    """Name to say in EHLO; empty means this host's name."""
    starttls: bool = False
    """Encrypt the connection to the next hop, and refuse to go on without."""
    connect_s: float = Field(10, gt=0)
    command_s: float = Field(60, gt=0)
    data_s: float = Field(600, gt=0)
    """Seconds to wait for the reply after the final dot (RFC 5321 4.5.3.2.6 wants ten minutes)."""
    max_idle: int = Field(20, ge=0)
    """Idle connections that one worker process keeps for the next message."""


class ExtractorSection(Section):
    """One way to tell whose mail it is; the first that yields something wins."""

    source: Literal["login", "header", "client", "sender"]
    """`login`: SASL. `header`: a header set by a trusted host. `client`: its address. `sender`: the envelope sender."""
    header: str = ""
    """For `header`: its name."""
    pattern: Pattern | None = None
    """For `header`: regular expression whose first group is the account; without one, the whole value."""
    kind: str = "header"
    """The account's kind: `sasl`, `user`, `script`, `header`, `host`, `sender`."""


class IdentitySection(Section):
    """Attribution of mail to accounts."""

    trusted_hosts: list[Network] = ["127.0.0.1/32", "::1/128"]
    """Clients whose identity headers are believed: web servers, panel hosts, smarthosts. Nobody else's are."""
    extractors: list[ExtractorSection] = [
        ExtractorSection(source="login", kind="sasl"),
        ExtractorSection(source="header", header="X-Penstock-Uid", kind="user"),
        ExtractorSection(source="header", header="X-AuthUser", kind="sasl"),
        ExtractorSection(source="header", header="X-Authenticated-Sender", kind="sasl"),
        ExtractorSection(source="header", header="X-Authenticated-User", kind="sasl"),
        ExtractorSection(
            source="header", header="X-PHP-Originating-Script", pattern=r"^\s*(\d+:[^\s(]+)", kind="script"
        ),
        ExtractorSection(source="header", header="X-PHP-Script", pattern=r"^\s*(\S+)", kind="script"),
        ExtractorSection(
            source="header", header="Received", pattern=r"\(Authenticated sender: ([^)\s]+)\)", kind="sasl"
        ),
        ExtractorSection(source="client", kind="host"),
        ExtractorSection(source="sender", kind="sender"),
    ]
    """In order of trust. Writing this list replaces it whole."""
    inbound_hosts: list[Network] = []
    """Your own hosts that take mail in and forward it; what comes from there never counts against the account."""
    forward_header: str = "X-Penstock-Forward"
    """First field with which an inbound host names the account (a login) whose forward a message is."""
    strip_headers: list[str] = [
        "X-Penstock-Uid",
        "X-AuthUser",
        "X-Authenticated-Sender",
        "X-Authenticated-User",
        "X-PHP-Originating-Script",
        "X-PHP-Script",
    ]
    """Headers that identify the customer and do not leave; X-Penstock-* never does."""
    accounts_file: Path | None = None
    """Tenants and plans: lines of `match tenant plan`; match is an account (`sasl:joe@x.example`) or `@domain`."""


class LimitsSection(Section):
    """Plain limits of one plan; 0 means no limit. Recipients are counted once for each message they get."""

    messages_per_hour: int = Field(0, ge=0)
    messages_per_day: int = Field(0, ge=0)
    recipients_per_hour: int = Field(0, ge=0)
    recipients_per_day: int = Field(0, ge=0)
    new_recipients_per_hour: int = Field(0, ge=0)
    """Recipients to whom the account never wrote before."""
    new_recipients_per_day: int = Field(0, ge=0)


class PlanSection(Section):
    """What one plan allows."""

    account: LimitsSection = LimitsSection()
    """For each account by itself: its own mail."""
    tenant: LimitsSection = LimitsSection()
    """For all accounts of a tenant together."""
    automatic: LimitsSection = LimitsSection()
    """Automatic mail (bounces, auto-replies) and forwards of each account, counted apart from its own mail."""


class JudgeSection(Section):
    """How mail is judged and what may be done about it."""

    mode: Mode = Mode.OBSERVE
    """`observe` does everything but act; `enforce` acts."""
    on_failure: Literal["accept", "defer"] = "accept"
    """When Penstock itself cannot judge: let mail flow, flagged and counted, or answer 451."""
    model: Path | None = None
    """Weights of the content model; empty means those that come with Penstock."""
    false_suspensions_per_account_year: float = Field(1e-3, gt=0, le=1)
    """Budget from which the threshold of a suspension is derived."""
    false_holds_per_account_year: float = Field(0.1, gt=0, le=100)
    """Budget from which the threshold of a hold is derived; holds are undone more easily."""
    probation_recipients_per_day: int = Field(50, ge=1)
    """What a new account may send to people who never answered it."""
    exempt_accounts: list[str] = []
    """Accounts that are never held, refused or suspended by the machine (`kind:value`)."""
    reply_link: str = ""
    """Page that a refusal points to, e.g. "https://mail.example.net/why/{id}".

    Empty takes the console's own page where `console.base_url` is set (`{link}` is its signed link), and else says
    "contact your provider".
    """


class HeldSection(Section):
    """Mail that is kept for review."""

    keep_days: float = Field(30, gt=0)
    """After this it expires: removed, with an entry in the audit log."""


class StoreSection(Section):
    """Memory: SQLite on one host, or Valkey (or Redis) with PostgreSQL for many."""

    path: Path = Path("/var/lib/penstock/penstock.sqlite")
    """The SQLite database; held mail lies beside it."""
    valkey: str = ""
    """URL of Valkey or Redis for hot state, e.g. "valkey://10.0.0.5:6379/0"; together with `postgres`."""
    postgres: str = Field("", repr=False)
    """PostgreSQL connection string for records, e.g. "postgresql://penstock@db/penstock"."""
    keep_decisions_days: float = Field(90, gt=0)
    """How long decisions can be searched."""
    keep_counts_days: float = Field(400, gt=0)
    """How far back reports reach: how many messages each day had, by tenant and account."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> StoreSection:
        if bool(self.valkey) != bool(self.postgres):
            raise ValueError("valkey and postgres go together: name both, or neither for SQLite")
        return self


class LogSection(Section):
    """The operator's log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    """`text` for people, `json` for programs; both go to standard error."""


class Settings(Section):
    """Everything that can be configured."""

    hostname: str = ""
    """This host's name in greetings and Received lines; empty means the system's."""
    workers: int = Field(1, ge=1, le=256)
    """Processes that share the ports; one a core is a good start."""
    own_addresses: list[str] = []
    """The provider's own addresses (abuse@, postmaster@ …): mail to them always passes, even from suspended accounts.

    With any address here a suspended account is refused at the end of its message instead of at MAIL.
    """
    reference_key_file: Path | None = None
    """Secret that makes reference tokens; made beside the database when missing."""
    smtp: SmtpSection = SmtpSection()
    milter: MilterSection = MilterSection()
    http: HttpSection = HttpSection()
    console: ConsoleSection = ConsoleSection()
    next_hop: NextHopSection = NextHopSection()
    pools: PoolsSection = PoolsSection()
    blocklists: BlocklistsSection = BlocklistsSection()
    identity: IdentitySection = IdentitySection()
    feedback: FeedbackSection = FeedbackSection()
    logins: LoginsSection = LoginsSection()
    judge: JudgeSection = JudgeSection()
    plans: dict[str, PlanSection] = {}
    """Limits by plan; "default" is for everybody without one."""
    held: HeldSection = HeldSection()
    learning: LearningSection = LearningSection()
    scanners: ScannersSection = ScannersSection()
    enforcement: EnforcementSection = EnforcementSection()
    notices: NoticesSection = NoticesSection()
    store: StoreSection = StoreSection()
    log: LogSection = LogSection()

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if (self.smtp.listen or self.smtp.listen_tls) and self.next_hop.address is None:
            raise ValueError('smtp.listen needs next_hop.address, the MTA that delivers; write e.g. "127.0.0.1:10025"')
        if self.smtp.listen_tls and self.smtp.tls.certificate is None:
            raise ValueError("smtp.listen_tls needs smtp.tls.certificate")
        return self


def _place(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "configuration"


def faults_of(error: ValidationError) -> list[str]:
    """Each fault as `place: what was found; what is wanted`."""
    rows = []
    for fault in error.errors():
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "no such setting; `penstock config explain` lists them"
        elif fault["type"] != "value_error":
            message = f"{fault['input']!r:.60} is not accepted: {message[0].lower()}{message[1:]}"
        # One validator may have found several faults, a line each.
        rows += [f"{_place(fault['loc'])}: {line}" for line in message.splitlines()]
    return rows


def parse_settings(text: str) -> Settings:
    """Settings from TOML text. Raises ConfigurationError with every fault."""
    try:
        return Settings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"not TOML: {error}"]) from None
    except ValidationError as error:
        raise ConfigurationError(faults_of(error)) from None


def load_settings(path: Path) -> Settings:
    """Settings from a file. Raises ConfigurationError with every fault, each naming the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: cannot be read: {error}"]) from None
    try:
        return parse_settings(text)
    except ConfigurationError as error:
        raise ConfigurationError([f"{path}: {fault}" for fault in error.faults]) from None


def explain(section: type[Section] = Settings, prefix: str = "") -> Iterator[str]:
    """Lines of an annotated TOML file with every setting, its prose and its default."""
    tables: list[tuple[str, type[Section]]] = []
    examples: list[tuple[str, type[Section]]] = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            tables.append((f"{prefix}{name}", kind))
            continue
        rows = get_args(kind)[-1:]
        if rows and isinstance(rows[0], type) and issubclass(rows[0], Section) and not field.default:
            head = f"[{prefix}{name}.NAME]" if get_origin(kind) is dict else f"[[{prefix}{name}]]"
            examples.append((head, rows[0]))
        for line in (field.description or "").splitlines():
            yield f"# {line}".rstrip()
        yield from _default(name, field.get_default(call_default_factory=True))
        yield ""
    for name, kind in tables:
        for line in (kind.__doc__ or "").splitlines():
            yield f"# {line}".rstrip()
        yield f"[{name}]"
        yield from explain(kind, f"{name}.")
    for head, kind in examples:
        yield f"# {head}"
        yield from (
            line if line.startswith("#") or not line else f"# {line}" for line in explain(kind, head.strip("[]") + ".")
        )


def _default(name: str, value: Any) -> Iterator[str]:
    if value is None or value == {} or value is PydanticUndefined:
        yield f"# {name} ="
    elif isinstance(value, list) and value and isinstance(value[0], Section):
        yield f"# {name} = ["
        for row in value:
            yield (
                "#   { "
                + ", ".join(f"{k} = {_toml(v)}" for k, v in row.model_dump(exclude_defaults=True).items())
                + " },"
            )
        yield "# ]"
    else:
        yield f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + " }"
    text = str(value)
    return f"'{text}'" if "\\" in text else f'"{text}"'
