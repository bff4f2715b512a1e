"""The server's side of SMTP (RFC 5321) and LMTP (RFC 2033), no I/O: bytes in, questions out, replies in, bytes out."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from penstock.model import Connection, Reply
from penstock.protocols.smtp_auth import METHODS, AuthDialog
from penstock.protocols.smtp_data import DataReader, Room
from penstock.protocols.smtp_events import (
    Closed,
    Event,
    MailAsked,
    MessageAsked,
    RcptAsked,
    Reset,
    ServerSettings,
    TlsAsked,
)
from penstock.protocols.smtp_syntax import SyntaxFault, is_address, read_attributes, read_path

_COMMAND_BYTES = 2048
"""RFC 5321 asks for 512; extensions lengthen MAIL, and AUTH carries its response."""
_AUTH_BYTES = 12288  # RFC 4954 section 4
_BODY_VALUES = ("7BIT", "8BITMIME")
_ATTRIBUTES = {"ADDR": "client_ip", "NAME": "client_name", "HELO": "helo", "LOGIN": "login"}


class SmtpServer:
    """One client's session. Feed `receive`, ask `next_event` until it is None, send `take_output`.

    While a question is open nothing further is read. Garbage gets a 5xx; after `max_errors` of them, 421.
    """

    def __init__(self, settings: ServerSettings, connection: Connection, room: Room, *, may_forward: bool) -> None:
        """`may_forward`: the peer's XCLIENT and XFORWARD are believed."""
        self._settings = settings
        self.connection = connection
        self._room = room
        self._may_forward = may_forward
        self._input = bytearray()
        self._output: list[bytes] = []
        self._data: DataReader | None = None
        self._dialog: AuthDialog | None = None
        self._asked: Event | None = None
        self._is_esmtp = False
        self._helo = ""
        self._errors = 0
        self._is_closed = False
        self._is_skipping = False
        self.has_xclient = False
        self._forget_transaction()
        self._say(220, "", f"{settings.hostname} {'LMTP' if settings.is_lmtp else 'ESMTP'} Penstock")

    def _forget_transaction(self) -> None:
        self._has_mail = False
        self._has_utf8 = False
        self._recipients = 0
        self._refused_recipients = 0

    # What the shell calls.

    @property
    def is_waiting(self) -> bool:
        """Whether a question is open."""
        return self._asked is not None

    @property
    def waiting_bytes(self) -> int:
        """How much has come behind the open question."""
        return len(self._input)

    @property
    def is_in_data(self) -> bool:
        """Whether a message is being read."""
        return self._data is not None

    @property
    def is_closed(self) -> bool:
        """Whether goodbye was said."""
        return self._is_closed

    @property
    def protocol(self) -> str:
        """ESMTP with S for TLS and A for AUTH (RFC 3848)."""
        if not self._is_esmtp:
            return "SMTP"
        return "ESMTP" + ("S" if self.connection.tls else "") + ("A" if self.connection.login_method else "")

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._input += data

    def take_output(self) -> bytes:
        """What is to be sent now."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def next_event(self) -> Event | None:
        """Go on to the next question; None when more bytes are needed or a question is open."""
        while self._asked is None and not self._is_closed and self._input:
            event = self._take_data() if self._data is not None else self._take_line()
            if event is _MORE:
                return None
            if event is not None:
                assert not isinstance(event, _More)
                if not isinstance(event, Reset):
                    self._asked = event
                return event
        return None

    def answer(self, reply: Reply) -> None:
        """Answer the open question with a reply; 2xx lets the transaction go on."""
        asked, self._asked = self._asked, None
        is_good = reply.code < 400
        is_fault = not is_good
        match asked:
            case MailAsked():
                self._has_mail = is_good
            case RcptAsked():
                self._recipients += is_good
                self._refused_recipients += not is_good
                is_fault = not self._recipients  # a list with some dead addresses is no attack
            case MessageAsked():
                self._end_message(reply)
                return
            case _:
                pass
        self._output.append(f"{reply.line()}\r\n".encode("utf-8", "replace"))
        if is_fault:
            self._count_error()

    def authenticated(self, login: str, method: str) -> None:
        """The password was right."""
        self._asked = None
        self._change(login=login, login_method=method)
        self._say(235, "2.7.0", "Authentication successful")

    def forget_input(self) -> None:
        """What was sent in the clear behind STARTTLS never counts; call it right before the handshake begins."""
        self._input.clear()

    def encrypted(self, version: str) -> None:
        """The handshake is done: everything that was said before is forgotten (RFC 3207 section 4.2)."""
        self._asked = None
        self._change(tls=version)
        self._start_anew()

    def shut_down(self, code: int, enhanced: str, text: str) -> None:
        """Say goodbye from our side."""
        if not self._is_closed:
            self._say(code, enhanced, text)
            self._close()

    def drop(self) -> None:
        """The client is gone: give its room back."""
        self._close()

    # Reading.

    def _take_data(self) -> Event | _More | None:
        reader = self._data
        assert reader is not None
        data = bytes(self._input)
        self._input.clear()
        rest = reader.feed(data)
        if rest is None:
            return _MORE
        self._input += rest
        return self._whole_message(reader)

    def _whole_message(self, reader: DataReader) -> Event | None:
        if reader.refusal is None:
            return MessageAsked(tuple(reader.chunks))
        self._end_message(reader.refusal)
        return self._count_error() or Reset()

    def _end_message(self, reply: Reply) -> None:
        """Answer a message: once, or in LMTP once for each recipient."""
        for _ in range(self._recipients if self._settings.is_lmtp else 1):
            self._say(reply.code, reply.enhanced, reply.text)
        self._let_go()

    def _let_go(self) -> None:
        if self._data is not None:
            self._data.release()
            self._data = None
        self._forget_transaction()

    def _take_line(self) -> Event | _More | None:
        end = self._input.find(b"\n")
        most = _AUTH_BYTES if self._dialog is not None else _COMMAND_BYTES
        if end < 0:
            if len(self._input) > most + 1:
                self._is_skipping = True
                del self._input[:-1]  # keep a CR whose LF is still to come
            return _MORE
        line = bytes(self._input[:end])
        del self._input[: end + 1]
        if not line.endswith(b"\r"):
            # Where a command ends is now a matter of opinion, and what follows may be smuggled: no more of it.
            self._say(500, "5.5.2", "Bare LF in a command (RFC 5321 section 2.3.8)")
            self._close()
            return Closed()
        line = line[:-1]
        dialog, self._dialog = self._dialog, None
        if self._is_skipping or len(line) > most:
            self._is_skipping = False
            return self._fault(500, "5.5.6", "Line too long")
        if b"\r" in line or b"\0" in line:
            return self._fault(500, "5.5.2", "Bare CR or NUL in a command")
        if dialog is not None:
            return self._go_on_with(dialog, line)
        return self._command(line)

    def _command(self, line: bytes) -> Event | None:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            return self._fault(500, "5.5.2", "Not UTF-8")
        verb, _, argument = text.strip(" \t").partition(" ")
        verb = verb.upper()
        if self._settings.is_lmtp:
            verb = {"LHLO": "EHLO", "EHLO": "", "HELO": ""}.get(verb, verb)
        handler = _COMMANDS.get(verb)
        if handler is None:
            return self._fault(500, "5.5.2", "No such command")
        return handler(self, argument.strip(" \t"))

    # Commands.

    def _greet(self, argument: str, *, is_esmtp: bool) -> Event | None:
        name = argument.split(" ", maxsplit=1)[0]
        if not name or len(name) > 255:
            return self._fault(501, "5.5.4", "Say your name: EHLO name")
        had_transaction = self._has_mail
        self._forget_transaction()
        self._is_esmtp = is_esmtp
        self._helo = name
        if self.has_xclient:
            # From here on it may be the client itself that speaks, through a proxy that only passes bytes on.
            self._may_forward = False
        if not self.has_xclient or not self.connection.helo:
            self._change(helo=name)
        lines = [self._settings.hostname, *(self._extensions() if is_esmtp else ())]
        for line in lines[:-1]:
            self._output.append(f"250-{line}\r\n".encode())
        self._output.append(f"250 {lines[-1]}\r\n".encode())
        return Reset() if had_transaction else None

    def _extensions(self) -> list[str]:
        settings, connection = self._settings, self.connection
        names = ["PIPELINING", f"SIZE {settings.max_message_bytes}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if settings.has_tls and not connection.tls:
            names.append("STARTTLS")
        if self._may_authenticate() and not connection.login_method:
            names.append(f"AUTH {' '.join(METHODS)}")
        if self._may_forward:
            names += ["XCLIENT NAME ADDR PORT PROTO HELO LOGIN", "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"]
        return names

    def _may_authenticate(self) -> bool:
        return self._settings.has_auth and bool(self.connection.tls or self._settings.auth_without_tls)

    def _mail(self, argument: str) -> Event | None:
        if not self._helo:
            return self._fault(503, "5.5.1", "Say EHLO first")
        if self._has_mail:
            return self._fault(503, "5.5.1", "A transaction is open; RSET ends it")
        try:
            path, parameters = read_path(argument, "FROM")
        except SyntaxFault as fault:
            return self._fault(501, "5.5.4", str(fault))
        return self._check_mail(path, parameters)

    def _check_mail(self, path: str, parameters: tuple[str, ...]) -> Event | None:
        if parameters and not self._is_esmtp:
            return self._fault(555, "5.5.4", "Parameters need EHLO")
        kept: list[str] = []
        for one in parameters:
            name, _, value = one.partition("=")
            match name.upper():
                case "SIZE" if value.isdigit():
                    if len(value) > 15 or int(value) > self._settings.max_message_bytes:
                        return self._fault(552, "5.3.4", "Message is larger than this server takes")
                    if self._room.used_bytes + int(value) > self._room.limit_bytes:
                        return self._fault(452, "4.3.1", "No room for this message now; try again later")
                case "BODY" if value.upper() in _BODY_VALUES:
                    kept.append(one)
                case "SMTPUTF8" if not value:
                    kept.append(one)
                case "AUTH":
                    pass
                case _:
                    return self._fault(555, "5.5.4", f"Unknown parameter {name[:40]}")
        self._has_utf8 = any(one.upper() == "SMTPUTF8" for one in kept)
        if not path.isascii() and not self._has_utf8:
            return self._fault(550, "5.6.7", "An address outside ASCII needs SMTPUTF8")
        return MailAsked(path, tuple(kept))

    def _rcpt(self, argument: str) -> Event | None:
        if not self._has_mail:
            return self._fault(503, "5.5.1", "Say MAIL first")
        if self._recipients + self._refused_recipients >= self._settings.max_recipients:
            return self._fault(452, "4.5.3", "Too many recipients")
        try:
            path, parameters = read_path(argument, "TO")
        except SyntaxFault as fault:
            return self._fault(501, "5.5.4", str(fault))
        if parameters:
            return self._fault(555, "5.5.4", f"Unknown parameter {parameters[0][:40]}")
        if not is_address(path):
            return self._fault(501, "5.1.3", "The address has no domain")
        if not path.isascii() and not self._has_utf8:
            return self._fault(553, "5.6.7", "An address outside ASCII needs SMTPUTF8")
        return RcptAsked(path)

    def _data_begins(self, argument: str) -> Event | None:
        if argument:
            return self._fault(501, "5.5.4", "DATA takes no argument")
        if not self._has_mail:
            return self._fault(503, "5.5.1", "Say MAIL first")
        if not self._recipients:
            return self._fault(554, "5.5.1", "No valid recipients")
        self._data = DataReader(self._settings.max_message_bytes, self._settings.max_line_bytes, self._room)
        self._say(354, "", "End data with <CR><LF>.<CR><LF>")
        return None

    def _rset(self, argument: str) -> Event | None:
        had_transaction = self._has_mail
        self._forget_transaction()
        self._say(250, "2.0.0", "Ok")
        return Reset() if had_transaction else None

    def _noop(self, argument: str) -> Event | None:
        self._say(250, "2.0.0", "Ok")
        return None

    def _help(self, argument: str) -> Event | None:
        self._say(214, "2.0.0", "See RFC 5321")
        return None

    def _vrfy(self, argument: str) -> Event | None:
        self._say(252, "2.5.2", "Send some mail, and it will be seen")
        return None

    def _quit(self, argument: str) -> Event | None:
        self._say(221, "2.0.0", "Bye")
        self._close()
        return Closed()

    def _starttls(self, argument: str) -> Event | None:
        if not self._settings.has_tls:
            return self._fault(502, "5.5.1", "TLS is not configured")
        if self.connection.tls:
            return self._fault(503, "5.5.1", "TLS is already there")
        if argument:
            return self._fault(501, "5.5.4", "STARTTLS takes no argument")
        self.forget_input()
        self._say(220, "2.0.0", "Go on")
        return TlsAsked()

    def _auth(self, argument: str) -> Event | None:
        method, _, initial = argument.partition(" ")
        if not self._settings.has_auth:
            return self._fault(502, "5.5.1", "AUTH is not configured")
        if not self._may_authenticate():
            return self._fault(530, "5.7.0", "Say STARTTLS first")
        if self._has_mail or self.connection.login_method or not self._is_esmtp:
            return self._fault(503, "5.5.1", "Not now")
        if method.upper() not in METHODS:
            return self._fault(504, "5.5.4", "PLAIN and LOGIN are known")
        dialog = AuthDialog(method.upper())
        if initial:
            return self._go_on_with(dialog, b"" if initial == "=" else initial.encode())
        return self._prompt(dialog)

    def _prompt(self, dialog: AuthDialog) -> Event | None:
        self._dialog = dialog
        self._output.append(f"334 {dialog.prompt}\r\n".encode())
        return None

    def _go_on_with(self, dialog: AuthDialog, line: bytes) -> Event | None:
        try:
            asked = dialog.take(line)
        except SyntaxFault as fault:
            return self._fault(501, "5.5.2", str(fault))
        return asked or self._prompt(dialog)

    def _xclient(self, argument: str) -> Event | None:
        """Postfix's XCLIENT: who the client of the trusted host really is; the session starts anew."""
        if not self._may_forward:
            return self._fault(550, "5.7.0", "Not authorized for XCLIENT")
        if self._has_mail:
            return self._fault(503, "5.5.1", "Not within a transaction")
        try:
            found = read_attributes(argument)
        except SyntaxFault as fault:
            return self._fault(501, "5.5.4", str(fault))
        self.has_xclient = True
        if "ADDR" in found:
            # Another client: nothing that was known of the one before is true of it.
            self._change(client_name="", helo="", login="", login_method="")
        self._change(**{_ATTRIBUTES[name]: value for name, value in found.items() if name in _ATTRIBUTES})
        self._start_anew()
        self._say(220, "", f"{self._settings.hostname} ESMTP Penstock")
        return None

    def _xforward(self, argument: str) -> Event | None:
        """Postfix's XFORWARD: the client of the host that proxies; relaying stays that host's own right."""
        if not self._may_forward:
            return self._fault(550, "5.7.0", "Not authorized for XFORWARD")
        try:
            found = read_attributes(argument)
        except SyntaxFault as fault:
            return self._fault(501, "5.5.4", str(fault))
        found.pop("LOGIN", None)
        self._change(**{_ATTRIBUTES[name]: value for name, value in found.items() if name in _ATTRIBUTES})
        self._say(250, "2.0.0", "Ok")
        return None

    # Small steps.

    def _change(self, **facts: str) -> None:
        self.connection = replace(self.connection, **facts)

    def _start_anew(self) -> None:
        self._helo = ""
        self._is_esmtp = False
        self._dialog = None
        self._forget_transaction()

    def _say(self, code: int, enhanced: str, text: str) -> None:
        self._output.append(f"{Reply(code, enhanced, text).line()}\r\n".encode("utf-8", "replace"))

    def _fault(self, code: int, enhanced: str, text: str) -> Event | None:
        self._say(code, enhanced, text)
        return self._count_error()

    def _count_error(self) -> Event | None:
        self._errors += 1
        if self._errors < self._settings.max_errors:
            return None
        self._say(421, "4.7.0", "Too many errors")
        self._close()
        return Closed()

    def _close(self) -> None:
        self._is_closed = True
        self._input.clear()
        self._let_go()


class _More:
    """More bytes are needed."""


_MORE = _More()
_COMMANDS: dict[str, Callable[[SmtpServer, str], Event | None]] = {
    "EHLO": lambda server, argument: server._greet(argument, is_esmtp=True),
    "HELO": lambda server, argument: server._greet(argument, is_esmtp=False),
    "MAIL": SmtpServer._mail,
    "RCPT": SmtpServer._rcpt,
    "DATA": SmtpServer._data_begins,
    "RSET": SmtpServer._rset,
    "NOOP": SmtpServer._noop,
    "HELP": SmtpServer._help,
    "VRFY": SmtpServer._vrfy,
    "QUIT": SmtpServer._quit,
    "STARTTLS": SmtpServer._starttls,
    "AUTH": SmtpServer._auth,
    "XCLIENT": SmtpServer._xclient,
    "XFORWARD": SmtpServer._xforward,
}
