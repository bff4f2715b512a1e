"""The generated reference of settings and commands, in Markdown; `python -m penstock.cli.reference` writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from penstock.cli.main import app
from penstock.config import explain

_HEAD = "<!-- Made by `make reference`; edit the source, not this file. -->\n"


def configuration() -> str:
    """Every setting, with its prose and default."""
    text = "\n".join(explain()).rstrip()
    head = f"{_HEAD}# Settings\n\nOne TOML file; `penstock config check` names every fault at once."
    return f"{head}\n\n```toml\n{text}\n```\n"


def commands() -> str:
    """Every command, with its arguments and options."""
    root = typer.main.get_command(app)
    return "\n".join([f"{_HEAD}# Commands\n", *_lines(root, "penstock")]) + "\n"


def _lines(command: Any, name: str) -> Iterator[str]:
    children: dict[str, Any] = getattr(command, "commands", {})
    if children:
        for child, one in children.items():
            yield from _lines(one, f"{name} {child}")
        return
    yield f"## {name}\n"
    yield (command.help or "").strip() + "\n"
    for parameter in command.params:
        yield _line(parameter)
    yield ""


def _line(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        what = f"`{(parameter.metavar or parameter.name).upper()}`"
    else:
        what = ", ".join(f"`{one}`" for one in (*parameter.opts, *parameter.secondary_opts))
    text = getattr(parameter, "help", None) or ""
    default = parameter.default
    is_plain = isinstance(default, str | int | float) and not isinstance(default, bool) and default != ""
    return f"* {what} {text}" + (f" Default: `{default}`." if is_plain else "")


def write(folder: Path) -> None:
    """Write both files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "configuration.md").write_text(configuration(), encoding="utf-8")
    (folder / "commands.md").write_text(commands(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference"))
