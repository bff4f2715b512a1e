"""`make bench`: relay, milter and judge against the usual ones, in one run, on the same messages; writes a report."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psutil
from msgspec import Struct

from bench import judge, phases
from bench.servers import unix_socket

ROUNDS = 3
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the tests' own Postfix serves here too


class Measured(Struct):
    """One server under one load."""

    name: str
    cpu_us: float
    """CPU of the server's processes per message."""
    per_s: float


@contextlib.contextmanager
def server(kind: str, next_hop: str) -> Iterator[tuple[int, psutil.Process]]:
    """A server of `bench.servers`: its port and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.servers", kind, next_hop], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def smtp_sink() -> Iterator[tuple[str, psutil.Process]]:
    """Postfix's smtp-sink."""
    from neighbours.postfix import free_port

    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(["smtp-sink", "-u", "nobody" if os.getuid() else "root", address, "1024"])
    time.sleep(0.3)
    try:
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def cpu(process: psutil.Process) -> float:
    """CPU seconds of a process and its children, those that have ended too."""
    total = process.cpu_times().children_user + process.cpu_times().children_system
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def smtp_source(port: int, count: int) -> float:
    """Postfix's smtp-source: `count` messages of 4 KB over 8 sessions; seconds."""
    began = time.perf_counter()
    command = ["smtp-source", "-d", "-s", "8", "-m", str(count), "-l", "4096", "-f", "joe@example.com"]
    subprocess.run([*command, "-t", "ann@example.org", f"127.0.0.1:{port}"], check=True)
    return time.perf_counter() - began


