"""The drivers that the settings name."""

from __future__ import annotations

import base64
from pathlib import Path

from penstock.clients.drivers.command import Command
from penstock.clients.drivers.cpanel import Cpanel
from penstock.clients.drivers.directadmin import DirectAdmin
from penstock.clients.drivers.dovecot import Doveadm, Dovecot
from penstock.clients.drivers.driver import Driver
from penstock.clients.drivers.ispconfig import IspConfig
from penstock.clients.drivers.mail_server import AccessFiles
from penstock.clients.drivers.panel import PanelApi
from penstock.clients.drivers.plesk import Plesk
from penstock.clients.drivers.signed import Signed
from penstock.clients.webhook import Webhook
from penstock.model import Rung
from penstock.sections.enforcement import DirectAdminSection, EnforcementSection

_POSTFIX_LINE = "{name} 450 4.7.1 [PS-SUSPENDED] Sending is suspended; contact your provider"


def make_drivers(section: EnforcementSection) -> dict[str, Driver]:
    """Drivers by name; those of queues need the store, and are made beside these."""
    found: dict[str, Driver] = {}
    for name, command in section.command.items():
        found[name] = Command(command.run, frozenset(command.rungs), command.timeout_s)
    for name, dovecot in section.dovecot.items():
        found[name] = Dovecot(dovecot.files, Doveadm(dovecot.doveadm, dovecot.api, dovecot.api_key))
    for name, postfix in section.postfix.items():
        files = _files(postfix.folder, "postfix", Rung.MAILBOX, Rung.SOURCE)
        postmap = "" if postfix.map_type == "texthash" else f"{postfix.postmap} {postfix.map_type}"
        found[name] = AccessFiles(files, _POSTFIX_LINE, postmap)
    for name, exim in section.exim.items():
        files = _files(exim.folder, "exim", Rung.MAILBOX, Rung.ACCOUNT, Rung.SOURCE)
        found[name] = AccessFiles(files, "{name}")
    for name, cpanel in section.cpanel.items():
        check = cpanel.check_certificate
        found[name] = Cpanel.at(cpanel.url, cpanel.user, cpanel.token, cpanel.how, check_certificate=check)
    for name, plesk in section.plesk.items():
        found[name] = Plesk.at(plesk.url, plesk.key, plesk.limit, check_certificate=plesk.check_certificate)
    for name, directadmin in section.directadmin.items():
        found[name] = DirectAdmin(Path(directadmin.folder) if directadmin.folder else None, _api_of(directadmin))
    for name, ispconfig in section.ispconfig.items():
        check, password = ispconfig.check_certificate, ispconfig.password
        found[name] = IspConfig.at(ispconfig.url, ispconfig.user, password, check_certificate=check)
    for name, webhook in section.webhook.items():
        found[name] = Signed(Webhook(webhook.url, webhook.secret), frozenset(webhook.rungs))
    return found


def _files(folder: Path, server: str, *rungs: Rung) -> dict[Rung, Path]:
    names = {Rung.MAILBOX: "mailboxes", Rung.ACCOUNT: "accounts", Rung.SOURCE: "sources"}
    return {rung: folder / f"{server}_{names[rung]}" for rung in rungs}


def _api_of(section: DirectAdminSection) -> PanelApi | None:
    if not section.url:
        return None
    word = base64.b64encode(f"{section.user}:{section.login_key}".encode()).decode()
    return PanelApi(section.url, {"Authorization": f"Basic {word}"}, check_certificate=section.check_certificate)
