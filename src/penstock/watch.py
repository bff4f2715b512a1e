"""What an operator sees from outside: one log line a decision, and counters for Prometheus.

Counters of several worker processes add up: each process keeps its own in a small memory-mapped file of a common
folder, in the format of prometheus_client's multiprocess mode, whose collector reads them all; any of them can answer
for all. Files are numbered, not named after processes: a worker that is started again takes a free number and counts
on, so counters never fall and files never pile up. Not thread-safe: counted is in the event loop's thread.
"""

from __future__ import annotations

import fcntl
import io
import logging
import shutil
import struct
import sys
import tempfile
import weakref
from bisect import bisect_left
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TextIO, cast

import msgspec
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from penstock.attempts import Attempt, Permission
from penstock.model import Decision, DecisionRow

_open: Any = MmapedDict  # without type hints
_STRONGEST = 5
_MOST_WORKERS = 1024
_SECRETS = ("password", "secret", "token", "authorization", "credential")
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, float("inf"))
_EVENTS = ("penstock_events", "What listeners and workers counted, by name")
_DECISIONS = ("penstock_decisions", "Messages decided, by what was done, what was wanted, why, and pool named")
_JUDGING = ("penstock_judging_seconds", "Time from a whole message to its decision")


class _Values:
    """The numbers of one process, in its file of the folder."""

    def __init__(self, kind: str, path: Path) -> None:
        """`kind` is how Prometheus adds them up: `counter` or `histogram`."""
        file = path.with_name(f"{kind}_{path.name}.db")
        try:
            if not _is_whole(file):
                file.unlink()
            self._file = _open(str(file))
        except (RuntimeError, ValueError, struct.error):
            file.unlink()
            self._file = _open(str(file))
        self._values: dict[tuple[str, ...], tuple[str, float]] = {}

    def add(
        self, metric: tuple[str, str], sample: str, labels: tuple[str, ...], values: tuple[str, ...], by: float
    ) -> None:
        """Add to one sample of a metric."""
        found = self._values.get((sample, *values))
        if found is None:
            key = mmap_key(metric[0], sample, list(labels), list(values), metric[1])
            found = key, self._file.read_value(key)[0]
        key, value = found[0], found[1] + by
        self._values[(sample, *values)] = key, value
        self._file.write_value(key, value, 0.0)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _is_whole(file: Path) -> bool:
    """Whether a file says of itself that it ends where it ends; a crash of the machine may have torn it."""
    if not file.exists():
        return True
    data = file.read_bytes()
    return not data or 8 <= int.from_bytes(data[:4], sys.byteorder, signed=True) <= len(data)


