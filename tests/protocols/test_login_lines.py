"""Logins in logs of Dovecot, Postfix, Exim and Roundcube. Lines are those that these programs write, names changed."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.attempts import Attempt
from penstock.protocols.deliveries import Reader
from penstock.protocols.login_lines import logins

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
GOOD = {
    "Nov 25 09:00:00 mx dovecot: imap-login: Login: user=<joe@example.com>, method=PLAIN, rip=192.0.2.7, lip=1.1.1.1, "
    "mpid=81, TLS, session=<9ZHq02g3J8S60fan>": ("joe@example.com", "192.0.2.7", "imap", "9ZHq02g3J8S60fan"),
    "2026-11-25T09:00:00.123456+00:00 mx dovecot: submission-login: Logged in: user=<joe>, method=LOGIN, "
    "rip=2001:db8::7, "
    "lip=2001:db8::1, TLS, session=<YADINsQCDs5BH8Pg>": ("joe", "2001:db8::7", "smtp", "YADINsQCDs5BH8Pg"),
    "Nov 25 09:00:00 pop3-login: Info: Login: user=<joe>, method=PLAIN, rip=192.0.2.7, lip=203.0.113.1": (
        "joe", "192.0.2.7", "pop3", None),
    "Nov 25 09:00:00 mx postfix/submission/smtpd[1153]: 4GZkXq3Ymrz9vTf: client=laptop.example[192.0.2.7], "
    "sasl_method=PLAIN, sasl_username=joe@example.com": ("joe@example.com", "192.0.2.7", "smtp", None),
    "2026-11-25 09:00:00 1uKq7a-0000000A1bC-2xyz <= joe@example.com H=laptop.example (laptop) [192.0.2.7]:53412 "
    "I=[203.0.113.1]:587 P=esmtpsa X=TLS1.3 A=dovecot_login:joe@example.com S=812": (
        "joe@example.com", "192.0.2.7", "smtp", None),
    "[25-Nov-2026 10:00:00 +0100]: <k3v1> Successful login for joe@example.com (ID: 12) from 192.0.2.7 in "
    "session k3v1": (
        "joe@example.com", "192.0.2.7", "web", None),
}  # fmt: skip
WRONG = {
    "Nov 25 09:00:00 mx dovecot[241]: imap-login: Login aborted: Connection closed (auth failed, 3 attempts in "
    "16 secs) "
    "(auth_failed): user=<joe>, method=PLAIN, rip=192.0.2.7, lip=203.0.113.104, TLS, "
    "session=<9ZHq02g3J8S60fan>": "imap",
    "Nov 25 09:00:00 mx dovecot: managesieve-login: Disconnected: Inactivity (auth failed, 1 attempts in 178 secs): "
    "user=<joe>, method=PLAIN, rip=192.0.2.7, lip=1.1.2.2, session=<6brQWt/vCADDhP/+>": "sieve",
    "Nov 25 09:00:00 imap-login: Info: Aborted login (auth failed, 1 attempts in 2 secs): user=<joe>, method=PLAIN, "
    "rip=192.0.2.7": "imap",
    "Nov 25 09:00:00 mail postfix/smtpd[14933]: warning: unknown[192.0.2.7]: SASL LOGIN authentication failed: "
    "(reason unavailable), sasl_username=joe": "smtp",
    "2026-11-25 09:00:00 dovecot_login authenticator failed for ([198.51.100.9]) [192.0.2.7]:21298 "
    "I=[203.0.113.55]:465 "
    "Ci=30416: 535 Incorrect authentication data (set_id=joe)": "smtp",
    "[25-Nov-2026 09:00:00 +0000]: <k3v1> Failed login for joe from 192.0.2.7(X-Forwarded-For: 10.0.0.1) in "
    "session k3v1 "
    "(error: 0)": "web",
    "[25-Nov-2026 09:00:00 +0000]: FAILED login for joe from 192.0.2.7": "web",
}
NOBODY = [
    "Nov 25 09:00:00 mx dovecot: imap-login: Disconnected (no auth attempts in 10 secs): user=<>, "
    "rip=192.0.2.7, lip=1.1.1.1",
    "Nov 25 09:00:00 mx dovecot: imap-login: Disconnected (tried to use disallowed plaintext auth): user=<>, "
    "rip=192.0.2.7",
    "Nov 25 09:00:00 mail postfix/smtpd[7676]: warning: unknown[192.0.2.7]: SASL LOGIN authentication failed: "
    "UGFzc3dvcmQ6",
    "Nov 25 09:00:00 mail postfix/smtpd[7676]: warning: unknown[192.0.2.7]: SASL LOGIN authentication failed: "
    "Connection "
    "lost to authentication server, sasl_username=joe",
    "2026-11-25 09:00:00 login authenticator failed for (laptop) [192.0.2.7]: 535 Incorrect authentication data",
    "no time at all imap-login: Login: user=<joe>, method=PLAIN, rip=192.0.2.7, lip=203.0.113.1",
]  # fmt: skip


def read(*lines):
    return list(Reader(logins).block("".join(f"{line}\n" for line in lines).encode(), NOW))


@pytest.mark.parametrize("line", GOOD)
def test_a_good_login_names_who_from_where_and_for_what(line):
    """With the session where there is one; every other line has a name of its own, so that it counts once."""
    (found,) = read(line)
    name, ip, service, session = GOOD[line]

    assert (found.login, found.ip, found.service, found.is_good) == (name, ip, service, True)
    assert found.at == datetime(2026, 11, 25, 9, 0, tzinfo=UTC).timestamp() + found.at % 1
    assert found.session == session if session else found.session.startswith("line-")


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_password_is_told_apart(line):
    """Whatever words the program has for it."""
    (found,) = read(line)

    assert (found.login, found.ip, found.service) == ("joe", "192.0.2.7", WRONG[line])
    assert (found.is_good, found.is_wrong_password) == (False, True)


@pytest.mark.parametrize("line", NOBODY)
def test_what_speaks_of_nobody_is_left_out(line):
    """No name, no time, no wrong password."""
    assert read(line) == []


def test_a_name_cannot_pretend_another_address():
    """Names are what strangers type; the address that counts is the program's own."""
    lines = [
        "Nov 25 09:00:00 mx dovecot: imap-login: Disconnected (auth failed, 1 attempts): user=<joe>, "
        "rip=6.6.6.6, x=<y>, "
        "method=PLAIN, rip=192.0.2.7, lip=203.0.113.1",
        "2026-11-25 09:00:00 login authenticator failed for ([6.6.6.6]) [192.0.2.7]: 535 Incorrect authentication data "
        "(set_id=joe [6.6.6.6]: 535 Incorrect authentication data (set_id=joe)",
        "[25-Nov-2026 09:00:00 +0000]: <k3v1> Failed login for joe from 6.6.6.6 from 192.0.2.7 in session k3v1 "
        "(error: 0)",
    ]  # fmt: skip

    inbound = '2026-11-25 09:00:00 1uKq7a-0000000A1bC-2xyz <= {} H=x [6.6.6.6] P=esmtp S=812 T="x A=plain:joe S=1"'

    assert [one.ip for one in read(*lines)] == ["192.0.2.7"] * 3
    assert read(inbound.format("a@b.example"), inbound.format('"a H=y [6.6.6.6] P=z A=plain:joe S=1"@b.example')) == []


