"""Replies of receivers and what they mean."""

import time
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols.receivers import Level, Reason, Replies, Scope

TEXT = (resources.files("penstock.protocols") / "replies.toml").read_text("utf-8")
REPLIES = Replies(TEXT)

# reply -> reason, level, scope, receiver
GOLDEN = [
    ("550 5.1.1 <joe@x.example>: Recipient address rejected: User unknown", "unknown-user", "hard", "recipient", ""),
    ("550 No such user here", "unknown-user", "hard", "recipient", ""),
    (
        "550-5.1.1 The email account that you tried to reach does not exist. https://support.google.com/mail/?p=NoSuchUser",
        "unknown-user",
        "hard",
        "recipient",
        "google",
    ),
    (
        "550 5.4.1 Recipient address rejected: Access denied. [X.prod.protection.outlook.com]",
        "unknown-user",
        "hard",
        "recipient",
        "microsoft",
    ),
    ("550 5.1.2 Host unknown", "unknown-domain", "hard", "recipient", ""),
    ("552 5.2.2 user is over quota", "mailbox-full", "soft", "recipient", ""),
    ("452 4.3.1 Insufficient system storage", "system", "soft", "unclear", ""),
    ("550 5.2.1 This account is disabled", "mailbox-disabled", "hard", "recipient", ""),
    (
        "554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using zen.spamhaus.org",
        "ip-blocked",
        "block",
        "ip",
        "",
    ),
    ("550 5.7.606 Access denied, banned sending IP [192.0.2.9].", "ip-blocked", "block", "ip", "microsoft"),
    ("550 5.7.649 Access denied", "ip-blocked", "block", "ip", "microsoft"),
    (
        "451 4.7.650 The mail server [192.0.2.9] has been temporarily rate limited due to IP reputation.",
        "rate-limited",
        "soft",
        "ip",
        "microsoft",
    ),
    (
        "550 5.7.515 Access denied, sending domain x.example does not meet the required authentication level.",
        "authentication",
        "policy",
        "domain",
        "microsoft",
    ),
    (
        "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address.",
        "ip-blocked",
        "block",
        "ip",
        "google",
    ),
    (
        "550-5.7.1 [192.0.2.9 12] Gmail has detected that this message is likely unsolicited mail.",
        "spam-content",
        "block",
        "content",
        "google",
    ),
    (
        "550-5.7.26 Your email has been blocked because the sender is unauthenticated.",
        "authentication",
        "policy",
        "domain",
        "google",
    ),
    (
        "421 4.7.0 [TSS04] Messages from 192.0.2.9 temporarily deferred due to unexpected volume or user complaints",
        "ip-blocked",
        "block",
        "ip",
        "yahoo",
    ),
    ("451 4.7.1 [GL01] Message from (192.0.2.9) temporarily deferred", "greylisted", "soft", "unclear", "yahoo"),
    (
        "554 Message not allowed - [PH01] Email not accepted for policy reasons.",
        "spam-content",
        "block",
        "content",
        "yahoo",
    ),
    ("550 5.7.1 [CS01] Message rejected due to local policy.", "policy", "policy", "unclear", "apple"),
    (
        "554-No SMTP service 554-IP address is block listed. 554 For explanation visit https://postmaster.gmx.net/x",
        "ip-blocked",
        "block",
        "ip",
        "gmx",
    ),
    (
        "554 IP=192.0.2.9 - None/bad reputation. Ask your postmaster to contact tobr@rx.t-online.de for reset. (NOWL)",
        "ip-blocked",
        "block",
        "ip",
        "t-online",
    ),
    (
        "554 comcast 192.0.2.9 Comcast block for spam. Please see http://postmaster.comcast.net/x#BL000000",
        "ip-blocked",
        "block",
        "ip",
        "comcast",
    ),
    ("421 comcast Too many sessions opened. RL000001", "rate-limited", "soft", "ip", "comcast"),
    (
        "553 5.3.0 flpd575 DNSBL:RBL 521< 192.0.2.9 >_is_blocked. forward this email to abuse_rbl@abuse-att.net",
        "ip-blocked",
        "block",
        "ip",
        "att",
    ),
    ("550 5.5.0 Mail rejete. Mail rejected. OFR_506 [506]", "spam-content", "block", "content", "orange"),
    ("550 5.1.1 Invalid recipient. LPN416", "unknown-user", "hard", "recipient", "laposte"),
    (
        "421 Too many spams from your IP (192.0.2.9), please visit http://postmaster.free.fr/",
        "ip-blocked",
        "block",
        "ip",
        "free",
    ),
    (
        "550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id",
        "spam-content",
        "block",
        "content",
        "mail.ru",
    ),
    (
        "550 Connection frequency limited. http://service.mail.qq.com/cgi-bin/help?no=1000722",
        "rate-limited",
        "soft",
        "ip",
        "qq",
    ),
    (
        "554 DT:SPM 163 smtp9, please see http://mail.163.com/help/help_spam_16.htm",
        "spam-content",
        "block",
        "content",
        "netease",
    ),
    ("554 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.9", "ip-blocked", "block", "ip", "proofpoint"),
    (
        "554 ERROR: Mail refused - <192.0.2.9> - See http://csi.cloudmark.com/reset-request/?ip=192.0.2.9",
        "ip-blocked",
        "block",
        "ip",
        "cloudmark",
    ),
    (
        "554-Your access to this mail system has been rejected due to the sending MTA's poor reputation",
        "ip-blocked",
        "block",
        "ip",
        "cisco",
    ),
    ("554 cox 192.0.2.9 rejected AUP#CXDNS", "authentication", "policy", "ip", "cox"),
    ("550 5.7.1 charter.net 192.0.2.9 AUP#I-1220", "ip-blocked", "block", "ip", "spectrum"),
    ("530 5.7.0 Must issue a STARTTLS command first", "tls", "policy", "unclear", ""),
    ("450 4.2.0 <joe@x.example>: Recipient address rejected: Greylisted", "greylisted", "soft", "unclear", ""),
    ("552 5.3.4 Message size exceeds fixed limit", "message-too-big", "policy", "content", ""),
    ("554 5.7.1 <joe@x.example>: Relay access denied", "relaying-denied", "policy", "unclear", ""),
    ("connect to mx.x.example[192.0.2.9]:25: Connection timed out", "network", "soft", "unclear", ""),
    ("550 5.7.1 Virus found: Eicar-Test", "virus", "block", "content", ""),
    ("550", "unclear", "hard", "unclear", ""),
    ("451 hm", "unclear", "soft", "unclear", ""),
]


