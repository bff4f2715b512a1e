"""The sink for trying things out: whole messages in new/, or a 4xx."""

import pytest

from penstock.clients.maildir import MaildirNextHop
from penstock.clients.next_hop import NextHopUnavailable


async def test_a_message_lies_in_new_with_its_envelope(tmp_path):
    """Return-Path and recipients on top, the message below as it was, nothing left in tmp/."""
    hop = MaildirNextHop(tmp_path / "sink")
    assert await hop.check() == "a Maildir"
    replies = await hop.send("a@b.example", ("c@d.example", "e@f.example"), (), b"Subject: x\r\n\r\nhi\r\n")

    assert [code for _, code, _ in replies] == [250, 250]
    (path,) = (tmp_path / "sink" / "new").iterdir()
    assert path.read_bytes() == (
        b"Return-Path: <a@b.example>\r\nX-Penstock-Sink-To: c@d.example, e@f.example\r\nSubject: x\r\n\r\nhi\r\n"
    )
    assert not list((tmp_path / "sink" / "tmp").iterdir())


async def test_an_aborted_message_leaves_nothing(tmp_path):
    """Until data there is no file."""
    hop = MaildirNextHop(tmp_path)
    transaction = await hop.open("a@b.example", ())
    await transaction.rcpt("c@d.example")
    await transaction.abort()
    await hop.close()

    assert not list(tmp_path.rglob("*.*"))


async def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path):
    """A 4xx, and the doctor hears why."""
    (tmp_path / "file").write_text("")
    hop = MaildirNextHop(tmp_path / "file" / "sink")

    with pytest.raises(NextHopUnavailable, match="cannot be written"):
        await hop.check()
    with pytest.raises(NextHopUnavailable) as told:
        await hop.send("", ("c@d.example",), (), b"x")
    assert told.value.reply.code == 451
