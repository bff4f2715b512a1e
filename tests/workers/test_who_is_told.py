"""Customers, resellers and the desk are told what was seen, what was shut and what to do, each in their language."""

import json
from email import message_from_bytes
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert, to_builtins
from msgspec.structs import replace
from tests.workers.test_enforcement import JOE, House
from tests.workers.test_feedback import NOW, ONE, row

from penstock.model import Rung, Standing, Thing
from penstock.notices.texts import ROLES, Sample, Story, Texts
from penstock.store.ports import Records
from penstock.workers.chat import TOPIC, ChatNotices
from penstock.workers.notices import Notices, NoticeSettings, compose
from penstock.workers.telling import Contacts, Telling, read_contacts

CONTACTS = """
# whom to tell
sasl:joe@shop.example  private@home.example  de  desk@reseller.example
@else.example          -                     -   desk@reseller.example
shop                   office@shop.example
"""
SETTINGS = NoticeSettings(("postmaster@x",), "penstock@provider.example", 20, "mx.provider.example")


def house():
    return House(telling=Telling(read_contacts(CONTACTS), "en", frozenset(("password-changed", "forwards-reviewed"))))


async def notices(one):
    return {item.payload["role"]: item for item in await one.store.outbox(topic="notice") if "role" in item.payload}


def read(item):
    raw = compose(replace(SETTINGS, to=("a@x",)), (item,), NOW)
    return message_from_bytes(raw, policy=default)


async def test_each_is_told_once_in_the_own_language_with_samples_and_what_to_do():
    """The customer at another address, the reseller, and the desk; again when the account is let in."""
    one = house()
    known = row(ONE)
    decision = replace(known.decision, score=9.0)
    await one.store.update((), lambda: Records((replace(known, decision=decision, subject="pills now"),)))
    await one.set(Standing.SUSPENDED, "sasl:joe@example.com")
    await one.set(Standing.SUSPENDED)
    await one.work()
    told = await notices(one)
    assert told["customer"].payload["to"] == ["private@home.example"]
    assert told["reseller"].payload["to"] == ["desk@reseller.example"]
    assert "to" not in told["desk"].payload
    customer = read(told["customer"])
    assert customer["Subject"] == "Versand gesperrt: joe@shop.example"
    text = customer.get_body().get_content()
    assert "der Versand aus dem Postfach joe@shop.example" in text
    assert "Ändern Sie das Passwort" in text and "Prüfen Sie Weiterleitungen" in text
    assert [one.get_filename() for one in customer.iter_attachments()] == []
    assert "private@home.example, desk@reseller.example" in read(told["desk"]).get_body().get_content()

    await one.set(None)
    await one.work()
    opened = [item for item in (await one.store.outbox(topic="notice")) if item.target == JOE][-3:]
    assert all("50" in read(item).get_body().get_content() for item in opened)


async def test_what_was_seen_is_shown_and_attached_for_programs():
    """JSON, and X-ARF where a source is known."""
    sample = Sample(NOW, "pills\nnow", "joe@shop.example", 40, "192.0.2.7")
    story = Story("shut", JOE, NOW, "shop", (Thing(Rung.MAILBOX, "joe@shop.example"),), "content", (), (sample,))
    one = house()
    await one.set(Standing.SUSPENDED)
    await one.work()
    item = (await notices(one))["reseller"]
    item = replace(item, payload={**item.payload, "story": to_builtins(story)})
    mail = read(item)
    attached = {one.get_filename(): json.loads(one.get_content()) for one in mail.iter_attachments()}
    assert attached["xarf.json"] == {
        "Version": "3",
        "ReporterInfo": {
            "ReporterOrg": attached["xarf.json"]["ReporterInfo"]["ReporterOrg"],
            "ReporterOrgDomain": "provider.example",
            "ReporterOrgEmail": mail["From"].addresses[0].addr_spec,
        },
        "Disclosure": False,
        "Report": {
            "ReportClass": "Activity", "ReportType": "Spam", "Date": "2026-09-01T22:00:00Z", "SourceIp": "192.0.2.7",
            "Ongoing": False, "Custom": {"MessageCount": 1, "Subject": "pills\nnow"},
            "SmtpMailFromAddress": "joe@shop.example",
        },
    }  # fmt: skip
    assert attached["penstock.json"]["account"] == JOE
    assert "40 Empfänger  [192.0.2.7]  pills" in mail.get_body().get_content()