@pytest.mark.parametrize(("reply", "reason", "level", "scope", "receiver"), GOLDEN, ids=[one[0][:50] for one in GOLDEN])
def test_a_reply_means_what_its_receiver_documents(reply, reason, level, scope, receiver):
    """Reason, level, scope and receiver of replies that receivers document."""
    found = REPLIES.read(reply)

    assert (found.reason, found.level, found.scope, found.receiver) == (reason, level, scope, receiver)


# Wordings that no rule has as a whole: two words near each other decide, or one where nothing else does.
WORDINGS = [
    ("550 There is no person of that name at this address", "unknown-user", "hard"),
    ("550 The mailbox <ann@far.example> could not be located; it is not valid", "unknown-user", "hard"),
    ("550 <ann@far.example> n'existe pas chez nous, destinataire introuvable", "unknown-user", "hard"),
    ("550 5.7.1 <ann@far.example>: Recipient address rejected: an account that is closed", "mailbox-disabled", "hard"),
    ("550 This customer's account is on hold, suspended by us", "mailbox-disabled", "hard"),
    ("550 La boîte du destinataire est pleine", "mailbox-full", "soft"),
    ("550 The user's disk space is all used up", "mailbox-full", "soft"),
    ("550 Nothing for that domain: it has no route", "unknown-domain", "hard"),
    ("554 Your host is on our deny list", "ip-blocked", "block"),
    ("554 Messages from 192.0.2.7 are not welcome", "ip-blocked", "block"),
    ("554 Blocked - see https://far.example/why", "ip-blocked", "block"),
    ("550 We don't talk to servers without a reverse name: fix your DNS", "authentication", "policy"),
    ("550 The message hasn't passed our DMARC check", "authentication", "policy"),
    ("550 This e-mail was held by our content filter", "spam-content", "block"),
    ("550 A mass mailing, and we take none: bulk.", "spam-content", "block"),
    ("550 The letter is bigger than our size allows: message too large by far", "message-too-big", "policy"),
    ("550 Authentication failed, your password is wrong", "relaying-denied", "policy"),
    ("550 We need a better cipher", "tls", "policy"),
    ("451 Trop de connexions de votre part", "rate-limited", "soft"),
    ("550 You hit the hourly threshold of messages", "rate-limited", "soft"),
    ("550 A loop: the message passed here before", "network", "soft"),
    ("550 The delivery program ended with exit status 75", "system", "soft"),
    ("550 The sender is not one whom this person takes mail from", "policy", "policy"),
    ("550 Rejected by user", "policy", "hard"),
    ("550 Headers of this kind we do not take", "policy", "policy"),
    ("550 Not this subscriber", "unclear", "hard"),
    ("450 Not this subscriber", "unclear", "soft"),
]


