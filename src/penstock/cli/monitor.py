"""penstock monitor: the blocklist monitor alone, without listening for mail."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Annotated

import typer

from penstock.cli.output import fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of
from penstock.config import Settings
from penstock.watch import configure_log
from penstock.workers.monitoring import watched_in


def monitor(
    once: Annotated[bool, typer.Option("--once", help="One round of what is due, then end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be watched, and do nothing.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Watch the sending IPs, ranges and domains on blocklists until told to stop. `penstock run` does it too."""
    settings = settings_of(config)
    if dry_run:
        watched = watched_in(settings)
        rows = [(one.name, one.sort(), one.importance) for one in watched]
        if json:
            show_json([dict(zip(("target", "sort", "importance"), row, strict=True)) for row in rows])
        else:
            show_table(("target", "sort", "importance"), rows, empty="nothing is watched; set [blocklists]")
        return
    configure_log(settings.log.level, settings.log.format)
    changes = run(_monitor(settings, once=once))
    if once:
        show_json({"changes": changes}) if json else out.print(f"{changes} changes")


async def _monitor(settings: Settings, *, once: bool) -> int:
    async with opened(settings) as service:
        watching = service.monitoring()
        if not watching.watched and not settings.blocklists.sent_domains:
            fail("nothing is watched; name pools' ips, blocklists.ranges or blocklists.domains", 2)
        await watching.start()
        try:
            if once:
                changes = await watching.monitor.run_once()
                await watching.alerts.run_once()
                return changes
            upkeep = asyncio.create_task(service.upkeep(watching).run())
            loop = asyncio.get_running_loop()
            for name in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(name, upkeep.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                await upkeep
        finally:
            await watching.close()
    return 0
