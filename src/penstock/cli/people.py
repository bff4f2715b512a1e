"""penstock people and penstock tokens: who may log in at the console, and which programs may use its API."""

from __future__ import annotations

import getpass
import secrets
import sys
import time
from typing import Annotated

import typer
from msgspec.structs import replace

from penstock.cli.output import err, fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of, who
from penstock.config import Settings
from penstock.console.entrance import hash_password, new_token, otp_address, with_second_factor
from penstock.console.security_keys import remove_key
from penstock.console.sessions import end_session, sessions_of
from penstock.model import Audit
from penstock.overview import when
from penstock.people import Person, Role
from penstock.service import Service

app = typer.Typer(no_args_is_help=True, help="People who may log in at the console.")
tokens = typer.Typer(no_args_is_help=True, help="Tokens with which programs use the console's API.")
Name = Annotated[str, typer.Argument(help="The name to log in with.")]
SecondFactor = Annotated[bool, typer.Option("--totp", help="With a second factor: codes of an authenticator app.")]


def _asked_password(generate: bool) -> str:
    if generate:
        return secrets.token_urlsafe(15)
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    text = getpass.getpass("Password: ")
    if text != getpass.getpass("Again: "):
        fail("the two differ")
    return text


async def _found(service: Service, name: str) -> Person:
    person = await service.store.person(name)
    return person or fail(f'nobody is called "{name}"; `penstock people list` shows them', 2)


def _tell_totp(person: Person, settings: Settings) -> None:
    out.print("second factor, for an authenticator app; shown this once:")
    typer.echo(otp_address(person, f"Penstock {settings.hostname}".strip()))


@app.command()
def add(
    name: Name,
    role: Annotated[Role, typer.Option(help="read sees, desk steers, admin sees settings and audit too.")] = Role.DESK,
    tenant: Annotated[str, typer.Option(help="Only this tenant's accounts: for a reseller.")] = "",
    totp: SecondFactor = False,
    generate: Annotated[bool, typer.Option("--generate", help="Make a password up and show it once.")] = False,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Without one: comes in by single sign-on alone.")
    ] = False,
    config: Config = None,
) -> None:
    """Add a person; the password is asked for, or read from standard input. The first one is best an admin."""
    name, settings = name.strip().lower(), settings_of(config)
    if not name or any(sign.isspace() for sign in name):
        fail("a name is not empty and has no spaces", 2)
    if no_password and (totp or generate):
        fail("--no-password leaves the password and what goes with it to single sign-on", 2)
    text = "" if no_password else _asked_password(generate)

    async def work() -> None:
        now = time.time()
        person = Person(name, role, "" if no_password else hash_password(text), tenant, added_at=now)
        person = with_second_factor(person) if totp else person
        async with opened(settings) as service:
            if await service.store.person(name) is not None:
                fail(f"{name} is there already; `penstock people password` sets a new password", 2)
            detail = f"{role}, tenant {tenant}" if tenant else role.value
            await service.store.keep_person(person, Audit(now, who(), "add-person", name, "", detail))
        out.print(f"{name} may {role}" + (f" for {tenant}" if tenant else ""), highlight=False)
        if generate:
            typer.echo(f"password: {text}")
        if totp:
            _tell_totp(person, settings)

    run(work())


@app.command("list")
def list_people(json: Json = False, config: Config = None) -> None:
    """List the people, without their secrets."""

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            found = await service.store.people()
        rows = [
            {
                "name": p.name,
                "role": p.role,
                "tenant": p.tenant,
                "totp": bool(p.totp),
                "added_at": p.added_at,
                "security_keys": [
                    {"name": one.name, "added_at": one.added_at, "used_at": one.used_at} for one in p.security_keys
                ],
            }
            for p in found
        ]
        if json:
            show_json(rows)
            return
        table = [(p.name, p.role, p.tenant, _second_factor(p), when(p.added_at)) for p in found]
        show_table(("name", "role", "tenant", "second factor", "added (UTC)"), table, empty="nobody may log in")

    run(work(settings_of(config)))


def _second_factor(person: Person) -> str:
    found = [f"key {one.name}" for one in person.security_keys]
    return ", ".join(["codes", *found] if person.totp else found) or "no"


@app.command("lost-key")
def lost_key(
    name: Name,
    key: Annotated[str, typer.Option(help="This one alone, by its name as the list shows it; else all of them.")] = "",
    config: Config = None,
) -> None:
    """Take a person's lost security key away; all sessions of the person end."""

    async def work(settings: Settings) -> None:
        now = time.time()
        async with opened(settings) as service:
            names = [one.name for one in (await _found(service, name)).security_keys if key in ("", one.name)]
            if not names:
                fail(f"{name} has no security key{f' {key}' if key else ''}; `penstock people list` shows them", 2)
            for one in names:
                await remove_key(service.store, name, one, Audit(now, who(), "remove-security-key", name, "lost", one))
            audit = Audit(now, who(), "end-sessions", name, "lost security key")
            await service.store.drop_keys(person=name, kind="session", audit=audit)
            left = _second_factor(await _found(service, name))
        out.print(f"removed: {', '.join(names)}; second factor of {name}: {left}", highlight=False)

    run(work(settings_of(config)))


