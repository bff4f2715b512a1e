"""A real Postfix and a real Exim refuse who is shut, as the guides set them up, and take his mail again afterwards."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import aiosmtplib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neighbours.exim import Exim
from neighbours.postfix import Postfix
from neighbours.sink import Sink
from penstock.clients.drivers.driver import Refused, Unavailable
from penstock.clients.drivers.known import make_drivers
from penstock.clients.drivers.line_file import LineFile, checked
from penstock.model import Rung, Step, Thing
from penstock.sections.enforcement import EnforcementSection, EximSection, PostfixSection

JOE = "joe@example.com"


def step(verb, name=JOE, rung=Rung.MAILBOX):
    return Step("k", 1.0, f"sasl:{name}", verb, Thing(rung, name))


async def submit(port, text="hello"):
    """One message by joe; the reply that ends it."""
    try:
        answer = await aiosmtplib.send(
            f"From: {JOE}\r\n\r\n{text}\r\n",
            sender=JOE, recipients=["far@else.example"], hostname="127.0.0.1", port=port,
            username=JOE, password="secret", start_tls=False, timeout=20,
        )  # fmt: skip
        return answer[1]
    except aiosmtplib.SMTPResponseException as refusal:
        return f"{refusal.code} {refusal.message}"
    except aiosmtplib.SMTPRecipientsRefused as refusal:
        return f"{refusal.recipients[0].code} {refusal.recipients[0].message}"


@pytest.fixture
def shut():
    """A folder that mail servers' own users may walk into."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-shut-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


async def test_postfix_refuses_who_is_shut(shut):
    """By login and by address; nothing has to be reloaded."""
    driver = make_drivers(EnforcementSection(postfix={"mx": PostfixSection(folder=shut)}))["mx"]
    for rung, name in ((Rung.MAILBOX, "nobody@x"), (Rung.SOURCE, "192.0.2.1")):
        await driver.carry_out(step("shut", name, rung))
    main = (
        f"smtpd_sender_restrictions = check_sasl_access hash:{shut}/postfix_mailboxes\n"
        f"smtpd_client_restrictions = check_client_access hash:{shut}/postfix_sources\n"
    )
    async with Sink() as sink, Postfix(sink=sink.address, logins={JOE: "secret"}, main=main) as postfix:
        assert "queued" in await submit(postfix.port)
        assert await driver.carry_out(step("shut")) == f"shut in {shut}/postfix_mailboxes"
        assert await driver.carry_out(step("shut")) == f"shut in {shut}/postfix_mailboxes (as before)"
        await postfix_sees(postfix, "450 4.7.1", "[PS-SUSPENDED]")
        await driver.carry_out(step("open"))
        await postfix_sees(postfix, "queued")
        await driver.carry_out(step("shut", "127.0.0.1", Rung.SOURCE))
        await postfix_sees(postfix, "450 4.7.1", "[PS-SUSPENDED]")


async def postfix_sees(postfix, *words):
    """A process of Postfix that is busy ends its session before it looks at a map anew."""
    said = ""
    async with asyncio.timeout(20):
        while not all(word in said for word in words):
            said = await submit(postfix.port)
            await asyncio.sleep(0.1)


async def test_exim_refuses_who_is_shut(shut):
    """By the files that the guide's ACL looks up, read anew for each message."""
    driver = make_drivers(EnforcementSection(exim={"exim": EximSection(folder=shut)}))["exim"]
    for rung, name in ((Rung.MAILBOX, "nobody@x"), (Rung.SOURCE, "192.0.2.1")):
        await driver.carry_out(step("shut", name, rung))
    acl = (
        f"acl_check_data:\n  defer authenticated = *\n    condition = "
        f"${{lookup{{$authenticated_id}}lsearch{{{shut}/exim_mailboxes}}{{yes}}{{no}}}}\n"
        f"    message = [PS-SUSPENDED] Sending is suspended\n  defer hosts = {shut}/exim_sources\n"
        f"    message = [PS-SUSPENDED] Sending is suspended\n  accept\n"
    )
    async with Sink() as sink, Exim(sink=sink.address, penstock="127.0.0.1:1", acl=acl) as exim:
        assert "OK id=" in await submit(exim.port)
        await driver.carry_out(step("shut"))
        assert "[PS-SUSPENDED]" in await submit(exim.port)
        await driver.carry_out(step("open"))
        await driver.carry_out(step("shut", "127.0.0.1", Rung.SOURCE))
        assert "[PS-SUSPENDED]" in await submit(exim.port)
        await driver.carry_out(step("open", "127.0.0.1", Rung.SOURCE))
        assert "OK id=" in await submit(exim.port)


async def test_a_map_that_cannot_be_compiled_is_tried_again(tmp_path):
    """The file is as it should be by then, and is compiled all the same."""
    section = PostfixSection(folder=tmp_path, postmap="/nonexistent/postmap")
    driver = make_drivers(EnforcementSection(postfix={"mx": section}))["mx"]
    with pytest.raises(Unavailable):
        await driver.carry_out(step("shut"))
    good = make_drivers(EnforcementSection(postfix={"mx": PostfixSection(folder=tmp_path)}))["mx"]
    assert await good.carry_out(step("shut")) == f"shut in {tmp_path}/postfix_mailboxes (as before)"
    assert (tmp_path / "postfix_mailboxes.db").exists()


def test_lines_of_others_stay_and_a_file_keeps_its_mode(tmp_path):
    """It is replaced as a whole."""
    path = tmp_path / "names"
    path.write_text("# by hand\nann\n")
    path.chmod(0o640)
    file = LineFile(path)
    assert file.put("joe", "joe")
    assert not file.put("joe", "joe")
    assert path.read_text() == "# by hand\nann\njoe\n"
    assert file.take("joe")
    assert not file.take("joe")
    assert path.read_text() == "# by hand\nann\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["names"]
    with pytest.raises(Unavailable):
        LineFile(path / "below").put("joe", "joe")


@given(st.text(max_size=40))
def test_no_name_makes_a_second_line(tmp_path_factory, name):
    """Whatever an account is called, it is one line, or refused."""
    try:
        word = checked(name)
    except Refused:
        return
    file = LineFile(tmp_path_factory.mktemp("names") / "names")
    file.put("joe", "joe")
    file.put(word, word)
    assert file.path.read_text().split("\n") == ([word, ""] if word == "joe" else ["joe", word, ""])
    file.take(word)
    assert word == "joe" or file.path.read_text() == "joe\n"
