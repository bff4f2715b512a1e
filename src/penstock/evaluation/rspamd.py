"""The rspamd that is installed here, in a folder of its own and without network, as a judge to compare with.

It runs with the rules that its package ships. Checks that ask the network are off, and its resolver says at once that
no name exists: traces are years old, and what lists and domains say today is no judgement of them.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from penstock.evaluation.replay import submission_of
from penstock.evaluation.trace import MessageSent, Trace
from penstock.model import Submission

ADD_HEADER_AT, REJECT_AT = 6.0, 15.0
"""Scores at which rspamd, as it is shipped, marks a message as spam and refuses it."""
MISSING = "rspamd is not installed here (apt-get install rspamd), so what its score alone would do is not known."
_SHIPPED = Path("/etc/rspamd")
_OFF = (
    "rbl surbl spf dkim dmarc arc asn phishing fuzzy_check mx_check url_redirector neural dkim_signing history_redis"
).split()
_START_S = 180.0
_PATIENCE_S = 60.0


class Running(Struct, frozen=True):
    """A worker that takes messages over HTTP."""

    port: int
    process: int
    """Its main process."""

    def score(self, submission: Submission) -> float:
        """What it thinks of one message. Raises OSError or HTTPException where it does not answer."""
        connection, envelope = submission.connection, submission.envelope
        fields = {"From": envelope.mail_from, "IP": connection.client_ip, "Helo": connection.helo}
        fields |= {"User": connection.login} if connection.login else {}
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_S)
        try:
            client.putrequest("POST", "/checkv2")
            client.putheader("Content-Length", str(len(submission.raw)))
            for name, value in (*fields.items(), *(("Rcpt", one) for one in envelope.rcpt_to)):
                client.putheader(name, value.encode("utf-8", "replace"))
            client.endheaders(submission.raw)
            return float(json.loads(client.getresponse().read()).get("score", 0.0))
        finally:
            client.close()


def is_installed() -> bool:
    """Whether there is an rspamd with its rules."""
    return shutil.which("rspamd") is not None and _SHIPPED.is_dir()


@contextmanager
def running(workers: int = 1) -> Iterator[Running]:
    """An rspamd until the end of the block. Raises FileNotFoundError where there is none, TimeoutError where it is
    mute."""
    binary = shutil.which("rspamd")
    if binary is None:
        raise FileNotFoundError(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="penstock-rspamd-"))
    folder.chmod(0o777)  # it lets go of root's rights
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.bind(("127.0.0.1", 0))
        threading.Thread(target=_answer_at_once, args=(resolver,), daemon=True).start()
        port = _configure(folder, resolver.getsockname()[1], workers)
        names = {"DBDIR": folder, "RUNDIR": folder, "LOGDIR": folder}
        names |= dict.fromkeys(("CONFDIR", "LOCAL_CONFDIR"), folder / "etc")
        given = [word for name, value in names.items() for word in ("--var", f"{name}={value}")]
        process = subprocess.Popen(  # noqa: S603 - the installed rspamd, with files of our own
            [binary, "-f", "-i", "-c", str(folder / "etc" / "rspamd.conf"), *given],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait_for(port)
            yield Running(port, process.pid)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # nothing of it is kept, and its leave takes half a minute
            process.wait(20)
            shutil.rmtree(folder, ignore_errors=True)


def scores(trace: Trace, *, progress: Callable[[str], None], workers: int = 2) -> dict[str, float]:
    """What rspamd thinks of every message of a trace, by its name there."""
    found: dict[str, float] = {}

    def ask(message: MessageSent) -> None:
        found[message.id] = one.score(submission_of(message, trace.raw(message), message.t))

    with running(workers) as one, ThreadPoolExecutor(2 * workers) as pool:
        batch: list[MessageSent] = []
        for event in trace.events():
            if isinstance(event, MessageSent):
                batch.append(event)
            if len(batch) == 1000:
                _all(pool, ask, batch)
                progress(f"rspamd: {len(found)} messages")
                batch = []
        _all(pool, ask, batch)
    return found


def _all(pool: ThreadPoolExecutor, ask: Callable[[MessageSent], None], batch: Sequence[MessageSent]) -> None:
    for _ in pool.map(ask, batch):
        pass


def _configure(folder: Path, resolver: int, workers: int) -> int:
    """Its shipped rules with files of our own beside them; returns the port that it will listen on."""
    shutil.copytree(_SHIPPED, folder / "etc")
    local = folder / "etc" / "local.d"
    local.mkdir(exist_ok=True)
    port = _free_port()
    (local / "options.inc").write_text(
        f'dns {{ nameserver = ["127.0.0.1:{resolver}"]; }}\n'
        f'tempdir = "{folder}"; pidfile = "{folder}/pid"; control_socket = "{folder}/control mode=0600";\n'
    )
    (local / "worker-normal.inc").write_text(f'bind_socket = "127.0.0.1:{port}"; count = {workers};\n')
    for name in ("worker-controller.inc", "worker-proxy.inc", "worker-fuzzy.inc"):
        (local / name).write_text("enabled = false; count = 0;\n")
    (local / "logging.inc").write_text(f'type = "file"; filename = "{folder}/log"; level = "error";\n')
    for name in _OFF:
        (local / f"{name}.conf").write_text("enabled = false;\n")
    return port


def _wait_for(port: int) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"rspamd does not answer on port {port} within {_START_S:.0f} s")


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
