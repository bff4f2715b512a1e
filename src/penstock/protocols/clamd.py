"""ClamAV's protocol: `zINSTREAM` with the message in chunks, one reply, then the server closes (clamd(8))."""

from __future__ import annotations

import struct

from penstock.model import Opinion

_CHUNK = 64 * 1024
_LENGTH = struct.Struct("!I")


def stream_request(raw: bytes) -> bytes:
    """Ask whether a message holds anything that has a signature."""
    parts = [b"zINSTREAM\0"]
    for at in range(0, len(raw), _CHUNK):
        chunk = raw[at : at + _CHUNK]
        parts += [_LENGTH.pack(len(chunk)), chunk]
    return b"".join([*parts, _LENGTH.pack(0)])


def read_reply(data: bytes) -> Opinion:
    """What clamd said. Raises ValueError where it is no whole reply, or one that says it failed."""
    line, end, _ = data.replace(b"\n", b"\0").partition(b"\0")
    text = line.strip().decode("utf-8", "replace")
    if not end or not text.startswith("stream:"):
        raise ValueError(f"no reply of clamd: {data[:100]!r}")
    said = text.removeprefix("stream:").strip()
    if said == "OK":
        return Opinion("clamav")
    if said.endswith(" FOUND"):
        return Opinion("clamav", found=said.removesuffix(" FOUND").strip()[:100] or "unnamed")
    raise ValueError(f"clamd answers {text[:100]!r}")
