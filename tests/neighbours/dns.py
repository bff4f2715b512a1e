"""A real rbldnsd that serves blocklists, and a real unbound that resolves them, on free ports of 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

SOA = "$SOA 300 ns.lists.example hostmaster.lists.example 0 600 300 86400 300\n$NS 300 ns.lists.example\n"
TEST_POINTS = "127.0.0.2 :127.0.0.2:test\n"


def free_port() -> int:
    """A port that is free for datagrams and for connections."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            try:
                two.bind(one.getsockname())
            except OSError:
                continue  # somebody's connection has it
            return int(one.getsockname()[1])


def is_answering(port: int, name: bytes = b"\0") -> bool:
    """Whether somebody answers datagrams there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(("127.0.0.1", port))
            probe.send(b"\1\2\1\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1")
            return bool(probe.recv(512))
        except OSError:
            return False


class _Daemon:
    """A process in a folder of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-dns-"))
        self.folder.chmod(0o755)
        self.process: subprocess.Popen[bytes] | None = None

    def start_with(self, command: list[str]) -> None:
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(200):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            if is_answering(self.port):
                return
            time.sleep(0.05)
        raise TimeoutError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


class Rbldnsd(_Daemon):
    """Blocklists: zone -> (type of dataset, its lines)."""

    def __init__(self, zones: dict[str, tuple[str, str]]) -> None:
        super().__init__()
        self.zones = zones
        for zone, (_, lines) in zones.items():
            self._put(zone, lines)

    def _put(self, zone: str, lines: str) -> None:
        (self.folder / zone).write_text(SOA + lines)

    def start(self) -> Rbldnsd:
        specs = [f"{zone}:{kind}:{zone}" for zone, (kind, _) in self.zones.items()]
        here = ["-b", f"127.0.0.1/{self.port}", "-n", "-4", "-w", str(self.folder), "-c", "0"]
        if os.geteuid() == 0:
            here += ["-u", "nobody"]  # it refuses to run as root
        self.start_with(["rbldnsd", *here, *specs])
        return self

    def change(self, zone: str, lines: str) -> None:
        """Serve other data from now on."""
        assert self.process is not None
        log = self.folder / "log"
        before = log.read_text().count("zones reloaded")
        path = self.folder / zone
        changed = path.stat().st_mtime + 2
        self._put(zone, lines)
        os.utime(path, (changed, changed))
        self.process.send_signal(signal.SIGHUP)
        for _ in range(200):
            if log.read_text().count("zones reloaded") > before:
                return
            time.sleep(0.02)
        raise TimeoutError(log.read_text())


