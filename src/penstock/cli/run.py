"""penstock run: the daemon, and the sandbox to try it in."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.output import err, fail
from penstock.cli.session import Config, find_config, settings_of
from penstock.config import ConfigurationError, Settings, parse_settings
from penstock.service import Service
from penstock.store.ports import StoreUnavailable
from penstock.supervisor import Supervisor
from penstock.watch import Watch, configure_log

SANDBOX = """# Penstock's sandbox: everything on this machine, nothing leaves it. Made by `penstock run --sandbox`.
workers = 1
[smtp]
listen = ["127.0.0.1:2525"]
forwarding_hosts = ["127.0.0.1/32"]
[milter]
listen = ["127.0.0.1:9901"]
outbound_only = true
[http]
listen = ["127.0.0.1:11333"]
[console]
listen = ["127.0.0.1:8025"]
secure_cookies = false
[next_hop]
address = "maildir:{data}/sink"
[judge]
mode = "enforce"
[pools.named.trusted]
[pools.named.normal]
[pools.named.risk]
[pools.choose]
default = "normal"
trusted = "trusted"
poor = "risk"
new = "risk"
[store]
path = "{data}/penstock.sqlite"
[log]
level = "info"
"""
_WORKER = "PENSTOCK_WORKER"
_METRICS = "PENSTOCK_METRICS"


def sandbox_file(data: Path) -> Path:
    """The sandbox's configuration in its data folder, made where it is missing."""
    path = data.absolute() / "penstock.toml"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SANDBOX.format(data=data.absolute()), encoding="utf-8")
    return path


def run(
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Try it: all on 127.0.0.1, data in ./data.")] = False,
    data: Annotated[Path, typer.Option(help="The sandbox's folder.")] = Path("data"),
    config: Config = None,
) -> None:
    """Run Penstock until it is told to stop (SIGTERM, Ctrl-C)."""
    path = sandbox_file(data) if sandbox else find_config(config)
    settings = settings_of(path)
    configure_log(settings.log.level, settings.log.format)
    worker = os.environ.get(_WORKER)
    if settings.workers > 1 and worker is None:
        raise typer.Exit(_supervise(path, settings.workers))
    number = int(worker or 0)
    told: Callable[[Service], None] = _tell_sandbox if sandbox else lambda service: None
    raise typer.Exit(_serve(settings, number, told))


def _supervise(path: Path, workers: int) -> int:
    with tempfile.TemporaryDirectory(prefix="penstock-metrics-") as metrics:
        command = [sys.executable, "-m", "penstock", "run", "--config", str(path)]

        def start(number: int) -> list[str]:
            os.environ[_WORKER], os.environ[_METRICS] = str(number), metrics
            return command

        return Supervisor(start, workers, lambda line: err.print(line, highlight=False)).run()


def _serve(settings: Settings, number: int, told: Callable[[Service], None]) -> int:
    folder = os.environ.get(_METRICS)
    try:
        service = Service(
            settings,
            watch=Watch(Path(folder) if folder else None),
            does_upkeep=number == 0,
            reuse_port=settings.workers > 1,
        )
    except (OSError, ValueError) as trouble:
        fail(str(trouble), 2)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(serve(service, told))
    return uvloop.run(serve(service, told))


async def serve(service: Service, told: Callable[[Service], None]) -> int:
    """Start, wait for the signal to stop, drain."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    try:
        await service.start()
    except (OSError, StoreUnavailable) as trouble:
        err.print(f"[red]error:[/red] cannot start: {trouble}", highlight=False)
        return 1
    told(service)
    sd_notify("READY=1")
    await stop.wait()
    sd_notify("STOPPING=1")
    await service.stop()
    return 0


def sd_notify(state: str) -> None:
    """Tell systemd, where it started us (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\0" + address[1:] if address.startswith("@") else address)
        notify.send(state.encode())


def _tell_sandbox(service: Service) -> None:
    where = service.addresses()
    sink = str(service.settings.next_hop.address).removeprefix("maildir:")
    smtp = where["smtp"][0]
    lines = (
        "Penstock runs in its sandbox; nothing leaves this machine.",
        f"  SMTP relay   {smtp}      milter   {where['milter'][0]}      HTTP   {where['http'][0]}",
        f"  what is delivered lies in {sink}/new, everything else in {service.settings.store.path.parent}",
        f"  console      http://{where['console'][0]}" if "console" in where else "  no console",
        "Try next, in another terminal:",
        "  penstock people add NAME --role admin   makes the first person who may log in at the console",
        f"  swaks --server {smtp} --from joe@example.com --to ann@example.org   (or any mail client)",
        "  penstock demo                  a working day of a small provider, one account hijacked at noon",
        "  penstock decisions             what was decided;  penstock explain ID  tells why",
        "  penstock accounts list         who sends, and how each stands;  penstock held list  what is kept",
        f"  curl http://{where['http'][0]}/metrics      and the log below; Ctrl-C ends it",
    )
    for line in lines:
        err.print(line, highlight=False, markup=False)


def sandbox_settings(data: Path) -> Settings:
    """The sandbox's settings. Ends the command with every fault where somebody broke the file."""
    try:
        return parse_settings(sandbox_file(data).read_text("utf-8"))
    except ConfigurationError as trouble:
        fail("\n       ".join(trouble.faults), 2)
