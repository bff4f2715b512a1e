"""The frozen records that travel: what a listener hands in, what the judge finds, what is decided, what is kept.

Values only. Nothing here knows a socket, a clock, a database or another module of ours; every other module
speaks in these records. Times are Unix seconds as floats, sizes are bytes, evidence is in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(one + other for one in _ALPHABET for other in _ALPHABET)
_AS_NAME = str.maketrans(".:", "--")


def make_id(now: float, random_bits: int) -> str:
    """An id of twenty lower-case letters and digits that sorts by time: milliseconds, then fifty random bits."""
    number = (int(now * 1000) << 50) | (random_bits & ((1 << 50) - 1))
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(90, -1, -10)])


def made_at(id: str) -> float:
    """When an id was made, to the millisecond. Raises ValueError for what is none."""
    number = 0
    for sign in id[:10]:
        number = (number << 5) | _ALPHABET.index(sign)
    return number / 1000


def transport_name(pool: str, ip: str = "") -> str:
    """What the next hop calls the way out: the pool, or its sending IP in signs that every MTA takes in a name."""
    return f"{pool}-{ip.translate(_AS_NAME)}" if ip else pool


class Action(StrEnum):
    """What happens to a message."""

    ACCEPT = "accept"
    THROTTLE = "throttle"
    HOLD = "hold"
    REJECT = "reject"


class Standing(StrEnum):
    """An account's slow state; it moves with hysteresis and history."""

    TRUSTED = "trusted"
    NORMAL = "normal"
    NEW = "new"
    POOR = "poor"
    SUSPENDED = "suspended"


class Kind(StrEnum):
    """What sort of message this is; automatic mail and forwards are counted apart from the owner's own."""

    NORMAL = "normal"
    BULK = "bulk"
    FORWARDED = "forwarded"
    AUTOMATIC = "automatic"


class Mode(StrEnum):
    """Observe does everything but act; enforce acts."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class Account(Struct, frozen=True):
    """The customer identity that a submission is attributed to."""

    kind: str
    """`sasl`, `user` (Unix user), `script`, `header`, `host`, `sender`, or `none` where nothing identifies the mail."""
    value: str
    tenant: str = ""
    """Whose customer this is: the domain of a login, a reseller, a system user; empty where unknown."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> Account:
        """Read `kind:value` back. Raises ValueError where there is no colon or nothing on one side of it."""
        kind, colon, value = text.partition(":")
        if not (kind and colon and value):
            raise ValueError(f'"{text}" is no account; write kind:value, e.g. sasl:joe@example.com')
        return cls(kind, value)


class Connection(Struct, frozen=True):
    """What is known of the client that hands a message in, as the nearest *trusted* host reports it."""

    client_ip: str = ""
    """The client's address; after XCLIENT or XFORWARD from a trusted host, the original client's."""
    client_name: str = ""
    helo: str = ""
    peer_ip: str = ""
    """The host that really opened our socket; decides what is trusted."""
    port: int = 0
    login: str = ""
    """The SASL login that our own listener, or a trusted milter client, vouches for."""
    login_method: str = ""
    tls: str = ""
    listener: str = ""
    """`smtp`, `milter`, `http`, or the MTA's `{daemon_name}`."""
    is_trusted_peer: bool = False
    """Whether identity that this peer reports (macros, User:, identity headers) is believed."""


class Envelope(Struct, frozen=True):
    """RFC 5321 reverse-path and forward-paths, without angle brackets; the null reverse-path is the empty string."""

    mail_from: str
    rcpt_to: tuple[str, ...]
    mail_parameters: tuple[str, ...] = ()
    """ESMTP parameters of MAIL as sent (`BODY=8BITMIME`, `SMTPUTF8`); SIZE and AUTH are left out."""


class Submission(Struct, frozen=True):
    """One SMTP transaction handed to us: envelope, connection facts, raw message."""

    id: str
    received_at: float
    connection: Connection
    envelope: Envelope
    raw: bytes
    """The message as RFC 5322 bytes with CRLF line ends; not dot-stuffed, no terminating dot."""
    queue_id: str = ""
    """The MTA's own queue id where it has told one (milter macro `i`, Queue-Id header)."""
    is_cut: bool = False
    """Whether only the first part is here, so that it may be judged but never held."""
    local_recipients: bool = False
    """Whether some recipient is delivered locally by the MTA, so that no pool may be named (FILTER would override)."""


