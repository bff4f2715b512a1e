"""rspamd's HTTP as a client speaks it: POST /checkv2, one reply, then the server closes.

The score is taken as it is and held against the threshold of `reject`; what to do stays Penstock's own decision.
"""

from __future__ import annotations

import httptools
import msgspec
from msgspec import Struct

from penstock.model import Opinion, Submission
from penstock.protocols.headers import one_line

_MOST_SYMBOLS = 30
_REQUIRED = 15.0


class _Symbol(Struct):
    score: float = 0.0


class _Reply(Struct):
    score: float
    required_score: float = _REQUIRED
    symbols: dict[str, _Symbol] = {}
    is_skipped: bool = False


class _Body:
    """Collects what httptools reads."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.is_whole = False

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)

    def on_message_complete(self) -> None:
        self.is_whole = True


def check_request(submission: Submission, password: str = "") -> bytes:
    """Ask about a submission, with what is known of its client, account and envelope."""
    connection, envelope = submission.connection, submission.envelope
    told = [
        ("Host", "rspamd"),
        ("Connection", "close"),
        ("Content-Length", str(len(submission.raw))),
        ("From", envelope.mail_from or "<>"),
        *(("Rcpt", one) for one in envelope.rcpt_to[:100]),
        ("IP", connection.client_ip),
        ("Helo", connection.helo),
        ("Hostname", connection.client_name),
        ("User", connection.login),
        ("Queue-Id", submission.queue_id or submission.id),
        ("Password", password),
    ]
    head = "".join(f"{name}: {one_line(value)[:500]}\r\n" for name, value in told if value)
    return f"POST /checkv2 HTTP/1.1\r\n{head}\r\n".encode() + submission.raw


def read_reply(data: bytes) -> Opinion:
    """What rspamd said. Raises ValueError where it is no whole reply, or one that says it failed."""
    body = _Body()
    parser = httptools.HttpResponseParser(body)
    try:
        parser.feed_data(data)
        status = parser.get_status_code()
    except httptools.HttpParserError as fault:
        raise ValueError(f"no reply of rspamd: {fault}: {data[:100]!r}") from fault
    said = b"".join(body.parts)
    if not body.is_whole:
        raise ValueError(f"rspamd's reply is cut off: {data[:100]!r}")
    if status != 200:
        raise ValueError(f"rspamd answers {status}: {said[:100]!r}")
    try:
        reply = msgspec.json.decode(said, type=_Reply)
    except msgspec.DecodeError as fault:
        raise ValueError(f"rspamd's reply is not understood: {fault}") from fault
    if reply.is_skipped:
        raise ValueError("rspamd was told to skip this message")
    ranked = sorted(reply.symbols.items(), key=lambda item: -abs(item[1].score))
    names = tuple(name[:100] for name, symbol in ranked if symbol.score)[:_MOST_SYMBOLS]
    return Opinion("rspamd", reply.score, reply.required_score, names)
