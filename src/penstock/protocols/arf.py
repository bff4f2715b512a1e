"""Complaints: feedback reports (RFC 5965, RFC 6650), and those of receivers that have their own form.

Microsoft's JMRP sends the message alone, without a machine-readable part; X-ARF puts it into a part of plain text;
unsubscribe requests come as bare mail. Whatever was redacted, `Original` keeps what is left to trace the message by.
"""

from __future__ import annotations

import re

from msgspec import Struct

from penstock.protocols.reports import Original, Report, addresses, loose_fields

KINDS = ("abuse", "fraud", "virus", "not-spam", "opt-out", "auth-failure", "other")
_JMRP = re.compile(r"^complaint about message from (\S{3,45})")
# Amazon SES tells through SNS.
_SES = re.compile(
    r'"(?:notificationType|eventType)":"Complaint"(?:.{0,2000}"complaintFeedbackType":"([\w-]{1,20})")?', re.DOTALL
)
_IP_IN_TEXT = re.compile(r"\bfrom (?:IP )?(?:address )?\[?(\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]{6,39})\]?")


class Complaint(Struct, frozen=True):
    """A receiver's word, or a recipient's by it, about one message of ours."""

    kind: str
    """One of KINDS, RFC 5965 §7.3; `abuse`, `fraud` and `virus` speak against the sender."""
    original: Original
    source_ip: str = ""
    """The address of ours that the message came from."""
    recipient: str = ""
    """Who complains, where not redacted."""
    mail_from: str = ""
    domain: str = ""
    """The domain that is reported, of a signature or address."""
    reporter: str = ""
    """Who sends the report: its From."""
    incidents: int = 1

    @property
    def is_against_sender(self) -> bool:
        """Whether it is evidence of abuse; an unsubscribe or a failed signature is none."""
        return self.kind in ("abuse", "fraud", "virus")


def read_complaint(report: Report) -> Complaint | None:
    """The complaint that a report is, or None."""
    if report.block_type == "message/feedback-report" and report.blocks:
        return _from_feedback(report)
    fields, sender = report.fields, (addresses(report.fields.get("from", "")) or [""])[0]
    subject = fields.get("subject", "").strip().lower()
    if report.has_original and (jmrp := _JMRP.match(subject)):
        return Complaint("abuse", report.original, jmrp[1].strip("[]"), reporter=sender)
    if "x-arf" in fields or "x-xarf" in fields:
        return _from_xarf(report, sender)
    if found := _SES.search(report.text.replace('\\"', '"')):
        kind = found[1].lower() if found[1] and found[1].lower() in KINDS else "abuse"
        return Complaint(kind, report.original, reporter=sender)
    if subject == "unsubscribe" and not report.blocks and "auto-submitted" in fields:
        return Complaint("opt-out", report.original, recipient=sender, reporter=sender)
    return None


def by_hand(report: Report) -> Complaint:
    """What somebody handed in as a complaint: any report, or any message forwarded as it came."""
    if found := read_complaint(report):
        return found
    sender = (addresses(report.fields.get("from", "")) or [""])[0]
    source = _IP_IN_TEXT.search(report.text)
    return Complaint("abuse", report.original, source[1] if source else "", reporter=sender)


def _from_feedback(report: Report) -> Complaint:
    told: dict[str, str] = {}
    for block in report.blocks:
        told = {**block, **told}
    kind = told.get("feedback-type", "abuse").partition(";")[0].strip().lower()
    recipient = addresses(told.get("original-rcpt-to", "") or told.get("removal-recipient", ""))
    sender = addresses(told.get("original-mail-from", ""))
    count = told.get("incidents", "1").strip()
    return Complaint(
        kind if kind in KINDS else "other",
        report.original,
        told.get("source-ip", "").strip("[] "),
        recipient[0] if recipient else "",
        sender[0] if sender else report.original.mail_from,
        told.get("reported-domain", "").lower(),
        (addresses(report.fields.get("from", "")) or [""])[0],
        min(int(count), 1_000_000) if count.isascii() and count.isdigit() and len(count) < 9 else 1,
    )


def _from_xarf(report: Report, sender: str) -> Complaint:
    """X-ARF 0.1 and 0.2: the fields are a part of text (YAML); later versions are JSON of the same names."""
    told = loose_fields(re.sub(r'^\s*"([\w-]+)"\s*:\s*"?([^",]*)"?,?\s*$', r"\1: \2", report.text, flags=re.MULTILINE))
    category = told.get("category", told.get("reportclass", "abuse")).lower()
    source = told.get("source", told.get("sourceip", "")).strip("[] ")
    kind = "fraud" if "fraud" in category or "phish" in told.get("report-type", "").lower() else "abuse"
    return Complaint(kind, report.original, source, reporter=sender)
