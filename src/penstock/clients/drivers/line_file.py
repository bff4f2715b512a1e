"""A file with one line for each name that is shut, for mail servers to look up. It changes whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from penstock.clients.drivers.driver import Refused, Unavailable

_LONGEST = 320


def checked(name: str, more: str = "") -> str:
    """A name that is one word of a line, lower case.

    Raises Refused for what would be two words, two lines, a comment, or has one of the signs in `more`.
    """
    is_word = name.isprintable() and not any(one.isspace() for one in name)
    if not name or not is_word or len(name) > _LONGEST or name[0] in "#!;" or any(one in name for one in more):
        raise Refused(f"{name!r:.80} cannot be written as a name")
    return name.lower()


class LineFile:
    """One file. Lines that others wrote stay."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, name: str, line: str) -> bool:
        """Make this the name's line; whether that changed anything. Raises Unavailable."""
        return self._change(name, line)

    def take(self, name: str) -> bool:
        """Remove the name's line; whether there was one. Raises Unavailable."""
        return self._change(name, None)

    def _change(self, name: str, line: str | None) -> bool:
        try:
            before = self.path.read_text("utf-8").splitlines() if self.path.exists() else None
            kept = [one for one in before or [] if _name_of(one) != name]
            after = kept if line is None else [*kept, line]
            if before is not None and sorted(before) == sorted(after):
                return False
            self._write("".join(f"{one}\n" for one in after))
        except (OSError, UnicodeDecodeError) as trouble:
            raise Unavailable(f"{self.path}: {trouble}") from None
        return True

    def _write(self, text: str) -> None:
        """A new file takes the old one's place, with its owner and mode, once it is on disk."""
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        number, fresh = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(number, 0o644)
                if self.path.exists():
                    old = self.path.stat()
                    os.fchmod(number, old.st_mode & 0o777)
                    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()) and os.geteuid() == 0:
                        os.fchown(number, old.st_uid, old.st_gid)
                os.fsync(number)
            Path(fresh).replace(self.path)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _name_of(line: str) -> str:
    return line.split(None, 1)[0].lower() if line.strip() else ""
