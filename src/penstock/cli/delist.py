"""penstock delist: the case to hand in when an IP is listed."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer
from msgspec import Struct

from penstock.cli.output import fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of
from penstock.config import Settings
from penstock.lists.catalogue import BlockList, known_lists
from penstock.model import Audit, DecisionRow, Mode
from penstock.overview import when
from penstock.protocols.dnsbl import to_ascii
from penstock.sending import Listing
from penstock.store.ports import DecisionSearch, Store
from penstock.workers.monitoring import choices_of

_PAGE = 1000
_MOST_ROWS = 100_000
_MOST_ACCOUNTS = 10


class Where(Struct, frozen=True):
    """One listing and where it can be undone."""

    list: str
    title: str
    since: float
    last_seen: float
    until: float
    codes: tuple[str, ...]
    meanings: tuple[str, ...]
    text: str
    causes: str
    delist: str


class Used(Struct, frozen=True):
    """An account that sent from the IP, and what was done about it."""

    account: str
    messages: int
    recipients: int
    refused: int
    """Messages of it that Penstock wanted to hold or refuse."""
    standing: str
    blame: float
    """Its share in the case, 0 to 1, where there is one."""
    done: tuple[Audit, ...]


class Dossier(Struct, frozen=True):
    """Everything that a list's operator may ask."""

    target: str
    began_at: float
    listings: tuple[Where, ...]
    accounts: tuple[Used, ...]
    messages: int
    draft: str
    is_known: bool
    """Whether it is known by which IP mail left; else the accounts are those that may have used it."""


def delist(
    target: Annotated[str, typer.Argument(metavar="IP", help="The IP, or domain, that is listed.")],
    days: Annotated[float, typer.Option(min=0.1, help="How far before the listing to look for accounts.")] = 3.0,
    json: Json = False,
    config: Config = None,
) -> None:
    """Write the case: since when and where it is listed, who sent from it, what was done, what to say."""
    try:
        name = str(ipaddress.ip_address(target))
    except ValueError:
        try:
            name = to_ascii(target)
        except ValueError as trouble:
            fail(str(trouble), 2)
    settings = settings_of(config)
    dossier = run(_dossier(settings, name, days * 86400.0))
    if dossier is None:
        fail(f"{name} was on no list that the monitor knows of; `penstock check {name}` asks them now")
    if json:
        show_json(dossier)
    else:
        _show(dossier)


async def _dossier(settings: Settings, name: str, window_s: float) -> Dossier | None:
    async with opened(settings) as service:
        store = service.store
        rows = await store.listings(target=name, current_only=False)
        if not rows:
            return None
        facts = {one.name: one for one in known_lists(*choices_of(settings))}
        open_ones = [one for one in rows if not one.until] or rows[-1:]
        began = min(one.since for one in open_ones)
        ip = name if _is_ip(name) else ""
        accounts, messages = await _accounts(store, name, ip, began - window_s)
        is_known = bool(messages or not ip) or settings.judge.mode is not Mode.OBSERVE
        if not is_known:  # as in a case: all whose mail named no IP may have left by this one
            accounts, messages = await _accounts(store, name, "", began - window_s)
    places = tuple(_where(one, facts.get(one.list)) for one in open_ones)
    draft = _draft(name, places, accounts, messages, settings)
    return Dossier(name, began, places, accounts, messages, draft, is_known)


def _where(listing: Listing, one: BlockList | None) -> Where:
    title, causes, page = (one.title, one.causes, one.delist) if one else (listing.list, "", "")
    return Where(
        listing.list, title, listing.since, listing.last_seen, listing.until, listing.codes, listing.meanings,
        listing.text, causes, page,
    )  # fmt: skip


async def _accounts(store: Store, name: str, ip: str, since: float) -> tuple[tuple[Used, ...], int]:
    """The accounts whose mail left by `ip` in the window, or where that is empty: by one that nobody knows, or from
    the domain `name`. Those to blame for the listing come first, with what was done since."""
    sent, recipients, refused, before = Counter[str](), Counter[str](), Counter[str](), ""
    looked_at = 0
    while looked_at < _MOST_ROWS:
        search = DecisionSearch(ip=ip, since=since, before=before, limit=_PAGE)
        rows = await store.decisions(search)
        for row in rows:
            if row.decision.ip != ip if _is_ip(name) else not _is_from(row, name):
                continue
            account = str(row.decision.account)
            sent[account] += 1
            recipients[account] += len(row.rcpt_to)
            refused[account] += row.decision.wanted != "accept"
        looked_at += len(rows)
        if len(rows) < _PAGE:
            break
        before = rows[-1].decision.id
    cases = [one for one in await store.cases(open_only=False, limit=1000) if one.ip == name and one.opened_at >= since]
    blame = {one.account: one.blame for case in cases for one in case.suspects}
    order = sorted(sent | Counter(dict.fromkeys(blame, 0)), key=lambda one: (-blame.get(one, 0.0), -recipients[one]))
    found = []
    for account in order[:_MOST_ACCOUNTS]:
        row_ = await store.account(account)
        done = tuple(one for one in await store.audit(target=account) if one.at >= since)
        standing = row_.standing.value if row_ else "-"
        facts = (sent[account], recipients[account], refused[account], standing, blame.get(account, 0.0), done)
        found.append(Used(account, *facts))
    return tuple(found), sum(sent.values())


