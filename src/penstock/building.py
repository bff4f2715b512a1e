"""What the settings mean: store, rules of judging, pools, login and the relay's part, each built from its section."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from penstock.clients.login import DovecotLogin, Login, PasswordFile
from penstock.config import LimitsSection, Settings
from penstock.judge.breaker import Breaker
from penstock.judge.identity import Extractor, Identity, Network, Tenancy, read_tenancy
from penstock.judge.limits import Limit
from penstock.judge.opinions import Scale
from penstock.judge.policy import Policy
from penstock.judge.pools import Pool, Pools
from penstock.judge.rules import LoginRules, Plan, Rules
from penstock.judge.warmup import WarmUp
from penstock.judge.way_back import Terms
from penstock.listeners.smtp import SmtpSettings
from penstock.model import Action
from penstock.sections.console import ConsoleSection
from penstock.sections.pools import PoolsSection, SendingIpSection
from penstock.sending import SendingIp
from penstock.shipped import load_replies
from penstock.store.ports import Store
from penstock.store.sqlite import SqliteStore


def make_store(settings: Settings, now: Callable[[], float]) -> Store:
    """The store that the settings name."""
    section = settings.store
    if section.valkey:
        from penstock.store.scale import ScaleStore  # its drivers are an extra

        return ScaleStore(section.valkey, section.postgres, now=now)
    return SqliteStore(section.path, now=now)


def reference_key(settings: Settings) -> bytes:
    """The secret of the reference tokens, made at first use beside the database, readable by its owner alone."""
    path = settings.reference_key_file or settings.store.path.with_name("reference.key")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with open(fresh, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)  # the first of several processes wins
    fresh.unlink()
    return path.read_bytes()


def networks(texts: list[str]) -> tuple[Network, ...]:
    """Networks of the settings as values."""
    return tuple(ipaddress.ip_network(one, strict=False) for one in texts)


def make_login(settings: Settings) -> Login | None:
    """Who checks passwords at the relay; None where nobody may log in."""
    auth = settings.smtp.auth
    if auth.dovecot:
        return DovecotLogin(auth.dovecot)
    return PasswordFile(auth.passwords) if auth.passwords else None


def smtp_settings(settings: Settings, hostname: str, *, reuse_port: bool = False) -> SmtpSettings:
    """The relay's part of the settings."""
    section = settings.smtp
    return SmtpSettings(
        hostname=hostname,
        listen=tuple(section.listen),
        listen_tls=tuple(section.listen_tls),
        trusted_networks=networks(section.trusted_networks),
        forwarding_hosts=networks(section.forwarding_hosts),
        certificate=section.tls.certificate,
        key=section.tls.key,
        auth_without_tls=section.auth.without_tls,
        max_message_bytes=section.max_message_bytes,
        max_recipients=section.max_recipients,
        max_connections=section.max_connections,
        max_connections_per_client=section.max_connections_per_client,
        max_errors=section.max_errors,
        max_line_bytes=section.max_line_bytes,
        idle_s=section.idle_s,
        session_s=section.session_s,
        in_flight_bytes=section.in_flight_bytes,
        ask_at_rcpt=bool(settings.own_addresses),
        reuse_port=reuse_port,
    )


def make_rules(settings: Settings, key: bytes) -> Rules:
    """What the settings mean to judging. Raises OSError and ValueError for the accounts file."""
    judge = settings.judge
    shut = settings.enforcement
    terms = Terms.of(shut.release_conditions, shut.release_after_hours, ends_sessions=shut.ends_sessions)
    policy = Policy.from_budgets(
        false_suspensions_per_account_year=judge.false_suspensions_per_account_year,
        false_holds_per_account_year=judge.false_holds_per_account_year,
        false_refusals_per_account_year=settings.logins.false_refusals_per_account_year,
        probation_recipients_per_day=judge.probation_recipients_per_day,
        exempt=frozenset(judge.exempt_accounts) | {f"sasl:{one.lower()}" for one in settings.own_addresses},
        password_releases=terms.password_releases,
    )
    plans = {
        name: Plan(
            _limits(plan.account, "account"), _limits(plan.tenant, "tenant"), _limits(plan.automatic, "automatic")
        )
        for name, plan in settings.plans.items()
    }
    return Rules(
        identity=make_identity(settings),
        policy=policy,
        mode=judge.mode,
        reference_key=key,
        reply_reason=load_replies().reason_of,
        must_defer_on_failure=judge.on_failure == "defer",
        plans=plans,
        pools=make_pools(settings.pools),
        pool_header=settings.pools.header,
        strip_headers=tuple(one.lower() for one in settings.identity.strip_headers),
        own_addresses=frozenset(one.lower() for one in settings.own_addresses),
        spamtraps=frozenset(settings.feedback.spamtraps),
        reply_link=judge.reply_link or own_link(settings.console),
        scales={
            "rspamd": Scale.of(settings.scanners.rspamd.weight, settings.scanners.rspamd.points),
            "spamassassin": Scale.of(settings.scanners.spamassassin.weight, settings.scanners.spamassassin.points),
        },
        breaker=Breaker(settings.enforcement.most_share_per_hour, settings.enforcement.most_at_least),
        logins=LoginRules(settings.logins.refuse, settings.logins.suspended, networks(settings.logins.own_hosts)),
        on_virus=Action(settings.scanners.clamav.on_virus),
    )


def own_link(section: ConsoleSection) -> str:
    """The console's page about a refusal, where it can be reached."""
    return f"{section.base_url}/why/{{link}}" if section.listen and section.base_url else ""


def make_pools(section: PoolsSection) -> Pools:
    """The pools as judging knows them."""
    named = {name: Pool(tuple(map(_sending_ip, pool.ips)), pool.fallback) for name, pool in section.named.items()}
    caps = {group: tuple(days) for group, days in section.warm_up.caps.items()}
    groups = [(group, domains) for group, domains in section.warm_up.receivers.items() if group in caps]
    receivers = {domain.lower(): group for group, domains in groups for domain in domains}
    return Pools(section.choices(), named, section.move_hours * 3600.0, WarmUp(caps, receivers))


def _sending_ip(section: SendingIpSection) -> SendingIp:
    first = section.warming_since
    since = datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp() if first else 0.0
    return SendingIp(section.ip, section.ip6 or "", section.helo, since)


def make_identity(settings: Settings) -> Identity:
    """The rules of attribution. Raises OSError and ValueError for the accounts file."""
    section = settings.identity
    extractors = tuple(
        Extractor(one.source, one.kind, one.header.lower(), re.compile(one.pattern) if one.pattern else None)
        for one in section.extractors
    )
    tenancy = read_tenancy(section.accounts_file.read_text("utf-8")) if section.accounts_file else Tenancy()
    inbound = networks(section.inbound_hosts)
    header = section.forward_header.lower()
    return Identity(extractors, networks(section.trusted_hosts), tenancy, inbound, header)


def _limits(section: LimitsSection, of: str) -> tuple[Limit, ...]:
    found = []
    for name, most in section.model_dump().items():
        unit, _, window = name.rpartition("_per_")
        if most:
            found.append(Limit(unit.replace("_", "-"), window, most, of))
    return tuple(found)
