"""cPanel, Plesk, DirectAdmin, ISPConfig and webhooks, as their documentation says that they answer, errors included."""

import base64
import json
from urllib.parse import parse_qs

import pytest

from neighbours.panel_http import PanelHttp
from penstock.clients.drivers.driver import Refused, Unavailable
from penstock.clients.drivers.known import make_drivers
from penstock.clients.webhook import is_fresh
from penstock.model import Rung, Step, Thing
from penstock.sections.enforcement import (
    CpanelSection,
    DirectAdminSection,
    EnforcementSection,
    IspConfigSection,
    PleskSection,
    WebhookSection,
)

JOE = "joe@shop.example"


def step(verb, name=JOE, rung=Rung.MAILBOX):
    return Step(f"sasl:{name}/7/panel/{rung}", 1.0, f"sasl:{name}", verb, Thing(rung, name), "pills")


def driver(kind, section):
    return make_drivers(EnforcementSection(**{kind: {"panel": section}}))["panel"]


def whm(command, data=None, result=1, reason="OK"):
    found = {"metadata": {"command": command, "reason": reason, "result": result, "version": 1}}
    return 200, json.dumps(found | ({"data": data} if data is not None else {}))


def uapi(function, status=1, errors=None):
    data = {"uapi": {"data": None, "errors": errors, "messages": None, "metadata": {}, "status": status}}
    return whm("uapi_cpanel", data)


def server(answers):
    """WHM: one mailbox's domain is shop's; everything else as told."""

    def answer(request):
        function = request.path.rpartition("/")[2]
        if function == "getdomainowner":
            return whm(function, {"user": "shop" if request.query["domain"] == "shop.example" else None})
        return answers(function, request.query)

    return answer


async def test_cpanel_suspends_one_mailbox_through_its_account():
    """The domain's owner is asked for, then UAPI's Email is called as that user; `hold` keeps mail in Exim's queue."""
    async with PanelHttp(server(lambda function, query: uapi(query["cpanel.function"]))) as panel:
        suspend = driver("cpanel", CpanelSection(url=panel.url, token="T0KEN"))
        hold = driver("cpanel", CpanelSection(url=panel.url, token="T0KEN", how="hold"))
        assert await suspend.carry_out(step("shut")) == f"Email::suspend_outgoing of {JOE} (shop)"
        await suspend.carry_out(step("open"))
        await hold.carry_out(step("shut"))
        await hold.carry_out(step("open"))
        calls = [one for one in panel.requests if one.path == "/json-api/uapi_cpanel"]
        assert {one.headers["authorization"] for one in panel.requests} == {"whm root:T0KEN"}
        assert [one.query["cpanel.function"] for one in calls] == [
            "suspend_outgoing", "unsuspend_outgoing", "hold_outgoing", "release_outgoing",
        ]  # fmt: skip
        assert calls[0].query == {
            "api.version": "1", "cpanel.user": "shop", "cpanel.module": "Email",
            "cpanel.function": "suspend_outgoing", "email": JOE,
        }  # fmt: skip
        assert "suspend_outgoing email=" in suspend.describe(step("shut"))


