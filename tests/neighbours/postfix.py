"""A private, real Postfix: its own configuration, queue and data in a folder of its own, on 127.0.0.1, ended with it.

Postfix must be started as root. The folder lies under /tmp, since Postfix's own users must be able to walk into it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path

from neighbours.daemon import launch, until_up
from neighbours.sink import Sink

DAEMONS = "/usr/lib/postfix/sbin"
POOLS = {"normal": "127.0.0.10", "risk": "127.0.0.66"}
"""Pools and the addresses that their transports send from."""

MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
import_environment = MAIL_CONFIG={folder}/etc
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.provider.example
mydestination = provider.example
mynetworks =
local_recipient_maps =
alias_maps =
alias_database =
local_transport = discard:
transport_maps = inline:{{ {{ provider.example = discard: }}, {{ * = smtp:[127.0.0.1]:{sink} }} }}
default_filter_nexthop = [127.0.0.1]:{sink}
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtpd_recipient_restrictions = permit_sasl_authenticated, permit_mynetworks, reject_unauth_destination
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/login/auth
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_milters = {milter}
non_smtpd_milters = {milter}
milter_default_action = tempfail
milter_macro_daemon_name = submission
milter_header_checks = regexp:{folder}/etc/penstock_pools
header_checks = regexp:{folder}/etc/penstock_uid
smtpd_peername_lookup = no
minimal_backoff_time = 1s
queue_run_delay = 1s
"""

MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

POOL = "{name} unix - - n - - smtp -o smtp_bind_address={address} -o smtp_header_checks=regexp:{folder}/etc/strip\n"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody holds just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class PeerSink(Sink):
    """A sink that remembers from which address each connection came."""

    def __init__(self) -> None:
        super().__init__()
        self.peers: list[str] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(writer.get_extra_info("peername")[0])
        await super()._serve(reader, writer)


class Logins:
    """Stands in for Dovecot's auth socket: AUTH PLAIN against a table of passwords."""

    def __init__(self, path: Path, passwords: Mapping[str, str]) -> None:
        self._path, self._passwords = path, passwords
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Begin to listen, for everybody on this host."""
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        self._path.chmod(0o666)

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
        for writer in self._clients:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        writer.write(b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t" + b"0" * 32 + b"\nDONE\n")
        with contextlib.suppress(ConnectionError):
            while line := (await reader.readline()).decode().rstrip("\n"):
                command, *fields = line.split("\t")
                if command == "AUTH":
                    response = next(one.partition("=")[2] for one in fields if one.startswith("resp="))
                    _, user, password = b64decode(response).decode().split("\0")
                    is_right = self._passwords.get(user) == password
                    writer.write(f"{'OK' if is_right else 'FAIL'}\t{fields[0]}\tuser={user}\n".encode())
        writer.close()


class Postfix:
    """`async with Postfix(sink=…, milter=…, logins={…}) as postfix`: accepts submissions on `postfix.port`."""

    def __init__(
        self,
        *,
        sink: str,
        milter: str = "",
        logins: Mapping[str, str] | None = None,
        main: str = "",
        master: str = "",
    ) -> None:
        """`sink` and `milter` are `host:port`, the milter also `unix:/path`.

        `main` and `master` are further lines of the two files.
        """
        self.port = free_port()
        self._sink, self._milter = sink.rpartition(":")[2], milter
        self._more_main, self._more_master = main, master
        self._pools = ""
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-postfix-"))
        self._master: subprocess.Popen[bytes] | None = None
        self._logins = Logins(self.folder / "login" / "auth", logins or {})

    def use_pools(self, *, pools: str, master: str) -> None:
        """Another map of pools and further transports than its own two, before it is started."""
        self._pools = pools
        self._more_master += master

    async def __aenter__(self) -> Postfix:
        self._lay_out()
        await self._logins.start()
        await asyncio.to_thread(self._run, "postfix", "-c", str(self.folder / "etc"), "check")
        # In the foreground and bound to this process: a test run that is killed leaves no Postfix behind.
        command = [f"{DAEMONS}/master", "-c", str(self.folder / "etc"), "-d"]
        self._master = launch(command, self.folder / "log" / "start")
        try:
            await until_up(self._master, self._is_up)
        except BaseException as trouble:
            trouble.add_note((self.folder / "log" / "start").read_text() + self.log())
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._logins.stop()
        if self._master is not None:
            self._master.terminate()
            await asyncio.to_thread(self._master.wait, 20)
        for _ in range(100):  # daemons that are ending still write
            await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
            if not self.folder.exists():
                break
            await asyncio.sleep(0.05)

    @property
    def pid(self) -> int:
        """The process that is the parent of all others."""
        assert self._master is not None
        return self._master.pid

    def _lay_out(self) -> None:
        folder = self.folder
        folder.chmod(0o755)
        for name in ("etc", "queue", "data", "log", "login"):
            (folder / name).mkdir()
        shutil.chown(folder / "data", "postfix")
        facts = {
            "folder": folder,
            "daemons": DAEMONS,
            "sink": self._sink,
            "port": self.port,
            "milter": f"inet:{self._milter}" if self._milter and "unix:" not in self._milter else self._milter,
        }
        etc = folder / "etc"
        (etc / "main.cf").write_text(MAIN.format(**facts) + self._more_main)
        pools = "".join(POOL.format(name=name, address=address, folder=folder) for name, address in POOLS.items())
        (etc / "master.cf").write_text(MASTER.format(**facts) + pools + self._more_master)
        samples = Path(__file__).parents[2] / "etc" / "postfix"
        (etc / "penstock_pools").write_text(self._pools or (samples / "penstock_pools").read_text())
        (etc / "penstock_uid").write_text((samples / "penstock_uid").read_text())
        (etc / "strip").write_text("/^X-Penstock-Pool:/  IGNORE\n")

    def _run(self, *line: str, text: str = "") -> None:
        done = subprocess.run(line, input=text, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{' '.join(line)}: {done.stdout}{done.stderr}{self.log()}"

    async def _is_up(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        found = await reader.read(3)
        writer.close()
        return found == b"220"

    def log(self) -> str:
        """What Postfix has written to its log."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log" / "mail.log").read_text()
        return ""

    async def sendmail(self, text: str, *recipients: str, sender: str = "joe@example.com") -> None:
        """Submit a message locally, as PHP's mail() does."""
        await asyncio.to_thread(
            self._run, "sendmail", "-C", str(self.folder / "etc"), "-f", sender, *recipients, text=text
        )

    async def until(self, is_done: Callable[[], object], timeout_s: float = 20.0) -> None:
        """Wait until something has happened; says what the log has where it does not."""
        try:
            async with asyncio.timeout(timeout_s):
                while not is_done():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"nothing came of it:\n{self.log()}") from None

    def warnings(self) -> list[str]:
        """Lines in which Postfix complains."""
        return [line for line in self.log().splitlines() if re.search(r": (?:warning|error|fatal|panic): ", line)]
