"""A small SMTP sink that counts what it took, and that can fail at a chosen stage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Sink:
    """Takes every message; `fail(stage, number)` may say `drop`, a reply line, or nothing."""

    def __init__(self, fail: Callable[[str, int], str] = lambda stage, number: "") -> None:
        self.messages: list[tuple[str, tuple[str, ...], bytes]] = []
        self.connections = 0
        self.commands: list[str] = []
        self._fail = fail
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Sink:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await asyncio.sleep(0.01)

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        try:
            await self._talk(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        sender, rcpts = "", []
        if not self._say(writer, "connect", "220 sink ESMTP"):
            return
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            verb = line.split(" ")[0].upper()
            self.commands.append(line)
            good = {
                "EHLO": "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 0",
                "DATA": "354 go on",
                "QUIT": "221 bye",
            }.get(verb, "250 2.0.0 Ok")
            if verb == "MAIL":
                sender, rcpts = line.partition("<")[2].partition(">")[0], []
            refused = self._fail(verb.lower(), len(self.messages))
            if verb == "DATA" and not rcpts:
                refused = refused or "554 5.5.1 no valid recipients"
            if refused == "drop":
                return
            writer.write(f"{refused or good}\r\n".encode())
            if verb == "RCPT" and not refused:
                rcpts.append(line.partition("<")[2].partition(">")[0])
            if verb == "DATA" and not refused:
                raw = await reader.readuntil(b"\r\n.\r\n")
                if self._fail("before-dot-reply", len(self.messages)) == "drop":
                    return
                self.messages.append((sender, tuple(rcpts), raw[:-3].replace(b"\r\n..", b"\r\n.")))
                if not self._say(writer, "dot", "250 2.0.0 Ok: queued"):
                    return
            if verb == "QUIT":
                return
            await writer.drain()

    def _say(self, writer: asyncio.StreamWriter, stage: str, good: str) -> bool:
        answer = self._fail(stage, len(self.messages))
        if answer == "drop":
            return False
        writer.write(f"{answer or good}\r\n".encode())
        return True
