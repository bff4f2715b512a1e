"""`make bench-blocklists`: a /22 against 60 zones, by penstock, by dnsperf and by a loop as in check_rbl; memory too.

One rbldnsd serves all zones and one unbound without a cache resolves them; every runner starts with the same names in
the same order and the same resolver. dnsperf (C) is the yardstick.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


from neighbours.dns import TEST_POINTS, Blocklists
from penstock.clients.dns import Resolver, ResolverSettings
from penstock.clients.dnsbl import Lists
from penstock.lists.catalogue import chosen_lists, read_choice
from penstock.protocols.dnsbl import Listed, addresses, name_of_address

ZONES = [f"z{number:02}.lists.example" for number in range(60)]
RANGE = "10.20.0.0/22"
LOOP_HOSTS = 25


def world() -> Blocklists:
    """60 zones, each with a few entries of the range."""
    data = {
        zone: ("ip4trie", TEST_POINTS + "".join(f"10.20.{n % 4}.{n + i} :127.0.0.2:x\n" for n in range(9)))
        for i, zone in enumerate(ZONES)
    }
    return Blocklists(data, keeps=False)


def lists_text(count: int) -> str:
    """The first zones as a lists file."""
    return "only = true\n" + "".join(
        f'[[list]]\nname = "{zone[:3]}"\nzone = "{zone}"\nper_second = 0\n' for zone in ZONES[:count]
    )


def names(network: str) -> Iterator[str]:
    """Every question of a scan."""
    for address in addresses(network):
        for zone in ZONES:
            yield name_of_address(address, zone)


async def scan(port: int, network: str, zones: int) -> tuple[float, int, int]:
    """Penstock's scan: seconds, answers, listed."""
    counts = [0, 0]

    def seen(_one: object, _target: object, answer: object) -> None:
        counts[0] += 1
        counts[1] += isinstance(answer, Listed)

    async with Resolver(ResolverSettings((("127.0.0.1", port),))) as resolver:
        lists = Lists(resolver, chosen_lists(read_choice(lists_text(zones))))
        began = time.perf_counter()
        await lists.scan(lambda: addresses(network), seen)
        return time.perf_counter() - began, counts[0], counts[1]


def run_scan(port: int, network: str, zones: int = len(ZONES)) -> tuple[float, int, int]:
    """With uvloop where it is installed, as `penstock run` does."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(scan(port, network, zones))
    return uvloop.run(scan(port, network, zones))


def dnsperf(port: int, file: Path) -> float:
    """Queries a second of dnsperf, once through the file."""
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(file), "-n", "1", "-q", "600", "-c", "8"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lost = re.search(r"Queries lost:\s+(\d+)", text)
    rate = re.search(r"Queries per second:\s+([\d.]+)", text)
    assert rate is not None, text
    print(f"  dnsperf: {rate.group(1)} q/s, lost {lost.group(1) if lost else '?'}", file=sys.stderr)
    return float(rate.group(1))


LOOP = """
use Net::DNS;
my ($port, $file, $skip, $most) = @ARGV;
my $resolver = Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => $port, recurse => 1);
open my $in, '<', $file;
my $line = 0;
while (<$in>) {
    next if $line++ < $skip;
    my ($name) = split;
    $resolver->query($name, 'A');
    last if $line >= $skip + $most;
}
"""
"""What check_rbl does: Net::DNS in Perl, one question after another."""


def loop(port: int, file: Path, hosts_a_run: int) -> float:
    """Questions a second of that loop, over so many hosts in one run of it; check_rbl itself takes one."""
    began, questions = time.perf_counter(), LOOP_HOSTS * len(ZONES)
    for start in range(0, LOOP_HOSTS, hosts_a_run):
        numbers = (port, file, start * len(ZONES), hosts_a_run * len(ZONES))
        subprocess.run(["perl", "-e", LOOP, *map(str, numbers)], check=True)
    return questions / (time.perf_counter() - began)


def memory(port: int, network: str, zones: int) -> float:
    """Peak resident MB of a process of its own that scans a network."""
    command = [sys.executable, "-m", "bench.blocklists", "--peak", network, "--port", str(port)]
    command += ["--zones", str(zones)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def report(rounds: int, largest: str) -> str:
    """Everything, measured in turns, as Markdown."""
    with world() as here, tempfile.TemporaryDirectory() as folder:
        port, file = here.unbound.port, Path(folder) / "names"
        file.write_text("".join(f"{name} A\n" for name in names(RANGE)))
        ours, theirs, runs, loops, answers = [], [], [], [], (0, 0)
        for _ in range(rounds):
            theirs.append(dnsperf(port, file))
            took, *answers = run_scan(port, RANGE)
            ours.append(answers[0] / took)
            runs.append(loop(port, file, 1))
            loops.append(loop(port, file, LOOP_HOSTS))
            print(
                f"  penstock: {ours[-1]:.0f} q/s; check_rbl's way: {runs[-1]:.0f} q/s, in one run {loops[-1]:.0f} q/s",
                file=sys.stderr,
            )
        peaks = [
            (network, len(ZONES), memory(port, network, len(ZONES))) for network in ("10.20.0.0/24", RANGE, largest)
        ]
    rows = [
        ("dnsperf", theirs),
        ("penstock", ours),
        ("sequential loop, a run a host as check_rbl", runs),
        ("sequential loop, all hosts in one run", loops),
    ]
    lines = [
        "# Blocklists: speed and memory", "",
        f"`make bench-blocklists`, {datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores; load "
        f"{os.getloadavg()[0]:.1f} while it ran, which is the neighbours' too; Python {platform.python_version()}.", "",
        f"{RANGE} (1,024 addresses) against {len(ZONES)} zones of one rbldnsd behind one unbound that keeps nothing: "
        f"{answers[0]:,} questions, {answers[1]} listed. {rounds} rounds in turns; the loops (Perl with Net::DNS, "
        f"as check_rbl has it) ask for the first {LOOP_HOSTS} addresses only.", "",
        "| who | questions a second, median | lowest | highest | against dnsperf |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for name, rates in rows:
        share = median(rates) / median(theirs)
        lines.append(f"| {name} | {median(rates):,.0f} | {min(rates):,.0f} | {max(rates):,.0f} | {share:.2f} |")
    lines += [
        "",
        f"Penstock against the loop: {median(ours) / median(runs):.0f} times with a run a host, which is how check_rbl "
        f"is run, {median(ours) / median(loops):.0f} times where one run asks for all (dnsperf: "
        f"{median(theirs) / median(loops):.0f}; the resolver is the limit of both). The lists are on this machine, so "
        "that a loop waits for nothing; with lists on the Internet it waits for every answer.", "",
        "Peak memory of a process that scans (the whole process, interpreter and libraries too):", "",
        "| range | zones | questions | peak MB |", "|---|---:|---:|---:|",
    ]  # fmt: skip
    for network, zones, peak in peaks:
        count = sum(1 for _ in addresses(network)) * zones
        lines.append(f"| {network} | {zones} | {count:,} | {peak:.0f} |")
    lines += ["", "Resolver, lists and asker share the cores, and other work on the machine shifts all rates alike;",
              "compare the columns of one run, never rates of two."]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the report, or (a child of it) print one peak."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--largest", default="10.20.0.0/16", help="the largest range of the memory table")
    parser.add_argument("--peak", default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--zones", type=int, default=len(ZONES))
    given = parser.parse_args()
    if given.peak:
        run_scan(given.port, given.peak, given.zones)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    text = report(given.rounds, given.largest)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