def source(port: int, count: int, rate: float = 0.0, folder: str = "-") -> dict[str, float]:
    """Our own load generator."""
    command = [sys.executable, "-m", "bench.source", str(port), "8", str(count), str(rate), folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def relays(count: int, folder: str) -> tuple[list[Measured], list[Measured]]:
    """Every relay and sink with 4 KB messages, then with real ones; the best of some rounds each."""
    plain: dict[str, list[Measured]] = {}
    real: dict[str, list[Measured]] = {}
    with smtp_sink() as (sink, sink_process):
        port = int(sink.rpartition(":")[2])
        for _ in range(ROUNDS):
            took(plain, "smtp-sink alone (C)", sink_process, count, lambda: smtp_source(port, count))
            for kind, name in (
                ("relay", "Penstock relay, no judging"),
                ("judging", "Penstock relay, judging"),
                ("aiosmtpd-sink", "aiosmtpd as a sink"),
                ("aiosmtpd-relay", "aiosmtpd + aiosmtplib relay"),
            ):
                with server(kind, sink) as (at, process):
                    smtp_source(at, 200)
                    few = count if "aio" not in kind else count // 4
                    took(plain, name, process, few, lambda at=at, few=few: smtp_source(at, few))  # type: ignore[misc]
                    if folder != "-":
                        few //= 4
                        work = lambda at=at, few=few: source(at, few, folder=folder)["seconds"]  # noqa: E731
                        took(real, name, process, few, work)
    return [min(rows, key=lambda one: one.cpu_us) for rows in plain.values()], [
        min(rows, key=lambda one: one.cpu_us) for rows in real.values()
    ]


def took(into: dict[str, list[Measured]], name: str, process: psutil.Process, count: int, work) -> None:  # type: ignore[no-untyped-def]
    """Note one measurement."""
    before = cpu(process)
    seconds = work()
    into.setdefault(name, []).append(Measured(name, (cpu(process) - before) / count * 1e6, count / seconds))


def latency(count: int) -> list[tuple[str, float, float, float]]:
    """(server, rate, p50 ms, p99 ms) at half of what the judging relay takes, straight and through the relay."""
    rows = []
    with smtp_sink() as (sink, _), server("judging", sink) as (at, _):
        source(at, 300)
        rate = count / source(at, count)["seconds"] / 2
        for name, port in (("straight to smtp-sink", int(sink.rpartition(":")[2])), ("through Penstock, judging", at)):
            found = source(port, count, rate)
            rows.append((name, rate, found["p50"] * 1000, found["p99"] * 1000))
    return rows


class Mta(Struct):
    """Postfix under one load."""

    name: str
    per_s: float
    postfix_us: float
    """CPU of Postfix per message, of all its daemons."""
    penstock_us: float


async def postfix(count: int) -> list[Mta]:
    """Messages a second through a real Postfix, without and with Penstock as milter, taken in turn; medians."""
    from neighbours.postfix import Postfix

    found: dict[str, list[Mta]] = {}
    more = "mynetworks = 127.0.0.0/8\ndefault_transport = discard:\ntransport_maps =\ndefault_process_limit = 20\n"
    nowhere = "127.0.0.1:1"
    with server("milter", nowhere) as (port, judging), server("bare-milter", nowhere) as (bare, passing):
        ways = (
            ("Postfix alone", "", judging),
            ("with Penstock as milter, TCP", f"127.0.0.1:{port}", judging),
            ("with Penstock as milter, Unix socket", f"unix:{unix_socket(port)}", judging),
            ("with Penstock as milter, no judging, TCP", f"127.0.0.1:{bare}", passing),
        )
        for _ in range(ROUNDS):
            for name, milter, process in ways:
                async with Postfix(sink="127.0.0.1:1", milter=milter, main=more) as one:
                    await asyncio.to_thread(smtp_source, one.port, 100)
                    master = psutil.Process(one.pid)
                    before = cpu(master), cpu(process)
                    seconds = await asyncio.to_thread(smtp_source, one.port, count)
                    used = (cpu(master) - before[0]) / count * 1e6, (cpu(process) - before[1]) / count * 1e6
                    found.setdefault(name, []).append(Mta(name, count / seconds, *used))
    unix_socket(port).unlink(missing_ok=True)
    return [
        Mta(name, *(median(getattr(one, field) for one in rows) for field in ("per_s", "postfix_us", "penstock_us")))
        for name, rows in found.items()
    ]


def postfix_table(rows: list[Mta], verdicts: list[tuple[str, float, float]]) -> list[str]:
    """A section of the report; adds its ratios to the verdicts."""
    lines = ["## Postfix, 4 KB messages delivered to discard, 8 sessions", ""]
    lines += ["| server | messages/s | CPU of Postfix, µs | of Penstock, µs | together |", "|---|---:|---:|---:|---:|"]
    for one in rows:
        both = one.postfix_us + one.penstock_us
        lines.append(f"| {one.name} | {one.per_s:.0f} | {one.postfix_us:.0f} | {one.penstock_us:.0f} | {both:.0f} |")
    alone = rows[0]
    for one in rows[1:3]:
        way = one.name.rpartition(", ")[2]
        verdicts.append((f"Postfix with the milter ({way}) / without, messages/s", one.per_s / alone.per_s, 0.85))
    return [*lines, ""]


def report(args: argparse.Namespace) -> str:
    """Run everything and put it into Markdown."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-mail-") as name:
        folder, raws = judge.real_messages(Path(name), args.messages)
        real = folder if raws else "-"
        plain_rows, real_rows = relays(args.count, real)
        lines = ["# Speed", "", "Made by `make bench`. One run on one machine; compare rows, not machines.", ""]
        lines += ["What was tried to come nearer to the targets: [decisions/speed.md](decisions/speed.md).", ""]
        lines += [f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, uvloop.", ""]
        lines += table("Relay and sinks, 4 KB messages, 8 sessions (smtp-source)", plain_rows)
        if real_rows:
            lines += table(f"The same with {len(raws)} real messages", real_rows)
        by_name = {one.name: one for one in plain_rows}
        bare, judging = by_name["Penstock relay, no judging"], by_name["Penstock relay, judging"]
        sink, other = by_name["aiosmtpd as a sink"], by_name["aiosmtpd + aiosmtplib relay"]
        verdicts = [
            ("relay without judging / aiosmtpd relay, per CPU second", other.cpu_us / bare.cpu_us, 5.0),
            ("relay with judging / aiosmtpd as a sink, per CPU second", sink.cpu_us / judging.cpu_us, 1.0),
        ]
        lines += phases.table(bare.cpu_us, args.count // 4)
        lines += postfix_table(asyncio.run(postfix(args.count // 4)), verdicts)
        waits = latency(args.count // 2)
        lines += ["## Latency at half load", "", "| way | messages/s | p50 ms | p99 ms |", "|---|---:|---:|---:|"]
        lines += [f"| {way} | {rate:.0f} | {p50:.2f} | {p99:.2f} |" for way, rate, p50, p99 in waits]
        added = waits[1][3] - waits[0][3]
        lines += ["", f"Added at p99: {added:.1f} ms (target: under 25 ms).", ""]
        lines += judge.compare(raws, verdicts)
        lines += ["## Targets", "", "| ratio | measured | target |", "|---|---:|---:|"]
        lines += [f"| {name} | {value:.2f} | {target} |" for name, value, target in verdicts]
        return "\n".join(lines) + "\n"


def table(title: str, rows: list[Measured]) -> list[str]:
    """One table."""
    lines = [f"## {title}", "", "| server | CPU µs per message | messages/s |", "|---|---:|---:|"]
    lines += [f"| {one.name} | {one.cpu_us:.0f} | {one.per_s:.0f} |" for one in rows]
    return [*lines, ""]


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--messages", type=int, default=400)
    args = parser.parse_args()
    for need in ("smtp-source", "smtp-sink"):
        if shutil.which(need) is None:
            sys.exit(f"{need} is missing; tests/install-neighbours installs Postfix")
    text = report(args)
    print(text)
    if args.out is not None:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
