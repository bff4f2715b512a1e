"""Microsoft's SNDS data: per IP and day how much was sent to Outlook.com, and what its filter made of it.

Columns as in SNDS' automated data access: IP, activity start and end, RCPT commands, DATA commands, recipients, filter
result (GREEN, YELLOW, RED), complaint rate, trap period start and end, trap hits, sample HELO, sample
MAIL FROM, comment. So it was until Microsoft moved SNDS to another portal in June 2026; nothing that we found says
whether the new one has other columns.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from msgspec import Struct

_FEWEST_COLUMNS = 7
_SEVERITY = {"GREEN": 0, "YELLOW": 1, "RED": 2}


class SndsRow(Struct, frozen=True):
    """One IP on one day."""

    ip: str
    began: str
    ended: str
    recipients: int
    verdict: str
    """GREEN below 10 % spam, YELLOW below 90 %, RED above; empty where too little was sent."""
    complaint_rate: str
    """As Microsoft writes it, e.g. `< 0.1%`."""
    traps: int
    helo: str
    mail_from: str
    comment: str

    @property
    def severity(self) -> int:
        """How bad it is, from 0; a trap hit is as bad as the worst verdict."""
        return 3 if self.traps else _SEVERITY.get(self.verdict, 0)


def read_snds(rows: Iterable[list[str]]) -> list[SndsRow]:
    """Read rows of SNDS' CSV. Raises ValueError with the row that is none."""
    found = []
    for number, row in enumerate(rows, 1):
        if not row or (number == 1 and "ip" in row[0].lower()):
            continue
        try:
            ip = str(ipaddress.ip_address(row[0].strip()))
        except ValueError:
            raise ValueError(f'row {number}: "{row[0][:60]}" is no IP address, so this is no SNDS data') from None
        if len(row) < _FEWEST_COLUMNS:
            raise ValueError(f"row {number} has {len(row)} columns; SNDS data has 14")
        cells = [one.strip() for one in row] + [""] * 14
        found.append(
            SndsRow(
                ip,
                cells[1],
                cells[2],
                _number(cells[5]),
                cells[6].upper(),
                cells[7],
                _number(cells[10]),
                cells[11],
                cells[12],
                cells[13],
            )
        )
    return found


def _number(text: str) -> int:
    plain = text.replace(",", "")
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) < 16 else 0
