"""A load generator for real messages and for latency: `python -m bench.source PORT SESSIONS COUNT RATE FOLDER|-`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop


async def session(port: int, messages: list[bytes], queue: asyncio.Queue[float], took: list[float]) -> None:
    """One client; takes start times from the queue, and notes what each message took from its due time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    await reader.readline()
    writer.write(b"EHLO bench\r\n")
    while (await reader.readline())[3:4] == b"-":
        pass
    number = 0
    while not queue.empty():
        due = queue.get_nowait()
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        start = max(due, time.perf_counter() - 5) if due else time.perf_counter()
        raw = messages[(number * 7 + id(writer)) % len(messages)]
        number += 1
        writer.write(b"MAIL FROM:<joe@example.com>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n")
        for _ in range(3):
            line = await reader.readline()
            assert line[:1] in b"23", line
        writer.write(raw)
        line = await reader.readline()
        assert line[:1] == b"2", line
        took.append(time.perf_counter() - start)
    writer.close()


async def main() -> None:
    port, sessions, count, rate = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    folder = sys.argv[5]
    messages = [one.read_bytes() for one in sorted(Path(folder).iterdir())] if folder != "-" else [four_kilobytes()]
    queue: asyncio.Queue[float] = asyncio.Queue()
    began = time.perf_counter() + 0.2
    for number in range(count):
        queue.put_nowait(began + number / rate if rate else 0.0)
    took: list[float] = []
    start = time.perf_counter()
    await asyncio.gather(*(session(port, messages, queue, took) for _ in range(sessions)))
    seconds = time.perf_counter() - start
    took.sort()
    print(json.dumps({"seconds": seconds, "p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)]}))


def four_kilobytes() -> bytes:
    """A plain letter of 4 KB, dot-stuffed, with its end."""
    line = b"This is an ordinary line of an ordinary letter, written to be as long as others are.\r\n"
    head = b"From: joe@example.com\r\nTo: ann@example.org\r\nSubject: letter\r\nMessage-ID: <1@bench>\r\n\r\n"
    return head + line * 46 + b".\r\n"


if __name__ == "__main__":
    uvloop.run(main())
