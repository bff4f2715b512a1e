"""Letters keep what a person wrote, and the one writer turns them into mail that parses."""

from email import message_from_bytes, policy

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.evaluation.letters import Attached, Letter, read_letter, write

RAW = (
    b"Received: from somewhere\nFrom: =?utf-8?q?J=C3=B6e?= <Joe@X.example>\nTo: Ann <ann@y.example>, bob@y.example\n"
    b"Cc: ann@y.example\nSubject: =?utf-8?q?H=C3=A9llo?=\nDate: Mon, 5 Jan 2026 10:00:00 +0100\n"
    b"Message-ID: <1@x>\nX-Spam-Status: yes\n\nHello Ann\n"
)


def test_a_message_is_reduced_to_its_letter() -> None:
    """Sender, recipients without doubles, time, subject and text are kept."""
    letter = read_letter(RAW, "joe")

    assert letter is not None
    assert (letter.name, letter.sender, letter.subject) == ("Jöe", "joe@x.example", "Héllo")
    assert letter.recipients == ("ann@y.example", "bob@y.example")
    assert (letter.at, letter.plain, letter.origin) == (1767603600.0, "Hello Ann\n", "joe")


def test_mail_without_date_or_text_is_no_letter() -> None:
    """Nothing can be replayed without a time, and nothing judged without a text."""
    assert read_letter(b"From: a@b\n\nHello", "x") is None
    assert read_letter(b"From: a@b\nDate: Mon, 5 Jan 2026 10:00:00 +0100\n\n  ", "x") is None


def test_what_is_written_reads_as_it_was() -> None:
    """Text, HTML and files survive the writer, with none of the original's headers."""
    files = (Attached("a.zip", "application/zip", b"PK\x03\x04\x00"),)
    letter = Letter(1.0, "o", "Jöe", "j@x.example", ("a@y.example",), "Hé", "Grüße " * 400, "<p>Grüße</p>", files)

    raw = write(letter, sender="u1@t.example", shown=["a@y.example"], at=5.0, name="Jöe", client="Mutt")
    read = message_from_bytes(raw, policy=policy.default)

    assert raw.count(b"\n") == raw.count(b"\r\n")
    assert (read["Subject"], read["To"]) == ("Hé", "a@y.example")
    assert [part.get_content_type() for part in read.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "application/zip",
    ]
    again = read_letter(raw, "o")
    assert again is not None
    assert (again.plain.strip(), again.html, again.attached) == (letter.plain.strip(), letter.html, files)


def test_the_same_letter_is_written_the_same() -> None:
    """Traces are reproducible byte for byte."""
    letter = Letter(1.0, "o", "", "j@x.example", (), "s", "t")

    assert write(letter, sender="a@b", shown=[], at=1.0) == write(letter, sender="a@b", shown=[], at=1.0)


@given(raw=st.binary(max_size=300))
@settings(max_examples=100)
def test_garbage_makes_no_trouble(raw: bytes) -> None:
    """Reading never raises, and whatever was read can be written."""
    letter = read_letter(b"Date: Mon, 5 Jan 2026 10:00:00 +0100\n" + raw + b"\n\ntext", "x")

    if letter is not None:
        assert write(letter, sender="a@b.example", shown=letter.recipients, at=1.0).startswith(b"From: ")
