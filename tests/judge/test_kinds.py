"""Kinds of message, from what it says of itself."""

import pytest

from penstock.judge.kinds import kind_of
from penstock.judge.message import parse
from penstock.model import Envelope, Kind


@pytest.mark.parametrize(
    ("mail_from", "header", "kind"),
    [
        ("a@b.example", b"Subject: x", Kind.NORMAL),
        ("", b"Subject: x", Kind.AUTOMATIC),
        ("a@b.example", b"Auto-Submitted: auto-replied; owner=x", Kind.AUTOMATIC),
        ("a@b.example", b"Auto-Submitted: no", Kind.NORMAL),
        ("a@b.example", b"Content-Type: multipart/report; report-type=delivery-status; boundary=b", Kind.AUTOMATIC),
        ("SRS0=abc=de=orig.example=ann@b.example", b"Subject: x", Kind.FORWARDED),
        ("a@b.example", b"Resent-From: joe@b.example", Kind.FORWARDED),
        ("a@b.example", b"List-Unsubscribe: <https://b.example/u>", Kind.BULK),
        ("a@b.example", b"Precedence: bulk", Kind.BULK),
        ("srs0", b"Precedence: first-class", Kind.NORMAL),
    ],
)
def test_kinds(mail_from, header, kind):
    """Null reverse-path and Auto-Submitted, then forwards, then bulk, then normal."""
    assert kind_of(parse(header + b"\r\n\r\ntext"), Envelope(mail_from, ("c@d.example",))) is kind
