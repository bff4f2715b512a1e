"""rspamd's protocol: headers in which clients say whose message it is, and the shapes in which they want the answer.

Three shapes: the JSON of `/checkv2`, the older JSON of `/check` with everything under `default` (ZoneMTA reads it), and
the lines that Exim reads. Clients differ in what they look at, so every symbol has a description (Postal skips those
without), headers to add are plain strings (OpenSMTPD drops objects), `messages` is an object, and the symbols add up to
the score (Postal and others add them themselves).

`score` lies at or above `required_score` exactly where the action is `reject`: the many clients that compare the two
themselves then refuse for good what Penstock refuses for good, and nothing else. A `soft reject` stands in the action.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from penstock.model import Action, Connection, Decision, Envelope

REQUIRED_SCORE = 15.0
"""rspamd's default for `reject`; our own thresholds are in nats and differ by account."""
_BELOW = 14.99
_ACTIONS = {
    Action.ACCEPT: "no action",
    Action.THROTTLE: "soft reject",
    Action.HOLD: "soft reject",  # nothing can be kept over HTTP: the client still has the message
    Action.REJECT: "reject",
}
_EXIM_READS = 30_000  # bytes; Exim reads 32600 and fails beyond
_LONGEST = 1000  # characters of a header, an address or a description
_MOST_SYMBOLS = 200
_MESSAGE_ID = re.compile(rb"(?im)^message-id:[ \t]*(?:\r?\n[ \t]+)?<?([^<>\s]{1,500})")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_RECIPIENT = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')
_UNPRINTABLE = re.compile(r"[^ -~]+")

CHECK_PATHS = frozenset(["/checkv2", "/check", "/symbols", "/scan", "/process", "/report", "/report_ifspam"])
"""What asks for a judgement; all but the first get the older shape."""


class Query(Struct, frozen=True):
    """What a client says of a message beside the message."""

    connection: Connection
    envelope: Envelope
    queue_id: str = ""


def read_query(headers: Sequence[tuple[str, str]], *, peer_ip: str, is_trusted: bool) -> Query:
    """Read a client's headers, (lower-case name, value) each; any may be missing or empty.

    Of a peer that is not trusted nothing is believed but the envelope: the client is the peer itself. `File`, `Path`
    and `Shm*`, by which rspamd reads files for its clients, are never looked at.
    """
    found: dict[str, str] = {}
    recipients: list[str] = []
    for name, value in headers:
        if name == "rcpt":
            recipients += _paths(value)
        elif value and name not in found:
            found[name] = value[:_LONGEST]
    if not recipients:
        recipients = _paths(found.get("deliver-to", ""))
    envelope = Envelope(_path(found.get("from", "")), tuple(recipients))
    if not is_trusted:
        return Query(Connection(client_ip=peer_ip, peer_ip=peer_ip, listener="http"), envelope)
    connection = Connection(
        client_ip=_address(found.get("ip", "")),
        client_name=_host(found.get("hostname", "")),
        helo=found.get("helo", ""),
        peer_ip=peer_ip,
        login=found.get("user", ""),
        tls=found.get("tls-version", ""),
        listener="http",
        is_trusted_peer=True,
    )
    return Query(connection, envelope, found.get("queue-id", ""))


def _paths(value: str) -> list[str]:
    """Addresses of a comma list; a quoted local part may hold commas."""
    return [path for one in _RECIPIENT.findall(value) if (path := _path(one[:_LONGEST]))]


def _path(value: str) -> str:
    found = value.strip()
    return found[1:-1].strip() if found.startswith("<") and found.endswith(">") else found


def _address(value: str) -> str:
    text = value.strip().strip("[]")
    text = text[5:] if text[:5].lower() == "ipv6:" else text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _host(value: str) -> str:
    return "" if value.lower() == "unknown" or value.startswith("[") else value


def message_of(body: bytes) -> bytes:
    """A message as RFC 5322 bytes: CRLF line ends, without the `From ` line with which Exim begins it."""
    if body.startswith(b"From "):
        body = body[body.find(b"\n") + 1 :] if b"\n" in body[:2000] else body
    return body if body.count(b"\n") == body.count(b"\r\n") else _BARE_LF.sub(b"\r\n", body)


# Answers.


def _score(decision: Decision) -> float:
    score = decision.score if abs(decision.score) < 1e6 else 0.0  # not NaN, not infinite
    if decision.action is Action.REJECT:
        return round(max(score, REQUIRED_SCORE), 2)
    return round(min(score, _BELOW), 2)