def test_a_log_that_is_read_in_january_speaks_of_december():
    """Syslog's times have no year."""
    january = datetime(2027, 1, 1, 0, 5, tzinfo=UTC).timestamp()
    line = b"Dec 31 23:59:00 mx dovecot: imap-login: Login: user=<joe>, method=PLAIN, rip=192.0.2.7, lip=203.0.113.1\n"
    (found,) = Reader(logins).block(line, january)

    assert found.at == datetime(2026, 12, 31, 23, 59, tzinfo=UTC).timestamp()


ALL = "\n".join([*GOOD, *WRONG, *NOBODY]).encode()


@given(
    st.binary(max_size=500)
    | st.tuples(st.integers(0, len(ALL)), st.binary(max_size=20)).map(
        lambda cut: ALL[: cut[0]] + cut[1] + ALL[cut[0] :]
    )
)
def test_any_bytes_are_read(block):
    """Logs hold whatever strangers send."""
    for one in Reader(logins).block(block, NOW):
        assert isinstance(one, Attempt) and len(one.login) <= 255 and len(one.ip) <= 100


@pytest.mark.parametrize("piece", ["user=<", ", rip=1.2.3.4", " (set_id=joe) ", " from 1.2.3.4", " H=[1.2.3.4] A=x:"])
def test_hostile_lines_take_linear_time(piece):
    """A stranger chooses names and HELO; no line may hold up the log."""
    heads = [
        "imap-login: Login: ",
        "x authenticator failed for ",
        "Failed login for ",
        " <= ",
        "smtpd[1]: ABCDEF: client=",
    ]
    block = "".join(f"Nov 25 09:00:00 mx {head}{piece * 1000}, sasl_username=x A=x\n" for head in heads).encode()
    began = time.process_time()
    list(Reader(logins).block(block, NOW))

    assert time.process_time() - began < 1.0