@app.command()
def remove(name: Name, config: Config = None) -> None:
    """Remove a person; sessions and tokens end at once."""

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            await _found(service, name)
            await service.store.remove_person(name, Audit(time.time(), who(), "remove-person", name))
        out.print(f"{name} is removed", highlight=False)

    run(work(settings_of(config)))


@app.command("password")
def set_password(
    name: Name,
    totp: SecondFactor = False,
    no_totp: Annotated[bool, typer.Option("--no-totp", help="Take the second factor away.")] = False,
    generate: Annotated[bool, typer.Option("--generate", help="Make a password up and show it once.")] = False,
    config: Config = None,
) -> None:
    """Set a new password, or a new second factor with it; all sessions of the person end."""
    settings, text = settings_of(config), _asked_password(generate)

    async def work() -> None:
        now = time.time()
        async with opened(settings) as service:
            person = replace(await _found(service, name), password=hash_password(text))
            person = with_second_factor(person) if totp else replace(person, totp="") if no_totp else person
            await service.store.keep_person(person, Audit(now, who(), "set-password", name))
            audit = Audit(now, who(), "end-sessions", name)
            await service.store.drop_keys(person=name, kind="session", audit=audit)
        out.print(f"{name} has a new password", highlight=False)
        if generate:
            typer.echo(f"password: {text}")
        if totp:
            _tell_totp(person, settings)

    run(work())


@app.command()
def sessions(
    name: Annotated[str, typer.Argument(help="Whose; without a name everybody's.")] = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """List who is logged in at the console: since when, from where, last seen when."""

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            found = await sessions_of(service.store, name, time.time())
        if json:
            show_json(found)
            return
        columns = ("session", "person", "since (UTC)", "from", "last seen (UTC)", "ends (UTC)")
        rows = [
            (one.id[:12], one.person, when(one.opened_at), one.client, when(one.seen_at), when(one.until))
            for one in found
        ]
        show_table(columns, rows, empty="nobody is logged in")

    run(work(settings_of(config)))


@app.command("log-out")
def log_out(
    name: Name,
    session: Annotated[str, typer.Option(help="This one alone: the beginning of its id, as `sessions` shows it.")] = "",
    config: Config = None,
) -> None:
    """End a person's sessions at the console, at once; tokens stay."""

    async def work(settings: Settings) -> None:
        now = time.time()
        async with opened(settings) as service:
            await _found(service, name)
            found = [one for one in await sessions_of(service.store, name, now) if one.id.startswith(session)]
            if session and len(found) != 1:
                fail(f'{len(found)} sessions of {name} begin with "{session}"; one is wanted', 2)
            for one in found:
                await end_session(service.store, one, Audit(now, who(), "end-session", name, "", f"from {one.client}"))
        out.print(f"ended sessions of {name}: {len(found)}", highlight=False)

    run(work(settings_of(config)))


@tokens.command("add")
def add_token(
    name: Name,
    label: Annotated[str, typer.Option(help="What it is for.")],
    scope: Annotated[Role, typer.Option(help="read, desk or admin; no more than its person may.")] = Role.READ,
    days: Annotated[float, typer.Option(min=0, help="It ends after so many days; 0: it stays.")] = 365.0,
    config: Config = None,
) -> None:
    """Make a token in a person's name and print it, once."""

    async def work(settings: Settings) -> None:
        now = time.time()
        async with opened(settings) as service:
            person = await _found(service, name)
            secret, key = new_token(person, scope, label, now=now, until=now + days * 86400.0 if days else 0.0)
            await service.store.keep_key(
                key, Audit(now, who(), "add-token", name, label, f"{scope}, {key.digest[:12]}")
            )
        typer.echo(secret)
        err.print(f"opens /api/v1 as {name}, scope {scope}; it is not shown again", highlight=False)

    run(work(settings_of(config)))


@tokens.command("list")
def list_tokens(json: Json = False, config: Config = None) -> None:
    """List tokens; of their secrets only a digest is kept."""

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            found = await service.store.keys(kind="token")
        if json:
            show_json(found)
            return
        rows = [(k.digest[:12], k.person, k.role, k.label, when(k.made_at), when(k.until)) for k in found]
        columns = ("token", "person", "scope", "label", "made (UTC)", "ends (UTC)")
        show_table(columns, rows, empty="there are no tokens")

    run(work(settings_of(config)))


@tokens.command("remove")
def remove_token(
    token: Annotated[str, typer.Argument(help="The beginning of its digest, as the list shows it.")],
    config: Config = None,
) -> None:
    """End a token at once."""

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            found = [one for one in await service.store.keys(kind="token") if token and one.digest.startswith(token)]
            if len(found) != 1:
                fail(f'{len(found)} tokens begin with "{token}"; one is wanted', 2)
            audit = Audit(time.time(), who(), "remove-token", found[0].person, found[0].label, token)
            await service.store.drop_keys(digest=found[0].digest, audit=audit)
        out.print(f"token {token} of {found[0].person} is ended", highlight=False)

    run(work(settings_of(config)))
