"""Bounces: which recipients failed and in which words, from RFC 3464 reports and from the many that are only prose.

A report says so in fields (RFC 3464, RFC 6533 for addresses in UTF-8). Where it has none, or they say nothing, its
prose is read: an address at the start of a line, or in angle brackets, and the words around it. Old and strange mail
systems are covered by what they have in common rather than one by one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from penstock.protocols.receivers import Level, Reason, Replies, ReplyMeaning
from penstock.protocols.reports import Original, Report, addresses

_MOST_RECIPIENTS = 100
_MOST_WORDS = 1500
_MOST_REPORT = 6000
_TYPE = re.compile(r"^[\w-]{1,40};\s*")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
# Amazon SES tells through SNS: JSON within JSON, by mail or by HTTP.
_SES = re.compile(
    r'\{"emailAddress":"([^"]{3,320})","action":"(\w{1,20})","status":"([\d.]{5,12})"(?:,"diagnosticCode":"([^"]{0,2000})")?'
)
_VAGUE = (Reason.UNCLEAR, Reason.POLICY, Reason.SYSTEM, Reason.NETWORK)
"""Reasons that better words may replace."""
_REFUSED = re.compile(r"(?m)^\W{0,10}5\d\d[ -]")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_UTF8 = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_AUTOMATIC = (
    "mailer-daemon",
    "postmaster",
    "post_master",
    "mail delivery",
    "mailerdaemon",
    "mail-daemon",
    "mdaemon",
    "mail administrator",
    "mailadmin",
    "administrator",
)
_SUBJECTS = tuple(
    """
    undeliver; delivery status notification; delivery failure; delivery report; delivery notification; returned
    mail; failure notice; mail delivery failed; could not be delivered; undelivered mail; mail failure; delivery
    failed; nondeliverable; non-deliverable; mail could not; mail system error; returned to sender; message
    delivery; delivery problem; delivery error; failed mail; unzustellbar; não entregue; non remis; message status -
    undeliverable; mail status; rejected message; delivery delay; warning: message; nicht zustellbar; non
    recapitabile; onbestelbaar; no se puede entregar; 配信不能; could not send message; message rejected; message
    bounced; error sending; notification d'état; notificación; user unknown; address not found; unable to deliver;
    mail error; mail delivery status; loop alert; not member article
    """.replace("\n    ", " ")
    .strip()
    .split("; ")
)

_NOT_DELIVERED = ("not be delivered", "cannot be delivered", "not delivered", "unable to deliver", "undeliverable")
_TRANSCRIBED = re.compile(r"(?m)^[45]\d\d <([^<>\s]{3,320})>\.\.\. ")
"""A recipient in the transcript of a Sendmail."""
_SENDER_LINE = re.compile(r"(?mi)^\W{0,20}(?:mail )?from ?:.{1,400}$")


class Failed(Struct, frozen=True):
    """What became of one recipient."""

    recipient: str
    action: str
    """`failed`, `delayed`, `delivered`, `relayed`, `expanded` (RFC 3464 §2.3.3)."""
    status: str = ""
    """Enhanced status; empty where none is told."""
    diagnostic: str = ""
    """The receiver's words, without their type."""
    remote_mta: str = ""
    words: str = ""
    """What the report says in prose after naming this recipient."""
    report: str = ""
    """All of its prose."""


class Bounce(Struct, frozen=True):
    """A report about recipients of a message of ours."""

    recipients: tuple[Failed, ...]
    original: Original
    reporting_mta: str = ""
    is_standard: bool = False
    """Whether it came as RFC 3464 wants it."""


def read_bounce(report: Report) -> Bounce | None:
    """The bounce that a report is, or None."""
    groups = [one for one in report.blocks if "final-recipient" in one or "original-recipient" in one]
    if report.block_type.endswith("delivery-status") and groups:
        head = report.blocks[0]
        recipients = tuple(_from_fields(one, report.text) for one in groups[:_MOST_RECIPIENTS])
        return Bounce(recipients, report.original, _bare(head.get("reporting-mta", "")), True)
    if told := _SES.findall(report.text.replace('\\"', '"')):
        failed = [Failed(address, action, status, _TYPE.sub("", words)) for address, action, status, words in told]
        return Bounce(tuple(failed[:_MOST_RECIPIENTS]), report.original)
    if not looks_like_bounce(report):
        return None
    recipients = _from_prose(report)
    return Bounce(recipients, report.original) if recipients or report.has_original else None


def meaning(failed: Failed, replies: Replies) -> ReplyMeaning:
    """What the failure of one recipient means: the receiver's words first, then the report's own, then all of them."""
    domain = failed.recipient.rpartition("@")[2]
    texts = [one for one in (failed.diagnostic, failed.words, failed.report) if any(map(str.isalpha, one))] or [""]
    best: ReplyMeaning | None = None
    # What stands nearest is a reply; prose around it is believed only where it says plainly what the reply does not.
    for text, guess in [(texts[0], True), *((one, False) for one in texts[1:]), *((one, True) for one in texts[1:])]:
        found = replies.read(text, status=failed.status, domain=domain, mx=failed.remote_mta, guess=guess)
        is_better = best is None or (best.reason is Reason.UNCLEAR and found.reason is not Reason.UNCLEAR)
        may_replace = not guess and (text is failed.words or not failed.diagnostic)
        if is_better or (best and best.reason in _VAGUE and found.reason not in _VAGUE and may_replace):
            best = found
    assert best is not None
    if failed.action == "delayed" and best.level is Level.HARD:
        best = replace(best, level=Level.SOFT)  # the report itself says that it goes on trying
    return best


