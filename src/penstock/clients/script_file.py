"""A script's file: whether it is there, and still the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

_MOST_BYTES = 16 * 1024 * 1024
GONE = "gone"


def path_of(script: str) -> str:
    """Where a script lies: `1017:/home/x/mail.php` and `/home/x/mail.php` alike; empty where no path is known."""
    if script.startswith("/"):
        return script
    _, _, path = script.partition(":")
    return path if path.startswith("/") else ""


def fingerprint(path: str) -> str:
    """A hash of the file; `gone` where there is none, empty where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return GONE
    except (OSError, ValueError):
        return ""
    return hashlib.sha256(data).hexdigest()
