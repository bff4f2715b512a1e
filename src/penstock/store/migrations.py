"""The schema's numbered steps, shipped with the package: which there are, and in which order they run."""

from __future__ import annotations

import importlib.resources

from msgspec import Struct


class Migration(Struct, frozen=True):
    """One step of a schema."""

    number: int
    name: str
    sql: str


def migrations(backend: str) -> list[Migration]:
    """The steps of a backend (`sqlite`, `postgres`), from files `NNNN_name.sql`, in order."""
    folder = importlib.resources.files("penstock.store") / "schema" / backend
    found = []
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        number, underscore, name = file.name.removesuffix(".sql").partition("_")
        if file.name.endswith(".sql") and underscore:
            found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    assert len({one.number for one in found}) == len(found), "each migration has a number of its own"
    return found
