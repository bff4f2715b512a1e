"""The milter protocol, version 6, as Postfix and Sendmail speak it: packets in, two questions out, replies back.

A machine without I/O for one connection of a mail server. It negotiates that only MAIL and the end of a message are
answered and everything between streams without waiting; it puts the message together as RFC 5322 bytes and waits
at each of the two questions until it is answered. `milter_packets` has the codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from penstock.model import Connection, Envelope, Reply
from penstock.protocols import milter_packets as packets
from penstock.protocols.milter_packets import MilterError

_MOST_NAMES = 10_000  # distinct header names that are counted
_OWN_LISTENERS = frozenset(["", "smtp", "http"])  # a mail server's {daemon_name} never passes for one of these
_MACRO_STAGES = frozenset(b"CHMTE")  # 'L', 'B', 'N', 'U' carry nothing that is asked for; 'R' is read as it comes


class Room(Struct):
    """How many bytes of messages all connections together may keep in memory."""

    limit_bytes: int
    used_bytes: int = 0
    floor_bytes: int = 65_536
    """What a message may keep even where nothing is left, so that no message is judged unseen."""


class Bounds(Struct, frozen=True):
    """What one connection may cost."""

    max_message_bytes: int = 52_428_800
    """Of one message; what lies beyond is dropped and the message is marked as cut."""
    max_packet_bytes: int = 1_048_576
    """Of one packet. Postfix sends bodies by 65535 bytes and a header of up to `header_size_limit`, 102400."""
    max_recipients: int = 20_000


class MailAsked(Struct, frozen=True):
    """MAIL has come; answer with `proceed` or `refuse`."""

    connection: Connection
    mail_from: str


class MessageAsked(Struct, frozen=True):
    """A whole message has come; answer with `accept`, `refuse` or `discard`."""

    connection: Connection
    envelope: Envelope
    raw: bytes
    queue_id: str
    mailers: frozenset[str]
    """The values of `{rcpt_mailer}` over all recipients; the empty string where a recipient came without."""
    is_cut: bool


class Quit(Struct, frozen=True):
    """The mail server has said goodbye; close the connection."""


Event = MailAsked | MessageAsked | Quit


class Milter:
    """One connection of a mail server.

    Feed bytes with `receive`, then call `next_event` until it returns None, and send what `take_output` returns. While
    a question is open `next_event` returns None. Both raise MilterError where the peer does not speak the protocol;
    the connection is then of no further use.
    """

    def __init__(self, base: Connection, bounds: Bounds, room: Room) -> None:
        self._base = base
        self._bounds = bounds
        self._room = room
        self._input = bytearray()
        self._output: list[bytes] = []
        self._steps: int | None = None  # granted protocol bits; None before negotiation
        self._asked: type[Event] | None = None
        self._size = 0
        self._new_connection()

    def _new_connection(self) -> None:
        self._client_ip = self._client_name = self._helo = ""
        self._macros: dict[int, dict[bytes, bytes]] = {}
        self._new_message()

    def _new_message(self) -> None:
        self._room.used_bytes -= self._size
        self._size = 0
        self._kept = bytearray()
        self._is_cut = False
        self._is_in_body = False
        self._names: dict[bytes, int] = {}
        self._mail_from: str | None = None
        self._mail_parameters: tuple[str, ...] = ()
        self._rcpt_to: list[str] = []
        self._rcpt_mailer = ""
        self._mailers: set[str] = set()
        self._queue_id = ""
        self._is_overfull = False

    def _end_message(self) -> None:
        """Forget the message with its macros, so that no login or queue id is taken for the next one's."""
        self._new_message()
        for stage in b"MTE":
            self._macros.pop(stage, None)
        self._rcpt_mailer = ""

    # What the shell calls.

    @property
    def is_waiting(self) -> bool:
        """Whether a question is open, so that nothing more need be read."""
        return self._asked is not None

    @property
    def is_in_message(self) -> bool:
        """Whether a message has begun and is not yet answered."""
        return self._mail_from is not None

    def receive(self, data: bytes) -> None:
        """Take bytes from the mail server."""
        self._input += data

    def take_output(self) -> bytes:
        """What is to be sent to the mail server now."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def close(self) -> None:
        """Give back the room that the connection's message takes."""
        self._new_connection()
        self._input.clear()

    def next_event(self) -> Event | None:
        """Read packets up to the next question. Raises MilterError."""
        at = 0
        data = self._input
        event: Event | None = None
        try:
            while event is None and self._asked is None and len(data) - at >= 4:
                length = int.from_bytes(data[at : at + 4], "big")
                if not 1 <= length <= self._bounds.max_packet_bytes:
                    raise MilterError(f"a packet of {length} bytes")
                end = at + 4 + length
                if len(data) < end:
                    break
                command, payload = data[at + 4], bytes(data[at + 5 : end])
                at = end
                event = self._take(command, payload)
        finally:
            del data[:at]
        if event is not None:
            self._asked = type(event)
        return event

    def proceed(self) -> None:
        """Let the transaction go on after MAIL."""
        self._answer(MailAsked)
        self._output.append(packets.CONTINUE)

    def refuse(self, reply: Reply) -> None:
        """End the transaction, or the message, with a reply of our own."""
        is_message = self._asked is MessageAsked
        self._answer(MessageAsked if is_message else MailAsked)
        self._output.append(packets.reply(reply))
        self._end_message()

    def accept(self, *, remove: Iterable[str] = (), add: Sequence[tuple[str, str]] = ()) -> None:
        """Take the message: every occurrence of the headers in `remove` goes, those in `add` come on top, in order."""
        self._answer(MessageAsked)
        gap = " " if self._has(packets.HDR_LEADSPC) else ""
        for name in remove:
            # From the last to the first, so that the numbers hold whether or not the server renumbers as it deletes.
            for occurrence in range(self._names.get(name.lower().encode(), 0), 0, -1):
                self._output.append(packets.delete_header(name, occurrence))
        self._output += [packets.insert_header(name, gap + value) for name, value in reversed(add)]
        self._output.append(packets.ACCEPT)
        self._end_message()

    def discard(self) -> None:
        """Take the message and deliver it nowhere: it is kept elsewhere."""
        self._answer(MessageAsked)
        self._output.append(packets.DISCARD)
        self._end_message()

    # Packets.

    def _answer(self, asked: type[Event]) -> None:
        assert self._asked is asked, f"{asked.__name__} is not open"
        self._asked = None

    def _has(self, bit: int) -> bool:
        return bool(self._steps and self._steps & bit)

    def _take(self, command: int, payload: bytes) -> Event | None:
        if self._steps is None and command not in b"OQ":
            raise MilterError("no negotiation")
        match command:
            case packets.CMD_MACROS:
                self._take_macros(payload)
            case packets.CMD_BODY:
                if not self._is_in_body:
                    self._begin_body()
                self._keep(payload)
                self._go_on(packets.NR_BODY, packets.SKIP if self._is_cut and self._has(packets.CAN_SKIP) else None)
            case packets.CMD_HEADER:
                self._take_header(payload)
                self._go_on(packets.NR_HDR)
            case packets.CMD_RCPT:
                self._take_recipient(payload)
                self._go_on(packets.NR_RCPT)
            case packets.CMD_MAIL:
                return self._take_mail(payload)
            case packets.CMD_END:
                return self._take_end(payload)
            case _:
                return self._take_rare(command, payload)
        return None

    def _take_rare(self, command: int, payload: bytes) -> Event | None:
        match command:
            case packets.CMD_NEGOTIATE:
                self._steps, answer = packets.negotiate(payload)
                self._output.append(answer)
            case packets.CMD_CONNECT:
                self._new_message()
                self._client_name, self._client_ip = packets.read_connect(payload)
                self._go_on(packets.NR_CONN)
            case packets.CMD_HELO:
                self._helo = packets.text(payload.partition(b"\0")[0])
                self._go_on(packets.NR_HELO)
            case packets.CMD_DATA:
                self._go_on(packets.NR_DATA)
            case packets.CMD_END_OF_HEADERS:
                self._go_on(packets.NR_EOH)
            case packets.CMD_UNKNOWN:
                self._go_on(packets.NR_UNKN)
            case packets.CMD_ABORT:
                self._end_message()
            case packets.CMD_QUIT_NEW:
                self._new_connection()
            case packets.CMD_QUIT:
                return Quit()
            case _:
                raise MilterError(f"unknown command {command:#x}")
        return None

    def _go_on(self, silent_bit: int, reply: bytes | None = None) -> None:
        """Answer a step that needs no answer, unless it was agreed that it gets none."""
        if not self._has(silent_bit):
            self._output.append(reply or packets.CONTINUE)

    def _take_macros(self, payload: bytes) -> None:
        if not payload:
            raise MilterError("macros of no command")
        stage = payload[0]
        if stage == packets.CMD_RCPT:
            self._rcpt_mailer = packets.text(packets.macros(payload[1:]).get(b"rcpt_mailer", b""))
        elif stage in _MACRO_STAGES:
            self._macros[stage] = packets.macros(payload[1:])

    def _macro(self, name: bytes) -> str:
        """A macro's value, from the latest stage that sent it."""
        for stage in b"ETMHC":
            found = self._macros.get(stage)
            if found and (value := found.get(name)):
                return packets.text(value)
        return ""

    def _take_mail(self, payload: bytes) -> MailAsked:
        self._new_message()
        address, *parameters = packets.strings(payload)
        self._mail_from = packets.path(address)
        self._mail_parameters = tuple(
            packets.text(one) for one in parameters if one and not one.upper().startswith((b"SIZE=", b"AUTH="))
        )
        return MailAsked(self._connection(), self._mail_from)

    def _take_recipient(self, payload: bytes) -> None:
        mailer, self._rcpt_mailer = self._rcpt_mailer, ""
        # Sendmail and Postfix tell a milter of refused recipients too where it asks (RCPT_REJ); we do not ask.
        if len(self._rcpt_to) >= self._bounds.max_recipients:
            self._is_overfull = True
            return
        self._rcpt_to.append(packets.path(packets.strings(payload)[0]))
        self._mailers.add(mailer)

    def _take_header(self, payload: bytes) -> None:
        name, nul, value = payload.partition(b"\0")
        if not nul:
            raise MilterError("a header without value")
        value = value.rstrip(b"\0")
        key = name.rstrip(b" \t").lower()
        if key in self._names or len(self._names) < _MOST_NAMES:
            self._names[key] = self._names.get(key, 0) + 1
        colon = b":" if self._has(packets.HDR_LEADSPC) else b": "
        if b"\n" in value:
            value = value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        self._keep(name + colon + value + b"\r\n")

    def _begin_body(self) -> None:
        self._is_in_body = True
        self._keep(b"\r\n")

    def _keep(self, piece: bytes) -> None:
        """Keep a piece of the message, or only the part of it that fits."""
        if self._is_cut:
            return
        room = self._room
        left = self._bounds.max_message_bytes - self._size
        free = max(room.limit_bytes - room.used_bytes, room.floor_bytes - self._size)
        if len(piece) > min(left, free):
            self._is_cut = True
            piece = piece[: max(0, min(left, free))]
        self._kept += piece
        self._size += len(piece)
        room.used_bytes += len(piece)

    def _take_end(self, payload: bytes) -> MessageAsked | None:
        if self._mail_from is None:
            raise MilterError("the end of a message that never began")
        if not self._is_in_body:
            self._begin_body()
        if payload:  # libmilter's own protocol lets the last chunk travel here
            self._keep(payload)
        if self._is_overfull:
            self._output.append(packets.reply(Reply(452, "4.5.3", "Too many recipients in one message")))
            self._end_message()
            return None
        raw, self._kept = bytes(self._kept), bytearray()
        return MessageAsked(
            connection=self._connection(),
            envelope=Envelope(self._mail_from, tuple(self._rcpt_to), self._mail_parameters),
            raw=raw,
            queue_id=self._macro(b"i"),
            mailers=frozenset(self._mailers),
            is_cut=self._is_cut,
        )

    def _connection(self) -> Connection:
        base = self._base
        daemon = self._macro(b"daemon_name")
        return Connection(
            client_ip=self._client_ip or self._macro(b"client_addr"),
            client_name=self._client_name,
            helo=self._helo,
            peer_ip=base.peer_ip,
            login=self._macro(b"auth_authen"),
            login_method=self._macro(b"auth_type"),
            tls=self._macro(b"tls_version"),
            listener=daemon if daemon not in _OWN_LISTENERS else base.listener,
            is_trusted_peer=base.is_trusted_peer,
        )
