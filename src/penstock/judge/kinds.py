"""What sort of message this is: automatic, forwarded, bulk or normal, by what it says of itself.

An attacker writes headers too. A kind therefore never changes what the content model says, and whoever gives a kind
an advantage asks for facts that only the mail server knows beside it.
"""

from __future__ import annotations

from penstock.judge.parsed import Parsed
from penstock.model import Envelope, Kind

_REWRITTEN = ("srs0=", "srs0+", "srs0-", "srs1=", "srs1+", "srs1-")
_FORWARDED = frozenset("resent-from resent-to resent-sender resent-date x-forwarded-to x-forwarded-for".split())
_BULK = frozenset(
    "list-unsubscribe list-id list-post list-help mailing-list feedback-id x-campaign-id x-csa-complaints".split()
)
_ANSWERS = frozenset("x-autoreply x-autorespond x-auto-response-suppress-reply".split())


def kind_of(parsed: Parsed, envelope: Envelope) -> Kind:
    """The kind: null reverse-path or RFC 3834's Auto-Submitted, then SRS or Resent (RFC 5322 §3.6.6), then lists."""
    first = dict(reversed(parsed.headers))
    submitted = first.get("auto-submitted", "no").lower().partition(";")[0].strip()
    precedence = first.get("precedence", "").strip().lower()
    if not envelope.mail_from or submitted != "no" or precedence == "auto_reply" or not _ANSWERS.isdisjoint(first):
        return Kind.AUTOMATIC
    if first.get("content-type", "").lstrip().lower().startswith("multipart/report"):
        return Kind.AUTOMATIC
    if envelope.mail_from.lower().startswith(_REWRITTEN) or not _FORWARDED.isdisjoint(first):
        return Kind.FORWARDED
    if precedence in ("bulk", "list", "junk") or not _BULK.isdisjoint(first):
        return Kind.BULK
    return Kind.NORMAL
