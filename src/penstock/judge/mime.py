"""Raw bytes to leaf parts, in one pass over the delimiter lines; whatever the structure claims, it stays linear."""

from __future__ import annotations

import re
from collections import Counter

from msgspec import Struct

from penstock.judge.encodings import decode_transfer
from penstock.judge.headers import decode_words, read_fields, read_parameters
from penstock.judge.parsed import Bounds

_GUESS = re.compile(rb"^--([^\s-][^\r\n]{0,200})", re.MULTILINE)
_MAX_DELIMITER = 1000


class Part(Struct):
    """A leaf of the MIME tree; its body is `raw[start:end]`, still encoded."""

    raw: bytes
    start: int
    end: int
    content_type: str
    parameters: dict[str, str]
    encoding: str
    disposition: str
    filename: str
    content_id: str
    alternative: int
    """Numbers the outermost multipart/alternative around it; 0 for none."""
    is_attached: bool
    """Whether it lies inside a message/rfc822 part."""
    attached_subject: str = ""
    """On the first leaf of an attached message: that message's subject."""


class _Level(Struct):
    """An open multipart."""

    delimiter: bytes
    content_type: str
    alternative: int
    is_attached: bool
    depth: int
    is_used: bool = False


class Walk:
    """One walk over a message; `fields`, `parts` and `anomalies` hold what was found."""

    def __init__(self, raw: bytes, bounds: Bounds, depth: int = 0) -> None:
        self.bounds = bounds
        self.fields: list[tuple[str, str]] = []
        self.parts: list[Part] = []
        self.anomalies: Counter[str] = Counter()
        self._alternatives = 0
        if b"\n" not in raw[: bounds.max_header_bytes] and b"\r" in raw[: bounds.max_header_bytes]:
            raw = raw.replace(b"\r", b"\n")
            self.anomalies["bare-cr"] += 1
        self._walk(raw, depth, False)

    def _walk(self, raw: bytes, depth: int, is_attached: bool) -> None:
        levels: list[_Level] = []
        known: dict[bytes, int] = {}
        start = raw.find(b"\n") + 1 if raw.startswith((b"From ", b">From ")) else 0
        leaf, at = self._enter(raw, start, levels, known, depth, is_attached)
        while levels:
            found = raw.find(b"\n--", max(at - 1, 0))
            if found < 0:
                break
            line_end = raw.find(b"\n", found + 1)
            line_end = len(raw) if line_end < 0 else line_end
            at = line_end
            if line_end - found > _MAX_DELIMITER:
                continue
            line = raw[found + 1 : line_end].rstrip()
            place, is_close = known.get(line, -1), False
            if place < 0 and line.endswith(b"--"):
                place, is_close = known.get(line[:-2], -1), True
            if place < 0:
                continue
            self._finish(leaf, found - 1 if found and raw[found - 1] == 13 else found)
            leaf = None
            levels[place].is_used = True
            self._cut(levels, known, place if is_close else place + 1)
            if is_close:
                continue
            if len(self.parts) >= self.bounds.max_parts:
                self.anomalies["too-many-parts"] += 1
                return
            at = min(line_end + 1, len(raw))
            level = levels[-1]
            leaf, at = self._enter(raw, at, levels, known, level.depth + 1, level.is_attached)
        if levels:
            self.anomalies["unclosed-multipart"] += 1
        self._finish(leaf, len(raw))
        for level in levels:
            if not level.is_used:
                self.anomalies["boundary-not-found"] += 1

    @staticmethod
    def _cut(levels: list[_Level], known: dict[bytes, int], keep: int) -> None:
        del levels[keep:]
        known.clear()
        known.update((level.delimiter, place) for place, level in enumerate(levels))

    def _finish(self, leaf: Part | None, end: int) -> None:
        if leaf:
            leaf.end = max(leaf.start, end)
            self.parts.append(leaf)

    def _enter(  # noqa: PLR0917
        self, raw: bytes, at: int, levels: list[_Level], known: dict[bytes, int], depth: int, is_attached: bool
    ) -> tuple[Part | None, int]:
        """Read the headers of the entity at `at`; open multiparts and attached messages until a leaf starts."""
        subject = ""
        while True:
            limit = min(len(raw), at + self.bounds.max_header_bytes)
            fields, body, is_clean = read_fields(raw, at, limit)
            if not is_clean:
                self.anomalies["bad-header-line"] += 1
            if body == limit < len(raw):
                self.anomalies["header-too-long"] += 1
            if not (self.fields or levels or is_attached):
                self.fields = fields
            part, subject_here = _describe(raw, fields, body, levels[-1] if levels else None, is_attached)
            part.attached_subject = subject
            kind = part.content_type
            if depth > self.bounds.max_depth and kind.startswith(("multipart/", "message/")):
                self.anomalies["too-deep"] += 1
                return part, body
            if kind.startswith("multipart/"):
                if self._open(part, levels, known, depth):
                    return None, body
                part.content_type = "text/plain"
                return part, body
            if kind in ("message/rfc822", "message/global", "message/news") and part.encoding in (
                "",
                "7bit",
                "8bit",
                "binary",
            ):
                at, depth, is_attached = body, depth + 1, True
                subject = ""
                continue
            if is_attached:
                part.attached_subject = subject_here
            return part, body

    def _open(self, part: Part, levels: list[_Level], known: dict[bytes, int], depth: int) -> bool:
        """Open a multipart; False where it has no delimiter and none can be guessed."""
        boundary = part.parameters.get("boundary", "").rstrip()
        if not boundary:
            self.anomalies["missing-boundary"] += 1
            guess = _GUESS.search(part.raw, part.start, part.start + 4096)
            if not guess:
                return False
            boundary = guess[1].rstrip().decode("latin-1")
        alternative = levels[-1].alternative if levels else 0
        if not alternative and part.content_type == "multipart/alternative":
            self._alternatives += 1
            alternative = self._alternatives
        delimiter = b"--" + boundary.encode("latin-1", "replace")
        known[delimiter] = len(levels)
        levels.append(_Level(delimiter, part.content_type, alternative, part.is_attached, depth))
        return True


def _describe(
    raw: bytes, fields: list[tuple[str, str]], body: int, level: _Level | None, is_attached: bool
) -> tuple[Part, str]:
    """What an entity's own headers say it is (RFC 2045 §5.2 for what is not said)."""
    seen = dict(reversed(fields))
    in_digest = level is not None and level.content_type == "multipart/digest"
    content_type, parameters = read_parameters(seen.get("content-type", ""))
    if "/" not in content_type:
        content_type = "message/rfc822" if in_digest and not content_type else "text/plain"
    disposition, more = read_parameters(seen.get("content-disposition", ""))
    part = Part(
        raw=raw,
        start=body,
        end=body,
        content_type=content_type,
        parameters=parameters,
        encoding=seen.get("content-transfer-encoding", "").partition(";")[0].strip().lower(),
        disposition=disposition,
        filename=decode_words(more.get("filename") or parameters.get("name", ""))[:300],
        content_id=seen.get("content-id", ""),
        alternative=level.alternative if level else 0,
        is_attached=is_attached,
    )
    return part, decode_words(seen.get("subject", ""))


def body_of(part: Part, limit: int) -> tuple[bytes, str]:
    """The decoded body, from at most `limit` encoded bytes, and what was wrong with its encoding."""
    return decode_transfer(part.raw[part.start : min(part.end, part.start + limit)], part.encoding)
