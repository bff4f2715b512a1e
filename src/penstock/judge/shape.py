"""Facts of a message's structure as short tokens: links, attachments, layout, who it says it is from."""

from __future__ import annotations

import re
import string

from penstock.judge.parsed import Parsed
from penstock.model import Finding

FREEMAIL = frozenset(
    "gmail.com googlemail.com yahoo.com ymail.com hotmail.com outlook.com live.com msn.com aol.com gmx.com gmx.de "
    "gmx.net web.de mail.com mail.ru yandex.ru yandex.com bk.ru inbox.ru list.ru rambler.ru qq.com 163.com 126.com "
    "sina.com icloud.com me.com proton.me protonmail.com tutanota.com zoho.com rediffmail.com aim.com excite.com "
    "lycos.com netscape.net juno.com naver.com hanmail.net libero.it free.fr laposte.net orange.fr wanadoo.fr "
    "terra.com.br seznam.cz wp.pl o2.pl t-online.de netzero.net att.net comcast.net verizon.net sbcglobal.net".split()
)
"""Domains whose mailboxes anyone may have."""
SHORTENERS = frozenset(
    "bit.ly t.co goo.gl tinyurl.com is.gd ow.ly buff.ly rebrand.ly cutt.ly rb.gy t.ly lnkd.in s.id shorturl.at bl.ink "
    "tiny.cc v.gd qr.ae clck.ru u.to linktr.ee".split()
)
"""Hosts that lead elsewhere."""
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|\[.*")
_HOST_IN_LABEL = re.compile(r"(?:https?://)?((?:[a-z0-9-]+\.)+[a-z]{2,12})(?:[/:?].*)?", re.IGNORECASE)
_REPLY = re.compile(r"(?:re|aw|sv|antw|odp|ynt|r)(?:\[\d+\])?:", re.IGNORECASE)
_FORWARD = re.compile(r"(?:fwd?|wg|tr|rv|i):", re.IGNORECASE)
_MONEY = re.compile(r"[$€£¥]\s?\d|\d\s?[$€£¥]|\b(?:usd|eur|gbp|us\$)\b", re.IGNORECASE)
_RANDOM_TAIL = re.compile(r"\s{4,}\S+$|\b(?=\w*\d)(?=\w*[a-z])\w{8,}$", re.IGNORECASE)

_CAPITALS = string.ascii_uppercase.encode()


def bucket(number: float) -> int:
    """A number's size class: 0, 1, 2, 3-4, 5-8 … (the bits needed to write one less), at most 20."""
    return min(20, max(0, int(number) - 1).bit_length() + 1) if number >= 1 else 0


def shape_tokens(parsed: Parsed) -> tuple[str, ...]:
    """The facts, each a stable token; at most about a hundred."""
    tokens = [*_sender(parsed), *_subject(parsed), *_layout(parsed), *_links(parsed), *_attachments(parsed)]
    tokens += [f"anomaly:{finding.name}" for finding in parsed.anomalies[:20]]
    return tuple(dict.fromkeys(tokens))


TOLD = {
    "link-ip": "link-to-ip-address",
    "link-short": "link-shortened",
    "link-idn": "link-internationalised",
    "link-user": "link-with-user-name",
    "link-label-differs": "link-label-names-other-host",
    "from-name-is-other-address": "from-name-is-other-address",
    "reply-elsewhere:free:own": "reply-to-freemail",
    "reply-elsewhere:free:free": "reply-to-other-freemail",
    "freemail-address-in-text": "freemail-address-in-text",
    "to-itself": "sent-to-itself",
    "subject-random-tail": "subject-ends-random",
    "wallet": "crypto-wallet",
    "attached-double-extension": "attachment-double-extension",
    "attached:executable": "attachment-executable",
    "attached:macro": "attachment-with-macros",
    "attached:html": "attachment-html",
    "attachment-without-text": "attachment-without-text",
}
"""Facts that are told to people, and the finding's name."""


def findings(tokens: tuple[str, ...]) -> tuple[Finding, ...]:
    """Those facts that a person would want to know."""
    return tuple(Finding(TOLD[token]) for token in tokens if token in TOLD)


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


def _sender(parsed: Parsed) -> list[str]:
    domain, reply = _domain(parsed.from_address), _domain(parsed.reply_to)
    freemail = "free" if domain in FREEMAIL else "own" if domain else "none"
    tokens = [f"from:{freemail}", f"to:{min(2, len(parsed.to))}"]
    if reply and parsed.reply_to.lower() != parsed.from_address.lower():
        tokens.append(f"reply-elsewhere:{'free' if reply in FREEMAIL else 'own'}:{freemail}")
    if "@" in parsed.from_name and domain not in parsed.from_name:
        tokens.append("from-name-is-other-address")
    if not parsed.from_name:
        tokens.append("from-name-empty")
    elif parsed.from_name.isupper():
        tokens.append("from-name-upper")
    if parsed.from_address and parsed.from_address in parsed.to:
        tokens.append("to-itself")
    others = [address for address in parsed.addresses if address != parsed.from_address]
    if any(_domain(address) in FREEMAIL for address in others):
        tokens.append("freemail-address-in-text")
    tokens += [f"addresses:{bucket(len(others))}", f"phones:{bucket(len(parsed.phones))}"]
    if parsed.wallets:
        tokens.append("wallet")
    return tokens


def _subject(parsed: Parsed) -> list[str]:
    subject = parsed.subject.strip()
    answers = bool(parsed.header("in-reply-to") or parsed.header("references"))
    tokens = [f"subject:{bucket(len(subject) / 4)}"]
    if answers:
        tokens.append("answers")
    if _REPLY.match(subject):
        tokens.append(f"subject-re:{answers}:{bool(parsed.quoted)}")
    if _FORWARD.match(subject):
        tokens.append("subject-fw")
    if subject.isupper() and len(subject) > 5:
        tokens.append("subject-upper")
    tokens += [f"subject-has:{sign}" for sign in "!?$%*" if sign in subject]
    if not subject.isascii():
        tokens.append("subject-foreign")
    if _RANDOM_TAIL.search(subject[-60:]):
        tokens.append("subject-random-tail")
    if _MONEY.search(subject):
        tokens.append("subject-money")
    return tokens


def _amounts(text: str) -> int:
    """How often money is named; most texts have no sign of it, and a pattern would look at each of their letters."""
    if any(sign in text for sign in "$€£¥"):
        return len(_MONEY.findall(text))
    low = text.lower()
    return len(_MONEY.findall(text)) if "usd" in low or "eur" in low or "gbp" in low else 0


def _layout(parsed: Parsed) -> list[str]:
    text = parsed.text[:8000]
    size = max(1, len(text))
    upper = _capitals(text[:2000]) / min(size, 2000)
    lines = text.count("\n") + 1
    tokens = [
        f"html:{parsed.has_html}",
        f"text:{bucket(len(parsed.text) / 16)}",
        f"quoted:{bucket(len(parsed.quoted) / 64)}",
        f"hidden:{bucket(len(parsed.hidden_text) / 16)}",
        f"signature:{bool(parsed.signature)}",
        f"attached-text:{bool(parsed.attached_text)}",
        f"upper:{bucket(upper * 32)}",
        f"line-length:{bucket(size / lines / 8)}",
        f"exclaims:{bucket(text.count('!'))}",
        f"money:{bucket(_amounts(text))}",
        f"questions:{bucket(text.count('?'))}",
    ]
    if not text.isascii():
        tokens.append(f"foreign:{bucket(32 * _foreign(text[:1000]))}")
    return tokens


def _links(parsed: Parsed) -> list[str]:
    links = [link for link in parsed.links if not link.is_quoted]
    short = "short" if len(parsed.text) < 400 else "long"
    tokens = [
        f"links:{bucket(len(links))}:{short}",
        f"link-domains:{bucket(len({link.domain for link in links}))}",
    ]
    own = _domain(parsed.from_address)
    for link in links[:40]:
        tokens.append(f"link-in:{link.where}")
        if not link.host:
            continue
        tokens.append(f"link-tld:{link.host.rpartition('.')[2]}")
        if own and (own.endswith(link.domain) or link.domain.endswith(own)):
            tokens.append("link-own-domain")
        tokens += _link_traits(link.url, link.host)
        label = _HOST_IN_LABEL.fullmatch(link.label.strip()[:200]) if "." in link.label else None
        if label and link.domain not in label[1].lower():
            tokens.append("link-label-differs")
    return tokens


def _link_traits(url: str, host: str) -> list[str]:
    tokens: list[str] = []
    path = url.partition("://")[2].partition("/")[2]
    if _ADDRESS.fullmatch(host):
        tokens.append("link-ip")
    if host in SHORTENERS:
        tokens.append("link-short")
    if not host.isascii() or "xn--" in host:
        tokens.append("link-idn")
    if host.count(".") > 3:
        tokens.append("link-deep-host")
    if host.count("-") > 1:
        tokens.append("link-dashes")
    if "@" in url.partition("://")[2].split("/")[0]:
        tokens.append("link-user")
    stem, dot, extension = path.partition("?")[0].rpartition(".")
    if dot and stem and len(extension) < 6:
        tokens.append(f"link-file:{extension.lower()}")
    tokens.append(f"link-path:{bucket(len(path) / 8)}:{'?' in path}")
    return tokens


def _attachments(parsed: Parsed) -> list[str]:
    tokens = [f"attachments:{bucket(len(parsed.attachments))}"]
    for attachment in parsed.attachments[:10]:
        what = attachment.kind or attachment.content_type.partition("/")[0]
        tokens += [f"attached:{what}", f"attached-as:{attachment.extension[:8]}"]
        tokens.append(f"attached-size:{what}:{bucket(attachment.size_bytes / 4096)}")
        if attachment.filename.count(".") > 1:
            tokens.append("attached-double-extension")
    if parsed.attachments and len(parsed.text) < 80:
        tokens.append("attachment-without-text")
    return tokens


def _capitals(text: str) -> int:
    if text.isascii():
        return len(text) - len(text.encode().translate(None, _CAPITALS))
    return sum(map(str.isupper, text))


def _foreign(text: str) -> float:
    return 1.0 - len(text.encode("ascii", "ignore")) / max(1, len(text))
