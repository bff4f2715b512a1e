"""penstock lists: the catalogue of blocklists."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from penstock.cli.output import fail, out, show_json, show_table
from penstock.cli.session import PLACES, Config, Json, settings_of
from penstock.config import Settings
from penstock.lists.catalogue import BlockList, Choice, chosen_lists, known_lists, read_choice, shipped
from penstock.sending import Severity
from penstock.workers.monitoring import choices_of

app = typer.Typer(help="The blocklists that Penstock knows.")
ListsFile = Annotated[
    Path | None, typer.Option("--lists", help="A lists file: own lists, overrides, keys.", show_default=False)
]


def settings_if_any(config: Path | None) -> Settings | None:
    """The settings where there are any: these commands work without."""
    return settings_of(config) if config or any(place.is_file() for place in PLACES) else None


def choices(settings: Settings | None, lists: Path | None) -> list[Choice]:
    """What the operator makes of the catalogue: the settings' part, their lists file, the file given. Raises OSError,
    ValueError."""
    found = choices_of(settings) if settings is not None else []
    if lists is not None:
        try:
            found.append(read_choice(lists.read_text("utf-8")))
        except ValueError as trouble:
            raise ValueError(f"{lists}: {trouble}") from None
    return found


@app.callback(invoke_without_command=True)
def show_all(context: typer.Context, json: Json = False, lists: ListsFile = None, config: Config = None) -> None:
    """List the catalogue: what is asked, where, and how grave a listing is."""
    if context.invoked_subcommand is not None:
        return
    try:
        given = choices(settings_if_any(config), lists)
        known, asked = known_lists(*given), {one.name for one in chosen_lists(*given)}
    except (OSError, ValueError) as trouble:
        fail(str(trouble), 2)
    if json:
        show_json([_plain(one, one.name in asked) for one in known])
        return
    rows = [
        (one.name, one.zone or one.key_zone, one.kind, _families(one), one.severity, _state(one, one.name in asked))
        for one in known
    ]
    show_table(("list", "zone", "kind", "addresses", "severity", "asked"), rows)
    out.print(f"[dim]{len(asked)} of {len(known)} are asked; sources read {shipped().checked}[/dim]")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="The list's name.")],
    json: Json = False,
    lists: ListsFile = None,
    config: Config = None,
) -> None:
    """Show all that is known of one list: codes, terms, how to get off."""
    try:
        given = choices(settings_if_any(config), lists)
        known, asked = known_lists(*given), {one.name for one in chosen_lists(*given)}
    except (OSError, ValueError) as trouble:
        fail(str(trouble), 2)
    one = next((each for each in known if each.name == name), None)
    if one is None:
        fail(f'no list is named "{name}"; `penstock lists` shows them', 2)
    if json:
        show_json(_plain(one, one.name in asked))
        return
    facts = [
        ("title", one.title), ("zone", one.zone), ("with a key", one.key_zone), ("kind", one.kind),
        ("addresses", _families(one)), ("severity", one.severity), ("asked", _state(one, one.name in asked)),
        ("operator", one.operator), ("terms", one.terms), ("usual causes", one.causes),
        ("dislikes", ", ".join(one.dislikes)), ("get off at", one.delist),
        ("source", one.source),
    ]  # fmt: skip
    show_table(("what", "value"), [row for row in facts if row[1]])
    meanings: list[tuple[str, Severity | str, str]] = [*one.codes]
    meanings += [(f"bit {bit}", severity, meaning) for bit, severity, meaning in one.bits]
    meanings += [(code, "-", f"no listing: it does not answer, {why}") for code, why in one.refusals.items()]
    meanings += [(code, "-", "no listing") for code in one.not_listed]
    out.print()
    show_table(("code", "severity", "meaning"), meanings, empty="no meaning of its codes is known")


def _plain(one: BlockList, is_asked: bool) -> dict[str, object]:
    facts = msgspec.to_builtins(one)
    facts.pop("-key", None)
    return {**facts, "asked": is_asked, "has_key": bool(one.key)}


def _families(one: BlockList) -> str:
    if one.kind == "domain":
        return "-"
    return " ".join(name for name, has in (("IPv4", one.ipv4), ("IPv6", one.ipv6)) if has)


def _state(one: BlockList, is_asked: bool) -> str:
    if one.dead:
        return f"no: {one.dead}"
    if is_asked:
        return "yes"
    return "no: needs a key" if not one.zone and not one.key else "no: turned off"
