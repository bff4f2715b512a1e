"""What the house of the console's tests is made of."""

from msgspec.structs import replace

from penstock.config import parse_settings
from penstock.console.app import make_app
from penstock.console.entrance import hash_password, new_token
from penstock.model import (
    Account,
    AccountRow,
    Action,
    Audit,
    Decision,
    DecisionRow,
    Event,
    Evidence,
    Finding,
    Held,
    Kind,
    Lines,
    Reply,
    Standing,
    make_id,
)
from penstock.people import Person, Role
from penstock.sending import Case, Listing, ListingChange, Suspect
from penstock.service import Service
from penstock.store.ports import HeldMessage, PoolRecords, Records
from penstock.watch import Watch

T0 = 1_800_000_000.0
PASSWORD = "correct horse battery"
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}'
MINE, OTHERS = "sasl:joe@example.com", "sasl:eve@other.example"
HASHED = hash_password(PASSWORD)
PEOPLE = {
    "reader": Person("reader", Role.READ, ""),
    "desk": Person("desk", Role.DESK, ""),
    "admin": Person("admin", Role.ADMIN, ""),
    "reseller": Person("reseller", Role.DESK, "", tenant="example.com"),
    "chief": Person("chief", Role.ADMIN, "", tenant="example.com"),
}
SETTINGS = """
[console]
listen = ["127.0.0.1:0"]
secure_cookies = false
[next_hop]
address = "maildir:PLACE/sink"
[judge]
mode = "enforce"
reply_link = "http://console.example/why/{link}"
[http]
password = "very secret"
[[pools.named.normal.ips]]
ip = "192.0.2.1"
[[pools.named.normal.ips]]
ip = "192.0.2.2"
[store]
path = "PLACE/penstock.sqlite"
"""
RAW = f"""From: {EVIL} <joe@example.com>\r
To: ann@example.org\r
Subject: {EVIL}\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary=b\r
\r
--b\r
Content-Type: text/html\r
\r
<p onclick="alert(3)">Click <a href="javascript:alert(4)">here</a><script>alert(5)</script>\r
<span style="display:none">{EVIL}</span><img src="http://tracker.example/x.png"></p>\r
--b\r
Content-Type: application/octet-stream\r
Content-Disposition: attachment; filename="<img src=x onerror=alert(6)>.exe"\r
\r
MZ\r
--b--\r
""".encode()


class House:
    """A service that does not run, and its console."""

    password = PASSWORD

    def __init__(self, folder, settings=SETTINGS):
        self.now = T0
        settings = parse_settings(settings.replace("PLACE", str(folder)))
        self.service = Service(settings, watch=Watch(None), now=lambda: self.now, does_upkeep=False)
        self.store = self.service.store
        self.site = self.service.site()
        self.app = make_app(self.site)
        self.ids = {name: make_id(T0 - 60 * at, at) for at, name in enumerate(("mine", "others", "plain"), 1)}
        self.tokens = {}

    async def token(self, name, role=None):
        """A token's header for a program."""
        person = PEOPLE[name]
        secret, key = new_token(person, role or person.role, "test", now=T0)
        await self.store.keep_key(key, Audit(T0, "test", "add-token", name))
        return {"Authorization": f"Bearer {secret}"}


def decision(id, account, action, subject, **more):
    """A decision as the pipeline would have made it."""
    tenant = account.rpartition("@")[2]
    whole = Decision(
        id=id, at=T0 - 60, account=replace(Account.parse(account), tenant=tenant), action=action, wanted=action,
        standing=Standing.POOR, kind=Kind.NORMAL, score=12.5, reason="" if action is Action.ACCEPT else "PS-ACCOUNT",
        evidence=(Evidence("content", 7.5, EVIL, "quiet", "content"), Evidence("carried", 5.0, "before", "0"),
                  Evidence("campaign", 1.0, "url:evil.example from 3 accounts of 3", "1 account", "campaign")),
        findings=(Finding("hidden-text", EVIL),), lines=Lines(10.0, 15.0, 2.0, 4.0),
        reply=Reply(450, "4.7.1", "[PS-ACCOUNT] told") if action is Action.THROTTLE else None,
    )  # fmt: skip
    return DecisionRow(
        decision=whole, mail_from=account.partition(":")[2], rcpt_to=("ann@example.org",), client_ip="198.51.100.9",
        listener="smtp", queue_id=f"Q{id[-4:]}", message_id=f"m-{id}@example.com", subject=subject,
        size_bytes=900, **more,
    )  # fmt: skip


async def furnish(house):
    """Two tenants' accounts and mail, a case, pools, a listing, people."""
    store, ids = house.store, house.ids
    for name, person in PEOPLE.items():
        await store.keep_person(replace(person, password=HASHED), Audit(T0, "test", "add-person", name))
    rows = (
        decision(ids["mine"], MINE, Action.HOLD, EVIL),
        decision(ids["others"], OTHERS, Action.HOLD, f"xyzzy {EVIL}"),
        decision(ids["plain"], MINE, Action.ACCEPT, "lunch"),
    )
    accounts = tuple(
        AccountRow(name, name.rpartition("@")[2], Standing.POOR, 12.5, T0, 3, 9, "normal", T0 - 99, EVIL)
        for name in (MINE, OTHERS)
    )
    held = tuple(
        HeldMessage(
            Held(row.decision.id, row.decision.id, str(row.decision.account), T0 - 60, row.mail_from, row.rcpt_to,
                 len(RAW), "PS-ACCOUNT", subject=row.subject), RAW,
        )
        for row in rows[:2]
    )  # fmt: skip
    audit = tuple(Audit(T0, "test", "note", name, EVIL, "xyzzy" * (name == OTHERS)) for name in (MINE, OTHERS))
    events = tuple(
        Event(T0 - n, "bounced", name, ids["mine"], "nobody@example.org", detail=EVIL + "xyzzy" * (name == OTHERS),
              reason="unknown-user", key=f"bounced/{n}")
        for name in (MINE, OTHERS) for n in range(60)
    )  # fmt: skip
    await store.update((), lambda: Records(decisions=rows, accounts=accounts, held=held, audit=audit, events=events))
    suspects = (Suspect(OTHERS, 0.8, 3, 9, (EVIL,), (ids["others"],)),)
    case = Case("case1", "192.0.2.1", "normal", T0, T0 - 60, ("zen",), suspects)
    await store.record_pools(PoolRecords(cases=(case,)))
    listing = Listing("192.0.2.1", "zen", T0, T0, codes=("127.0.0.2",), meanings=(EVIL,))
    await store.record_listings([ListingChange(T0, "listed", listing)])
    await house.service.tally()
    await store.tally(before_id="z")
