"""One client's session at the relay: each question of its machine answered by the gate and the next hop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from penstock.clients.login import Login, LoginUnavailable
from penstock.clients.next_hop import NextHop, NextHopUnavailable, Transaction
from penstock.listeners.sockets import Network, is_in
from penstock.model import Action, Connection, Decision, Delivered, Envelope, Opening, Reply, Submission
from penstock.pipeline import Gate
from penstock.protocols.headers import received_line, rewrite
from penstock.protocols.smtp_client import queue_id_of
from penstock.protocols.smtp_events import (
    AuthAsked,
    Closed,
    Event,
    MailAsked,
    MessageAsked,
    RcptAsked,
    Reset,
    TlsAsked,
)
from penstock.protocols.smtp_server import SmtpServer

_OK = Reply(250, "2.1.0", "Ok")
_DENIED = Reply(554, "5.7.1", "Relay access denied")
_LATER = Reply(451, "4.3.0", "Not possible at the moment; try again later")


_LARGE_BYTES = 1 << 20


class Relaying(Struct, frozen=True):
    """What every session of a relay shares."""

    gate: Gate
    next_hop: NextHop
    pools: Mapping[str, NextHop]
    login: Login | None
    trusted_networks: tuple[Network, ...]
    hostname: str
    ask_at_rcpt: bool
    count: Callable[[str], None]
    now: Callable[[], float]
    new_id: Callable[[float], str]


class Session:
    """Answers the questions of one client's machine, one after another."""

    def __init__(self, relaying: Relaying, machine: SmtpServer, start_tls: Callable[[], Awaitable[str]]) -> None:
        self._relaying = relaying
        self._machine = machine
        self._start_tls = start_tls
        self._forget()

    def _forget(self) -> None:
        self._mail_from = ""
        self._parameters: tuple[str, ...] = ()
        self._rcpt_to: list[str] = []
        self._refused: list[tuple[str, int, str]] = []
        self._hop: NextHop | None = None
        self._transaction: Transaction | None = None
        self._trouble: Reply | None = None

    @property
    def has_transaction(self) -> bool:
        """Whether a transaction is open at the next hop."""
        return self._transaction is not None

    def answer_at_once(self, event: Event) -> bool:
        """Answer a question about which nobody has to be asked; whether it was one."""
        if type(event) is not MailAsked or self._transaction is not None:
            return False
        may_relay = self._may_relay(self._connection())
        if may_relay and self._relaying.gate.may_refuse:
            return False
        self._begin(event)
        # A stranger is refused at RCPT, as Postfix does, so that the log shows who and to whom.
        self._hop = self._relaying.next_hop if may_relay else None
        self._machine.answer(_OK)
        return True

    def _begin(self, event: MailAsked) -> None:
        self._forget()
        self._mail_from, self._parameters = event.mail_from, event.parameters

    async def answer(self, event: Event) -> None:
        """Answer one question of the machine."""
        match event:
            case RcptAsked():
                self._machine.answer(await self._rcpt(event))
            case MessageAsked():
                reply = await self._message(await _joined(event.chunks))
                self._forget()
                self._machine.answer(reply)
            case MailAsked():
                await self._mail(event)
            case AuthAsked():
                await self._auth(event)
            case TlsAsked():
                await self._encrypt()
            case Reset() | Closed():
                await self.end()

    async def end(self) -> None:
        """Let the open transaction go."""
        transaction = self._transaction
        self._forget()
        if transaction is not None:
            await transaction.abort()

    async def _encrypt(self) -> None:
        try:
            version = await self._start_tls()
        except (OSError, TimeoutError):
            self._relaying.count("smtp-tls-failures")
            self._machine.drop()
            return
        self._machine.encrypted(version)

    async def _auth(self, event: AuthAsked) -> None:
        login, connection = self._relaying.login, self._machine.connection
        assert login is not None
        try:
            name = await login.check(event.user, event.password, connection.client_ip)
        except LoginUnavailable:
            self._relaying.count("smtp-login-unavailable")
            self._machine.answer(Reply(454, "4.7.0", "Passwords cannot be checked at the moment"))
            return
        if name:
            self._machine.authenticated(name, event.method)
        else:
            self._relaying.count("smtp-login-failures")
            self._machine.answer(Reply(535, "5.7.8", "Authentication credentials invalid"))

    # One message.

    def _connection(self) -> Connection:
        """The connection as the gate is told it: who came by XCLIENT is trusted as who it says it is."""
        connection = self._machine.connection
        if not self._machine.has_xclient:
            return connection
        is_trusted = is_in(connection.client_ip, self._relaying.trusted_networks) if connection.client_ip else False
        return replace(connection, is_trusted_peer=is_trusted)

    def _may_relay(self, connection: Connection) -> bool:
        return bool(connection.login) or connection.is_trusted_peer

    async def _mail(self, event: MailAsked) -> None:
        await self.end()
        if self.answer_at_once(event):
            return
        self._begin(event)
        relaying = self._relaying
        admission = await relaying.gate.admit(Opening(self._connection(), event.mail_from, relaying.now()))
        if admission.refusal is not None:
            relaying.count("smtp-refused-at-mail")
            self._machine.answer(admission.refusal)
            return
        self._hop = relaying.pools.get(admission.transport, relaying.next_hop)
        self._machine.answer(_OK)

    async def _rcpt(self, event: RcptAsked) -> Reply:
        relaying, connection = self._relaying, self._connection()
        if not self._may_relay(connection) or self._hop is None:
            relaying.count("smtp-relay-denied")
            return _DENIED
        if relaying.ask_at_rcpt:
            opening = Opening(connection, self._mail_from, relaying.now(), event.address)
            admission = await relaying.gate.admit(opening)
            if admission.refusal is not None:
                relaying.count("smtp-refused-at-rcpt")
                return admission.refusal
        if self._trouble is not None:
            return self._trouble
        try:
            reply = await self._ask_next_hop(self._hop, event.address)
        except NextHopUnavailable as trouble:
            # The recipients before this one are gone with the connection: the message may not go to the others alone.
            relaying.count("smtp-next-hop-down")
            self._transaction, self._trouble = None, trouble.reply
            return trouble.reply
        if reply.code < 400:
            self._rcpt_to.append(event.address)
        else:
            self._refused.append((event.address, reply.code, reply.text))
        return reply

    async def _ask_next_hop(self, hop: NextHop, address: str) -> Reply:
        if self._transaction is None:
            self._transaction = await hop.open(self._mail_from, self._parameters, (address,))
        if self._transaction.mail.code >= 400:
            return self._transaction.mail
        return await self._transaction.rcpt(address)

    async def _message(self, raw: bytes) -> Reply:
        relaying = self._relaying
        if self._trouble is not None:
            return self._trouble
        now = relaying.now()
        connection = self._connection()
        id = relaying.new_id(now)
        envelope = Envelope(self._mail_from, tuple(self._rcpt_to), self._parameters)
        submission = Submission(id, now, connection, envelope, raw)
        decision = await relaying.gate.judge(submission)
        relaying.count("smtp-messages")
        if decision.action is Action.ACCEPT:
            return await self._pass_on(decision, submission)
        await self._abort()
        if decision.action is Action.HOLD:
            return Reply(250, "2.0.0", f"Ok: held as {decision.id}")
        relaying.count("smtp-refused")
        return decision.reply or _LATER

    async def _abort(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            await transaction.abort()

    async def _pass_on(self, decision: Decision, submission: Submission) -> Reply:
        relaying, connection = self._relaying, submission.connection
        received = received_line(
            helo=connection.helo,
            client_name=connection.client_name,
            client_ip=connection.client_ip,
            by=relaying.hostname,
            protocol=self._machine.protocol,
            id=submission.id,
            at=submission.received_at,
            is_hidden=bool(connection.login),
        )
        raw = rewrite(submission.raw, decision.add_headers, decision.remove_headers, received)
        try:
            reply = await self._deliver(decision, raw)
        except NextHopUnavailable as trouble:
            relaying.count("smtp-next-hop-down")
            reply = trouble.reply
        replies = [(one, reply.code, reply.text) for one in submission.envelope.rcpt_to]
        delivered = Delivered(
            decision.id, str(decision.account), relaying.now(), (*replies, *self._refused), queue_id_of(reply)
        )
        await relaying.gate.delivered(delivered)
        return reply

    async def _deliver(self, decision: Decision, raw: bytes) -> Reply:
        hop = self._relaying.pools.get(decision.transport, self._relaying.next_hop)
        transaction = self._transaction
        if transaction is None:
            return _LATER
        if hop is self._hop:
            self._transaction = None
            return await transaction.data(raw)
        await self._abort()
        return await self._deliver_elsewhere(hop, raw)

    async def _deliver_elsewhere(self, hop: NextHop, raw: bytes) -> Reply:
        """The content moved the message to another pool: all of its recipients there, or none."""
        transaction = await hop.open(self._mail_from, self._parameters, self._rcpt_to)
        refusal = transaction.mail if transaction.mail.code >= 400 else None
        for address in self._rcpt_to if refusal is None else ():
            reply = await transaction.rcpt(address)
            if reply.code >= 400:
                refusal = reply
                break
        if refusal is None:
            return await transaction.data(raw)
        await transaction.abort()
        # The client was told that these recipients are good; nobody may lose mail over a second opinion.
        return Reply(451, "4.3.0", f"The next hop refused: {refusal.text}"[:400])


async def _joined(chunks: tuple[bytes, ...]) -> bytes:
    """A message in one piece. Beyond a megabyte `join` lets the other threads go on, so it does not halt the loop."""
    if len(chunks) == 1:
        return chunks[0]
    if sum(map(len, chunks)) < _LARGE_BYTES:
        return b"".join(chunks)
    return await asyncio.to_thread(b"".join, chunks)
