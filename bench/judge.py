"""The judge alone: messages per CPU second, beside rspamd on the same messages where it is installed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psutil

from penstock.building import make_identity
from penstock.config import Settings
from penstock.evaluation import rspamd
from penstock.evaluation.corpus import corpus_folder, read_samples
from penstock.judge.policy import Policy
from penstock.judge.rules import Rules
from penstock.model import Connection, Envelope, Mode, Submission, make_id
from penstock.pipeline import Pipeline, Unwatched
from penstock.protocols.smtp_client import stuffed
from penstock.shipped import load_model, load_replies
from penstock.store.memory import MemoryStore


def real_messages(folder: Path, most: int) -> tuple[str, list[bytes]]:
    """Real messages of the corpus as files for the load generator, and as bytes; none where there is no corpus."""
    try:
        corpus = corpus_folder()
    except FileNotFoundError:
        return "-", []
    raws = [one.raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for one in read_samples(corpus, ("lists",))]
    chosen = [
        one.replace(b"\0", b"")
        for one in raws[:: max(1, len(raws) // most)]
        if len(one) < 200_000 and b"\r\r" not in one
    ]
    chosen = [
        one for one in chosen if max(map(len, one.split(b"\r\n"))) < 60_000 and one.count(b"\r") == one.count(b"\r\n")
    ]
    for number, one in enumerate(chosen):
        (folder / f"{number:04}").write_bytes(b"".join(stuffed(one)))
    return str(folder), chosen


def compare(raws: list[bytes], verdicts: list[tuple[str, float, float]]) -> list[str]:
    """A section of the report; adds its ratio to the verdicts."""
    if not raws:
        return ["## Judge alone", "", "No corpus was there; set PENSTOCK_CORPUS.", ""]
    ours = asyncio.run(judge_all(raws))
    lines = ["## Judge alone, on the same real messages", "", "| judge | CPU ms per message |", "|---|---:|"]
    lines.append(f"| Penstock: parse, content, campaigns, account | {ours * 1000:.2f} |")
    if not rspamd.is_installed():
        return [*lines, "", rspamd.MISSING, ""]
    theirs = theirs_of(raws)
    lines.append(f"| rspamd (Debian's, no network checks, resolver that answers at once) | {theirs * 1000:.2f} |")
    verdicts.append(("judge / rspamd, messages per CPU second", theirs / ours, 3.0))
    return [*lines, ""]


async def judge_all(raws: list[bytes]) -> float:
    """CPU seconds a message, through the whole pipeline over memory."""
    settings = Settings()
    rules = Rules(make_identity(settings), Policy.from_budgets(), Mode.OBSERVE, b"bench", load_replies().reason_of)
    pipeline = Pipeline(MemoryStore(), load_model(settings), rules, Unwatched(), clock=time.perf_counter)
    best = 1e9
    for turn in range(3):
        began = time.process_time()
        for number, raw in enumerate(raws):
            connection = Connection(client_ip="192.0.2.1", login=f"user{number % 50}@example.com", listener="smtp")
            at = 1.8e9 + turn * 1e5 + number
            envelope = Envelope("a@example.com", ("b@example.org",))
            await pipeline.judge(Submission(make_id(at, number), at, connection, envelope, raw))
        best = min(best, (time.process_time() - began) / len(raws))
    return best


def theirs_of(raws: list[bytes]) -> float:
    """CPU seconds a message of rspamd's worker."""
    connection = Connection(client_ip="192.0.2.1", login="joe")
    envelope = Envelope("a@example.com", ("b@example.org",))
    submissions = [Submission("-", 0.0, connection, envelope, raw) for raw in raws]
    best = 1e9
    with rspamd.running() as one:
        process = psutil.Process(one.process)
        for _ in range(3):
            before = _cpu(process)
            for submission in submissions:
                one.score(submission)
            best = min(best, (_cpu(process) - before) / len(raws))
    return best


def _cpu(process: psutil.Process) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))