def looks_like_bounce(report: Report) -> bool:
    """Whether sender and subject are those of a bounce, or nobody sent it and its words are."""
    fields = report.fields
    if "x-failed-recipients" in fields:
        return True
    sender, subject = fields.get("from", "").lower(), fields.get("subject", "").lower()
    is_daemon = any(one in sender for one in _AUTOMATIC)
    is_null = fields.get("return-path", "").replace(" ", "") in ("<>", "<MAILER-DAEMON>")
    says_so = any(one in subject for one in _SUBJECTS)
    has_code = is_daemon and bool(_REFUSED.search(report.text))
    says_within = is_null and any(one in report.text[:2000].lower() for one in _NOT_DELIVERED)
    is_returned = (is_daemon or is_null) and (report.has_original or (is_daemon and is_null))
    return says_so or has_code or says_within or is_returned


def _from_fields(fields: Mapping[str, str], text: str) -> Failed:
    recipient = _address(fields.get("final-recipient") or fields.get("original-recipient", ""))
    if "@" not in recipient and "original-recipient" in fields:
        recipient = _address(fields["original-recipient"])
    status = _STATUS.search(fields.get("status", ""))
    action = fields.get("action", "failed").lower().split(" ")[0].strip(".;")
    diagnostic = fields.get("diagnostic-code", "")
    return Failed(
        recipient,
        action,
        status[0] if status else "",
        _TYPE.sub("", diagnostic),
        _bare(fields.get("remote-mta", "")).split(" ")[0],
        _words_of(recipient, text, set()),
        _folded(text),
    )


def _from_prose(report: Report) -> tuple[Failed, ...]:
    """Recipients that the words name, the surest first: X-Failed-Recipients, the text, the To of the message."""
    text, own = report.text, set(addresses(report.fields.get("to", "")))
    named = addresses(report.fields.get("x-failed-recipients", ""))
    if not named:
        found = addresses(text)
        senders = {report.original.mail_from} | {
            one for line in _SENDER_LINE.findall(text) for one in addresses(line)[:1]
        }
        named = [one for one in found if one not in own | senders and not _is_daemon(one)]
        sure = set(report.original.recipients) | set(_TRANSCRIBED.findall(text))
        both = [one for one in named if one in sure]
        named = (
            both
            or named[:5]
            or list(report.original.recipients[:5])
            or [one for one in found if not _is_daemon(one)][:1]
        )
    is_delay = "delayed" in report.fields.get("subject", "").lower() or "will be retried" in text[:2000].lower()
    action = "delayed" if is_delay else "failed"
    others, whole = set(named), _folded(text)
    return tuple(
        Failed(one, action, words=_words_of(one, text, others), report=whole) for one in named[:_MOST_RECIPIENTS]
    )


def _is_daemon(address: str) -> bool:
    local = address.partition("@")[0].lower()
    return local in ("mailer-daemon", "postmaster", "abuse", "support", "helpdesk", "noreply", "no-reply")


def _words_of(recipient: str, text: str, others: set[str]) -> str:
    """The words that follow each mention of a recipient, up to the next recipient or the end of the paragraph."""
    lowered, sought = text.lower(), recipient.lower()
    found: list[str] = []
    at = lowered.find(sought) if sought else -1
    while at >= 0 and len(found) < 10:
        end = at + _MOST_WORDS
        words = text[at + len(sought) : end]
        for one in others:
            if one != recipient and (next_one := words.find(one)) >= 0:
                words = words[:next_one]
        lines: list[str] = []
        for line in words.split("\n"):
            if not line.strip() and any(len(one.strip()) > 8 for one in lines):
                break
            lines.append(line)
        found.append(" ".join(lines))
        at = lowered.find(sought, at + len(sought))
    return _folded(" ".join(found))[:_MOST_WORDS].lstrip(" <>:,;()[]'\"")


def _folded(text: str) -> str:
    return " ".join(text[:_MOST_REPORT].split())


def _bare(value: str) -> str:
    return _TYPE.sub("", value).strip("<>()[] ")


def _address(value: str) -> str:
    """An address field without type, comment and encoding (RFC 3464 §2.3.1, RFC 6533 §3)."""
    kind = value.partition(";")[0].strip().lower()
    bare = _TYPE.sub("", value).strip()
    if "<" in bare and ">" in bare:
        bare = bare[bare.rfind("<") + 1 : bare.rfind(">")]
    if kind == "utf-8":
        return _UTF8.sub(lambda found: _character(found[1]), bare)
    found = addresses(bare)
    return found[0] if found else _XTEXT.sub(lambda match: _character(match[1]), bare)


def _character(digits: str) -> str:
    number = int(digits, 16)
    return chr(number) if number < 0x110000 else "�"
