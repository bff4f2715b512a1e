"""penstock demo: a working day of a small provider, of whose accounts one is hijacked at noon."""

from __future__ import annotations

import asyncio
import smtplib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from penstock.cli.output import err, out, show_json, show_table
from penstock.cli.run import sandbox_settings
from penstock.cli.session import Json, run
from penstock.config import Settings
from penstock.evaluation.provider import DAY, Customer, Provider, Sent
from penstock.model import Connection, Decision, Envelope, Submission
from penstock.overview import explanation, when
from penstock.service import Service
from penstock.store.ports import DecisionSearch
from penstock.watch import Watch, configure_log

_HISTORY_DAYS = 21
_STOLEN = 150
_RUN = "demo-run"


class Told(Struct):
    """What became of one message, as its client was told."""

    sent: Sent
    code: int
    text: str

    @property
    def outcome(self) -> str:
        """`delivered`, `held` or `refused`."""
        if self.code >= 300:
            return "refused"
        return "held" if "held as" in self.text else "delivered"


def demo(
    data: Annotated[Path, typer.Option(help="The sandbox's folder.")] = Path("data"),
    json: Json = False,
) -> None:
    """Send a provider's working day through Penstock's relay: forty accounts, one of them hijacked at noon."""
    configure_log("error", "text")
    run(_demo(sandbox_settings(data), json))


class _Clock:
    """The demonstration's own time."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


async def _demo(settings: Settings, json: bool) -> None:
    clock = _Clock()
    smtp = settings.smtp.model_copy(update={"listen": ["127.0.0.1:0"]})
    nothing: dict[str, list[str]] = {"listen": []}
    here = settings.model_copy(
        update={
            "smtp": smtp,
            "milter": settings.milter.model_copy(update=nothing),
            "http": settings.http.model_copy(update=nothing),
        }
    )
    service = Service(here, watch=Watch(None), now=clock, does_upkeep=False)
    await service.start()
    try:
        number = int((await service.store.meta(_RUN) or b"0").decode()) + 1
        await service.store.set_meta(_RUN, str(number).encode())
        provider = Provider(number)
        midnight = (time.time() // DAY - 1) * DAY
        began = midnight - _HISTORY_DAYS * DAY
        history = list(provider.ordinary(began, _HISTORY_DAYS))
        theft = list(provider.theft(midnight + 12 * 3600, _STOLEN))
        day = sorted([*provider.ordinary(midnight, 1), *theft], key=lambda one: one.at)
        columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=err, transient=True) as progress:
            task = progress.add_task("three weeks of history", total=len(history))
            for one in history:
                await _judge(service, one)
                progress.advance(task)
            task = progress.add_task("the day, over SMTP", total=len(day))
            told = await _send_day(service, clock, day, lambda: progress.advance(task))
        await _report(service, provider, told, json)
    finally:
        await service.stop(5.0)


async def _judge(service: Service, one: Sent) -> Decision:
    connection = Connection(
        client_ip=one.ip,
        helo=_helo(one),
        peer_ip="127.0.0.1",
        login=one.customer.login,
        listener="smtp",
        is_trusted_peer=True,
    )
    envelope = Envelope(one.customer.login, one.rcpt_to)
    return await service.pipeline.judge(Submission(service.new_id(one.at), one.at, connection, envelope, one.raw))


def _helo(one: Sent) -> str:
    """What the client's machine calls itself: a thief has the password, not the owner's laptop."""
    return "win-7k2q" if one.is_abuse else "laptop"


async def _send_day(service: Service, clock: _Clock, day: Sequence[Sent], advance: object) -> list[Told]:
    host, _, port = service.addresses()["smtp"][0].rpartition(":")
    found = []
    for one in day:
        clock.now = one.at
        code, text = await asyncio.to_thread(_send, host, int(port), one)
        found.append(Told(one, code, text))
        assert callable(advance)
        advance()
    return found


def _send(host: str, port: int, one: Sent) -> tuple[int, str]:
    """One message as a mail server in front would hand it in: XCLIENT tells whose it is."""
    with smtplib.SMTP(host, port, timeout=30) as client:
        client.ehlo("mail.demo.example")
        client.docmd("XCLIENT", f"ADDR={one.ip} LOGIN={one.customer.login} HELO={_helo(one)}")
        client.ehlo(_helo(one))
        for command in (f"MAIL FROM:<{one.customer.login}>", *(f"RCPT TO:<{to}>" for to in one.rcpt_to)):
            code, text = client.docmd(command)
            if code >= 300:
                return code, text.decode("utf-8", "replace")
        code, text = client.data(one.raw)
        return code, text.decode("utf-8", "replace")


async def _report(service: Service, provider: Provider, told: Sequence[Told], json: bool) -> None:
    victim = provider.victim
    stolen, good = [one for one in told if one.sent.is_abuse], [one for one in told if not one.sent.is_abuse]
    leaked = sum(one.outcome == "delivered" for one in stolen)
    name = f"sasl:{victim.login}"
    decisions = await service.store.decisions(DecisionSearch(account=name, limit=400))
    stopped = [row for row in reversed(decisions) if row.decision.action != "accept"]
    if json:
        show_json(
            {
                "accounts": len(provider.customers),
                "hijacked": name,
                "stolen_messages": len(stolen),
                "leaked_messages": leaked,
                "outcomes": {"abuse": Counter(o.outcome for o in stolen), "owners": Counter(o.outcome for o in good)},
                "first_stopped": stopped[0] if stopped else None,
            }
        )
        return
    rows = [
        (label, len(group), *(Counter(one.outcome for one in group)[what] for what in ("delivered", "held", "refused")))
        for label, group in _groups(good, stolen, victim)
    ]
    show_table(("who", "messages", "delivered", "held", "refused"), rows)
    out.print(f"\n{name} was hijacked at {when(stolen[0].sent.at)} UTC; {leaked} of {len(stolen)} messages left.")
    if stopped:
        out.print("The first message that was stopped, and why:\n")
        for line in explanation(stopped[0], None):
            out.print("  " + line, highlight=False, markup=False)
    go_on = "accounts list", "held list", "decisions --action hold", "pools plan"
    out.print(f"\nGo on with: {', '.join(f'penstock {one}' for one in go_on)}")


def _groups(good: Sequence[Told], stolen: Sequence[Told], victim: Customer) -> Iterable[tuple[str, list[Told]]]:
    yield "39 other accounts", [one for one in good if one.sent.customer != victim]
    yield f"{victim.login} (owner)", [one for one in good if one.sent.customer == victim]
    yield f"{victim.login} (thief)", list(stolen)
