"""A submission heard once: whose it is, what a reader sees, what its content says, before any memory is asked."""

from __future__ import annotations

import re
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace
from xxhash import xxh3_64_intdigest

from penstock.judge.evidence import Message
from penstock.judge.identity import Attribution
from penstock.judge.message import parse
from penstock.judge.parsed import Parsed
from penstock.judge.reputation import text_tags
from penstock.judge.rules import Rules
from penstock.model import Envelope, Kind, Submission, Verdict

_MOST_LINKS = 20
_VERSION = re.compile(r"[\d(/].*", re.DOTALL)
_NUMBER = re.compile(r"\d+")


class Content(Protocol):
    """The content model."""

    def weigh(self, parsed: Parsed, raw: bytes, envelope: Envelope) -> Verdict:
        """What the content of a message says."""


class Heard(Struct, frozen=True):
    """One submission, read and weighed by itself."""

    submission: Submission
    parsed: Parsed
    attribution: Attribution
    verdict: Verdict
    message: Message

    def with_verdict(self, verdict: Verdict) -> Heard:
        """The same submission with another verdict."""
        return replace(self, verdict=verdict, message=replace(self.message, verdict=verdict))

    @property
    def account(self) -> str:
        """The account's name, `kind:value`."""
        return str(self.attribution.account)


def hear(submission: Submission, content: Content, rules: Rules) -> Heard:
    """Read, attribute and weigh one submission. Pure; raises only on a fault of ours."""
    parsed = parse(submission.raw)
    attribution = rules.identity.attribute(submission.connection, submission.envelope, parsed.headers)
    verdict = content.weigh(parsed, submission.raw, submission.envelope)
    if attribution.is_forward:
        verdict = replace(verdict, kind=Kind.FORWARDED)
    account = attribution.account
    recipients = tuple(dict.fromkeys(one.lower() for one in submission.envelope.rcpt_to))
    links = [one.domain for one in parsed.links if one.domain and not one.is_quoted]
    message = Message(
        now=submission.received_at,
        account=str(account),
        tenant=account.tenant,
        source=attribution.source,
        client=client_of(parsed, submission.connection.helo),
        mail_from=submission.envelope.mail_from,
        recipients=recipients,
        verdict=verdict,
        digest=_digest(parsed, submission),
        texts=text_tags(verdict.fingerprints),
        links=tuple(dict.fromkeys(links))[:_MOST_LINKS],
        parts=tuple(dict.fromkeys(one.kind or one.content_type for one in parsed.attachments))[:_MOST_LINKS],
        blind=len(set(recipients).difference(parsed.to)),
        is_forward=attribution.is_forward,
        has_login=account.kind == "sasl" and not attribution.is_forward,
    )
    return Heard(submission, parsed, attribution, verdict, message)


def client_of(parsed: Parsed, helo: str) -> str:
    """The mail program without its version, or where it does not say so, the shape of its HELO name."""
    program = parsed.header("user-agent") or parsed.header("x-mailer")
    if program:
        return _VERSION.sub("", program[:80]).strip().lower()
    return "[]" if helo.startswith("[") else _NUMBER.sub("0", helo[:80].lower())


def kind_for_limits(heard: Heard) -> Kind:
    """The kind by which a message is counted: a claim in headers does not free anybody's own mail of its limits."""
    kind = heard.verdict.kind
    if kind is Kind.AUTOMATIC and not heard.submission.envelope.mail_from and not heard.message.has_login:
        return kind
    return Kind.FORWARDED if heard.message.is_forward else Kind.NORMAL


def kind_for_pool(heard: Heard) -> Kind:
    """The kind by which a pool is chosen: a claim to be bulk is no advantage; every other claim needs facts."""
    return Kind.BULK if heard.verdict.kind is Kind.BULK else kind_for_limits(heard)


def _digest(parsed: Parsed, submission: Submission) -> int:
    """The same where a mail server tries again: no trace fields, no ids of ours."""
    envelope = submission.envelope
    fields = (parsed.message_id, parsed.header("date"), parsed.subject, envelope.mail_from, *sorted(envelope.rcpt_to))
    text = "\0".join((*fields, parsed.text[:2000], *(one.digest for one in parsed.attachments)))
    return xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) >> 16
