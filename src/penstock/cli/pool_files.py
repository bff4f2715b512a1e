"""penstock pools postfix and exim: the MTA's side of the pools, written or checked."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.mta_files import exim_files, faults, files, main_lines, with_block
from penstock.cli.output import fail, out, show_json
from penstock.cli.session import Config, Json, settings_of
from penstock.config import Settings

Out = Annotated[Path, typer.Option("--out", help="Folder for the files.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")]


def _write(folder: Path, wanted: Mapping[str, str], *, dry_run: bool) -> list[str]:
    """Write what differs; the names of those files."""
    changed = [name for name, text in wanted.items() if _read(folder / name) != text]
    if not dry_run:
        folder.mkdir(parents=True, exist_ok=True)
        for name in changed:
            fresh = folder / f"{name}.new"
            fresh.write_text(wanted[name], encoding="utf-8")
            fresh.replace(folder / name)
    return changed


def _read(path: Path) -> str | None:
    return path.read_text("utf-8") if path.is_file() else None


def _tell(folder: Path, wanted: Mapping[str, str], changed: list[str], *, dry_run: bool) -> None:
    for name in wanted:
        verb = ("would be written" if dry_run else "written") if name in changed else "as it was"
        out.print(f"{folder / name}: {verb}", highlight=False)


def postfix(
    folder: Out = Path("/etc/postfix"),
    master: Annotated[
        Path | None, typer.Option("--master", help="A master.cf to put the transports into, in a block of their own.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with the running Postfix; status 1 on faults.")
    ] = False,
    directory: Annotated[str, typer.Option(help="For --check: Postfix's configuration folder.")] = "",
    dry_run: DryRun = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Write Postfix's side of the pools: one transport an IP, the map that chooses it, the stripping of our headers."""
    settings = settings_of(config)
    if not settings.pools.named:
        fail("no pools are configured; see [pools] in `penstock config explain`", 2)
    folder = folder.absolute()
    if check:
        _check(settings, folder, directory, json)
        return
    wanted = files(settings, folder)
    changed = _write(folder, wanted, dry_run=dry_run)
    if master is not None:
        block = with_block(_read(master) or "", wanted["penstock_master.cf"])
        changed += [f"{master.name}: {one}" for one in _write(master.parent, {master.name: block}, dry_run=dry_run)]
    if json:
        show_json({"folder": str(folder), "files": list(wanted), "changed": changed})
        return
    _tell(folder, wanted, changed, dry_run=dry_run)
    if master is None:
        out.print("Put penstock_master.cf into master.cf (or say --master /etc/postfix/master.cf), and into main.cf:")
    else:
        out.print("Into main.cf:")
    for name, value in main_lines(settings, folder):
        out.print(f"  postconf -e '{name} = {value}'", highlight=False, soft_wrap=True)
    out.print("then: postfix reload; penstock pools postfix --check")


def _check(settings: Settings, folder: Path, directory: str, json: bool) -> None:
    where = ["-c", directory] if directory else []
    maps = {name: text for name in files(settings, folder) if (text := _read(folder / name)) is not None}
    try:
        services, parameters = _postconf(*where, "-M"), _postconf(*where)
    except (OSError, subprocess.SubprocessError) as trouble:
        fail(f"postconf does not answer: {trouble}", 2)
    found = list(faults(settings, folder, services, parameters, maps))
    if json:
        show_json({"faults": found})
    else:
        for line in found:
            out.print(f"[red]fault[/red]  {line}", highlight=False, soft_wrap=True)
        if not found:
            out.print("Postfix is as the pools want it.")
    if found:
        raise typer.Exit(1)


def _postconf(*arguments: str) -> str:
    command = ["postconf", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout  # noqa: S603


def exim(folder: Out = Path("/etc/exim4"), dry_run: DryRun = False, json: Json = False, config: Config = None) -> None:
    """Write Exim's side of the pools: a transport whose address and name follow what Penstock names."""
    settings = settings_of(config)
    wanted = exim_files(settings, folder.absolute())
    changed = _write(folder, wanted, dry_run=dry_run)
    if json:
        show_json({"folder": str(folder), "files": list(wanted), "changed": changed})
        return
    _tell(folder, wanted, changed, dry_run=dry_run)
