"""Messages that a person has: an mbox, a Maildir, a folder of files, or one file."""

from __future__ import annotations

import mailbox
from collections.abc import Iterator
from pathlib import Path

LARGEST_BYTES = 50 * 1024 * 1024
"""Files beyond are left out."""


def is_mailbox(source: Path) -> bool:
    """Whether it is a folder or an mbox, and not a single file."""
    if source.is_dir():
        return True
    with source.open("rb") as file:
        return file.read(5) == b"From "


def messages(source: Path) -> Iterator[bytes]:
    """The raw messages in a source, in a fixed order. Raises OSError."""
    if source.is_dir():
        is_maildir = (source / "cur").is_dir()
        files = [path for name in ("cur", "new") for path in sorted((source / name).glob("*"))] if is_maildir else []
        for path in files or sorted(one for one in source.rglob("*") if one.is_file()):
            if path.stat().st_size <= LARGEST_BYTES:
                yield path.read_bytes()
    elif is_mailbox(source):
        box = mailbox.mbox(source, create=False)
        for key in box.iterkeys():
            yield box.get_bytes(key)
    else:
        yield source.read_bytes()