@pytest.mark.parametrize(("reply", "reason", "level"), WORDINGS, ids=[one[0][:50] for one in WORDINGS])
def test_wordings_that_nobody_listed_are_understood(reply, reason, level):
    """Receivers say the same in many ways, and in many languages."""
    found = REPLIES.read(reply)

    assert (found.reason, found.level) == (reason, level)


def test_an_address_tells_nothing_of_the_reason():
    """A mailbox may be called spam, or full."""
    for name in ("spam", "full", "blocked", "policy", "greylist"):
        assert REPLIES.read(f"550 <{name}@far.example>... User unknown").reason is Reason.UNKNOWN_USER


def test_an_id_tells_nothing_of_the_reason():
    """Chance puts `dns` or `spam` between signs of base64."""
    for token in ("MH6MRL6SYQc+Dns/9EkWL/UbqmThzurOxeqhSpA==", "0123456789/spam/0123456789abcdef0123456"):
        reply = f"550-'Mailbox unavailable or access denied [{token} IP: 192.0.2.7]'"
        assert REPLIES.read(reply).level is Level.HARD
    link = "http://far.example/why?0123456789abcdef0123456789abcdef0123"
    assert REPLIES.read(f"550 blocked, see {link}").url == link


def test_prose_is_not_guessed_at():
    """Near each other, or alone, words decide in a reply only: a report's prose has too many of them."""
    prose = "Your message was not welcome to one person. A user may be held up, and an address is a thing."

    assert REPLIES.read(prose, guess=False).reason is Reason.UNCLEAR


def test_the_words_of_the_mta_around_a_reply_are_not_the_receivers():
    """Postfix names the receiver's host and address, which must not pass for ours, and what it was answering to."""
    line = (
        "host mx1.hotmail.com[203.0.113.4] said: 550 5.7.1 Unfortunately, messages from [192.0.2.7] weren't sent. "
        "Part of their network is on our block list (S3140). See http://mail.live.com/mail/troubleshooting.aspx. "
        "(in reply to MAIL FROM command)"
    )

    found = REPLIES.read(line)

    assert found.receiver == "microsoft"
    assert found.named_ip == "192.0.2.7"
    assert found.url == "http://mail.live.com/mail/troubleshooting.aspx"
    assert (found.code, found.status) == (550, "5.7.1")


