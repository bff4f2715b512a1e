"""A private, real Dovecot: auth socket for SASL, IMAP and doveadm's API on 127.0.0.1, in a folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from neighbours.daemon import launch, until_up
from neighbours.postfix import free_port

CONF = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_login_user = dovenull
default_internal_user = dovecot
first_valid_uid = 1
auth_mechanisms = plain login
auth_cache_size = 1M
auth_failure_delay = 0
doveadm_api_key = key
mail_location = maildir:{folder}/mail/%u
mail_uid = mail
mail_gid = mail
{more}
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail/%u
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener {folder}/auth-client {{
    mode = 0666
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service doveadm {{
  inet_listener http {{
    port = {api}
  }}
}}
"""
DENY = "passdb {{\n  driver = passwd-file\n  deny = yes\n  args = {folder}/shut/deny.%s\n}}\n"
"""What `docs/guides/postfix-dovecot.md` says, in this folder."""


class Dovecot:
    """`async with Dovecot({"joe@example.com": "secret"}) as dovecot`."""

    def __init__(self, passwords: Mapping[str, str], more: str = "") -> None:
        """`more` are further lines of the configuration, with `{folder}` in them."""
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-dovecot-"))
        self.imap, self.api = free_port(), free_port()
        self._passwords, self._more = dict(passwords), more
        self._master: subprocess.Popen[bytes] | None = None

    @property
    def configuration(self) -> Path:
        """For `doveadm -c`."""
        return self.folder / "dovecot.conf"

    @property
    def socket(self) -> Path:
        """Where SASL clients ask."""
        return self.folder / "auth-client"

    def set_password(self, login: str, password: str) -> None:
        """As a panel does."""
        self._passwords[login] = password
        lines = [f"{name}:{{PLAIN}}{word}\n" for name, word in self._passwords.items()]
        (self.folder / "users").write_text("".join(lines))

    async def __aenter__(self) -> Dovecot:
        self.folder.chmod(0o755)
        for name in ("run", "state", "mail", "shut"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "mail", "mail")
        for login, password in self._passwords.items():
            self.set_password(login, password)
        facts = {"folder": self.folder, "imap": self.imap, "api": self.api}
        self.configuration.write_text(CONF.format(more=self._more.format(**facts), **facts))
        self._master = launch(["dovecot", "-F", "-c", str(self.configuration)], self.folder / "out")
        try:
            await until_up(self._master, self._is_up)
        except BaseException as trouble:
            trouble.add_note((self.folder / "out").read_text() + self.log())
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._master is not None:
            self._master.terminate()
            await asyncio.to_thread(self._master.wait, 20)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def _is_up(self) -> bool:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.imap)
            found = await reader.read(4)
            writer.close()
            return found == b"* OK" and self.socket.exists()
        return False

    def log(self) -> str:
        """What it has written to its log."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log").read_text()
        return ""


class Session:
    """An IMAP session: `async with Session(port) as one: await one.say("login joe secret")`."""

    def __init__(self, port: int, client_ip: str = "127.0.0.1") -> None:
        """`client_ip` is the address that Dovecot sees, any of 127.0.0.0/8."""
        self._port, self._client = port, (client_ip, 0)

    async def __aenter__(self) -> Session:
        self.reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=self._client)
        await asyncio.wait_for(self.reader.readline(), 10)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def say(self, command: str) -> str:
        """The tagged answer to one command: `OK …` or `NO …`; empty where the session has ended."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(f"a {command}\r\n".encode())
            async with asyncio.timeout(10):
                while line := (await self.reader.readline()).decode():
                    if line.startswith("a "):
                        return line[2:].strip()
        return ""
