"""Parsing: what a reader would see, whatever the sender did to the bytes."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.judge.message import parse

HTML = (
    b"From: Joe <joe@a.example>\r\nSubject: =?utf-8?q?Hell=C3=B6?=\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b'<p>Pay <a href="http://evil.example/x">www.bank.example</a></p>'
    b'<div style="display:none">secret <div>nested</div> words</div>after<blockquote>old mail</blockquote>'
)


def names(parsed):
    return {one.name for one in parsed.anomalies}


def test_html_is_seen_as_a_reader_sees_it():
    """Hidden text is apart, a link keeps its label and its target, a quote is a quote."""
    parsed = parse(HTML)

    assert parsed.subject == "Hellö"
    assert (parsed.from_address, parsed.from_name) == ("joe@a.example", "Joe")
    assert parsed.text.split() == ["Pay", "www.bank.example", "after"]
    assert parsed.hidden_text.split() == ["secret", "nested", "words"]
    assert parsed.quoted == "old mail"
    target = next(link for link in parsed.links if link.where == "href")
    assert (target.host, target.domain, target.label) == ("evil.example", "evil.example", "www.bank.example")


def test_white_letters_on_white_ground_are_hidden_and_on_a_blue_button_are_not():
    """Colours are compared with the ground they stand on."""
    parsed = parse(
        b'Content-Type: text/html\r\n\r\n<font color="#ffffff">unseen</font>'
        b'<table><tr><td bgcolor="#0000aa"><a style="color:#fff" href="http://x.example">button</a></td></tr></table>'
    )

    assert parsed.hidden_text == "unseen"
    assert "button" in parsed.text


def test_quotes_signatures_and_attached_messages_are_told_apart_from_new_text():
    """Only what this sender wrote now is new text."""
    parsed = parse(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nnew words\r\n\r\n"
        b"On Monday Ann <ann@b.example> wrote:\r\n> old words\r\n-- \r\nJoe, Tel +49 30 1234567\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner words\r\n--b--\r\n"
    )

    assert parsed.text == "new words"
    assert parsed.quoted == "old words"
    assert parsed.signature == "Joe, Tel +49 30 1234567"
    assert "inner words" in parsed.attached_text
    assert parsed.phones == ("+49301234567",)


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("http://user:pw@evil.example:8080/x", "evil.example"),
        ("http://3232235777/", "192.168.1.1"),
        ("http://0xc0.0250.1.1/", "192.168.1.1"),
        ("HTTP://XN--BCHER-KVA.example/", "bücher.example"),
        ("ht\ntp://e\tvil.example", "evil.example"),
        ("//evil.example/x", "evil.example"),
        ("http:\\\\evil.example\\x", "evil.example"),
        ("mailto:joe@a.example", ""),
    ],
)
def test_links_are_read_as_a_browser_would(written, host):
    """Disguises of a host do not hide it."""
    raw = b"Content-Type: text/html\r\n\r\n<a href='" + written.encode() + b"'>x</a>"

    assert [link.host for link in parse(raw).links if link.where == "href"] == [host]


def test_disguised_letters_are_undone():
    """Cyrillic look-alikes, zero-width characters and full-width letters read as what they look like."""
    text = "pаypаl v\u200bi\u200ba\u200bg\u200bra ＦＲＥＥ ＭＯＮＥＹ"
    parsed = parse(b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode())

    assert parsed.text == "paypal viagra FREE MONEY"
    assert names(parsed) >= {"mixed-script-word", "invisible-characters", "styled-letters"}


def test_attachments_are_told_by_name_and_first_bytes():
    """An executable under another name is one; a double extension is noted."""
    parsed = parse(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b'--b\r\nContent-Disposition: attachment; filename="a.pdf.exe"\r\n\r\nx\r\n'
        b'--b\r\nContent-Disposition: attachment; filename="b.jpg"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMA\r\n"
        b"--b--\r\n"
    )

    assert [one.kind for one in parsed.attachments] == ["executable", "executable"]
    assert "double-extension" in names(parsed)


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("see http://a.example/x, and", ["http://a.example/x"]),
        ("xhttp://a.example://b HXXPS://c.example.", ["http://a.example://b", "httpS://c.example"]),
        ("what://a.example ://b ftp://c.example", ["ftp://c.example"]),
        (
            "(www.a.example) x-www.b.example WWW.c.example/http://d",
            ["http://www.a.example", "http://WWW.c.example/http://d"],
        ),
        ("go to spam.shop.top/now or a@mail.com or .com", ["http://spam.shop.top/now"]),
        ("a-b.com --c.com é.d.com", ["http://a-b.com"]),
    ],
)
def test_links_in_plain_text_are_found(text, links):
    """With a scheme, with www., or by a common top-level domain; mail addresses and other words are none."""
    parsed = parse(b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode())

    assert [link.url for link in parsed.links] == links


def test_what_answers_go_to_is_found():
    """Addresses, telephone numbers and wallets stand anywhere in a text; what only looks like one is none."""
    wallet = b"1BoatSLRHtKNngkdXEeobR76b53LETtpyT"
    parsed = parse(
        b"\r\nWrite Ann.B+x@Mail.Example,joe@b.example or @c.example or d@e, call (+49) 30-123 4567 or"
        b"\r\n+1 (555) 010-9999, not v1.2345678901 or 1111 1111 1111; pay " + wallet + b", x" + wallet
    )

    assert parsed.addresses == ("ann.b+x@mail.example", "joe@b.example")
    assert parsed.phones == ("+49301234567", "+15550109999")
    assert parsed.wallets == (wallet.decode(),)


@settings(max_examples=200)
@given(st.binary(max_size=400), st.integers(0, len(HTML)))
def test_garbage_parses_to_something(garbage, place):
    """No bytes raise, alone or spliced into a real message."""
    parse(garbage)
    parsed = parse(HTML[:place] + garbage + HTML[place:])

    assert isinstance(parsed.text, str)


BOMBS = {
    "signs": (b"Content-Type: text/html\r\n\r\n", b"<"),
    "tags": (b"Content-Type: text/html\r\n\r\n", b"<a "),
    "comments": (b"Content-Type: text/html\r\n\r\n", b"<!--"),
    "raw text": (b"Content-Type: text/html\r\n\r\n", b"<title>"),
    "quotes": (b"Content-Type: text/html\r\n\r\n", b'<a href="'),
    "hidden": (b"Content-Type: text/html\r\n\r\n", b'<div style="display:none">'),
    "references": (b"Content-Type: text/html\r\n\r\n&#", b"9"),
    "headers": (b"", b"a: b\r\n"),
    "words": (b"Subject: ", b"=?a?q?"),
    "addresses": (b"To: ", b"a@b,"),
    "parts": (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n", b"--b\r\n\r\nx\r\n"),
    "quoted lines": (b"\r\n", b">\r\n"),
    "hosts": (b"\r\n", b"a."),
    "attributes": (b"Content-Type: text/html\r\n\r\n<a ", b"b=c "),
    "signs of equality": (b"Content-Type: text/html\r\n\r\n<a ", b"="),
    "blanks of a page": (b"Content-Type: text/html\r\n\r\n<a href=x>", b" \n"),
    "elements": (b"Content-Type: text/html\r\n\r\n", b"<td style='color:#fff'>x"),
    "nothings": (b"Content-Type: text/html\r\n\r\n", b"<\0br>"),
    "schemes": (b"\r\n", b"://"),
    "webs": (b"\r\n", b"www."),
    "signs of an address": (b"\r\n", b"a@b."),
    "figures": (b"\r\n", b"1 "),
    "purses": (b"\r\n", b"1a"),
    "lines that tell": (b"\r\n", b"From:\r\n"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_mail_costs_no_more_than_its_size(name):
    """Eight times the bytes cost at most about eight times the time."""
    head, piece = BOMBS[name]

    def cost(size):
        raw = head + piece * (size // len(piece))
        began = time.process_time()
        parse(raw)
        return time.process_time() - began

    small = max(min(cost(60_000) for _ in range(3)), 0.004)

    assert min(cost(480_000) for _ in range(2)) < small * 24
