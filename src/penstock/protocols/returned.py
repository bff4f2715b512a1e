"""What a message that comes to a mailbox of ours is: a bounce, a complaint, an automatic answer, or ordinary mail."""

from __future__ import annotations

import re

from msgspec import Struct

from penstock.protocols.arf import Complaint, read_complaint
from penstock.protocols.dsn import Bounce, read_bounce
from penstock.protocols.reports import Original, Report, addresses, read_report

_AWAY = re.compile(
    r"\b(?:out of (?:the )?office|auto(?:matic)?[- ]?(?:reply|response)|away (?:until|from)|vacation|abwesen"
    r"|réponse automatique|absence du bureau|respuesta automática|risposta automatica|自動返信|不在)",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"\b[0-9a-z]{20}-[a-z2-7]{13}\b")
_MOST_TOKENS = 20


class AutoReply(Struct, frozen=True):
    """An answer that a machine gave for its owner (RFC 3834); the recipient is there."""

    sender: str
    original: Original


def read_returned(raw: bytes) -> Bounce | Complaint | AutoReply | None:
    """What came back, or None for ordinary mail. Never raises."""
    report = read_report(raw)
    return read_complaint(report) or read_bounce(report) or _read_auto_reply(report)


def tokens_in(raw: bytes) -> tuple[str, ...]:
    """What looks like a reference token, wherever it stands; the original's header goes first where it survived."""
    text = raw.decode("latin-1").lower().replace("=\r\n", "").replace("=\n", "")
    return tuple(dict.fromkeys(_TOKEN.findall(text)[:_MOST_TOKENS]))


def _read_auto_reply(report: Report) -> AutoReply | None:
    fields = report.fields
    declared = fields.get("auto-submitted", "no").lower()
    is_automatic = (
        not declared.startswith("no")
        or any(name in fields for name in ("x-autoreply", "x-autorespond", "x-auto-response-suppress"))
        or fields.get("precedence", "").lower() in ("auto_reply", "auto-reply")
        or bool(_AWAY.search(fields.get("subject", "")))
    )
    if not is_automatic:
        return None
    sender = addresses(fields.get("from", ""))
    return AutoReply(sender[0] if sender else "", Original(message_id=fields.get("in-reply-to", "").strip("<> ")))
