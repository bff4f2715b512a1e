"""The composition root: builds every part from the settings, starts it, drains it, stops it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from penstock.clients.login import DovecotLogin, Login, PasswordFile
from penstock.clients.maildir import MaildirNextHop
from penstock.clients.next_hop import NextHop, NextHopSettings, SmtpNextHop
from penstock.clients.scanners.asker import asker_of
from penstock.config import LimitsSection, Settings
from penstock.judge.identity import Extractor, Identity, Network, Tenancy, read_tenancy
from penstock.judge.learnt import Bounds, Taught
from penstock.judge.limits import Limit
from penstock.judge.opinions import Scale
from penstock.judge.policy import Policy
from penstock.judge.pools import Live, Pool, Pools
from penstock.judge.reference import account_tag, make_token, read_token
from penstock.judge.rules import Plan, Rules
from penstock.judge.warmup import WarmUp
from penstock.learning import CatchUp, Lessons
from penstock.listeners.http import HttpListener, HttpSettings
from penstock.listeners.milter import MilterListener, MilterSettings
from penstock.listeners.smtp import SmtpListener, SmtpSettings
from penstock.model import Action, DecisionRow, Held, SendingIp, make_id, transport_name
from penstock.pipeline import Pipeline
from penstock.protocols.headers import rewrite
from penstock.sections.pools import PoolsSection, SendingIpSection
from penstock.shipped import load_model, load_replies
from penstock.store.ports import Store, StoreUnavailable
from penstock.store.sqlite import SqliteStore
from penstock.watch import Watch, decision_line
from penstock.workers.feedback import Feedback
from penstock.workers.held import Release
from penstock.workers.intake import Intake
from penstock.workers.mail_queue import queue_chores
from penstock.workers.monitoring import Monitoring
from penstock.workers.notices import Notices, NoticeSettings
from penstock.workers.pools import PoolKeeper, PoolSettings
from penstock.workers.reply_blocks import CLEAR_EVERY_S, reply_blocks
from penstock.workers.upkeep import Chore, Upkeep, UpkeepSettings
from penstock.workers.warming import WARMING_EVERY_S, Warming, WarmingSettings, read_seen

GRACE_S = 30.0
"""How long a stop waits for messages in flight."""
_FOLLOW_S = 2.0
"""How soon every process knows of an IP that was taken out."""
log = structlog.get_logger()


class Listener(Protocol):
    """A socket on one side, the pipeline on the other."""

    @property
    def addresses(self) -> list[str]:
        """Where it listens."""

    async def start(self) -> None:
        """Begin to listen. Raises OSError."""

    async def stop(self, grace_s: float) -> None:
        """Stop taking connections, and wait so long for messages in flight."""


class LoggingWatcher:
    """Tells the log and the counters of every decision."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def decided(self, row: DecisionRow, judged_s: float) -> None:
        """One log line and the counters of one decision."""
        self._watch.decision(row.decision, judged_s)
        log.info("decision", **decision_line(row), judged_ms=round(judged_s * 1000, 2))

    def failed(self, where: str, trouble: BaseException) -> None:
        """Trouble of ours, with its traceback where it is a fault and not a store that is away."""
        self._watch.count("failures")
        is_fault = not isinstance(trouble, StoreUnavailable | TimeoutError | OSError)
        log.error("not-done", where=where, trouble=repr(trouble), exc_info=trouble if is_fault else None)