class Opening(Struct, frozen=True):
    """What is known at MAIL, before any content."""

    connection: Connection
    mail_from: str
    now: float
    rcpt_to: str = ""
    """A recipient, where RCPT is being asked about; empty at MAIL."""


class Reply(Struct, frozen=True):
    """An SMTP reply: three digits, an RFC 3463 enhanced status, one line of text."""

    code: int
    enhanced: str
    text: str

    def line(self) -> str:
        """The reply as one line without line end, e.g. `550 5.7.1 [PS-CONTENT] …`."""
        return f"{self.code} {self.enhanced} {self.text}" if self.enhanced else f"{self.code} {self.text}"


class Admission(Struct, frozen=True):
    """The answer at MAIL or RCPT: go on, or a reply that ends it."""

    refusal: Reply | None = None
    pool: str = ""
    """The pool that the account's standing points to before content is known."""
    ip: str = ""
    """Its sending IP for this account; empty where Penstock knows none."""

    @property
    def transport(self) -> str:
        """What the next hop calls the way out."""
        return transport_name(self.pool, self.ip)


class Finding(Struct, frozen=True):
    """One observation about a message, by a stable kebab-case name."""

    name: str
    detail: str = ""
    """What was seen, short, for people."""
    count: int = 1


class Evidence(Struct, frozen=True):
    """One signed term of a decision, in nats: positive speaks for abuse, negative for the owner."""

    name: str
    nats: float
    seen: str = ""
    expected: str = ""
    group: str = ""
    """Independent groups are required in number before a suspension: `content`, `recipients`, `bounces`, `login`, …"""
    carried: float = 0.0
    """How many of the nats were said by messages before this one."""


class Opinion(Struct, frozen=True):
    """What another scanner thinks of a message; no answer is an opinion with its `trouble`."""

    scanner: str
    """`rspamd`, `spamassassin`, `clamav`."""
    score: float | None = None
    required: float = 0.0
    """The score from which the scanner itself would refuse."""
    symbols: tuple[str, ...] = ()
    found: str = ""
    """The virus's name."""
    trouble: str = ""


