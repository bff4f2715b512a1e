"""A small trace and a judge that does as it is told, for the tests of the evaluation."""

import json
from collections.abc import Callable
from pathlib import Path

from penstock.model import Account, Action, Decision, Event, Evidence, Kind, Standing, Submission

RAW = b"From: joe@x.example\r\nTo: ann@y.example\r\nSubject: hello\r\n\r\nHello Ann\r\n"


def message(t: float, id: str, **changes: object) -> dict[str, object]:
    """One message event of a good owner."""
    plain = {
        "t": t,
        "type": "message",
        "id": id,
        "account": "sasl:joe@x.example",
        "source": {"ip": "192.0.2.7", "helo": "laptop", "client": "Mutt"},
        "mail_from": "joe@x.example",
        "rcpt_to": ["ann@y.example"],
        "file": "msgs/m.eml",
        "truth": "legit",
        "model": None,
        "campaign": None,
    }
    return plain | changes


def write_trace(folder: Path, events: list[dict[str, object]]) -> Path:
    """A trace folder with one message file."""
    (folder / "msgs").mkdir(parents=True, exist_ok=True)
    (folder / "msgs" / "m.eml").write_bytes(RAW)
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def decide(submission: Submission, action: Action, standing: Standing = Standing.NORMAL, nats: float = 0.0) -> Decision:
    """A decision with one term of evidence."""
    account = Account("sasl", submission.connection.login)
    evidence = (Evidence("content", nats),)
    return Decision(
        submission.id, submission.received_at, account, action, action, standing, Kind.NORMAL, nats, evidence
    )


class Told:
    """Judges by a function of the submission, and keeps what it absorbs."""

    def __init__(self, rule: Callable[[Submission], Decision]) -> None:
        self.rule = rule
        self.judged: list[Submission] = []
        self.absorbed: list[Event] = []

    async def judge(self, submission: Submission) -> Decision:
        self.judged.append(submission)
        return self.rule(submission)

    async def absorb(self, event: Event) -> None:
        self.absorbed.append(event)
