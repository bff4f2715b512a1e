"""The relay's own logins: asked about, told, refused."""

from collections import Counter

from neighbours.gate import LoginGate
from penstock.attempts import Permission
from penstock.listeners.telling import WatchedLogin
from penstock.store.ports import StoreUnavailable


class OneUser:
    async def check(self, user, password, client_ip):
        return "joe@example.com" if (user, password) == ("joe", "right") else ""


def watched(gate, counts=None):
    counts = Counter() if counts is None else counts
    return WatchedLogin(OneUser(), gate, b"k" * 32, count=lambda name: counts.update([name]), now=lambda: 17.0)


async def test_every_try_is_told_and_right_ones_are_asked_about():
    """Wrong passwords are told apart by twelve bits."""
    gate = LoginGate()
    login = watched(gate)
    assert await login.check("joe", "right", "192.0.2.7") == "joe@example.com"
    for password in ("a", "a", "b"):
        assert await login.check("joe", password, "192.0.2.7") == ""

    assert [one.login for one in gate.asked] == ["joe@example.com"]
    assert [(one.is_good, one.is_wrong_password) for one in gate.counted] == [(True, False), *[(False, True)] * 3]
    tags = [one.password for one in gate.counted[1:]]
    assert tags[0] == tags[1] != tags[2] and all(len(one) == 3 for one in tags)


async def test_a_refused_login_fails_and_is_not_told():
    """Our own refusal is no evidence."""
    gate = LoginGate(Permission(True, True, "PS-LOGIN"))

    assert await watched(gate).check("joe", "right", "192.0.2.7") == ""
    assert gate.counted == []


async def test_a_store_that_is_away_keeps_nobody_out():
    """The loss is counted."""
    counts = Counter()

    assert await watched(LoginGate(trouble=StoreUnavailable("gone")), counts).check("joe", "right", "192.0.2.7")
    assert counts == {"logins-lost": 1}