class Verdict(Struct, frozen=True):
    """What the content of one message says, before its account's history is asked."""

    log_odds: float
    """Calibrated natural log-odds of abuse, unclipped."""
    kind: Kind
    findings: tuple[Finding, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    """The terms that make up `log_odds`, strongest first."""
    fingerprints: tuple[str, ...] = ()
    """Campaign keys, e.g. `text:…`, `url:…`, `reply-to:…`."""


class Lines(Struct, frozen=True):
    """What one account's statistics are held against, in nats."""

    hold: float
    suspend: float
    hold_bulk: float
    suspend_bulk: float
    """Of the statistic against a good customer's change of habits."""


class Decision(Struct, frozen=True):
    """What is done with one submission, and why: the sum of its evidence. Never without reasons."""

    id: str
    at: float
    account: Account
    action: Action
    """What is done."""
    wanted: Action
    """What would have been done in enforce mode; equals `action` there."""
    standing: Standing
    kind: Kind
    score: float
    """The statistic, in nats, that was held against the thresholds: the account's CUSUM after this message."""
    evidence: tuple[Evidence, ...] = ()
    findings: tuple[Finding, ...] = ()
    reply: Reply | None = None
    """For throttle and reject: what the client is told."""
    pool: str = ""
    """The pool named to the next hop; empty for none (observe mode, local recipients, not accepted)."""
    reason: str = ""
    """The stable tag of the rule that decided: `PS-CONTENT`, `PS-SUSPENDED`, `PS-LIMIT` …; empty for a plain accept."""
    add_headers: tuple[tuple[str, str], ...] = ()
    remove_headers: tuple[str, ...] = ()
    """Header names, lower case; every occurrence goes."""
    is_judged: bool = True
    """False where Penstock could not judge and `on_failure` decided."""
    token: str = ""
    """The opaque reference that the delivered message carries."""
    against_bulk: float = 0.0
    """The second statistic, in nats: what a good customer's change of habits does not explain."""
    lines: Lines | None = None
    """What the two statistics were held against; None where nothing was judged."""
    ip: str = ""
    """The sending IP within the pool; empty where none is named."""

    @property
    def transport(self) -> str:
        """What the next hop calls the way out; empty without a pool."""
        return transport_name(self.pool, self.ip)


class Event(Struct, frozen=True):
    """Something that comes back about an account or one of its messages, or that it does besides sending."""

    at: float
    what: str
    """`delivered`, `bounced`, `deferred`, `complaint`, `spamtrap`, `login`, `login-failed`, `password-changed`,
    `listing` (an IP that it used was listed)."""
    account: str = ""
    """`kind:value`; where empty, the account of `decision_id`."""
    decision_id: str = ""
    recipient: str = ""
    source: str = ""
    """Network or script that acted, as for messages."""
    client: str = ""
    service: str = ""
    """For logins: `smtp`, `imap`, `web` …"""
    detail: str = ""
    """The receiver's reply, or what the log said."""
    share: float = 1.0
    """For `listing`: the account's share of the blame, 0 to 1."""
    reason: str = ""
    """For bounces: why, by the names of `protocols.receivers.Reason`; empty where nobody has read the reply yet."""
    key: str = ""
    """Where it is set, an account takes in the same key once, however often and from wherever it is told."""


def bounce_key(decision_id: str, recipient: str) -> str:
    """The key of a bounce: the relay, a log and a report may all tell of the same one."""
    return f"bounced/{decision_id}/{recipient.lower()}"


class Delivered(Struct, frozen=True):
    """The next hop's verdict on one decision: reply per recipient."""

    decision_id: str
    account: str
    at: float
    replies: tuple[tuple[str, int, str], ...]
    """(recipient, reply code, reply text), one per recipient."""
    queue_id: str = ""
    """What the next hop calls the message, where its reply told."""


class Held(Struct, frozen=True):
    """A message that Penstock keeps: envelope and state; its raw bytes are asked for by id."""

    id: str
    decision_id: str
    account: str
    held_at: float
    mail_from: str
    rcpt_to: tuple[str, ...]
    size_bytes: int
    reason: str
    state: str = "held"
    """`held`, `releasing`, `released`, `dropped`, `expired`."""
    subject: str = ""
    mail_parameters: tuple[str, ...] = ()
    changed_at: float = 0.0


class Audit(Struct, frozen=True):
    """One thing that a person, or the machine on a person's standing order, did."""

    at: float
    who: str
    what: str
    """A kebab-case verb phrase: `suspend-account`, `release-held`, `set-limit`, …"""
    target: str
    reason: str = ""
    detail: str = ""


class OutboxItem(Struct, frozen=True):
    """An action to be carried out by a worker, at least once, made exactly once by its key."""

    key: str
    """Idempotency key: the same key is never queued twice."""
    at: float
    topic: str
    """Which client carries it out: `notice`, `panel`, `dovecot`, …"""
    target: str
    payload: Mapping[str, object] = {}


class Rung(StrEnum):
    """The ladder of what may be shut, smallest first."""

    SOURCE = "source"
    SCRIPT = "script"
    PASSWORD = "application-password"  # noqa: S105
    MAILBOX = "mailbox"
    DOMAIN = "domain"
    ACCOUNT = "account"


class Thing(Struct, frozen=True, order=True, array_like=True):
    """One thing that is shut where it lives."""

    rung: Rung
    name: str
    """An address or network, `owner:/path` of a script, `login/name` of an application password, a login, a domain,
    or what the panel calls the account."""

    def __str__(self) -> str:
        return f"{self.rung} {self.name}"


class Step(Struct, frozen=True):
    """One thing to be shut, or opened again, by one driver. Its key stays the same however often it is tried."""

    key: str
    at: float
    account: str
    """The account on whose behalf this is done."""
    verb: str
    """`shut` or `open`."""
    thing: Thing
    reason: str = ""


class AccountRow(Struct, frozen=True):
    """What lists of accounts show; the full state is the judge's own."""

    account: str
    tenant: str
    standing: Standing
    evidence: float
    """The account's statistic in nats."""
    seen_at: float
    messages: int
    recipients: int
    pool: str = ""
    since: float = 0.0
    """When the standing was entered."""
    reason: str = ""


class DecisionRow(Struct, frozen=True):
    """A decision as it is kept and searched: the decision and the facts of its message that a search needs."""

    decision: Decision
    mail_from: str
    rcpt_to: tuple[str, ...]
    client_ip: str
    listener: str
    queue_id: str
    message_id: str
    subject: str
    size_bytes: int
    source: str = ""
    domains: tuple[str, ...] = ()
    """Domains that the message shows to lists: of From, of DKIM signatures, of its first links (registrable)."""
