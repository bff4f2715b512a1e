"""A kept message as people may look at it without danger: its text, never its content as it would act."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from penstock.judge.message import parse
from penstock.judge.parsed import Attachment

_MOST_TEXT = 20_000
_MOST_HEADERS = 100


class Letter(Struct, frozen=True):
    """What a reader would see, as plain text."""

    headers: tuple[tuple[str, str], ...]
    text: str
    quoted: str
    hidden: str
    """Text that a reader would not see."""
    links: tuple[tuple[str, str], ...]
    """(what it says, where it leads); shown as text."""
    attachments: tuple[Attachment, ...]
    is_cut: bool


async def read_letter(raw: bytes) -> Letter:
    """Read a message in a thread, since it may be large."""
    return await asyncio.to_thread(_read, raw)


def _read(raw: bytes) -> Letter:
    parsed = parse(raw)
    links = dict.fromkeys((one.label, one.url) for one in parsed.links)
    return Letter(
        headers=parsed.headers[:_MOST_HEADERS],
        text=parsed.text[:_MOST_TEXT],
        quoted=parsed.quoted[:_MOST_TEXT],
        hidden=parsed.hidden_text[:_MOST_TEXT],
        links=tuple(links)[:100],
        attachments=parsed.attachments[:100],
        is_cut=len(parsed.text) > _MOST_TEXT,
    )
