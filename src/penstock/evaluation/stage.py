"""The stage on which a trace is played: people with addresses, networks and contacts, and the folder that is written.

Everything random comes from one generator with a seed, so that the same call writes the same trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Literal

import msgspec
from msgspec import Struct
from xxhash import xxh3_64_hexdigest

from penstock.evaluation.letters import Letter, write
from penstock.evaluation.trace import (
    EVENTS_FILE,
    ComplaintSeen,
    DeliverySeen,
    LoginSeen,
    MessageSent,
    PasswordChanged,
    Source,
    TraceEvent,
)

HOUR, DAY = 3600.0, 86400.0
CLIENTS = (
    "Thunderbird 128",
    "Apple Mail (2.3826)",
    "Outlook 16.0",
    "Roundcube 1.6",
    "K-9 Mail",
    "Mutt 2.2",
    "eM Client",
)
BAD_REPLIES = (
    "550 5.1.1 <{rcpt}>: Recipient address rejected: User unknown",
    "550 5.1.1 The email account that you tried to reach does not exist",
    "553 5.3.0 {rcpt}... No such user here",
    "550 5.1.10 Recipient not found",
)
WORDS = (
    *("amber", "basin", "canal", "delta", "ember", "field", "glade", "harbor", "inlet", "jetty", "knoll", "lagoon"),
    *("marsh", "north", "orchard", "pier", "quarry", "ridge", "shore", "tower", "upland", "valley", "wharf", "yonder"),
    *("acre", "barn", "copse", "dune", "estuary", "fen", "gorge", "heath", "isle", "juniper", "kiln", "ledge", "mill"),
)


class Person(Struct):
    """An account and the one who owns it."""

    account: str
    address: str
    name: str
    home: Source
    roaming: Source
    letters: list[tuple[float, Letter]]
    """What the owner really sends, at the time it is sent in the trace."""
    busy_until: float = 0.0
    """An incident holds the account until then."""
    moved: tuple[float, Source] | None = None
    """From a time on, the owner sends from another network and program."""

    def source_at(self, t: float, rng: Random) -> Source:
        """Where the owner sends from at a time: three times in four from home."""
        if self.moved is not None and t >= self.moved[0]:
            return self.moved[1]
        return self.roaming if rng.random() < 0.25 else self.home

    def contacts(self, before: float) -> list[str]:
        """Everybody the owner has written to before a time, most recent first."""
        seen = [to for t, letter in reversed(self.letters) if t < before for to in letter.recipients]
        return list(dict.fromkeys(seen))


class Play(Struct, frozen=True):
    """What all messages of one campaign, or of one hard negative, have in common."""

    account: str
    sender: str
    """Envelope sender and address in From."""
    name: str
    source: Source
    truth: str = "legit"
    model: str | None = None
    campaign: str | None = None
    invalid_share: float = 0.006
    complaint_share: float = 0.0002
    """Of delivered recipients."""


class Stage:
    """Collects the events of a trace and writes its folder."""

    def __init__(self, folder: Path, *, seed: int, began: float, days: int) -> None:
        """Raises FileExistsError where the folder already holds a trace."""
        if (folder / EVENTS_FILE).exists():
            raise FileExistsError(f"{folder} already holds a trace")
        self.rng = Random(seed)  # noqa: S311 - a trace must be the same again, not secret
        self.began = began
        self.ended = began + days * DAY
        self._folder = folder
        self._seed = seed
        self._events: list[TraceEvent] = []
        self._files: set[str] = set()
        self._messages = 0

    def source(self, client: str = "") -> Source:
        """A network that nobody else uses, with a mail program."""
        rng = self.rng
        ip = f"{rng.randint(11, 99)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"
        client = client or rng.choice(CLIENTS)
        return Source(ip, rng.choice((f"[{ip}]", f"{rng.choice(WORDS)}-pc", "localhost.localdomain")), client)

    def person(self, index: int, letters: list[tuple[float, Letter]]) -> Person:
        """A new account of one of the provider's tenants."""
        address = f"u{index:05d}@{WORDS[index // 12 % len(WORDS)]}{index // 12}.example"
        home = self.source()
        roaming = Source(self.source().ip, home.helo, home.client)
        name = letters[0][1].name if letters else f"User {index}"
        return Person(f"sasl:{address}", address, name or f"User {index}", home, roaming, letters)

    def send(
        self,
        t: float,
        play: Play,
        rcpt_to: Sequence[str],
        letter: Letter,
        *,
        shown: Sequence[str] | None = None,
        mail_from: str | None = None,
        extra: Sequence[tuple[str, str]] = (),
        bounced: Sequence[str] = (),
    ) -> None:
        """One message and what becomes of it; `shown` are the addresses of To, by default the recipients."""
        if t >= self.ended or not rcpt_to:
            return
        self._messages += 1
        id = f"m{self._messages}"
        raw = write(
            letter,
            sender=play.sender,
            name=play.name,
            at=t,
            shown=rcpt_to if shown is None else shown,
            client=play.source.client,
            extra=extra,
            seed=f"{self._seed}|{play.account}",
        )
        self._events.append(
            MessageSent(
                round(t, 3),
                id,
                play.account,
                play.sender if mail_from is None else mail_from,
                tuple(rcpt_to),
                self._keep(raw),
                "abuse" if play.truth == "abuse" else "legit",
                play.source,
                play.model,
                play.campaign,
            )
        )
        self._replies(t, id, play, rcpt_to, set(bounced))

    def _replies(self, t: float, id: str, play: Play, rcpt_to: Sequence[str], bounced: set[str]) -> None:
        rng = self.rng
        for rcpt in rcpt_to:
            if rcpt in bounced or rng.random() < play.invalid_share:
                reply = rng.choice(BAD_REPLIES).format(rcpt=rcpt)
                self._events.append(DeliverySeen(round(t + rng.uniform(3, 60), 3), id, rcpt, "bounced", reply))
                continue
            self._events.append(DeliverySeen(round(t + rng.uniform(1, 30), 3), id, rcpt, "delivered", "250 2.0.0 OK"))
            if rng.random() < play.complaint_share:
                self._events.append(ComplaintSeen(round(t + rng.uniform(HOUR, 30 * HOUR), 3), id))

    def login(
        self,
        t: float,
        account: str,
        source: Source,
        service: Literal["smtp", "imap", "web"] = "smtp",
        *,
        ok: bool = True,
    ) -> None:
        """Somebody logs in."""
        self._events.append(LoginSeen(round(t, 3), account, source, service, ok))

    def password(self, t: float, account: str) -> None:
        """The owner has the account again."""
        self._events.append(PasswordChanged(round(t, 3), account))

    def _keep(self, raw: bytes) -> str:
        digest = xxh3_64_hexdigest(raw)
        name = f"msgs/{digest[:2]}/{digest}.eml"
        if name not in self._files:
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
            self._files.add(name)
        return name

    def close(self) -> int:
        """Write the events in order of time and return how many there are; those past the end are left out."""
        encoder = msgspec.json.Encoder()
        events = sorted((one for one in self._events if one.t < self.ended), key=lambda one: one.t)
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / EVENTS_FILE).open("wb") as out:
            out.writelines(encoder.encode(one) + b"\n" for one in events)
        return len(events)
