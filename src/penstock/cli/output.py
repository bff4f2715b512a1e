"""How commands speak: tables for people, JSON for programs, errors that say what is wanted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.table import Table

out = Console(soft_wrap=False)
err = Console(stderr=True)


class Check(Struct, frozen=True):
    """One thing looked at."""

    name: str
    state: str
    """`good`, `warning`, `bad` or `unknown`."""
    seen: str
    advice: str = ""


def show_json(value: Any) -> None:
    """One JSON document on standard output."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write(text.decode() + "\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "nothing found") -> None:
    """A table; numbers to the right."""
    if not rows:
        out.print(f"[dim]{empty}[/dim]")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        is_number = all(isinstance(row[index], int | float) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    out.print(table)


def _cell(value: object) -> str:
    from rich.markup import escape

    return f"{value:.1f}" if isinstance(value, float) else escape(str(value))


def fail(message: str, status: int = 1) -> NoReturn:
    """Say what is wrong and end."""
    err.print(f"[red]error:[/red] {message}", highlight=False)
    raise typer.Exit(status)
