"""Raw bytes to what a reader would see: headers, new text, quotes, links, attachments; bounded in time and depth."""

from __future__ import annotations

from collections import Counter

import xxhash

from penstock.judge.encodings import decode_text
from penstock.judge.headers import decode_words, first_address, read_addresses
from penstock.judge.html import read_page
from penstock.judge.links import addresses_in, links_in_text, make_link, phones_in, wallets_in
from penstock.judge.mime import Part, Walk, body_of
from penstock.judge.parsed import Attachment, Bounds, Link, Parsed
from penstock.judge.text import normalise, split_reply
from penstock.model import Finding

_DIGEST_BYTES = 1024 * 1024
_EXECUTABLE = frozenset(
    "exe scr com pif bat cmd vbs vbe js jse wsf wsh hta msi msp jar ps1 cpl lnk dll reg apk iso img vhd one url "
    "chm".split()
)
_ARCHIVE = frozenset("zip rar 7z gz tgz tar bz2 xz cab ace arj z lzh zst".split())
_MACRO = frozenset("docm xlsm pptm dotm xltm xlam xll".split())
_DOCUMENT = frozenset("pdf doc docx xls xlsx ppt pptx rtf odt ods odp csv txt".split())
_IMAGE = frozenset("jpg jpeg png gif bmp webp tif tiff svg heic ico".split())
_MAGIC = (
    (b"MZ", "executable"), (b"\x7fELF", "executable"), (b"PK\x03\x04", "archive"), (b"Rar!", "archive"),
    (b"7z\xbc\xaf", "archive"), (b"\x1f\x8b", "archive"), (b"%PDF", "document"), (b"\xd0\xcf\x11\xe0", "document"),
    (b"\x89PNG", "image"), (b"\xff\xd8\xff", "image"), (b"GIF8", "image"), (b"L\x00\x00\x00\x01\x14\x02", "executable"),
)  # fmt: skip


def parse(raw: bytes, bounds: Bounds | None = None) -> Parsed:
    """Read a message as its reader would. Never raises; garbage parses to something, with anomalies."""
    return _Reader(raw, bounds or Bounds()).read()