def test_a_reply_names_the_list_that_it_goes_by():
    """Known lists by their name, others by their zone; a list of domains blames no address."""
    assert REPLIES.read("550 rejected, see https://www.spamhaus.org/sbl/").blocklist == "spamhaus"
    assert REPLIES.read("554 blocked using bl.somebody.example").blocklist == "bl.somebody.example"

    domain = REPLIES.read("550 5.7.1 rejected due to having a domain present in the Spamhaus DBL")

    assert (domain.blocklist, domain.scope) == ("spamhaus-dbl", Scope.DOMAIN)


def test_an_ipv6_address_of_ours_is_named():
    """Receivers block IPv6 addresses too."""
    assert REPLIES.read("421-4.7.28 from your IP address [2001:db8::25].").named_ip == "2001:db8::25"


def test_what_the_mta_says_fills_in_for_what_the_receiver_does_not():
    """A bare text takes code and status of the log or report; its own go first."""
    assert REPLIES.read("go away", code=550, status="5.1.1").reason is Reason.UNKNOWN_USER
    assert REPLIES.read("550 5.2.2 go away", status="5.0.0").reason is Reason.MAILBOX_FULL


def test_a_receiver_is_known_by_its_domain_or_its_host():
    """The host goes first: many domains have their mail at one of the large ones."""
    assert REPLIES.receiver_of("firm.example", "firm-example.mail.protection.outlook.com.") == "microsoft"
    assert REPLIES.receiver_of("GMail.com") == "google"
    assert REPLIES.receiver_of("firm.example", "mx.firm.example") == ""


def test_an_empty_reply_has_no_reason():
    """Nobody said why, which is not the same as a reason that nobody understands."""
    assert REPLIES.reason_of(" ") == ""
    assert REPLIES.reason_of("550 ???") == "unclear"


def test_every_receiver_says_where_its_words_come_from():
    """A code without a page to look it up on is hearsay."""
    for one, _ in REPLIES._receivers:
        assert one.source == "seen" or one.source.startswith("https://")
        for value in one.codes.values():
            reason, _, scope = value.partition("/")
            assert Reason(reason) and (not scope or Scope(scope))


def test_words_are_written_as_they_are_looked_for():
    """Rules are lower case and single-spaced, or they would never fit."""
    rules = [rule for one, _ in REPLIES._receivers for rule in one.rules] + list(
        REPLIES._data.phrase + REPLIES._data.hint
    )

    for rule in rules:
        for word in (*rule.any, *rule.all, *rule.but, *rule.what, *rule.how):
            assert word == word.lower() and "  " not in word


def test_rules_that_are_none_are_refused_with_their_place():
    """An operator who edits the file learns where it is wrong."""
    with pytest.raises(ValueError, match="because"):
        Replies(TEXT + '\n[[phrase]]\nreason = "because"\n')
    with pytest.raises(ValueError, match="the rules for replies"):
        Replies("[[")


@given(st.text() | st.text("0123456789. -5:[]abcdef"), st.text(max_size=20), st.integers())
def test_any_text_is_read(text, status, code):
    """A reply is the receiver's; whatever it holds, it has a meaning."""
    found = REPLIES.read(text, status=status, code=code)

    assert found.reason in Reason and found.level in Level


@pytest.mark.parametrize(
    "piece",
    [
        "550 5.7.1 ",
        "1.",
        ":",
        "::1",
        "aup#-",
        "https://",
        "ofr_",
        "blocked using a.",
        "host ",
        "(in reply to ",
        "user ",
        "ip mailbox ",
        "a@b ",
        "é",
    ],
)
def test_reading_takes_no_longer_than_the_reply_is_long(piece):
    """No reply makes a pattern wander: what is long is cut, and what is cut is read once."""
    began = time.process_time()

    REPLIES.read(piece * 200_000)

    assert time.process_time() - began < 0.5
