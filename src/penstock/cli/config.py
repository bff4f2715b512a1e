"""penstock config: the settings explain themselves, and a file is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.output import fail, out, show_json
from penstock.cli.session import Config, Json, find_config
from penstock.config import ConfigurationError, explain, load_settings

app = typer.Typer(no_args_is_help=True, help="Settings.")


@app.command("explain")
def explain_settings() -> None:
    """Print a complete file with every setting, what it means, and its default."""
    for line in explain():
        typer.echo(line)


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="File to check.")] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Check a configuration file and name all of its faults at once."""
    path = file or find_config(config)
    try:
        settings = load_settings(path)
    except ConfigurationError as trouble:
        if json:
            show_json({"file": str(path), "faults": trouble.faults})
            raise typer.Exit(2) from None
        fail("\n       ".join(trouble.faults), 2)
    if json:
        show_json({"file": str(path), "faults": []})
        return
    where = [
        f"{name} {', '.join(section.listen)}"
        for name, section in (
            ("smtp", settings.smtp),
            ("milter", settings.milter),
            ("http", settings.http),
            ("console", settings.console),
        )
        if section.listen
    ]
    out.print(f"{path}: good; mode {settings.judge.mode}, listens on {'; '.join(where) or 'nothing'}", highlight=False)
