"""Dovecot's auth policy and panels' logins over the HTTP listener."""

import json

import pytest
from test_http import ELSEWHERE, Running

from neighbours.gate import LoginGate
from penstock.attempts import Permission
from penstock.store.ports import StoreUnavailable

QUESTION = json.dumps({"login": "joe@example.com", "remote": "192.0.2.7", "protocol": "imap", "pwhash": "04"}).encode()
REFUSAL = Permission(True, True, "PS-LOGIN", "sasl:joe@example.com")


def report(**more):
    return json.dumps(json.loads(QUESTION) | {"success": True, "policy_reject": False} | more).encode()


async def test_dovecot_asks_and_reports():
    """A question counts nothing, a report does."""
    gate = LoginGate()
    async with Running(gate) as running:
        status, answer = await running.ask("/?command=allow", QUESTION)
        assert (status, json.loads(answer)) == (200, {"status": 0, "msg": "", "r_attrs": {}})
        assert gate.counted == [] and gate.asked[0].ip == "192.0.2.7"
        status, answer = await running.ask("/?command=report", report())

    assert (status, json.loads(answer)) == (200, {"status": "ok"})
    assert len(gate.counted) == 1 and gate.counted[0].is_good


async def test_a_refusal_is_told_and_its_report_is_no_evidence():
    """Below nought, with a reason for the client; what we refused ourselves is not counted against anybody."""
    gate = LoginGate(REFUSAL)
    async with Running(gate) as running:
        _, answer = await running.ask("/?command=allow", QUESTION)
        await running.ask("/?command=report", report(success=False, policy_reject=True))

    found = json.loads(answer)
    assert found["status"] == -1 and "PS-LOGIN" in found["msg"]
    assert gate.counted == [] and running.counts["logins-refused-reported"] == 1


async def test_a_panel_asks_and_tells_in_one_call():
    """With `ok` the login is counted where it may go on, without it only asked about."""
    gate = LoginGate()
    body = {"login": "joe@example.com", "ip": "192.0.2.7"}
    async with Running(gate) as running:
        await running.ask("/login", json.dumps(body).encode())
        assert gate.counted == []
        await running.ask("/login", json.dumps(body | {"ok": True}).encode())
        await running.ask("/login", json.dumps(body | {"ok": False}).encode())
        gate.permission = REFUSAL
        status, answer = await running.ask("/login", json.dumps(body | {"ok": True}).encode())

    assert [one.is_good for one in gate.counted] == [True, False]
    assert (status, json.loads(answer)["allow"]) == (200, False)


async def test_a_panel_with_the_password_tells_of_a_changed_one():
    """By login, or by account; nobody else may, trusted or not, since it lets an account in."""
    told, trouble = [], []

    class Passwords(LoginGate):
        async def password_changed(self, account, **more):
            if trouble:
                raise trouble[0]
            told.append((account, more["who"]))

    async with Running(Passwords(), password="word") as running:
        path = "/password-changed"
        assert (await running.ask(path, b'{"login":"joe@example.com"}'))[0] == 403
        status, answer = await running.ask(path, b'{"login":"joe@example.com"}', Password="word")
        assert (status, json.loads(answer)) == (200, {"account": "sasl:joe@example.com", "taken": True})
        assert (await running.ask(path, b'{"account":"user:17"}', Password="word"))[0] == 200
        for nonsense in (b"", b"{}", b'{"account":"x"}', b'{"login":1}', b"\xff", b"[" * 9999):
            assert (await running.ask(path, nonsense, Password="word"))[0] == 400
        trouble.append(StoreUnavailable("gone"))
        assert (await running.ask(path, b'{"login":"joe@example.com"}', Password="word"))[0] == 503
    async with Running(Passwords()) as running:
        assert (await running.ask(path, b'{"login":"joe@example.com"}'))[0] == 403, "no password, no such path"
    assert [account for account, _ in told] == ["sasl:joe@example.com", "user:17"]
    assert told[0][1].startswith("panel at 127.")


async def test_a_store_that_is_away_loses_a_login_and_no_answer():
    """Dovecot is not kept waiting, and the loss is counted."""
    gate = LoginGate(trouble=StoreUnavailable("gone"))
    async with Running(gate) as running:
        status, _ = await running.ask("/?command=report", report())

    assert status == 200 and running.counts["logins-lost"] == 1


@pytest.mark.parametrize(("path", "body"), [("/?command=allow", QUESTION), ("/login", b'{"login":"joe","ip":""}')])
async def test_strangers_neither_ask_nor_tell(path, body):
    """Or anybody could speak against an account."""
    gate = LoginGate()
    async with Running(gate, ELSEWHERE, password="word") as running:
        assert (await running.ask(path, body))[0] == 403
        assert (await running.ask(path, body, Password="wrong"))[0] == 403
        assert (await running.ask(path, body, Password="word"))[0] == 200

    assert len(gate.asked) == 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/?command=allow", b"{", 400), ("/?command=ban", QUESTION, 404), ("/login", b"{}", 400), ("/", QUESTION, 404)],
)
async def test_what_cannot_be_read_says_so(path, body, status):
    """A misconfigured client finds out why."""
    async with Running(LoginGate()) as running:
        found, answer = await running.ask(path, body)

    assert found == status and json.loads(answer)["error"]


async def test_many_questions_go_over_one_connection():
    """Dovecot keeps its connections open."""
    async with Running(LoginGate()) as running:
        reader, writer = await running.open()
        head = f"POST /?command=allow HTTP/1.1\r\nHost: x\r\nContent-Length: {len(QUESTION)}\r\n\r\n".encode()
        writer.write((head + QUESTION) * 3)
        for _ in range(3):
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"}}")
        writer.close()
