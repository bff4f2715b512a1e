"""`make bench-logs`: a million lines of a Postfix log followed into SQLite, with every event taken in."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import platform
import random
import tempfile
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from penstock.judge.identity import Extractor, Identity
from penstock.judge.policy import Policy
from penstock.judge.rules import Rules
from penstock.model import Account, Action, Decision, DecisionRow, Kind, Mode, Standing, make_id
from penstock.pipeline import Pipeline, Unwatched
from penstock.protocols.deliveries import Reader, postfix
from penstock.protocols.receivers import Replies
from penstock.store.ports import Records
from penstock.store.sqlite import SqliteStore
from penstock.workers.feedback import Feedback
from penstock.workers.reply_blocks import ReplyBlocks

LINES = 1_000_000
NOW = datetime.datetime(2026, 9, 1, 8, tzinfo=datetime.UTC).timestamp()
ACCOUNTS = 400
IP = "192.0.2.25"
# Of a hundred messages: three bounce, two are put off by a receiver and three by the network.
_FATES = ("bounced",) * 3 + ("later",) * 2 + ("timeout",) * 3 + ("sent",) * 92
_SAID = "host mx{n}.example[203.0.113.{n}] said: "
_REPLIES = {
    "bounced": _SAID + "550 5.1.1 <u{m}@far{n}.example>: no such user (in reply to RCPT TO command)",
    "later": _SAID + "451 4.7.1 greylisted, try again later (in reply to RCPT TO command)",
    "timeout": "connect to mx{n}.example[203.0.113.{n}]:25: Connection timed out",
    "sent": "250 2.0.0 OK {m}",
}
_STATUS = {"bounced": ("5.1.1", "bounced"), "later": ("4.7.1", "deferred"), "timeout": ("4.4.1", "deferred")}


def queue_id(number: int) -> str:
    """As Postfix's short queue ids look."""
    return f"{0x4B00000000 + number:010X}"


def message(number: int, rng: random.Random) -> Iterator[str]:
    """The lines of one message from login to removal."""
    fate, host, id = rng.choice(_FATES), rng.randrange(1, 250), queue_id(number)
    stamp = datetime.datetime.fromtimestamp(NOW + number / 20, datetime.UTC).isoformat(timespec="microseconds")
    head, who = f"{stamp} mx1 postfix/", f"user{number % ACCOUNTS}@example.com"
    dsn, status = _STATUS.get(fate, ("2.0.0", "sent"))
    relay = "none" if fate == "timeout" else f"mx{host}.example[203.0.113.{host}]:25"
    yield f"{head}submission/smtpd[71]: connect from unknown[198.51.100.{host}]"
    yield f"{head}submission/smtpd[71]: {id}: client=unknown[198.51.100.{host}], sasl_method=PLAIN, sasl_username={who}"
    yield f"{head}cleanup[72]: {id}: message-id=<{number}@example.com>"
    yield f"{head}qmgr[9]: {id}: from=<{who}>, size=4096, nrcpt=1 (queue active)"
    yield f"{head}submission/smtpd[71]: disconnect from unknown[198.51.100.{host}] ehlo=2 auth=1 mail=1 commands=7"
    yield (
        f"{head}smtp[80]: {id}: to=<u{number}@far{host}.example>, relay={relay}, delay=1.1, delays=0/0/0.4/0.7, "
        f"dsn={dsn}, status={status} ({_REPLIES[fate].format(n=host, m=number)})"
    )
    if status != "deferred":
        yield f"{head}qmgr[9]: {id}: removed"


def write_log(path: Path, lines: int) -> int:
    """A log of about so many lines; how many messages it is of."""
    rng, written, number = random.Random(5), 0, 0
    with path.open("w") as file:
        while written < lines:
            for line in message(number, rng):
                file.write(line + "\n")
                written += 1
            number += 1
    return number


def rows(first: int, last: int) -> tuple[DecisionRow, ...]:
    """The decisions on some of the messages."""

    def row(number: int) -> DecisionRow:
        who, at = f"user{number % ACCOUNTS}@example.com", NOW + number / 20
        one = Decision(
            make_id(at, number), at, Account("sasl", who), Action.ACCEPT, Action.ACCEPT, Standing.NORMAL, Kind.NORMAL,
            0.0, pool="normal", ip=IP,
        )  # fmt: skip
        to = (f"u{number}@far.example",)
        return DecisionRow(
            one, who, to, "198.51.100.1", "milter", queue_id(number), f"<{number}@example.com>", "", 4096
        )

    return tuple(row(number) for number in range(first, last))


def feedback_over(store: SqliteStore, counts: dict[str, int]) -> Feedback:
    """What `penstock run` builds for a log, with one sending IP that is watched for blocks."""
    replies = Replies((resources.files("penstock.protocols") / "replies.toml").read_text("utf-8"))
    rules = Rules(
        Identity((Extractor("login", "sasl"),), ()), Policy.from_budgets(), Mode.OBSERVE, b"k" * 32, replies.reason_of
    )
    pipeline = Pipeline(store, None, rules, Unwatched(), clock=time.perf_counter)
    blocks = ReplyBlocks(store, frozenset({IP}), time.time)

    def count(name: str) -> None:
        counts[name] = counts.get(name, 0) + 1

    return Feedback(
        store, pipeline, replies, read_token=lambda _: None, tag_of=lambda _: "", count=count, now=time.time,
        blocks=blocks,
    )  # fmt: skip


async def measure(folder: Path, lines: int) -> str:
    """The report."""
    log = folder / "mail.log"
    messages = write_log(log, lines)
    store = SqliteStore(folder / "p.sqlite")
    await store.open()
    for first in range(0, messages, 5000):
        some = rows(first, min(first + 5000, messages))
        await store.update((), lambda some=some: Records(decisions=some, must_be_durable=False))  # type: ignore[misc]
    counts: dict[str, int] = {}
    feedback = feedback_over(store, counts)
    began, cpu = time.perf_counter(), time.process_time()
    read = await feedback.catch_up(log, Reader(postfix), from_start=True)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    await store.close()
    load, when = os.getloadavg()[0], datetime.date.today().isoformat()
    return f"""# Following a log

`make bench-logs`, {when}, {platform.machine()}, {os.cpu_count()} cores; load {load:.1f}; Python
{platform.python_version()}.

{read:,} lines of a Postfix log ({log.stat().st_size / 1e6:.0f} MB, {messages:,} messages of {ACCOUNTS} accounts,
3 % bounced, 2 % put off by a receiver, 3 % by the network), read by one process into SQLite, every bounce taken in by
its account:

| | |
|---|---:|
| lines a second | {read / wall_s:,.0f} |
| lines a second of CPU time | {read / cpu_s:,.0f} |
| bounces taken in | {counts.get("bounced", 0):,} |
| delays counted | {counts.get("deferred", 0):,} |
"""


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--lines", type=int, default=LINES)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(measure(Path(folder), asked.lines))
    print(report)
    if asked.out:
        asked.out.write_text(report)


if __name__ == "__main__":
    main()
