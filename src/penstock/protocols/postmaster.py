"""Postmaster data as CSV, as of Gmail's Postmaster Tools: by day and domain, or by Feedback-ID, who was called spam.

Columns are known by their names, in any order, spelling (`userReportedSpamRatio`, `User-reported spam rate`) and case;
others are left out. A rate is a share (`0.0012`) or a percentage (`0.12%`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

ADVISED = 0.001
"""Gmail's guidelines for senders want the rate of mail that users call spam below this …"""
WORST = 0.003
"""… and never at this."""
_NAMES: Mapping[str, tuple[str, ...]] = {
    "day": ("date", "day", "statdate"),
    "domain": ("domain", "domainname", "sendingdomain"),
    "identifier": ("identifier", "feedbackid", "feedbackloopid", "fblid", "fblidentifier", "id"),
    "spam_rate": ("userreportedspamratio", "userreportedspamrate", "spamrate", "spamratio", "complaintrate"),
    "reputation": ("domainreputation", "ipreputation", "reputation"),
    "ip": ("ip", "ipaddress", "sampleip"),
}
_SEVERITY = {"BAD": 3, "LOW": 2, "MEDIUM": 1}
_OTHER = re.compile(r"[^a-z0-9]+")


class PostmasterRow(Struct, frozen=True):
    """One line of such data."""

    day: str = ""
    domain: str = ""
    identifier: str = ""
    """A field of Feedback-ID; Penstock's first one stands for an account."""
    ip: str = ""
    spam_rate: float | None = None
    """Share of messages that users called spam; None where it is not told."""
    reputation: str = ""
    """HIGH, MEDIUM, LOW or BAD; empty where it is not told."""

    @property
    def severity(self) -> int:
        """How bad it is, from 0 to 3."""
        rate = self.spam_rate or 0.0
        by_rate = 3 if rate >= WORST else 2 if rate >= ADVISED else 0
        return max(by_rate, _SEVERITY.get(self.reputation, 0))


def read_postmaster(rows: Iterable[list[str]]) -> list[PostmasterRow]:
    """Read rows of a CSV file, of which the first names the columns. Raises ValueError where it is no such data."""
    places: dict[str, int] | None = None
    found = []
    for number, row in enumerate(rows, 1):
        if not any(cell.strip() for cell in row):
            continue
        if places is None:
            places = _places(row)
            continue
        cells = {name: row[at].strip() for name, at in places.items() if at < len(row)}
        rate = cells.pop("spam_rate", "")
        cells["reputation"] = cells.get("reputation", "").upper().rpartition("_")[2]
        found.append(PostmasterRow(**cells, spam_rate=_share(rate, number)))
    return found


def _places(header: list[str]) -> dict[str, int]:
    plain = [_OTHER.sub("", cell.lower()) for cell in header]
    places = {name: plain.index(one) for name, known in _NAMES.items() for one in known[::-1] if one in plain}
    if not places.keys() & {"spam_rate", "reputation"}:
        shown = ", ".join(cell.strip()[:30] for cell in header[:8])
        raise ValueError(f'row 1 ("{shown}") names no spam rate and no reputation, so this is no postmaster data')
    return places


def _share(text: str, row: int) -> float | None:
    if not text or text in ("-", "N/A", "n/a"):
        return None
    number, scale = (text[:-1], 0.01) if text.endswith("%") else (text, 1.0)
    try:
        share = float(number.strip().lstrip("<~").replace(",", ".")) * scale
    except ValueError:
        raise ValueError(f'row {row}: "{text[:40]}" is no rate; wanted is 0.0012 or 0.12%') from None
    if not 0.0 <= share <= 1.0:
        raise ValueError(f'row {row}: "{text[:40]}" is no rate between 0 and 100 %')
    return share