async def test_cpanel_suspends_a_whole_account():
    """By its user, or by a domain that it has."""
    async with PanelHttp(server(lambda function, query: whm(function))) as panel:
        cpanel = driver("cpanel", CpanelSection(url=panel.url, token="T"))
        assert await cpanel.carry_out(step("shut", "shop", Rung.ACCOUNT)) == "suspend_outgoing_email of shop"
        await cpanel.carry_out(step("open", "shop.example", Rung.ACCOUNT))
        assert [(one.path, one.query.get("user")) for one in panel.requests] == [
            ("/json-api/suspend_outgoing_email", "shop"),
            ("/json-api/getdomainowner", None),
            ("/json-api/unsuspend_outgoing_email", "shop"),
        ]


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (lambda f, q: whm(f, result=0, reason="You do not have access to an account named “shop”."), Refused),
        (lambda f, q: uapi(f, 0, ["You do not have an email account named “joe@shop.example”."]), Refused),
        (lambda f, q: (403, "Access denied"), Unavailable),
        (lambda f, q: (500, "<html>"), Unavailable),
        (lambda f, q: (429, ""), Unavailable),
        (lambda f, q: (301, ""), Unavailable),
        (lambda f, q: (200, "<html>login</html>"), Unavailable),
        (lambda f, q: (200, "[]"), Unavailable),
        (lambda f, q: (200, '{"data":{}}'), Unavailable),
        (lambda f, q: None, Unavailable),
        (lambda f, q: (404, "no such function"), Refused),
    ],
)
async def test_what_cpanel_will_not_do_is_told_apart_from_what_it_cannot_do_now(answer, trouble):
    """Refusals end some day, everything else is waited for."""
    async with PanelHttp(server(answer)) as panel:
        with pytest.raises(trouble):
            await driver("cpanel", CpanelSection(url=panel.url, token="T")).carry_out(step("shut"))


async def test_a_domain_that_this_server_does_not_have_is_refused():
    """Another server's, perhaps."""
    async with PanelHttp(server(lambda function, query: whm(function))) as panel:
        with pytest.raises(Refused, match="has the domain"):
            await driver("cpanel", CpanelSection(url=panel.url, token="T")).carry_out(step("shut", "ann@else.example"))


async def test_plesk_sets_a_mailbox_to_no_messages_and_back_to_its_plans_limit():
    """Over the REST API's gate to the `mail` utility."""
    async with PanelHttp(
        lambda request: (200, '{"code":0,"stdout":"SUCCESS: Update of mailname","stderr":""}')
    ) as panel:
        plesk = driver("plesk", PleskSection(url=panel.url, key="KEY"))
        assert await plesk.carry_out(step("shut")) == f"limit of {JOE}: 0"
        await plesk.carry_out(step("open"))
        assert [json.loads(one.body) for one in panel.requests] == [
            {"params": ["--update", JOE, "-outgoing-messages-mbox-limit", limit]} for limit in ("0", "default")
        ]
        assert (panel.requests[0].method, panel.requests[0].path) == ("POST", "/api/v2/cli/mail/call")
        assert panel.requests[0].headers["x-api-key"] == "KEY"
        with pytest.raises(Refused):
            await plesk.carry_out(step("shut", "--x@shop.example"))


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        ((200, '{"code":1,"stdout":"","stderr":"Unable to find mailname: no such mail name"}'), Refused),
        ((400, '{"code":0,"message":"what"}'), Refused),
        ((401, '{"code":0,"message":"who"}'), Unavailable),
        ((200, '{"message":"what"}'), Unavailable),
        ((503, ""), Unavailable),
    ],
)
async def test_what_plesk_will_not_do_is_told_apart(answer, trouble):
    """A mailbox that it does not have, a key that it does not know, an answer that is none."""
    async with PanelHttp(lambda request: answer) as panel:
        with pytest.raises(trouble):
            await driver("plesk", PleskSection(url=panel.url, key="KEY")).carry_out(step("shut"))


async def test_directadmin_refuses_logins_and_users_by_its_files(tmp_path):
    """BlockCracking's two files."""
    files = driver("directadmin", DirectAdminSection(folder=str(tmp_path)))
    await files.carry_out(step("shut"))
    await files.carry_out(step("shut", "shop", Rung.ACCOUNT))
    assert (tmp_path / "blacklist_smtp_usernames").read_text() == f"{JOE}\n"
    assert (tmp_path / "blacklist_script_usernames").read_text() == "shop\n"
    await files.carry_out(step("open"))
    assert (tmp_path / "blacklist_smtp_usernames").read_text() == ""


