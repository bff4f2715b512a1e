"""What commands share: the configuration that is meant, and a store and pipeline opened for one command."""

from __future__ import annotations

import asyncio
import getpass
import os
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from penstock.cli.output import fail
from penstock.config import ConfigurationError, Settings, load_settings
from penstock.desk import NotThere
from penstock.service import Service
from penstock.store.ports import StoreUnavailable
from penstock.watch import Watch

T = TypeVar("T")
PLACES = (Path("/etc/penstock/penstock.toml"), Path("data/penstock.toml"))
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="PENSTOCK_CONFIG", help="Configuration file.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


def find_config(given: Path | None) -> Path:
    """The configuration file: the one given, or the first that there is. Ends the command where there is none."""
    found = given or next((place for place in PLACES if place.is_file()), None)
    if found is None:
        fail(f"no configuration; name it by --config or PENSTOCK_CONFIG (looked for {', '.join(map(str, PLACES))})", 2)
    return found


def settings_of(given: Path | None) -> Settings:
    """The settings, or the command ends with every fault named."""
    try:
        return load_settings(find_config(given))
    except ConfigurationError as trouble:
        fail("\n       ".join(trouble.faults), 2)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Service]:
    """Store and pipeline without listeners."""
    service = Service(settings, watch=Watch(None), now=time.time, does_upkeep=False)
    await service.store.open()
    try:
        yield service
    finally:
        for hop in (service.next_hop, *service.pools.values()):
            if hop is not None:
                await hop.close()
        await service.store.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; trouble with the store or files is told in one line."""
    try:
        return asyncio.run(work)
    except StoreUnavailable as trouble:
        fail(f"the store does not answer: {trouble}")
    except NotThere as trouble:
        fail(str(trouble), 2)
    except (OSError, ValueError) as trouble:
        fail(str(trouble))


def who() -> str:
    """The person at the keyboard, for the audit."""
    return os.environ.get("SUDO_USER") or getpass.getuser()
