"""Real rspamd, spamd and clamd in folders of their own: without network, with a rule or signature or two."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.neighbours.daemon import die_with_parent
from tests.neighbours.postfix import free_port

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
"""The test string that stands for a virus everywhere; harmless."""
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*" + b"GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
"""The test string that stands for spam."""
_RSPAMD = """
options {{
  pidfile = "{folder}/pid"; tempdir = "{folder}"; hs_cache_dir = "{folder}"; cache_file = "{folder}/symbols.cache";
  filters = ""; url_tld = "{folder}/tld.dat"; dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }}
}}
lang_detection {{ languages = "{folder}/none"; }}
logging {{ type = "console"; level = "warning"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
actions {{ reject = 15; add_header = 6; }}
lua = "{folder}/rules.lua"
"""
_RULES = """
rspamd_config.PENSTOCK_CASINO = {
  callback = function(task) return string.find(task:get_subject() or '', 'casino') ~= nil end,
  score = 12.5,
}
rspamd_config.PENSTOCK_USER = {
  callback = function(task) return task:get_user() == 'joe@example.com' end,
  score = 1.0,
}
"""
_CLAMD = "Foreground yes\nLocalSocket {folder}/socket\nDatabaseDirectory {folder}/signatures\nStreamMaxLength 8M\n"


@contextlib.contextmanager
def _running(name, command, address, folder, user):
    """A daemon until the end of the block, once it takes connections; it dies with us in any case."""
    rights = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            cwd=folder,
            env=os.environ | {"HOME": str(folder)},
            start_new_session=True,
            preexec_fn=die_with_parent,
            **rights,
        )
    try:
        until = time.monotonic() + 90
        while not _answers(address):
            assert process.poll() is None, f"{name}: {log.read_text(errors='replace')}"
            assert time.monotonic() < until, f"{name} does not start: {log.read_text(errors='replace')}"
            time.sleep(0.05)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _answers(address):
    try:
        if address.startswith("unix:"):
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(address.removeprefix("unix:"))
        else:
            socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _folder(user):
    folder = Path(tempfile.mkdtemp(prefix="penstock-scanner-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _give(folder, user):
    if user:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user)


def _user(name):
    return name if os.geteuid() == 0 else None


@contextlib.contextmanager
def rspamd():
    """Its address. The subject "casino" scores 12.5 of 15."""
    user = _user("_rspamd")
    with _folder(user) as folder:
        port = free_port()
        (folder / "rspamd.conf").write_text(_RSPAMD.format(folder=folder, port=port))
        (folder / "rules.lua").write_text(_RULES)
        (folder / "tld.dat").write_text("com\norg\nnet\nexample\n")
        _give(folder, user)
        address = f"127.0.0.1:{port}"
        command = ["/usr/bin/rspamd", "-f", "-i", "-c", str(folder / "rspamd.conf")]
        with _running("rspamd", command, address, folder, user):
            yield address


@contextlib.contextmanager
def spamd():
    """Its address; SpamAssassin's shipped rules, no network tests."""
    user = _user("nobody")
    with _folder(user) as folder:
        port = free_port()
        _give(folder, user)
        words = f"-L -x -p {port} -i 127.0.0.1 -m 1 --min-children=1 -r {folder}/pid -s stderr -H {folder}"
        address = f"127.0.0.1:{port}"
        with _running("spamd", ["/usr/sbin/spamd", *words.split()], address, folder, user):
            yield address


@contextlib.contextmanager
def clamd():
    """Its address; the one signature is that of EICAR."""
    user = _user("clamav")
    with _folder(user) as folder:
        (folder / "signatures").mkdir()
        (folder / "signatures" / "test.ndb").write_text(f"Eicar-Test:0:*:{EICAR.hex()}\n")
        (folder / "clamd.conf").write_text(_CLAMD.format(folder=folder))
        _give(folder, user)
        address = f"unix:{folder}/socket"
        with _running("clamd", ["/usr/sbin/clamd", "-c", str(folder / "clamd.conf")], address, folder, user):
            yield address
