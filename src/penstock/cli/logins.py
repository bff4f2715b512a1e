"""penstock logins: what would be answered to a login, and why."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from penstock.attempts import Attempt, service_of
from penstock.cli.output import out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of
from penstock.config import Settings

app = typer.Typer(no_args_is_help=True, help="Logins, and what they say.")


@app.command()
def ask(
    login: Annotated[str, typer.Argument(help="The name as it is typed at the login.")],
    ip: Annotated[str, typer.Argument(help="The client's address.")],
    service: Annotated[str, typer.Option(help="smtp, imap, web …")] = "imap",
    client: Annotated[str, typer.Option(help="What the client calls itself.")] = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Say what a login with the right password would be answered, and why. Nothing is kept."""

    async def work(settings: Settings) -> None:
        attempt = Attempt(time.time(), login, ip, service_of(service), client)
        async with opened(settings) as service_:
            if service_.locator is not None:
                await service_.locator.start()
            try:
                found = await service_.pipeline.explain_login(attempt)
            finally:
                if service_.locator is not None:
                    await service_.locator.close()
        if json:
            show_json(found)
            return
        answer = "refused" if found.is_refused else "would be refused" if found.is_wanted_refused else "goes on"
        out.print(f"[bold]{found.account}[/bold] from {ip}: {answer} {found.reason}")
        if found.evidence:
            out.print(f"{found.nats:.1f} nats, the line is {found.line:.1f}, and two kinds of evidence are needed")
        rows = [(one.name, f"{one.nats:+.1f}", one.seen, one.expected) for one in found.evidence]
        show_table(("evidence", "nats", "seen", "expected"), rows, empty="nothing speaks against it")

    run(work(settings_of(config)))
