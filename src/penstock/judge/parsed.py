"""What a parsed message is: the records that parsing hands to the rest of the judge, and the bounds it keeps."""

from __future__ import annotations

from msgspec import Struct

from penstock.model import Finding


class Bounds(Struct, frozen=True):
    """Limits of parsing; what lies beyond them is not looked at and leaves a finding."""

    max_bytes: int = 2 * 1024 * 1024
    """Of decoded content; attachments beyond are measured, not decoded."""
    max_headers: int = 1000
    max_header_bytes: int = 256 * 1024
    max_parts: int = 200
    max_depth: int = 20
    max_text_chars: int = 64 * 1024
    """Of decoded text, over all text parts."""
    max_links: int = 300


class Link(Struct, frozen=True):
    """One link or bare address of a web page."""

    url: str
    """As a browser would open it: entities decoded, white space and control characters removed."""
    host: str
    """Lower case, IDNA decoded to Unicode; an IP address as it stands; empty for mailto:, tel: and the like."""
    domain: str
    """The registrable domain by the public suffix list, or the host where there is none."""
    label: str = ""
    """The text a reader sees for it, at most 200 characters; empty in plain text."""
    where: str = "text"
    """`text`, `href`, `image`, `form`, `resource`, `refresh`, `comment`, `subject`, `attachment`."""
    is_quoted: bool = False
    """Whether it stands in a quoted reply, a forwarded text or an attached message."""


class Attachment(Struct, frozen=True):
    """A leaf part that is not message text."""

    content_type: str
    filename: str
    size_bytes: int
    """Decoded."""
    digest: str
    """16 hex digits of xxh3_64 of the decoded bytes; empty where it was too large to decode."""
    is_inline: bool = False
    kind: str = ""
    """`executable`, `archive`, `html`, `macro`, `image`, `document`, by extension and first bytes; else empty."""

    @property
    def extension(self) -> str:
        """The lower-case part of the filename after its last dot; empty where there is none."""
        return self.filename.rpartition(".")[2].lower().strip() if "." in self.filename else ""


class Parsed(Struct, frozen=True):
    """A message as a reader would see it. Never raised away: garbage parses to something, with findings."""

    headers: tuple[tuple[str, str], ...]
    """(lower-case name, unfolded and RFC 2047 decoded value), top to bottom."""
    subject: str
    from_address: str
    from_name: str
    reply_to: str
    message_id: str
    to: tuple[str, ...] = ()
    """Addresses of To and Cc."""
    text: str = ""
    """New text a reader sees, from text/plain and HTML, without quotes, signature and attached messages."""
    quoted: str = ""
    """Quoted replies and forwarded inline text."""
    signature: str = ""
    hidden_text: str = ""
    """Text that a reader does not see: by style (display:none, zero size, colour of the ground, off screen …)."""
    attached_text: str = ""
    """Text inside message/rfc822 parts."""
    links: tuple[Link, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    has_html: bool = False
    anomalies: tuple[Finding, ...] = ()
    """What was malformed, disguised or beyond the bounds."""
    addresses: tuple[str, ...] = ()
    """E-mail addresses in new text, signature and mailto: links, lower case, in order, without doubles."""
    phones: tuple[str, ...] = ()
    """Telephone numbers there, digits only with a leading + where it was written."""
    wallets: tuple[str, ...] = ()
    """Addresses of crypto wallets there."""

    def header(self, name: str) -> str:
        """The first value of a header by lower-case name; empty where there is none."""
        return next((value for key, value in self.headers if key == name), "")