class Unbound(_Daemon):
    """A recursive resolver: zones that servers on this machine have, and names of its own."""

    def __init__(self, stubs: dict[str, int], data: list[str] | None = None, *, keeps: bool = True) -> None:
        """`stubs` is zone -> port; `data` are records as unbound's `local-data`. Without `keeps` nothing is cached."""
        super().__init__()
        lines = [
            "server:", f"  interface: 127.0.0.1@{self.port}", '  chroot: ""', '  username: ""',
            f'  directory: "{self.folder}"', f'  pidfile: "{self.folder}/pid"', "  use-syslog: no", "  do-ip6: no",
            "  access-control: 127.0.0.0/8 allow", "  do-not-query-localhost: no", '  module-config: "iterator"',
            "  num-threads: 1", "  outgoing-range: 4096", "  num-queries-per-thread: 4096", "  so-rcvbuf: 4m",
            "  msg-cache-size: 64m", "  rrset-cache-size: 64m", "  qname-minimisation: no",
            "  infra-host-ttl: 1", "  jostle-timeout: 5000", '  local-zone: "127.in-addr.arpa." nodefault',
        ]  # fmt: skip
        if not keeps:
            lines += ["  cache-max-ttl: 0", "  cache-max-negative-ttl: 0"]
        lines += [f"  local-data: '{one}'" for one in data or []]
        for zone, port in stubs.items():
            lines += ["stub-zone:", f'  name: "{zone}"', f"  stub-addr: 127.0.0.1@{port}"]
        lines += ["remote-control:", "  control-enable: no"]
        (self.folder / "unbound.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> Unbound:
        self.start_with(["unbound", "-d", "-p", "-c", str(self.folder / "unbound.conf")])
        return self

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


ZONES = {
    "ip4.lists.example": ("ip4set", TEST_POINTS + "192.0.2.7 :127.0.0.3:Listed, see https://lists.example/$\n"),
    "low.lists.example": ("ip4set", TEST_POINTS + "192.0.2.9 :127.0.0.2:low\n"),
    "policy.lists.example": ("ip4set", TEST_POINTS + "192.0.2.8 :127.0.0.10:policy\n"),
    "ip6.lists.example": ("ip6trie", "::ffff:7f00:2/128 :127.0.0.2:test\n2001:db8::25/128 :127.0.0.4:six\n"),
    "dbl.lists.example": ("dnset", "test :127.0.1.2:test\nbad.example :127.0.1.4:phishing\n"),
    "world.lists.example": ("ip4trie", "0.0.0.0/0 :127.0.0.2:the world\n"),
    "parked.lists.example": ("ip4trie", "0.0.0.0/0 :203.0.113.9:for sale\n"),
    "refuses.lists.example": ("ip4trie", "0.0.0.0/0 :127.255.255.254:no public resolvers\n"),
    "empty.lists.example": ("ip4set", "198.51.100.1 :127.0.0.2:not the test point\n"),
}
GOOD = ("ip4", "low", "policy", "ip6", "dbl")
LIARS = {"world": "lists-the-world", "parked": "lists-the-world", "refuses": "blocked", "empty": "lists-nothing"}
LISTS = """only = true
[[list]]
name = "ip4"
zone = "ip4.lists.example"
severity = "high"
delist = "https://lists.example/off"
causes = "spam"
per_second = 0
codes = [["127.0.0.3", "critical", "sends spam"]]
[[list]]
name = "low"
zone = "low.lists.example"
per_second = 0
[[list]]
name = "policy"
zone = "policy.lists.example"
per_second = 0
codes = [["127.0.0.10", "none", "a policy entry"]]
[[list]]
name = "ip6"
zone = "ip6.lists.example"
ipv4 = false
ipv6 = true
severity = "high"
per_second = 0
[[list]]
name = "dbl"
zone = "dbl.lists.example"
kind = "domain"
severity = "high"
per_second = 0
codes = [["127.0.1.4", "critical", "phishing"]]
"""
DATA = [
    "mail.example.com. A 192.0.2.7", "mail.example.com. AAAA 2001:db8::25", "bad.example. A 192.0.2.1",
    "clean.example. A 192.0.2.1", "host.example. A 192.0.2.10",
    "7.2.0.192.in-addr.arpa. PTR mail.example.com.", "10.2.0.192.in-addr.arpa. PTR other.example.",
    "other.example. A 192.0.2.11",
]  # fmt: skip


def list_of(name: str, **more: str) -> str:
    """One entry of a lists file."""
    facts = {"name": name, "zone": f"{name}.lists.example"} | more
    return "[[list]]\nper_second = 0\n" + "".join(f'{key} = "{value}"\n' for key, value in facts.items())


class Blocklists:
    """Lists that are sound, lists that lie, a list that is dead, and a resolver in front of them."""

    def __init__(self, zones: dict[str, tuple[str, str]] | None = None, *, keeps: bool = False) -> None:
        self.rbldnsd = Rbldnsd(zones or ZONES)
        stubs = dict.fromkeys(self.rbldnsd.zones, self.rbldnsd.port)
        self.unbound = Unbound(stubs | {"dead.lists.example": free_port()}, DATA, keeps=keeps)

    def __enter__(self) -> Blocklists:
        self.rbldnsd.start()
        self.unbound.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.unbound.stop()
        self.rbldnsd.stop()