class _Reader:
    def __init__(self, raw: bytes, bounds: Bounds) -> None:
        self._bounds = bounds
        self._walk = Walk(raw, bounds)
        self._anomalies: Counter[str] = self._walk.anomalies
        self._room = bounds.max_text_chars
        self._budget = bounds.max_bytes
        self._new: list[str] = []
        self._quoted: list[str] = []
        self._signature: list[str] = []
        self._hidden: list[str] = []
        self._attached: list[str] = []
        self._links: list[Link] = []
        self._attachments: list[Attachment] = []
        self._has_html = False

    def read(self) -> Parsed:
        headers = self._headers()
        named = dict(reversed(headers))
        for part in self._walk.parts:
            self._part(part)
        subject, disguises = normalise(named.get("subject", ""))
        self._note(disguises)
        from_address, from_name = first_address((named.get("from", ""),))
        reply_to, _ = first_address((named.get("reply-to", ""),))
        self._links += links_in_text(subject, 5, where="subject")
        text = _joined(self._new)
        told = "\n".join((text, _joined(self._signature)))
        mailed = [link.url[7:].partition("?")[0].lower() for link in self._links if link.url[:7].lower() == "mailto:"]
        return Parsed(
            headers=headers,
            subject=subject,
            from_address=from_address.lower(),
            from_name=normalise(from_name)[0],
            reply_to=reply_to.lower(),
            message_id=named.get("message-id", "").strip("<> "),
            to=self._recipients(named),
            text=text,
            quoted=_joined(self._quoted),
            signature=_joined(self._signature),
            hidden_text=_joined(self._hidden),
            attached_text=_joined(self._attached),
            links=tuple(dict.fromkeys(self._links)),
            attachments=tuple(self._attachments),
            has_html=self._has_html,
            anomalies=tuple(Finding(name, "", count) for name, count in self._anomalies.items()),
            addresses=tuple(dict.fromkeys((*addresses_in(told), *(one for one in mailed if "@" in one)))),
            phones=tuple(phones_in(told)),
            wallets=tuple(wallets_in(told)),
        )

    def _headers(self) -> tuple[tuple[str, str], ...]:
        fields = self._walk.fields
        if len(fields) > self._bounds.max_headers:
            self._anomalies["too-many-headers"] += 1
        kept = fields[: self._bounds.max_headers]
        return tuple([(name, decode_words(value) if "=?" in value else value) for name, value in kept])

    def _recipients(self, named: dict[str, str]) -> tuple[str, ...]:
        found = [*read_addresses(named.get("to", "")), *read_addresses(named.get("cc", ""))]
        return tuple(dict.fromkeys(address.lower() for address, _ in found if "@" in address))

    def _part(self, part: Part) -> None:
        is_text = part.content_type in ("text/plain", "text/html", "text/enriched", "text/richtext", "text/x-amp-html")
        if not is_text or part.disposition == "attachment" or (part.filename and part.disposition != "inline"):
            self._attachment(part)
            return
        if self._room <= 0:
            self._anomalies["too-much-text"] += 1
            return
        # Four encoded bytes for a character is the most that common encodings need; markup needs more than text.
        limit = min(self._budget, self._room * (16 if part.content_type == "text/html" else 4))
        data, fault = body_of(part, limit)
        self._budget -= min(part.end - part.start, limit)
        self._note((fault,) if fault else ())
        text = decode_text(data, part.parameters.get("charset", "")).replace("\r\n", "\n").replace("\r", "\n")
        if part.content_type == "text/plain":
            self._plain(text[: self._room], part)
        else:
            self._html(text, part)

    def _plain(self, text: str, part: Part) -> None:
        text, disguises = normalise(text)
        self._note(disguises)
        split = split_reply(text)
        self._room -= len(text)
        if part.is_attached:
            self._attached.append(f"{part.attached_subject}\n{text}")
            self._add_links(links_in_text(text, self._links_left(), is_quoted=True))
            return
        self._new.append(split.new)
        self._quoted.append(split.quoted)
        self._signature.append(split.signature)
        self._add_links(links_in_text(split.new, self._links_left()))
        self._add_links(links_in_text(split.signature, self._links_left()))
        self._add_links(links_in_text(split.quoted, self._links_left(), is_quoted=True))

    def _html(self, text: str, part: Part) -> None:
        self._has_html = True
        page = read_page(text, max_chars=max(self._room, 1000), max_addresses=max(self._links_left(), 1))
        self._note(page.anomalies)
        seen, disguises = normalise(page.text)
        self._note(disguises)
        self._room -= len(seen) + len(page.quoted) + len(page.hidden)
        split = split_reply(seen)
        quoted = _joined([split.quoted, normalise(page.quoted)[0]])
        if part.is_attached:
            self._attached.append(f"{part.attached_subject}\n{seen}\n{quoted}")
        else:
            self._new.append(split.new)
            self._quoted.append(quoted)
            self._signature.append(split.signature)
            self._hidden.append(normalise(page.hidden)[0])
        self._add_links(
            [
                make_link(
                    one.url,
                    label=normalise(one.label)[0],
                    where=one.where,
                    is_quoted=one.is_quoted or part.is_attached,
                )
                for one in page.addresses
            ]
        )
        self._add_links(links_in_text(split.new, self._links_left(), is_quoted=part.is_attached))

    def _attachment(self, part: Part) -> None:
        size = part.end - part.start
        readable = min(size, self._budget)
        data, fault = body_of(part, readable)
        self._budget -= readable
        self._note((fault,) if fault else ())
        is_whole = readable == size and len(data) <= _DIGEST_BYTES * 8
        kind = kind_of(part.filename, part.content_type, data[:16])
        if kind == "executable" and part.filename.count(".") > 1:
            self._note(("double-extension",))
        self._attachments.append(
            Attachment(
                part.content_type,
                part.filename,
                len(data) if readable == size else size * 3 // 4,
                xxhash.xxh3_64_hexdigest(data) if is_whole else "",
                part.disposition == "inline" or bool(part.content_id),
                kind,
            )
        )
        if kind == "html" and self._room > 0:
            page = read_page(
                decode_text(data[: self._room * 8], part.parameters.get("charset", "")),
                max_chars=self._room,
                max_addresses=max(self._links_left(), 1),
            )
            self._room -= len(page.text)
            self._attached.append(normalise(page.text)[0])
            self._add_links([make_link(one.url, label=one.label, where="attachment") for one in page.addresses])

    def _links_left(self) -> int:
        return self._bounds.max_links - len(self._links)

    def _add_links(self, links: list[Link]) -> None:
        self._links += links[: max(0, self._links_left())]

    def _note(self, names: tuple[str, ...]) -> None:
        for name in names:
            self._anomalies[name] += 1


def kind_of(filename: str, content_type: str, beginning: bytes) -> str:
    """What sort of file this is, by its extension, then its first bytes, then its declared type; empty for others."""
    extension = filename.rpartition(".")[2].lower().strip() if "." in filename else ""
    for kind, extensions in (("executable", _EXECUTABLE), ("macro", _MACRO)):
        if extension in extensions:
            return kind
    if extension in ("htm", "html", "shtml", "xhtml", "svg") or content_type in ("text/html", "image/svg+xml"):
        return "html"
    magic = next((kind for start, kind in _MAGIC if beginning.startswith(start)), "")
    if magic == "executable":
        return magic
    for kind, extensions in (("archive", _ARCHIVE), ("document", _DOCUMENT), ("image", _IMAGE)):
        if extension in extensions:
            return kind
    return magic or ("image" if content_type.startswith("image/") else "")


def _joined(texts: list[str]) -> str:
    """Texts one after another, lines that were there before left out: HTML and plain text mostly say the same."""
    filled = [text for text in texts if text]
    if len(filled) < 2:
        return filled[0] if filled else ""
    seen: set[str] = set()
    lines = []
    for text in filled:
        for line in text.split("\n"):
            key = "".join(line.split()).lower()
            if key and key in seen:
                continue
            seen.add(key)
            lines.append(line)
    return "\n".join(lines)
