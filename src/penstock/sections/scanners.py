"""The settings of other scanners that are asked about each message."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from penstock.sections.fields import Address, Section

Points = list[tuple[float, float]]


def _rising(points: Points) -> Points:
    if len(points) == 1:
        raise ValueError("points: one point is no line; write at least two, [[share, nats], …], or none")
    if any(x0 >= x1 or y0 > y1 for (x0, y0), (x1, y1) in pairwise(points)):
        raise ValueError("points: shares must rise, and nats must not fall; write e.g. [[0.0, -1.5], [1.0, 4.0]]")
    if any(abs(nats) > 10 for _, nats in points):
        raise ValueError("points: nats lie between -10 and 10")
    return points


class RspamdSection(Section):
    """Rspamd, asked over HTTP (/checkv2)."""

    address: Address | Literal[""] = ""
    """Of its normal worker, e.g. "127.0.0.1:11333"; empty: not asked."""
    password: str = Field("", repr=False)
    """Where it wants one."""
    weight: float = Field(0.5, ge=0, le=10)
    """Beside Penstock's own log-odds, which weigh 1."""
    points: Annotated[Points, AfterValidator(_rising)] = []
    """What a score means: [[share of the score that it requires, nats], …]; empty means a sane default."""


class SpamassassinSection(Section):
    """SpamAssassin, asked by spamd's protocol (SPAMC/1.5)."""

    address: Address | Literal[""] = ""
    """Of spamd, e.g. "127.0.0.1:783"; empty: not asked."""
    user: str = ""
    """Whose preferences count, where spamd has some."""
    weight: float = Field(0.5, ge=0, le=10)
    """Beside Penstock's own log-odds, which weigh 1."""
    points: Annotated[Points, AfterValidator(_rising)] = []
    """What a score means: [[share of the score that it requires, nats], …]; empty means a sane default."""


class ClamavSection(Section):
    """ClamAV, asked by clamd's protocol (INSTREAM)."""

    address: Address | Literal[""] = ""
    """Of clamd, e.g. "unix:/run/clamav/clamd.ctl"; empty: not asked."""
    on_virus: Literal["hold", "reject", "accept"] = "reject"
    """What happens to a message with a virus; `accept` only notes it."""


class ScannersSection(Section):
    """Other scanners; none is needed, and nothing waits for one longer than the deadline."""

    deadline_s: float = Field(3.0, gt=0, le=15)
    """All are asked together, and have this long to answer; rspamd with network checks needs about a second."""
    max_bytes: int = Field(4_194_304, ge=1024)
    """Larger messages are judged without them; keep it below clamd's StreamMaxLength."""
    rspamd: RspamdSection = RspamdSection()
    spamassassin: SpamassassinSection = SpamassassinSection()
    clamav: ClamavSection = ClamavSection()