class DirectAdminServer:
    """One user. As the panel does, it answers forms, presses the button that is named, and does nothing without one."""

    def __init__(self, *, is_deaf=False):
        self.is_suspended, self.is_deaf = False, is_deaf

    def __call__(self, request):
        form = parse_qs(request.body.decode())
        if (form.get("select0") or [request.query.get("user")]) != ["shop"]:
            return 200, "error=1&text=Unable+to+show+user&details=no+such+user"
        if request.path == "/CMD_API_SHOW_USER_CONFIG":
            return 200, f"username=shop&usertype=user&suspended={'yes' if self.is_suspended else 'no'}"
        if not self.is_deaf and form["location"] == ["CMD_SELECT_USERS"]:
            self.is_suspended = "dosuspend" in form or (self.is_suspended and "dounsuspend" not in form)
        return 200, "error=0&text=Success&details="


async def test_directadmin_suspends_accounts_by_its_api_once():
    """CMD_API_SELECT_USERS, only where the state is another, which is looked at before and after."""
    async with PanelHttp(DirectAdminServer()) as panel:
        api = driver("directadmin", DirectAdminSection(folder="", url=panel.url, login_key="KEY"))
        assert api.rungs == {Rung.ACCOUNT}
        assert await api.carry_out(step("shut", "shop", Rung.ACCOUNT)) == "Suspend shop"
        assert "(as before)" in await api.carry_out(step("shut", "shop", Rung.ACCOUNT))
        assert panel.answer.is_suspended
        await api.carry_out(step("open", "shop", Rung.ACCOUNT))
        assert not panel.answer.is_suspended
        first, second = (one for one in panel.requests if one.method == "POST")
        assert parse_qs(first.body.decode()) == {
            "location": ["CMD_SELECT_USERS"], "dosuspend": ["Suspend"], "select0": ["shop"],
        }  # fmt: skip
        assert "dounsuspend" in parse_qs(second.body.decode())
        assert base64.b64decode(first.headers["authorization"].removeprefix("Basic ")) == b"admin:KEY"


async def test_what_directadmin_does_not_do_is_told():
    """No such user is a refusal; a page, or a yes after which nothing changed, is waited for."""
    async with PanelHttp(DirectAdminServer(is_deaf=True)) as panel:
        api = driver("directadmin", DirectAdminSection(folder="", url=panel.url, login_key="KEY"))
        with pytest.raises(Refused, match="Unable to show user no such user"):
            await api.carry_out(step("shut", "else", Rung.ACCOUNT))
        with pytest.raises(Unavailable, match="nothing changed"):
            await api.carry_out(step("shut", "shop", Rung.ACCOUNT))
        panel.answer = lambda request: (200, "<html>please log in</html>")
        with pytest.raises(Unavailable, match="something else"):
            await api.carry_out(step("shut", "shop", Rung.ACCOUNT))


class IspConfigServer:
    """One mailbox; answers as ISPConfig's JSON handler does, its faults included."""

    def __init__(self, **more):
        self.box = {"mailuser_id": "17", "email": JOE, "password": "$6$hash", "disablesmtp": "n", "disableimap": "n"}
        self.calls, self.sessions, self.more = [], set(), more

    def __call__(self, request):
        (function,), given = request.query, json.loads(request.body)
        self.calls.append((function, given))
        if function in self.more:
            return self.more[function]
        if function == "login":
            if given != {"username": "penstock", "password": "PW"}:
                return self.fault("The login failed. Username or password wrong.")
            self.sessions.add("5e55")
            return self.fine("5e55")
        if given["session_id"] not in self.sessions:
            return self.fault("The Session is expired or does not exist.")
        return getattr(self, function)(given)

    def fine(self, response):
        return 200, json.dumps({"code": "ok", "message": "", "response": response})

    def fault(self, message):
        return 200, json.dumps({"code": "remote_fault", "message": message, "response": False})

    def logout(self, given):
        self.sessions.discard(given["session_id"])
        return self.fine(True)

    def mail_user_get(self, given):
        return self.fine([self.box] if given["primary_id"] == {"email": JOE} else [])

    def mail_user_update(self, given):
        assert list(given) == ["session_id", "client_id", "primary_id", "params"], "older handlers go by the order"
        assert given["primary_id"] == "17"
        self.box |= given["params"]
        return self.fine(1)


