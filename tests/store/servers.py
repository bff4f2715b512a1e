"""Private servers for tests: a Redis or Valkey and a PostgreSQL cluster of their own, in a folder of their own."""

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil


class Server:
    """One server process on a port of its own; it dies with the process that started it."""

    def __init__(self, folder: Path, user: str | None = None):
        self.folder = folder
        self.user = user
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.folder, preexec_fn=die_with_parent, **self.rights()
            )
        deadline = time.monotonic() + 90  # what was ended as by a crash reads its data anew, on a disk that may be slow
        while time.monotonic() < deadline:
            if self.is_up():
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise TimeoutError((self.folder / "log").read_text())

    def rights(self) -> dict[str, object]:
        return {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []} if self.user else {}

    def is_up(self) -> bool:
        raise NotImplementedError

    def stop(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            self.resume()
            self.process.send_signal(signal.SIGQUIT if self.user or isinstance(self, Postgres) else signal.SIGKILL)
            self.process.wait(20)
            self.process = None

    def freeze(self) -> None:
        """It stays connected and answers nothing."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):  # a child that saved the data and is done
                process.suspend()

    def resume(self) -> None:
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def family(self) -> list[psutil.Process]:
        if self.process is None or self.process.poll() is not None:
            return []
        mother = psutil.Process(self.process.pid)
        return [mother, *mother.children(recursive=True)]


class Redis(Server):
    """Redis or Valkey, whichever is there; `cluster` makes it a whole cluster of one node."""

    def __init__(self, folder: Path, *, cluster: bool = False):
        super().__init__(folder)
        self.cluster = cluster

    def command(self) -> list[str]:
        program = shutil.which("valkey-server") or shutil.which("redis-server")
        assert program, "no redis-server or valkey-server; tests/install-neighbours installs it"
        words = f"--port {self.port} --bind 127.0.0.1 --appendonly no --databases 64"
        cluster = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())] if self.cluster else []
        return [program, *words.split(), "--save", "", *cluster]

    def is_up(self) -> bool:
        try:
            if self.cluster:
                self.say("CLUSTER ADDSLOTSRANGE 0 16383")
                return "cluster_state:ok" in self.say("CLUSTER INFO")
            return "PONG" in self.say("PING")
        except OSError:
            return False

    def say(self, command: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65536).decode()

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"


class Postgres(Server):
    """A PostgreSQL cluster, synced to disk as a real one is."""

    def __init__(self, folder: Path):
        super().__init__(folder, "postgres" if os.geteuid() == 0 else None)
        self.schemas = 0
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda one: int(one.parts[-3]))
        assert programs, "no PostgreSQL; tests/install-neighbours installs it"
        self.programs = programs[-1].parent
        if self.user:
            shutil.chown(folder, self.user, self.user)
        words = f"-D {folder / 'data'} -A trust -U penstock -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions"
        subprocess.run(
            [self.programs / "initdb", *words.split()], check=True, capture_output=True, cwd=folder, **self.rights()
        )

    def command(self) -> list[str]:
        words = f"-D {self.folder / 'data'} -p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        return [str(self.programs / "postgres"), *words.split()]

    def is_up(self) -> bool:
        words = f"-q -h 127.0.0.1 -p {self.port} -U penstock -d postgres"
        return subprocess.run([self.programs / "pg_isready", *words.split()], check=False).returncode == 0

    def sql(self, text: str) -> str:
        words = f"-h 127.0.0.1 -p {self.port} -U penstock -d postgres -qAtc"
        done = subprocess.run(
            [self.programs / "psql", *words.split(), text], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def fresh(self) -> str:
        """A connection string to a schema that nobody has used."""
        self.schemas += 1
        self.sql(f"CREATE SCHEMA test{self.schemas}")
        return self.url(self.schemas)

    def url(self, schema: int) -> str:
        options = f"options=-csearch_path%3Dtest{schema}"
        return f"postgresql://penstock@127.0.0.1:{self.port}/postgres?{options}"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def die_with_parent() -> None:
    """Runs in the child: the kernel ends it with us, even where we are killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def make_folder() -> Path:
    """Short, for Unix sockets, and open to the server's user."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-server-"))
    folder.chmod(0o755)
    return folder
