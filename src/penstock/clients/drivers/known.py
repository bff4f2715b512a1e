"""The drivers that the settings name."""

from __future__ import annotations

from penstock.clients.drivers.command import Command
from penstock.clients.drivers.driver import Driver
from penstock.config import Settings


def make_drivers(settings: Settings) -> dict[str, Driver]:
    """Drivers by name. Raises OSError and ValueError for files that cannot be used."""
    section = settings.enforcement
    found: dict[str, Driver] = {}
    for name, one in section.command.items():
        found[name] = Command(one.run, frozenset(one.rungs), one.timeout_s)
    return found