class Watch:
    """Counters of one process, and the exposition of all that share its folder."""

    def __init__(self, folder: Path | None) -> None:
        """A folder on a local file system, made when missing; None for a process that counts alone. Raises OSError."""
        self._folder = folder if folder is not None else Path(tempfile.mkdtemp(prefix="penstock-watch-"))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._place, self._lock = _free_place(self._folder)
        self._counters = _Values("counter", self._place)
        self._times = _Values("histogram", self._place)
        self._end = weakref.finalize(self, _let_go, self._lock, self._folder if folder is None else None)

    def count(self, name: str) -> None:
        """Something happened, by a short kebab-case name."""
        self._counters.add(_EVENTS, "penstock_events_total", ("event",), (name,), 1)

    def decision(self, decision: Decision, judged_s: float) -> None:
        """A message was decided, and how long that took."""
        values = (decision.action.value, decision.wanted.value, decision.reason, decision.pool)
        labels = ("action", "wanted", "reason", "pool")
        self._counters.add(_DECISIONS, "penstock_decisions_total", labels, values, 1)
        bucket = _BUCKETS_S[bisect_left(_BUCKETS_S, judged_s)]
        text = "+Inf" if bucket == float("inf") else repr(bucket)
        self._times.add(_JUDGING, "penstock_judging_seconds_bucket", ("le",), (text,), 1)
        self._times.add(_JUDGING, "penstock_judging_seconds_sum", (), (), judged_s)

    def exposition(self) -> bytes:
        """Everything that the processes of this folder counted, in Prometheus' text format."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def close(self) -> None:
        """Give the place to another process; what was counted stays. Nothing may be counted after."""
        if self._end.alive:
            self._counters.close()
            self._times.close()
            self._end()


def _free_place(folder: Path) -> tuple[Path, IO[bytes]]:
    """The first number that no living process holds, with the lock that keeps it."""
    for number in range(_MOST_WORKERS):
        lock = (folder / f"{number}.lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return folder / str(number), lock
    raise OSError(f"{folder}: more than {_MOST_WORKERS} processes count here")


def _let_go(lock: IO[bytes], folder: Path | None) -> None:
    lock.close()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def decision_line(row: DecisionRow) -> dict[str, Any]:
    """The fields of the log line of one decision: who, what, why. No subject, no content."""
    decision = row.decision
    strongest = sorted(decision.evidence, key=lambda one: -abs(one.nats))[:_STRONGEST]
    line: dict[str, Any] = {
        "id": decision.id,
        "account": str(decision.account),
        "action": decision.action.value,
        "reason": decision.reason,
        "score": round(decision.score, 2),
        "standing": decision.standing.value,
        "kind": decision.kind.value,
        "pool": decision.pool,
        "sender": row.mail_from,
        "recipients": len(row.rcpt_to),
        "client": row.client_ip,
        "source": row.source,
        "listener": row.listener,
        "queue_id": row.queue_id,
        "message_id": row.message_id,
        "bytes": row.size_bytes,
        "evidence": " ".join(f"{one.name}={one.nats:+.2f}" for one in strongest),
    }
    if decision.account.tenant:
        line["tenant"] = decision.account.tenant
    if decision.wanted is not decision.action:
        line["wanted"] = decision.wanted.value
    if decision.reply is not None:
        line["reply"] = decision.reply.line()
    if not decision.is_judged:
        line["judged"] = False
    return {name: value for name, value in line.items() if value != ""}


def login_counts(attempt: Attempt, permission: Permission, *, is_asked: bool) -> tuple[str, ...]:
    """The counters that a login moves: what was counted, or what was answered."""
    if not is_asked:
        return ("logins" if attempt.is_good else "logins-failed",)
    asked = ["logins-asked"]
    if not permission.is_judged:
        asked.append("logins-unjudged")
    if permission.is_refused:
        asked.append("logins-refused")
    elif permission.is_wanted_refused:
        asked.append("logins-wanted-refused")
    return tuple(asked)


def login_line(attempt: Attempt, permission: Permission) -> dict[str, Any]:
    """The fields of the log line of one login: who, from where, why. No password, and no hash of one."""
    line: dict[str, Any] = {
        "account": permission.account or attempt.login,
        "client": attempt.ip,
        "service": attempt.service,
        "session": attempt.session,
        "reason": permission.reason,
        "score": round(permission.nats, 2) if permission.evidence else "",
        "evidence": " ".join(f"{one.name}={one.nats:+.2f}" for one in permission.evidence),
    }
    if permission.is_wanted_refused and not permission.is_refused:
        line["wanted"] = "refuse"
    return {name: value for name, value in line.items() if value != ""}


def configure_log(level: str, format: str) -> None:
    """Write the log to standard error, from `level` up, as `text` for people or `json` for programs.

    What libraries say through `logging` goes the same way, from `warning` up. Raises ValueError for another level or
    format.
    """
    least = logging.getLevelNamesMapping().get(level.upper())
    if least is None or format not in ("text", "json"):
        raise ValueError(
            f'"{level}" and "{format}": the level is debug, info, warning or error, the format text or json'
        )
    is_json = format == "json"
    before: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
    ]
    # Tracebacks are plain text: those of structlog's own renderers show local variables, which may be secrets.
    after = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json) if is_json else as_text]
    structlog.configure(
        processors=[*before, *after],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _LastingErrors())),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_LastingErrors())
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[remove, *after], foreign_pre_chain=before))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(least, logging.WARNING))


class _LastingErrors(io.TextIOBase):
    """Standard error as it is now, or nothing where it is gone: a log that cannot be written must not stop mail."""

    def __init__(self) -> None:
        self._file = sys.stderr

    def write(self, text: str) -> int:
        try:
            return self._file.write(text)
        except (OSError, ValueError):
            return len(text)

    def flush(self) -> None:
        try:
            self._file.flush()
        except (OSError, ValueError):
            return


def hide_secrets(logger: object, method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Passwords and the like never reach the log, whoever logs them."""
    for name in line:
        if _is_secret(name):
            line[name] = "(hidden)"
    return line


@lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    lower = name.lower()
    return any(secret in lower for secret in _SECRETS)


def as_text(logger: object, method: str, line: MutableMapping[str, Any]) -> str:
    """A line for people: time, level, what happened, then `name=value`; a traceback follows on lines of its own.

    What strangers wrote stays on its line and moves no cursor.
    """
    begin = f"{line.pop('timestamp', '')} {line.pop('level', ''):<7} {_shown(line.pop('event', ''))}"
    exception = line.pop("exception", "")
    fields = "".join([f" {name}={_shown(value, is_value=True)}" for name, value in line.items()])
    return f"{begin}{fields}\n{exception}" if exception else begin + fields


def _shown(value: object, *, is_value: bool = False) -> str:
    text = str(value)
    if not text.isprintable():
        text = "".join([sign if sign.isprintable() else "?" for sign in text])
    return f'"{text}"' if is_value and (" " in text or not text) else text


def _json(line: dict[str, Any], default: Callable[[Any], Any], **_: object) -> str:
    first = {name: line.pop(name) for name in ("timestamp", "level", "event") if name in line}
    return msgspec.json.encode({**first, **line}, enc_hook=default).decode()
