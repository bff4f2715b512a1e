"""A private, real Exim that asks Penstock from its DATA ACL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from neighbours.daemon import launch, until_up
from neighbours.postfix import POOLS, free_port

PROGRAM = Path(os.environ.get("PENSTOCK_EXIM", "/var/tmp/penstock-exim")) / "usr" / "sbin" / "exim4"
USER = "Debian-exim"

MAIN = """
primary_hostname = exim.provider.example
keep_environment =
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
exim_user = {user}
exim_group = {user}
deliver_drop_privilege = true
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 50
message_logs = false
spamd_address = 127.0.0.1 {penstock} variant=rspamd tmo=20s
acl_smtp_rcpt = acl_check_rcpt
acl_smtp_data = acl_check_data

begin acl
acl_check_rcpt:
  accept authenticated = *
  deny   message = relay not permitted
{acl}

begin routers
sink:
  driver = manualroute
  transport = remote_smtp
  route_list = * 127.0.0.1::{sink} byname
  self = send

begin transports
{transport}

begin retry
* * F,1m,1s

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_advertise_condition = yes
  server_condition = ${{if and{{{{eq{{$auth2}}{{joe@example.com}}}}{{eq{{$auth3}}{{secret}}}}}}}}
  server_set_id = $auth2
"""

TRANSPORT = "remote_smtp:\n  driver = smtp\n  interface = ${{if eq{{$acl_m_pool}}{{risk}}{{{risk}}}{{{normal}}}}}\n"
# Exim puts a blank before each line of $spam_report but the first, to make it fit for a header: hence `^ ?`.
SAMPLE = Path(__file__).parents[2] / "etc" / "exim" / "penstock-acl.conf"
ACL = "acl_check_data:" + SAMPLE.read_text().partition("acl_check_data:")[2]
"""The ACL that Penstock ships."""


class Exim:
    """`async with Exim(sink=…, penstock=…) as exim`: joe@example.com may submit on `exim.port` with `secret`."""

    def __init__(self, *, sink: str, penstock: str, transport: str = "", acl: str = ACL) -> None:
        """`sink` and `penstock` are `127.0.0.1:port`.

        `transport` is another definition of `remote_smtp`, `acl` another DATA ACL.
        """
        self._acl = acl
        self._transport = transport or TRANSPORT.format(**POOLS)
        self.port = free_port()
        self._sink, self._penstock = sink.rpartition(":")[2], penstock.rpartition(":")[2]
        self._daemon: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-exim-"))

    async def __aenter__(self) -> Exim:
        assert PROGRAM.exists(), f"{PROGRAM} is missing; tests/install-neighbours unpacks it"
        self._lay_out()
        self._daemon = launch([PROGRAM, "-C", str(self.folder / "exim.conf"), "-bdf", "-q2s"], self.folder / "out")
        try:
            await until_up(self._daemon, self._is_up)
        except BaseException as trouble:
            trouble.add_note((self.folder / "out").read_text() + self.log())
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            await asyncio.to_thread(self._daemon.wait, 20)
        for _ in range(100):  # deliveries that are ending still write
            await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
            if not self.folder.exists():
                break
            await asyncio.sleep(0.05)

    def _lay_out(self) -> None:
        folder = self.folder
        folder.chmod(0o755)
        for name in ("spool", "log"):
            (folder / name).mkdir()
            shutil.chown(folder / name, USER, USER)
        facts = {"folder": folder, "port": self.port, "user": USER, "sink": self._sink, "penstock": self._penstock}
        (folder / "exim.conf").write_text(MAIN.format(**facts, transport=self._transport, acl=self._acl))

    async def _is_up(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        found = await reader.read(3)
        writer.close()
        return found == b"220"

    def log(self) -> str:
        """What Exim has written to its main and panic logs."""
        found = ""
        for name in ("mainlog", "paniclog"):
            with contextlib.suppress(FileNotFoundError):
                found += (self.folder / "log" / name).read_text()
        return found

    async def until(self, is_done: Callable[[], object], timeout_s: float = 20.0) -> None:
        """Wait until something has happened; says what the log has where it does not."""
        try:
            async with asyncio.timeout(timeout_s):
                while not is_done():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"nothing came of it:\n{self.log()}") from None