def ispconfig(panel, password="PW"):
    return driver("ispconfig", IspConfigSection(url=panel.url, user="penstock", password=password))


async def test_ispconfig_stops_a_mailbox_from_sending_and_leaves_all_else():
    """One field, changed where it is not so already; no session stays open."""
    async with PanelHttp(IspConfigServer()) as panel:
        server, wanted = panel.answer, ispconfig(panel)
        before = dict(server.box)
        assert "disablesmtp=y" in wanted.describe(step("shut"))
        assert not server.calls, "telling what would be done asks nobody"
        assert await wanted.carry_out(step("shut")) == f"disablesmtp=y of {JOE}"
        assert server.box == before | {"disablesmtp": "y"}
        assert "(as before)" in await wanted.carry_out(step("shut"))
        await wanted.carry_out(step("open"))
        assert server.box == before
        assert [one for one, _ in server.calls].count("mail_user_update") == 2
        assert not server.sessions
        assert {(one.method, one.path) for one in panel.requests} == {("POST", "/remote/json.php")}


@pytest.mark.parametrize(
    ("more", "trouble"),
    [
        ({"login": (200, "Remote API is disabled in security settings.")}, Unavailable),
        ({"login": (200, '{"code":"ok","message":"","response":false}')}, Unavailable),
        ({"login": None}, Unavailable),
        ({"login": (502, "Bad Gateway")}, Unavailable),
        ({"login": (200, '{"message":"what"}')}, Unavailable),
        ({"mail_user_get": (200, '{"code":"ok","message":"","response":[]}')}, Refused),
        ({"mail_user_get": (200, '{"code":"ok","message":"","response":[{"email":"else@x.example"}]}')}, Refused),
        (
            {
                "mail_user_update": (
                    200,
                    '{"code":"remote_fault","message":"You do not have the permissions to access this function."}',
                )
            },
            Refused,
        ),
        ({"mail_user_update": (200, '{"code":"ok","message":"","response":0}')}, Unavailable),
    ],
)
async def test_what_ispconfig_will_not_do_is_told_apart(more, trouble):
    """A mailbox that it does not have, an API that is off, an update after which nothing changed."""
    async with PanelHttp(IspConfigServer(**more)) as panel:
        with pytest.raises(trouble):
            await ispconfig(panel).carry_out(step("shut"))
        assert not panel.answer.sessions


async def test_a_wrong_password_of_the_remote_user_is_waited_for():
    """A person mends it."""
    async with PanelHttp(IspConfigServer()) as panel:
        with pytest.raises(Unavailable, match="login failed"):
            await ispconfig(panel, "old").carry_out(step("shut"))


async def test_a_webhook_is_signed_fresh_and_has_the_same_key_each_time():
    """So the receiver can tell who called, when, and whether it has done this already."""
    answers = [(503, ""), (200, "")]
    async with PanelHttp(lambda request: answers.pop(0)) as panel:
        webhook = driver("webhook", WebhookSection(url=f"{panel.url}/shut", secret="s3cret"))
        wanted = step("shut", "jö@shop.example")
        with pytest.raises(Unavailable):
            await webhook.carry_out(wanted)
        await webhook.carry_out(wanted)
        first, second = panel.requests
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
        told = json.loads(second.body)
        assert (told["verb"], told["thing"]) == ("shut", {"rung": "mailbox", "name": "jö@shop.example"})
        signed = second.headers["x-penstock-signature"]
        at = float(signed.split(",")[0].removeprefix("t="))
        assert is_fresh("s3cret", signed, second.body, at + 299)
        assert not is_fresh("s3cret", signed, second.body, at + 301), "an old call, sent again"
        assert not is_fresh("s3cret", signed, second.body + b" ", at)
        assert not is_fresh("other", signed, second.body, at)
        for nonsense in ("", "t=", "t=x,v1=y", f"t={at:.0f}", "t=-1,v1=", "ö"):
            assert not is_fresh("s3cret", nonsense, second.body, at)
        answers[:] = [(404, "")]
        with pytest.raises(Refused):
            await webhook.carry_out(wanted)
