"""Labelled mail to learn from and to report on: the corpus archives, or any folder with a TREC index."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct
from xxhash import xxh3_64_intdigest

from penstock.evaluation.owners import Half, campaign_name, half_of, split_mbox

SOURCES = ("spamassassin", "lists", "enron")
_SUBJECT = re.compile(rb"^Subject:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_FROM = re.compile(rb"^From:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_ADDRESS = re.compile(r"[^\s<>\"]+@[^\s<>\"]+")


class Sample(Struct, frozen=True):
    """One labelled message."""

    source: str
    name: str
    raw: bytes
    is_abuse: bool
    group: str
    """What its near-copies and relatives share: the sender for legitimate mail, the campaign for abuse."""


def corpus_folder(given: Path | None = None) -> Path:
    """The corpus: `given`, else the environment's PENSTOCK_CORPUS, else `../shared/corpus` beside the working folder.

    Raises FileNotFoundError with what to set where there is none.
    """
    folder = given or Path(os.environ.get("PENSTOCK_CORPUS") or "../shared/corpus")
    if not any((folder / name).is_dir() or (folder / f"{name}.tar.xz").is_file() for name in SOURCES):
        raise FileNotFoundError(f"no corpus in {folder.absolute()}; set PENSTOCK_CORPUS to the folder of its archives")
    return folder


def read_samples(corpus: Path, sources: tuple[str, ...] = SOURCES, half: Half = "all") -> Iterator[Sample]:
    """The labelled messages of the sources in a fixed order, exact copies left out.

    `half` keeps the owners and campaigns of one half only, by the same rule as the traces of the account evaluation.
    Raises FileNotFoundError where a source is missing.
    """
    seen: set[int] = set()
    for source in sources:
        for name, raw in members(corpus, source):
            for sample in _samples(source, name, raw):
                digest = xxh3_64_intdigest(_body(sample.raw))
                if digest not in seen and half in ("all", half_of(sample.group)):
                    seen.add(digest)
                    yield sample


def members(corpus: Path, source: str) -> Iterator[tuple[str, bytes]]:
    """The files of a source, (path below the source, bytes), sorted by path; from its folder or its .tar.xz.

    Raises FileNotFoundError where there is neither.
    """
    folder, archive = corpus / source, corpus / f"{source}.tar.xz"
    if folder.is_dir():
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield path.relative_to(folder).as_posix(), path.read_bytes()
        return
    if not archive.is_file():
        raise FileNotFoundError(f"{corpus} holds neither {source}/ nor {archive.name}; name the corpus's folder")
    with tarfile.open(archive, "r:xz") as opened:
        files = {member.name.partition("/")[2]: opened.extractfile(member) for member in opened if member.isfile()}
        for name in sorted(files):
            file = files[name]
            if file is not None:
                yield name, file.read()


def read_index(index: Path) -> Iterator[tuple[bool, bytes]]:
    """(is abuse, raw message) for each line `spam|ham path` of a TREC index, in its order; paths are relative to it.

    Raises ValueError with the line's number where a line is neither.
    """
    for number, line in enumerate(index.read_text("utf-8", "surrogateescape").splitlines(), 1):
        label, _, path = line.strip().partition(" ")
        if label.lower() not in ("spam", "ham") or not path:
            if line.strip():
                raise ValueError(f'{index}:{number}: "{line[:80]}" is not "spam PATH" or "ham PATH"')
            continue
        yield label.lower() == "spam", (index.parent / path.strip()).read_bytes()


def _samples(source: str, name: str, raw: bytes) -> Iterator[Sample]:
    if source == "enron":
        owner = Path(name).stem
        for number, message in enumerate(split_mbox(raw)):
            yield Sample(source, f"{name}#{number}", message, False, owner)
        return
    kind = name.partition("/")[0]
    if "ham" in kind:
        yield Sample(source, name, raw, False, _sender(raw))
    elif kind.startswith("spam"):
        yield Sample(source, name, raw, True, _campaign(raw) or name)


def _sender(raw: bytes) -> str:
    found = _FROM.search(raw)
    address = _ADDRESS.search(found[1].decode("latin-1")) if found else None
    return address[0].lower() if address else ""


def _campaign(raw: bytes) -> str:
    found = _SUBJECT.search(raw)
    return campaign_name(found[1].decode("latin-1")) if found else ""


def _body(raw: bytes) -> bytes:
    end = raw.find(b"\n\n") if b"\r\n\r\n" not in raw else raw.find(b"\r\n\r\n")
    return raw[max(end, 0) :]
