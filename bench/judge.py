"""The judge alone: messages per CPU second, beside rspamd on the same messages where it is installed."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psutil

from penstock.building import make_identity
from penstock.config import Settings
from penstock.evaluation.corpus import corpus_folder, read_samples
from penstock.judge.policy import Policy
from penstock.judge.rules import Rules
from penstock.model import Connection, Envelope, Mode, Submission, make_id
from penstock.pipeline import Pipeline, Unwatched
from penstock.protocols.smtp_client import stuffed
from penstock.shipped import load_model, load_replies
from penstock.store.memory import MemoryStore

_OFF = (
    "rbl surbl spf dkim dmarc arc asn phishing fuzzy_check mx_check url_redirector neural dkim_signing history_redis"
).split()


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
    theirs = rspamd(raws) if shutil.which("rspamd") else None
    if theirs is None:
        return [*lines, "", "rspamd is not installed here (`apt-get install rspamd`), so there is no ratio.", ""]
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


def rspamd(raws: list[bytes]) -> float | None:
    """CPU seconds a message of rspamd's worker."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-rspamd-"))
    folder.chmod(0o777)
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(("127.0.0.1", 0))
    threading.Thread(target=_answer_at_once, args=(resolver,), daemon=True).start()
    shutil.copytree("/etc/rspamd", folder / "etc")
    local = folder / "etc" / "local.d"
    local.mkdir(exist_ok=True)
    port = _free_port()
    (local / "options.inc").write_text(
        f'dns {{ nameserver = ["127.0.0.1:{resolver.getsockname()[1]}"]; }}\n'
        f'tempdir = "{folder}"; pidfile = "{folder}/pid"; control_socket = "{folder}/control mode=0600";\n'
    )
    (local / "worker-normal.inc").write_text(f'bind_socket = "127.0.0.1:{port}"; count = 1;\n')
    for name in ("worker-controller.inc", "worker-proxy.inc", "worker-fuzzy.inc"):
        (local / name).write_text("enabled = false; count = 0;\n")
    (local / "logging.inc").write_text(f'type = "file"; filename = "{folder}/log"; level = "error";\n')
    for name in _OFF:
        (local / f"{name}.conf").write_text("enabled = false;\n")
    command = [
        "rspamd",
        "-f",
        "-i",
        "-c",
        str(folder / "etc" / "rspamd.conf"),
        "--var",
        f"DBDIR={folder}",
        "--var",
        f"RUNDIR={folder}",
        "--var",
        f"LOGDIR={folder}",
        "--var",
        f"CONFDIR={folder}/etc",
        "--var",
        f"LOCAL_CONFDIR={folder}/etc",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return _ask_rspamd(port, psutil.Process(process.pid), raws)
    finally:
        process.terminate()
        process.wait(20)
        resolver.close()
        shutil.rmtree(folder, ignore_errors=True)


def _ask_rspamd(port: int, process: psutil.Process, raws: list[bytes]) -> float | None:
    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.2)
    else:
        print("rspamd did not start")
        return None
    best = 1e9
    for _ in range(3):
        before = _cpu(process)
        for raw in raws:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            client.request(
                "POST",
                "/checkv2",
                raw,
                {"From": "a@example.com", "Rcpt": "b@example.org", "IP": "192.0.2.1", "User": "joe"},
            )
            assert client.getresponse().read()
            client.close()
        best = min(best, (_cpu(process) - before) / len(raws))
    return best


def _cpu(process: psutil.Process) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


def _answer_at_once(resolver: socket.socket) -> None:
    while True:
        try:
            query, peer = resolver.recvfrom(4096)
            resolver.sendto(query[:2] + b"\x81\x83" + query[4:6] + bytes(6) + query[12:], peer)
        except OSError:
            return


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