def _is_ip(name: str) -> bool:
    return ":" in name or name.rpartition(".")[2].isdigit()  # the usual spelling of an address; no domain ends so


def _is_from(row: DecisionRow, domain: str) -> bool:
    return f".{row.mail_from.rpartition('@')[2].lower()}".endswith(f".{domain}")


def _draft(name: str, places: Sequence[Where], accounts: Sequence[Used], messages: int, settings: Settings) -> str:
    """What to say: the cause, what was done, what keeps it from coming back. Names no customer."""
    hostname = settings.hostname
    acted = [one for one in accounts if one.done or one.standing == "suspended"]
    suspended = sum(one.standing == "suspended" for one in accounts)
    lines = [
        f"Subject: Removal request for {name}",
        "",
        "Hello,",
        "",
        f"{name}{f' ({hostname})' if hostname else ''} is a sending address of our mail service. We found it on",
        *(f"  - {one.title or one.list}, since {when(one.since)} UTC{_because(one)}" for one in places),
        "",
    ]
    if acted:
        lines.append(f"The cause: {len(acted)} of our customers' accounts that sent from this address.")
        lines += [f"{suspended} of them are suspended." if suspended else "They are limited and under review.", ""]
        lines.append("What we did:")
        lines += [f"  - {when(each.at)} UTC: {_verb(each.what)}" for one in acted for each in reversed(one.done)][:20]
    else:
        lines.append("The cause: [WRITE WHAT WAS FOUND. Ask for removal only once it has ended.]")
    lines += [
        "",
        *_standing_order(settings, messages),
        "Please remove the entry, or tell us what you still see from this address.",
        "",
        "Regards,",
        "[NAME, ROLE, ABUSE CONTACT]",
    ]
    return "\n".join(lines)


def _standing_order(settings: Settings, messages: int) -> list[str]:
    """What keeps it from coming back; only what is true of this installation."""
    if settings.judge.mode is not Mode.ENFORCE or not messages:
        return []
    return [
        f"All outgoing mail ({messages} messages from this address in the time in question) passes a filter that",
        "judges each account and takes hijacked ones out of service by itself.",
    ]


def _because(one: Where) -> str:
    return f" ({'; '.join(one.meanings)})" if one.meanings else ""


def _verb(what: str) -> str:
    return {
        "suspend-account": "an account was suspended",
        "release-account": "an account was given back to its owner",
        "set-limit": "an account was limited",
        "change-standing": "an account's standing was changed",
    }.get(what, what.replace("-", " "))


def _show(dossier: Dossier) -> None:
    rows = [
        (one.list, when(one.since), _until(one), " ".join(one.codes), "; ".join(one.meanings) or "-")
        for one in dossier.listings
    ]
    show_table(("list", "since (UTC)", "until", "code", "meaning"), rows)
    for one in dossier.listings:
        out.print(f"\n[bold]{one.list}[/bold]", highlight=False)
        for what, text in (("says", one.text), ("usual causes", one.causes), ("get off at", one.delist)):
            if text:
                out.print(f"  {what}: {text}", highlight=False, markup=False)
    used_it = "sent" if dossier.is_known else "may have sent (while observing, mail names no IP)"
    out.print(f"\nAccounts that {used_it} from {dossier.target} before it was listed:", highlight=False)
    used = [
        (one.account, one.messages, one.recipients, one.refused, one.standing, f"{one.blame:.0%}")
        for one in dossier.accounts
    ]
    show_table(("account", "messages", "recipients", "refused", "standing", "blame"), used)
    for used_by in dossier.accounts:
        out.print(f"  {used_by.account}: {_done(used_by)}", highlight=False, markup=False)
    out.print("\nWhat to say (check it first):\n", highlight=False)
    out.print(dossier.draft, highlight=False, markup=False)


def _until(one: Where) -> str:
    return when(one.until) if one.until else "still"


def _done(one: Used) -> str:
    return "; ".join(f"{when(each.at)} {each.what}" for each in one.done) or "nothing yet"