class Service:
    """One process of Penstock."""

    def __init__(
        self,
        settings: Settings,
        *,
        watch: Watch,
        now: Callable[[], float] = time.time,
        does_upkeep: bool = True,
        reuse_port: bool = False,
    ) -> None:
        """`does_upkeep` is for one process of a node; `reuse_port` where several share the ports."""
        self.settings = settings
        self.now = now
        self._watch = watch
        self._does_upkeep = does_upkeep
        self._reuse_port = reuse_port
        self.hostname = settings.hostname or socket.getfqdn()
        self.store = make_store(settings, now)
        self._key = reference_key(settings)
        self.rules = make_rules(settings, self._key)
        self.watcher = LoggingWatcher(watch)
        self.content = Taught(load_model(settings))
        self.lessons = Lessons(self.store, self.content.seed, self.new_id)
        self.pipeline = Pipeline(
            self.store,
            self.content,
            self.rules,
            self.watcher,
            clock=time.perf_counter,
            asker=asker_of(settings, clock=time.monotonic, count=watch.count),
            lessons=self.lessons if settings.learning.from_complaints else None,
        )
        self._next_hops: dict[str, NextHop] = {}
        self.next_hop = self._next_hop(settings.next_hop.address) if settings.next_hop.address else None
        self.pools = self._pool_hops()
        self.listeners = self._make_listeners()
        self._monitoring = self.monitoring() if does_upkeep and settings.blocklists.watch else None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the store and the listeners. Raises StoreUnavailable and OSError, with nothing left open."""
        try:
            await self.store.open()
            catch_up = self.catch_up()
            await catch_up.once()
            if self.settings.pools.named:
                await self.refresh_pools()
                self._tasks.append(asyncio.create_task(self._follow_pools()))
            if self._monitoring is not None:
                await self._monitoring.start()
            for listener in self.listeners.values():
                await listener.start()
        except BaseException:
            await self.stop(0.0)
            raise
        self._tasks.append(asyncio.create_task(catch_up.run()))
        if self._does_upkeep:
            self._tasks.append(asyncio.create_task(self.upkeep(self._monitoring).run()))
            intake = Intake(self.settings, self.feedback(), self.watcher.failed)
            self._tasks.append(asyncio.create_task(intake.run()))

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Drain and stop: listeners first, the store last."""
        for result in await asyncio.gather(
            *(listener.stop(grace_s) for listener in self.listeners.values()), return_exceptions=True
        ):
            if isinstance(result, BaseException):
                self.watcher.failed("stop", result)
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._monitoring is not None:
            await self._monitoring.close()
        for hop in self._next_hops.values():
            await hop.close()
        await self.store.close()

    def addresses(self) -> dict[str, list[str]]:
        """Where each listener listens."""
        return {name: listener.addresses for name, listener in self.listeners.items()}

    def release(self) -> Release | None:
        """The release of held mail; None without a next hop."""
        if self.next_hop is None:
            return None
        return Release(self.store, self.next_hop, self.prepare, self.now)

    def prepare(self, held: Held, raw: bytes) -> bytes:
        """A held message as it leaves: without identity, with its reference."""
        token = make_token(held.decision_id, self._key)
        tag = account_tag(held.account, self._key)
        add = [("X-Penstock-Ref", token), ("Feedback-ID", f"{tag}:released:{self.rules.feedback_sender}")]
        return rewrite(raw, add, (*self.rules.strip_headers, "x-penstock-ref", "feedback-id"))

    def feedback(self) -> Feedback:
        """What takes in bounces, complaints and delivery logs."""
        return Feedback(
            self.store,
            self.pipeline,
            load_replies(),
            read_token=lambda text: read_token(text, self._key),
            tag_of=lambda account: account_tag(account, self._key),
            count=self._watch.count,
            now=self.now,
            blocks=reply_blocks(self.settings, self.store, self.now),
        )

    def monitoring(self) -> Monitoring:
        """What watches the blocklists. Raises OSError and ValueError for lists and targets that cannot be read."""
        return Monitoring(
            self.settings, self.store, log=lambda line: log.warning("blocklists", text=line), now=self.now
        )

    def upkeep(self, monitoring: Monitoring | None = None) -> Upkeep:
        """What runs by itself."""
        settings = self.settings
        sender = settings.notices.sender or f"penstock@{self.hostname}"
        notice = NoticeSettings(tuple(settings.notices.to), sender, settings.notices.per_hour, self.hostname)
        notices = Notices(notice, self.store, self.next_hop, lambda line: log.warning("notice", text=line), self.now)
        kept = UpkeepSettings(settings.held.keep_days * 86400.0, settings.store.keep_decisions_days * 86400.0)
        more: list[Chore] = [(3600.0, "examples", self._expire_examples)]
        if any(pool.ips for pool in settings.pools.named.values()):
            more.append((settings.pools.check_every_s, "pools", self.pool_keeper().run_once))
            more.append((CLEAR_EVERY_S, "reply-blocks", reply_blocks(settings, self.store, self.now).run_once))
            warming = Warming(WarmingSettings.of(settings), self.rules.pools, self.store, self.now)
            more.append((WARMING_EVERY_S, "warming", warming.run_once))
        more += queue_chores(settings, self.store, self.now)
        more += monitoring.chores() if monitoring is not None else ()
        return Upkeep(kept, self.store, notices, self.watcher.failed, self.now, more=more)

    def pool_keeper(self) -> PoolKeeper:
        """What takes listed IPs out of their pools and brings clean ones back."""
        settings = PoolSettings.of(self.settings)
        return PoolKeeper(settings, self.rules.pools, self.store, self.pipeline, now=self.now, new_id=self.new_id)

    async def refresh_pools(self) -> None:
        """Let the pipeline know which IPs are taken out, and whom people have pinned."""
        state = await self.store.pool_state()
        self.pipeline.live = Live.of(state.ips, state.pins)
        self.pipeline.pools = self.rules.pools.as_seen(await read_seen(self.store))

    async def _follow_pools(self) -> None:
        """Each process looks by itself, more often than IPs leave."""
        while True:
            await asyncio.sleep(min(_FOLLOW_S, self.settings.pools.check_every_s))
            try:
                await self.refresh_pools()
            except Exception as trouble:
                self.watcher.failed("pools", trouble)

    async def _expire_examples(self) -> int:
        section, now = self.settings.learning, self.now()
        return await self.store.expire_learnt(
            examples_before=now - section.keep_days * 86400.0, remembered_before=now - section.remember_days * 86400.0
        )

    def catch_up(self) -> CatchUp:
        """What keeps this process at what was learnt."""
        section = self.settings.learning
        bounds = Bounds(
            example=section.nats_per_example,
            account=section.nats_per_account,
            tenant=section.nats_per_tenant,
            day=section.nats_per_day,
            most=section.nats_at_most,
        )
        return CatchUp(self.store, self.content, bounds, self.watcher.failed, section.catch_up_s)

    async def health(self) -> tuple[bool, dict[str, object]]:
        """Whether mail can be judged, and the facts."""
        try:
            async with asyncio.timeout(2.0):
                counts = await self.store.counts()
        except (StoreUnavailable, TimeoutError) as trouble:
            return False, {"store": str(trouble) or "no answer"}
        return True, {"store": "ok", **counts, "mode": self.settings.judge.mode.value}

    def new_id(self, now: float) -> str:
        """A new id, sortable by time."""
        return make_id(now, secrets.randbits(50))

    def _pool_hops(self) -> dict[str, NextHop]:
        """Next hops of pools and of single IPs, by what the decision calls the way out."""
        found = {}
        for name, pool in self.settings.pools.named.items():
            ways = [(transport_name(name), pool.next_hop)]
            ways += [(transport_name(name, one.ip), one.next_hop or pool.next_hop) for one in pool.ips]
            found.update({way: self._next_hop(address) for way, address in ways if address})
        return found

    def _next_hop(self, address: str) -> NextHop:
        if address not in self._next_hops:
            section = self.settings.next_hop
            if address.startswith("maildir:"):
                self._next_hops[address] = MaildirNextHop(Path(address.removeprefix("maildir:")))
            else:
                self._next_hops[address] = SmtpNextHop(
                    NextHopSettings(
                        address=address,
                        helo=section.helo or self.hostname,
                        starttls=section.starttls,
                        connect_s=section.connect_s,
                        command_s=section.command_s,
                        data_s=section.data_s,
                        max_idle=section.max_idle,
                    )
                )
        return self._next_hops[address]

    def _make_listeners(self) -> dict[str, Listener]:
        settings, made = self.settings, dict[str, Listener]()
        if settings.smtp.listen or settings.smtp.listen_tls:
            assert self.next_hop is not None, "the settings check this"
            made["smtp"] = SmtpListener(
                smtp_settings(settings, self.hostname, reuse_port=self._reuse_port),
                self.pipeline,
                self.next_hop,
                self.pools,
                login=make_login(settings),
                count=self._watch.count,
                now=self.now,
                new_id=self.new_id,
            )
        if settings.milter.listen:
            section = settings.milter
            milter = MilterSettings(
                listen=tuple(section.listen),
                trusted_networks=networks(section.trusted_networks),
                max_message_bytes=section.max_message_bytes,
                outbound_only=section.outbound_only,
                remote_mailers=frozenset(section.remote_mailers),
                reuse_port=self._reuse_port,
            )
            made["milter"] = MilterListener(
                milter, self.pipeline, count=self._watch.count, now=self.now, new_id=self.new_id
            )
        if settings.http.listen:
            http = HttpSettings(
                listen=tuple(settings.http.listen),
                trusted_networks=networks(settings.http.trusted_networks),
                password=settings.http.password,
                max_message_bytes=settings.http.max_message_bytes,
                reuse_port=self._reuse_port,
            )
            made["http"] = HttpListener(
                http,
                self.pipeline,
                metrics=self._watch.exposition,
                health=self.health,
                count=self._watch.count,
                now=self.now,
                new_id=self.new_id,
            )
        return made


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
    policy = Policy.from_budgets(
        false_suspensions_per_account_year=judge.false_suspensions_per_account_year,
        false_holds_per_account_year=judge.false_holds_per_account_year,
        probation_recipients_per_day=judge.probation_recipients_per_day,
        exempt=frozenset(judge.exempt_accounts),
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
        reply_link=judge.reply_link,
        scales={
            "rspamd": Scale.of(settings.scanners.rspamd.weight, settings.scanners.rspamd.points),
            "spamassassin": Scale.of(settings.scanners.spamassassin.weight, settings.scanners.spamassassin.points),
        },
        on_virus=Action(settings.scanners.clamav.on_virus),
    )


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
