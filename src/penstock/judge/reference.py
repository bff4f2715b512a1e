"""The opaque reference on the way out: a keyed token from which a complaint or bounce leads back to its decision.

A token is the decision's id and eight bytes of keyed BLAKE2b over it, in lower-case base32 without padding. It
says nothing about the account, cannot be made up without the key, and survives redaction of addresses in a report.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from functools import lru_cache

_MAC_BYTES = 8
_TOKEN = re.compile(r"^[0-9a-z]{20}-[a-z2-7]{13}$")


def _mac(text: str, key: bytes, person: bytes) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=_MAC_BYTES, key=key[:64], person=person).digest()
    return base64.b32encode(digest).decode().rstrip("=").lower()


def make_token(decision_id: str, key: bytes) -> str:
    """The token of a decision; `decision_id` is twenty lower-case letters and digits."""
    return f"{decision_id}-{_mac(decision_id, key, b'reference')}"


def read_token(text: str, key: bytes) -> str | None:
    """The decision id in a token, or None where it is no token of ours."""
    token = text.strip().lower()
    if not _TOKEN.match(token):
        return None
    decision_id = token.partition("-")[0]
    return decision_id if hmac.compare_digest(make_token(decision_id, key), token) else None


def make_link(decision_id: str, key: bytes) -> str:
    """What opens the page about a refusal; other than the token, no recipient ever sees it."""
    return f"{decision_id}-{_mac(decision_id, key, b'link')}"


def read_link(text: str, key: bytes) -> str | None:
    """The decision id in a link, or None where it is not ours."""
    if not _TOKEN.match(text):
        return None
    decision_id = text.partition("-")[0]
    return decision_id if hmac.compare_digest(make_link(decision_id, key), text) else None


@lru_cache(maxsize=16384)
def account_tag(account: str, key: bytes) -> str:
    """A stable pseudonym of an account for Feedback-ID, by which receivers add up complaints."""
    return _mac(account, key, b"account")