def symbols(decision: Decision) -> dict[str, tuple[float, str]]:
    """Evidence and findings as name → (score, description); the last one makes up the rest of the score."""
    found: dict[str, tuple[float, str]] = {}
    for term in decision.evidence[:_MOST_SYMBOLS]:
        seen = f"seen {term.seen}" if term.seen else ""
        expected = f"expected {term.expected}" if term.expected else ""
        nats = term.nats if abs(term.nats) < 1e6 else 0.0
        name = _symbol(term.name)
        score = round(nats + found.get(name, (0.0, ""))[0], 2)
        found[name] = score, _line(", ".join(filter(None, (seen, expected))) or term.name)
    for finding in decision.findings[:_MOST_SYMBOLS]:
        found.setdefault(_symbol(finding.name), (0.0, _line(finding.detail or finding.name)))
    rest = round(_score(decision) - sum(score for score, _ in found.values()), 2)
    why = f"{decision.action}{' ' + decision.reason if decision.reason else ''}, account {decision.standing}"
    found["PENSTOCK"] = rest, _line(why)
    return found


def _symbol(name: str) -> str:
    return "PS_" + re.sub(r"[^A-Z0-9]+", "_", name.upper())[:60]


def _line(text: str) -> str:
    """One line of printable ASCII."""
    return _UNPRINTABLE.sub("?", text)[:_LONGEST]


def _milter(decision: Decision) -> dict[str, object]:
    """What rspamd's clients do to headers; names are unique, but should one come twice both values travel."""
    added: dict[str, str | list[str]] = {}
    for name, value in decision.add_headers:
        before = added.get(name)
        if before is None:
            added[name] = value
        else:
            added[name] = [*(before if isinstance(before, list) else [before]), value]
    block: dict[str, object] = {}
    if added:
        block["add_headers"] = added
    if decision.remove_headers:
        block["remove_headers"] = dict.fromkeys(decision.remove_headers, 0)  # 0: every occurrence
    return block


def _metric(decision: Decision) -> dict[str, object]:
    return {
        "is_skipped": False,
        "score": _score(decision),
        "required_score": REQUIRED_SCORE,
        "action": _ACTIONS[decision.action],
    }


def _symbol_objects(decision: Decision) -> dict[str, object]:
    return {
        name: {"name": name, "score": score, "metric_score": score, "description": description}
        for name, (score, description) in symbols(decision).items()
    }


def _around(decision: Decision, raw: bytes, took_s: float) -> dict[str, object]:
    found = _MESSAGE_ID.search(raw[:65_536])
    return {
        "messages": {"smtp_message": decision.reply.text} if decision.reply else {},
        "message-id": found[1].decode("utf-8", "replace") if found else "undef",
        "time_real": round(took_s, 6),
        "penstock-id": decision.id,
    }


def checkv2(decision: Decision, raw: bytes, took_s: float) -> bytes:
    """The JSON of `/checkv2`."""
    reply: dict[str, object] = {
        **_metric(decision),
        "thresholds": {"reject": REQUIRED_SCORE},
        "symbols": _symbol_objects(decision),
        "urls": [],
        "emails": [],
        **_around(decision, raw, took_s),
    }
    if changes := _milter(decision):
        reply["milter"] = changes
    return msgspec.json.encode(reply)


def legacy(decision: Decision, raw: bytes, took_s: float) -> bytes:
    """The JSON of `/check`: the metric with its symbols as siblings under `default`, headers under `rmilter`."""
    is_spam = decision.action is not Action.ACCEPT
    reply: dict[str, object] = {
        "default": {"is_spam": is_spam, **_metric(decision), **_symbol_objects(decision)},
        **_around(decision, raw, took_s),
    }
    if changes := _milter(decision):
        reply["rmilter"] = changes
    return msgspec.json.encode(reply)


def rspamc(decision: Decision) -> bytes:
    """The lines that Exim reads, byte-exact where it is, and never longer than it can take."""
    is_spam = decision.action is not Action.ACCEPT
    lines = [
        "RSPAMD/1.3 0 EX_OK",
        f"Metric: default; {is_spam}; {_score(decision):.2f} / {REQUIRED_SCORE:.2f} / 0.0",
        f"Action: {_ACTIONS[decision.action]}",
    ]
    if decision.reply is not None:
        lines.append(f"Message: {_line(decision.reply.text)}")
    lines += [f"X-Milter-Add: {_line(name)}: {_line(value)}" for name, value in decision.add_headers]
    lines += [f"X-Milter-Del: {_line(name)}" for name in decision.remove_headers]
    lines += [f"Symbol: {name}({score:.2f})" for name, (score, _) in symbols(decision).items()]
    kept, size = [], 0
    for line in lines:
        size += len(line) + 2
        if size > _EXIM_READS:
            break
        kept.append(line)
    return "\r\n".join([*kept, ""]).encode("ascii", "replace")


def error(trouble: str) -> bytes:
    """The JSON of an error."""
    return msgspec.json.encode({"error": trouble, "error_domain": "penstock"})


def rspamc_error(code: int, trouble: str) -> bytes:
    """An error in the line protocol; `code` as in `sysexits.h`. Exim takes it for an answer that failed."""
    return f"RSPAMD/1.3 {code} {_line(trouble)}\r\n\r\n".encode()
