"""Real senders with their real times, and the abuse that is put among them, from mail that a person has.

Mail is read from a folder of mboxes and Maildirs (one owner each), or from the project's corpus archives. It is cut in
two halves by owner and by campaign: thresholds and weights may be set on `tune`, figures are reported on `report`.
"""

from __future__ import annotations

import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct
from xxhash import xxh3_64_intdigest

from penstock.evaluation.letters import Letter, read_letter

Half = Literal["tune", "report", "all"]
WEEK_S = 7 * 86400.0
MONDAY = 4 * 86400.0
"""Unix time began on a Thursday."""
FEWEST_LETTERS = 6
"""In a window, for it to make an account."""
_MBOX_LINE = re.compile(rb"^From .*\n", re.MULTILINE)
_NOT_LETTERS = re.compile(r"[^a-z]+")


class Window(Struct, frozen=True):
    """Some weeks of one owner's real sent mail: an account to be."""

    owner: str
    began: float
    """A Monday, 00:00 UTC."""
    letters: tuple[Letter, ...]
    """In order of time."""


class Mail(Struct, frozen=True):
    """What a trace is made of."""

    windows: tuple[Window, ...]
    abuse: tuple[Letter, ...]
    """One letter per campaign."""
    newsletters: tuple[Letter, ...]
    """Legitimate bulk mail."""
    foreign: tuple[Letter, ...]
    """Legitimate mail of senders that make no account: what placebos are written with."""


def half_of(name: str) -> Half:
    """Which half a name (an owner, or a campaign's subject) belongs to, by its hash."""
    return "report" if xxh3_64_intdigest(name.encode()) & 1 else "tune"


def campaign_name(subject: str) -> str:
    """What near-copies of one abuse letter share: the letters of its subject, without Re: and Fw:."""
    words = [word for word in _NOT_LETTERS.split(subject.lower()) if word not in ("re", "fw", "fwd", "aw", "")]
    return " ".join(words[:6])


def read_corpus(folder: Path, *, days: int, half: Half = "report") -> Mail:
    """One half of the corpus archives (`enron`, `lists`, `spamassassin`, as .tar.xz or unpacked) as owners and abuse.

    Raises FileNotFoundError where an archive is missing.
    """
    owners: dict[str, list[Letter]] = defaultdict(list)
    abuse: list[Letter] = []
    newsletters: list[Letter] = []
    for name, raw in _members(folder, "enron"):
        owner = Path(name).stem
        if name.endswith(".mbox") and _wanted(owner, half):
            owners[owner] += _letters(split_mbox(raw), owner)
    for collection in ("lists", "spamassassin"):
        for name, raw in _members(folder, collection):
            kind = Path(name).parent.name
            if kind.startswith("spam") and kind != "spamassassin":
                abuse += _letters([raw], collection)
            elif kind == "hard_ham":
                newsletters += _letters([raw], collection)
            elif kind in ("ham", "easy_ham", "easy_ham_2"):
                for letter in _letters([raw], collection):
                    owners[letter.sender].append(letter)
    return _mail(owners, abuse, newsletters, days, half)


def read_mailboxes(owners: Path, abuse: Path, *, days: int, half: Half = "all") -> Mail:
    """Owners from a folder whose files are mboxes and whose folders are Maildirs, abuse likewise.

    Raises FileNotFoundError where one of the two is missing.
    """
    good = {box.stem: list(_letters(_box(box), box.stem)) for box in _boxes(owners)}
    bad = [letter for box in _boxes(abuse) for letter in _letters(_box(box), box.stem)]
    return _mail(good, bad, [letter for letters in good.values() for letter in letters if letter.is_list], days, half)


def _boxes(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder of mailboxes")
    return [path for path in sorted(folder.iterdir()) if path.suffix == ".mbox" or (path / "cur").is_dir()]


def _box(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        for name in ("cur", "new"):
            yield from (one.read_bytes() for one in sorted((path / name).glob("*")) if one.is_file())
    else:
        yield from split_mbox(path.read_bytes())


def split_mbox(data: bytes) -> list[bytes]:
    """The messages of an mbox whose `From ` lines inside texts are quoted with `>`."""
    starts = [
        found for found in _MBOX_LINE.finditer(data) if found.start() == 0 or data[found.start() - 2 :][:1] == b"\n"
    ]
    ends = [*(found.start() for found in starts[1:]), *([len(data)] if starts else [])]
    return [data[found.end() : end].replace(b"\n>From ", b"\nFrom ") for found, end in zip(starts, ends, strict=True)]


def _members(folder: Path, name: str) -> Iterator[tuple[str, bytes]]:
    archive = folder / f"{name}.tar.xz"
    if (folder / name).is_dir():
        for path in sorted((folder / name).rglob("*")):
            if path.is_file():
                yield str(path.relative_to(folder)), path.read_bytes()
        return
    if not archive.is_file():
        raise FileNotFoundError(f"{folder} holds neither {name}/ nor {archive.name}; name the corpus's folder")
    with tarfile.open(archive, "r|xz") as members:
        for member in members:
            file = members.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()


def _letters(raws: Iterable[bytes], origin: str) -> Iterator[Letter]:
    for raw in raws:
        letter = read_letter(raw, origin)
        if letter is not None:
            yield letter


def _wanted(name: str, half: Half) -> bool:
    return half in ("all", half_of(name))


def _mail(
    owners: dict[str, list[Letter]], abuse: list[Letter], newsletters: list[Letter], days: int, half: Half
) -> Mail:
    windows: list[Window] = []
    foreign: list[Letter] = []
    for owner in sorted(owners):
        if _wanted(owner, half):
            found = cut_windows(owner, owners[owner], days)
            windows += found
            foreign += [] if found else owners[owner]
    campaigns: dict[str, Letter] = {}
    for letter in sorted(abuse, key=lambda one: (one.at, one.message_id)):
        name = campaign_name(letter.subject_line) or letter.message_id
        if _wanted(name, half):
            campaigns.setdefault(name, letter)
    return Mail(
        tuple(windows),
        tuple(campaigns.values()),
        tuple(one for one in newsletters if _wanted(one.sender, half)),
        tuple(sorted(foreign, key=lambda one: (one.at, one.message_id))),
    )


def cut_windows(owner: str, letters: list[Letter], days: int) -> list[Window]:
    """Cut one owner's mail at Mondays into windows of `days`; those with too little mail are left out.

    Only letters of the owner's most usual sender address count: secretaries and robots share some mailboxes.
    """
    usual = Counter(letter.sender for letter in letters).most_common(1)
    mine = sorted(
        (letter for letter in letters if usual and letter.sender == usual[0][0] and letter.recipients),
        key=lambda one: (one.at, one.message_id),
    )
    windows: list[Window] = []
    held: list[Letter] = []
    began = 0.0
    for letter in mine:
        if not held or letter.at >= began + days * 86400:
            if len(held) >= FEWEST_LETTERS:
                windows.append(Window(owner, began, tuple(held)))
            held = []
            began = letter.at - (letter.at - MONDAY) % WEEK_S
        held.append(letter)
    if len(held) >= FEWEST_LETTERS:
        windows.append(Window(owner, began, tuple(held)))
    return windows
