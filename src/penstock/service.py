"""The composition root: builds every part from the settings, starts it, drains it, stops it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog

from penstock.attempts import Attempt, Permission
from penstock.building import make_login, make_rules, make_store, networks, reference_key, smtp_settings
from penstock.clients.locator import make_locator
from penstock.clients.login import Login
from penstock.clients.maildir import MaildirNextHop
from penstock.clients.next_hop import NextHop, NextHopSettings, SmtpNextHop
from penstock.clients.scanners.asker import asker_of
from penstock.config import Settings
from penstock.desk import Desk
from penstock.judge.learnt import Bounds, Taught
from penstock.judge.pools import Live
from penstock.judge.reference import account_tag, make_token, read_token
from penstock.learning import CatchUp, Lessons
from penstock.listeners.http import HttpListener, HttpSettings
from penstock.listeners.lmtp import LmtpListener, LmtpSettings
from penstock.listeners.milter import MilterListener, MilterSettings
from penstock.listeners.smtp import SmtpListener
from penstock.listeners.telling import WatchedLogin
from penstock.model import DecisionRow, Held, make_id, transport_name
from penstock.pipeline import Pipeline
from penstock.protocols.headers import rewrite
from penstock.shipped import load_model, load_replies
from penstock.store.ports import StoreUnavailable
from penstock.watch import Watch, decision_line, login_counts, login_line
from penstock.workers.enforcing import Enforcing
from penstock.workers.feedback import Feedback
from penstock.workers.held import Release
from penstock.workers.intake import Intake, handed_in
from penstock.workers.mail_queue import queue_chores
from penstock.workers.monitoring import Monitoring
from penstock.workers.noticing import make_notices
from penstock.workers.pools import PoolKeeper, PoolSettings
from penstock.workers.reply_blocks import CLEAR_EVERY_S, reply_blocks
from penstock.workers.upkeep import Chore, Upkeep, UpkeepSettings
from penstock.workers.warming import WARMING_EVERY_S, Warming, WarmingSettings, read_seen

if TYPE_CHECKING:
    from penstock.console.site import Site

GRACE_S = 30.0
"""How long a stop waits for messages in flight."""
_COUNT_EVERY_S = 600.0
"""How often accounts are counted; it takes long where there are many."""
_FOLLOW_S = 2.0
"""How soon every process knows of an IP that was taken out."""
_TALLY_EVERY_S, _TALLY_LAG_S = 10.0, 10.0
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

    def logged_in(self, attempt: Attempt, permission: Permission, *, is_asked: bool) -> None:
        """Counters of a login, and a log line where it is no ordinary one."""
        for name in login_counts(attempt, permission, is_asked=is_asked):
            self._watch.count(name)
        if permission.is_wanted_refused or (not is_asked and attempt.is_good):
            log.info("login-refused" if is_asked else "login", **login_line(attempt, permission))

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
        self.locator = make_locator(settings, watch.count)
        self.pipeline = Pipeline(
            self.store,
            self.content,
            self.rules,
            self.watcher,
            clock=time.perf_counter,
            asker=asker_of(settings, clock=time.monotonic, count=watch.count),
            locator=self.locator,
            lessons=self.lessons if settings.learning.from_complaints else None,
        )
        self._next_hops: dict[str, NextHop] = {}
        self.next_hop = self._next_hop(settings.next_hop.address) if settings.next_hop.address else None
        self.pools = self._pool_hops()
        self.listeners = self._make_listeners()
        self.enforcing = Enforcing(settings, self.store, self.pipeline, hostname=self.hostname, now=now)
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
            if self.locator is not None:
                await self.locator.start()
            if self._monitoring is not None:
                await self._monitoring.start()
            for listener in self.listeners.values():
                await listener.start()
        except BaseException:
            await self.stop(0.0)
            raise
        self._tasks.append(asyncio.create_task(catch_up.run()))
        self._tasks.append(asyncio.create_task(self._follow_breaker()))
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
        if self.locator is not None:
            await self.locator.close()
        if self._monitoring is not None:
            await self._monitoring.close()
        await self.enforcing.close()
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

    def desk(self) -> Desk:
        """What people do."""
        pools = {name: [one.ip for one in pool.ips] for name, pool in self.settings.pools.named.items()}
        return Desk(self.store, self.pipeline, self.lessons, self.release(), pools=pools, now=self.now)

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
        notices, told = make_notices(
            settings, self.store, self.next_hop,
            hostname=self.hostname, log=lambda line: log.warning("notice", text=line), now=self.now,
        )  # fmt: skip
        store = settings.store
        days = (settings.held.keep_days, store.keep_decisions_days, store.keep_counts_days)
        kept = UpkeepSettings(*(one * 86400.0 for one in days))
        more: list[Chore] = [
            (3600.0, "examples", self._expire_examples),
            (_TALLY_EVERY_S, "tallies", self.tally),
        ]
        if any(pool.ips for pool in settings.pools.named.values()):
            more.append((settings.pools.check_every_s, "pools", self.pool_keeper().run_once))
            more.append((CLEAR_EVERY_S, "reply-blocks", reply_blocks(settings, self.store, self.now).run_once))
            warming = Warming(WarmingSettings.of(settings), self.rules.pools, self.store, self.now)
            more.append((WARMING_EVERY_S, "warming", warming.run_once))
        more += queue_chores(settings, self.store, self.now)
        more += monitoring.chores() if monitoring is not None else ()
        more += [*self.enforcing.chores(), *told]
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

    async def _follow_breaker(self) -> None:
        """Each process knows within seconds that no more accounts are to be suspended."""
        counted_at = -_COUNT_EVERY_S
        while True:
            try:
                if time.monotonic() - counted_at >= _COUNT_EVERY_S:
                    self.pipeline.accounts, counted_at = (await self.store.counts())["accounts"], time.monotonic()
                await self.pipeline.look_at_breaker(self.now())
            except Exception as trouble:
                self.watcher.failed("breaker", trouble)
            await asyncio.sleep(_FOLLOW_S)

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

    def _login(self) -> Login | None:
        """Who checks passwords at the relay, watched where the relay is to tell of logins."""
        login = make_login(self.settings)
        if login is None or not self.settings.logins.from_relay:
            return login
        return WatchedLogin(login, self.pipeline, self._key, count=self._watch.count, now=self.now)

    def _make_listeners(self) -> dict[str, Listener]:
        settings, made = self.settings, dict[str, Listener]()
        if settings.smtp.listen or settings.smtp.listen_tls:
            assert self.next_hop is not None, "the settings check this"
            made["smtp"] = SmtpListener(
                smtp_settings(settings, self.hostname, reuse_port=self._reuse_port),
                self.pipeline,
                self.next_hop,
                self.pools,
                login=self._login(),
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
        if settings.feedback.lmtp:
            lmtp = LmtpSettings(
                self.hostname, tuple(settings.feedback.lmtp), networks(["127.0.0.0/8", "::1/128"]), self._reuse_port
            )
            made["lmtp"] = LmtpListener(lmtp, partial(handed_in, feedback=self.feedback()), count=self._watch.count)
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
        if settings.console.listen and self._does_upkeep:
            made["console"] = self._console()
        return made

    def site(self) -> Site:
        """What the console's pages are made with."""
        # A web framework, which commands and other processes do without.
        from penstock.console.entrance import Entrance
        from penstock.console.security_keys import SecurityKeys
        from penstock.console.sign_on import make_sign_on
        from penstock.console.site import Site

        section = self.settings.console
        keys = SecurityKeys(self.store, self.now, section.base_url)
        entrance = Entrance(self.store, self.now, session_s=section.session_hours * 3600.0, security_keys=keys)
        sign_on = make_sign_on(self.settings, self.store, entrance, self.now)
        return Site(self.settings, self.store, self.rules, self.desk(), entrance, now=self.now, sign_on=sign_on)

    def _console(self) -> Listener:
        from penstock.console.app import make_app
        from penstock.console.server import ConsoleListener

        section = self.settings.console
        return ConsoleListener(make_app(self.site()), section.listen, section.trusted_proxies)

    async def tally(self) -> int:
        """Count decisions, all but the last seconds': of those some may still be on their way into the store."""
        before, count = make_id(self.now() - _TALLY_LAG_S, 0), 0
        while some := await self.store.tally(before_id=before):
            count += some
            await asyncio.sleep(0.01)
        return count