async def test_nobody_is_written_to_at_the_address_that_is_shut():
    """Its thief reads it too."""
    contacts = read_contacts("sasl:joe@shop.example joe@shop.example de boss@reseller.example")
    one = House(telling=Telling(contacts))
    await one.set(Standing.SUSPENDED)
    await one.work()
    assert set(await notices(one)) == {"reseller", "desk"}


async def test_nobody_is_told_while_observing():
    """Nothing was shut."""
    one = House(acts=False, telling=Telling(read_contacts(CONTACTS)))
    await one.set(Standing.SUSPENDED)
    await one.work()
    assert await notices(one) == {}


def test_the_closest_contact_is_told():
    """The account's own, then its domain's, then its customer's."""
    contacts = read_contacts(CONTACTS)
    assert contacts.of(JOE, "shop").language == "de"
    assert contacts.of("sasl:ann@else.example", "shop").reseller == "desk@reseller.example"
    assert contacts.of("user:17", "shop").address == "office@shop.example"
    assert contacts.of("user:18", "") == Contacts().of("x:y", "")
    for line in ("one", "a b", "a b@x de c", "a b@x de c@y more"):
        with pytest.raises(ValueError, match="line 1"):
            read_contacts(line)


@pytest.mark.parametrize("language", ["en", "de", "fr", "../x"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("verb", ["shut", "opened"])
def test_every_text_is_there_in_every_language(verb, role, language):
    """What is not translated is told in English."""
    subject, body = Texts().tell(Story(verb, JOE, NOW), role, language)
    assert subject and body and "$" not in body


def test_an_account_without_probation_is_told_of_none():
    """Such as one that a person trusts."""
    assert "7" in Texts().tell(Story("opened", JOE, NOW, probation_days=7.0, probation_recipients=50), "desk", "de")[1]
    assert "Empfänger" not in Texts().tell(Story("opened", JOE, NOW), "desk", "de")[1]


@given(st.text(), st.text())
def test_no_name_breaks_a_notice(value, subject):
    """Accounts and subjects are called as strangers please."""
    thing, sample = Thing(Rung.SCRIPT, value), Sample(1.0, subject, value, 1, "")
    story = Story("shut", f"sasl:{value}", NOW, value, (thing,), subject, (), (sample,))
    head, _ = Texts().tell(story, "desk", "de")
    assert "\n" not in head and "\r" not in head


async def test_an_operators_texts_go_first_and_a_broken_one_gives_way(tmp_path):
    """By language and name."""
    (tmp_path / "de").mkdir()
    (tmp_path / "de" / "shut-customer.txt").write_text("Gesperrt, $name!\nBitte melden.\n")
    one = house()
    await one.set(Standing.SUSPENDED)
    await one.work()
    item = (await notices(one))["customer"]
    mine = replace(SETTINGS, texts=Texts(tmp_path))
    assert b"Gesperrt, joe@shop.example!" in compose(mine, (item,), NOW)
    (tmp_path / "de" / "shut-customer.txt").write_text("Gesperrt, $nonsense!\n")
    assert b"Versand gesperrt" in compose(mine, (item,), NOW)
    assert convert(item.payload["story"], Story).account == JOE


async def test_what_the_postmaster_gets_goes_to_webhook_and_chat_too():
    """With texts; customers' notices do not. Chat says what waits together, and again where it was not taken."""
    one, said = house(), []
    answers = ["not taken", ""]

    class Speaker:
        async def say(self, title, text):
            said.append(text)
            return answers.pop(0)

    settings = replace(SETTINGS, to=(), copies=("notice-webhook", TOPIC))
    await one.set(Standing.SUSPENDED)
    await one.work()
    await Notices(settings, one.store, None, lambda line: None, lambda: one.now).run_once()
    (call,) = await one.store.outbox(topic="notice-webhook")
    assert call.payload["role"] == "desk" and "shut where it lives" in call.payload["text"]
    chat = ChatNotices(one.store, Speaker(), lambda line: None, lambda: one.now, hostname="mx")
    assert await chat.run_once() == 0
    assert await chat.run_once() == 0, "once a minute"
    one.now += 61.0
    assert await chat.run_once() == 1
    assert said[0] == said[1] and JOE in said[0]
