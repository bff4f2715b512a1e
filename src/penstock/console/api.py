"""The JSON API, version 1: the operations of the command line for programs, described by OpenAPI.

A program shows a token (`Authorization: Bearer …`); it sees and does what the token's person may, and no more than the
token's scope. Lists come in pages: `next` of one page is `after` of the following, and null at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException as AnyHTTPException

from penstock.console import api_forms as forms
from penstock.console.api_forms import Limit, Moment, Page, Text, answer, page
from penstock.console.entrance import Viewer
from penstock.console.flow import Flow, look
from penstock.console.letter import Letter, read_letter
from penstock.console.sight import Sight
from penstock.console.site import Site
from penstock.desk import NotThere, Refused
from penstock.examples import Example
from penstock.judge.limits import Override
from penstock.learning import Taken
from penstock.model import AccountRow, Action, Audit, DecisionRow, Event, Held, Standing
from penstock.overview import AccountView, PoolRow, case_messages, explanation, find_case, pool_rows
from penstock.people import Role
from penstock.pool_past import PlanView, plan_view, pool_history, read_past
from penstock.sending import Case, Listing
from penstock.store.ports import AccountSearch, DecisionSearch, ExampleSearch, StoreUnavailable
from penstock.workers.held import Outcome

_bearer = HTTPBearer(auto_error=False, description="A token of `penstock tokens add`.")
_SCHEMAS, _PARTS = forms.schemas(Flow, Letter)
_TROUBLE = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_TROUBLES: dict[int | str, dict[str, Any]] = {
    code: {"description": text, "content": {"application/json": {"schema": _TROUBLE}}}
    for code, text in (
        (400, "Not readable"),
        (401, "No token that opens anything"),
        (403, "The token's scope or tenant is too narrow"),
        (404, "Not there, or not yours"),
        (409, "Cannot be"),
        (422, "Not understood"),
        (503, "The store is away"),
    )
}


class Call:
    """One request of a program that may make it."""

    def __init__(self, site: Site, viewer: Viewer) -> None:
        self.site = site
        self.viewer = viewer
        self.sight = Sight(site.store, site.rules, viewer)


def may(role: Role, *, is_whole: bool = False) -> Any:
    """What lets a token through that covers a role; `is_whole` wants one that is not of one tenant alone."""

    async def allowed(
        request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Call:
        site: Site = request.app.state.site
        viewer = await site.entrance.viewer(shown.credentials, "token") if shown is not None else None
        if viewer is None:
            raise HTTPException(401, "a token is wanted: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})
        if not viewer.may(role, is_whole=is_whole):
            whole = " of somebody who is not of one tenant alone" if is_whole else ""
            raise HTTPException(403, f"this is for tokens of scope {role}{whole}")
        return Call(site, viewer)

    return Depends(allowed)


Reader = Annotated[Call, may(Role.READ)]
WholeReader = Annotated[Call, may(Role.READ, is_whole=True)]
Desk = Annotated[Call, may(Role.DESK)]
WholeDesk = Annotated[Call, may(Role.DESK, is_whole=True)]


async def show_me(call: Reader) -> Response:
    """Say whose token this is."""
    return answer(forms.Me(call.viewer.name, call.viewer.role, call.viewer.tenant))


async def show_now(call: Reader) -> Response:
    """What the gate does now: flow, standings, cases, IPs, trouble."""
    return answer(await look(call.site, call.sight, call.viewer))


async def list_accounts(  # noqa: PLR0917 (FastAPI calls by name)
    call: Reader,
    text: Text = "",
    standing: Standing | None = None,
    tenant: Text = "",
    order: Literal["evidence", "seen", "account"] = "evidence",
    after: Text = "",
    limit: Limit = 50,
) -> Response:
    """Search accounts."""
    place = forms.read_place(after, str if order == "account" else float)
    search = AccountSearch(text, standing.value if standing else "", tenant, order, place, limit)
    rows = await call.sight.accounts(search)
    last = rows[-1] if rows else None
    value = {"evidence": last.evidence, "seen": last.seen_at}.get(order, last.account) if last else ""
    return page(rows, limit, forms.write_place(value, last.account) if last else "")


async def show_account(call: Reader, account: Text) -> Response:
    """Show one account with all that is known of it."""
    return answer(await call.sight.account_view(account, call.site.now()))


async def list_events(call: Reader, account: Text, after: Text = "", limit: Limit = 50) -> Response:
    """List what came back about an account, newest first: bounces, complaints, spamtraps, listings."""
    place = forms.read_place(after, float)
    before = (float(place[0]), place[1]) if place is not None else None
    rows = await call.sight.events(account, limit=limit, before=before)
    return page(rows, limit, forms.write_place(rows[-1].at, rows[-1].key) if rows else "")


async def suspend_account(call: Desk, body: forms.OfAccount) -> Response:
    """Stop an account's mail, until it is released."""
    await call.sight.account(body.account)
    standing = await call.site.desk.suspend(body.account, who=call.viewer.name, reason=body.reason)
    return answer(forms.Steered(body.account, standing))


async def release_account(call: Desk, body: forms.OfAccount) -> Response:
    """Give an account back to its owner; what spoke against it is forgotten."""
    await call.sight.account(body.account)
    standing = await call.site.desk.release(body.account, who=call.viewer.name, reason=body.reason)
    return answer(forms.Steered(body.account, standing))


async def trust_account(call: Desk, body: forms.OfAccount) -> Response:
    """Set an account's standing to trusted."""
    await call.sight.account(body.account)
    standing = await call.site.desk.trust(body.account, who=call.viewer.name, reason=body.reason)
    return answer(forms.Steered(body.account, standing))


async def note_account(call: Desk, body: forms.OfAccount) -> Response:
    """Keep a remark beside an account."""
    await call.sight.account(body.account)
    await call.site.desk.note(body.account, who=call.viewer.name, reason=body.reason)
    return answer(forms.Said("noted"))


async def pin_account(call: WholeDesk, body: forms.PinAccount) -> Response:
    """Tie an account to a pool, or to one IP of it."""
    await call.sight.account(body.account)
    desk, who = call.site.desk, call.viewer.name
    said = await desk.pin(body.account, body.pool, who=who, reason=body.reason, ip=body.ip, until=body.until)
    return answer(forms.Said(said))


async def unpin_account(call: WholeDesk, body: forms.OfAccount) -> Response:
    """Let the table of choices decide again."""
    await call.sight.account(body.account)
    return answer(forms.Said(await call.site.desk.unpin(body.account, who=call.viewer.name, reason=body.reason)))


async def limit_account(call: WholeDesk, body: forms.LimitAccount) -> Response:
    """Give an account another limit than its plan's."""
    await call.sight.account(body.account)
    override = Override(body.unit, body.window, body.most, body.until)
    said = await call.site.desk.limit(body.account, override, who=call.viewer.name, reason=body.reason)
    return answer(forms.Said(said))


async def list_decisions(  # noqa: PLR0917 (FastAPI calls by name)
    call: Reader,
    account: Text = "",
    tenant: Text = "",
    action: Action | None = None,
    reason: Text = "",
    since: Moment = 0.0,
    until: Moment = 0.0,
    queue_id: Text = "",
    message_id: Text = "",
    rcpt_to: Text = "",
    mail_from: Text = "",
    ip: Text = "",
    after: Text = "",
    limit: Limit = 50,
) -> Response:
    """Search decisions, newest first; `action` is the one taken or wanted."""
    search = DecisionSearch(
        account, tenant, action.value if action else "", reason, since, until, queue_id, message_id, rcpt_to, mail_from,
        ip, after, limit,
    )  # fmt: skip
    rows = await call.sight.decisions(search)
    return page(rows, limit, rows[-1].decision.id if rows else "")


async def show_decision(call: Reader, id: str) -> Response:
    """Explain a decision, by its id, reference token, queue id or Message-ID."""
    row = await call.sight.decision(id[:1000])
    delivery = await call.sight.delivery(row)
    return answer(forms.Explained(row, delivery, explanation(row, delivery)))


async def list_held(
    call: Reader,
    account: Text = "",
    state: Literal["held", "releasing", "released", "dropped", "expired", "all"] = "held",
    after: Text = "",
    limit: Limit = 50,
) -> Response:
    """List held messages, newest first."""
    wanted = "" if state == "all" else state
    rows = await call.sight.held(account=account, state=wanted, limit=limit, before=after)
    return page(rows, limit, rows[-1].id if rows else "")


async def show_held(call: Reader, id: str) -> Response:
    """Show a held message's text, links and attachments, never as active content."""
    raw = await call.sight.held_raw(await call.sight.held_one(id[:100]))
    if raw is None:
        raise NotThere("its bytes are gone")
    return answer(await read_letter(raw))


async def release_held(call: Desk, body: forms.SettleHeld) -> Response:
    """Send held messages on to the next hop."""
    return await _settled(call, body, call.site.desk.release_held)


async def drop_held(call: Desk, body: forms.SettleHeld) -> Response:
    """Remove held messages for good."""
    return await _settled(call, body, call.site.desk.drop_held)


async def _settled(call: Call, body: forms.SettleHeld, settle: Callable[..., Any]) -> Response:
    found = [await call.sight.held_one(id[:100]) for id in body.ids]
    who = call.viewer.name
    outcomes = [await settle(one.id, who=who, reason=body.reason, learn=body.learn) for one in found]
    return page(outcomes, 0, "")


async def list_examples(
    call: WholeReader, account: Text = "", undone: bool = False, after: Text = "", limit: Limit = 50
) -> Response:
    """List what was learnt, newest first; with `undone` what was taken back, too."""
    search = ExampleSearch(account=account, with_undone=undone, before=after, limit=limit)
    rows = await call.site.store.examples(search)
    return page(rows, limit, rows[-1].id if rows else "")


async def teach(call: Desk, body: forms.Teach) -> Response:
    """Say of messages that they are abuse, or legitimate; what is held stays held."""
    ids = [(await call.sight.decision(id)).decision.id for id in body.ids]
    is_abuse = body.verdict == "abuse"
    return answer(await call.site.desk.teach(ids, is_abuse=is_abuse, who=call.viewer.name, reason=body.reason))


async def unlearn(call: WholeDesk, body: forms.Unlearn) -> Response:
    """Take examples back, as if they had never been."""
    count = await call.site.desk.unlearn(body.ids, who=call.viewer.name, reason=body.reason)
    return answer(forms.Undone(count))


async def list_pools(call: WholeReader) -> Response:
    """Show pools, their IPs and states."""
    rows = await pool_rows(call.site.store, call.site.rules.pools, call.site.now())
    return page(rows, 0, "")


async def plan_pools(call: WholeReader, since: Moment = 0.0, most: forms.Most = 2000) -> Response:
    """Say what the latest mail would use now: which accounts would move, how volumes would shift."""
    site = call.site
    past = await read_past(site.store, since=since, most=most)
    return answer(await plan_view(site.store, site.rules.pools, past, site.rules.policy.throttle))


async def list_moves(call: WholeReader, target: Text = "", before: Moment = 0.0, limit: Limit = 50) -> Response:
    """List who moved between pools and why, IPs drained and brought back, cases; newest first.

    A page may be short, even empty, while `next` says where to read on.
    """
    found = await pool_history(call.site.store, target=target, limit=limit, before=before)
    return answer(Page(list(found.rows), repr(found.before) if found.before else None))


async def drain_ip(call: WholeDesk, body: forms.SetIp) -> Response:
    """Take an IP out of its pool."""
    return await _set_ip(call, body, is_drained=True)


async def undrain_ip(call: WholeDesk, body: forms.SetIp) -> Response:
    """Bring an IP back into its pool."""
    return await _set_ip(call, body, is_drained=False)


async def _set_ip(call: Call, body: forms.SetIp, *, is_drained: bool) -> Response:
    desk, who = call.site.desk, call.viewer.name
    last = body.last or not is_drained
    return answer(forms.Said(await desk.set_ip(body.ip, is_drained=is_drained, who=who, reason=body.reason, last=last)))


async def list_listings(call: WholeReader, everything: bool = False, limit: Limit = 200) -> Response:
    """List what is on blocklists, latest first; with `everything` what was, too."""
    rows = await call.site.store.latest_listings(current_only=not everything, limit=limit)
    return page(rows, 0, "")


async def list_cases(call: WholeReader, everything: bool = False, limit: Limit = 50) -> Response:
    """List open cases, newest first; with `everything` closed ones too."""
    return page(await call.site.store.cases(open_only=not everything, limit=limit), 0, "")


async def show_case(call: WholeReader, id: str) -> Response:
    """Show one case, by its id or its IP while it is open."""
    store = call.site.store
    case = await _case(call, id)
    messages, history = await case_messages(store, case), await store.audit(target=case.ip, limit=20)
    return answer(forms.CaseView(case, messages, history))


async def close_case(call: WholeDesk, id: str, body: forms.Reason) -> Response:
    """Close a case by hand."""
    case = await call.site.desk.close_case(await _case(call, id), who=call.viewer.name, reason=body.reason)
    return answer(forms.Said(f"case {case.id} is closed"))


async def _case(call: Call, id: str) -> Case:
    case = await find_case(call.site.store, id[:100])
    if case is None:
        raise NotThere(f"no case {id[:100]}")
    return case


async def list_audit(call: WholeDesk, target: Text = "", before: Moment = 0.0, limit: Limit = 50) -> Response:
    """List who did what, newest first; `before` is the time of a page's last entry."""
    rows = await call.site.store.audit(target=target, limit=limit, before=before)
    return page(rows, limit, repr(rows[-1].at) if rows else "")


ROUTES: tuple[tuple[str, str, Callable[..., Any], Any], ...] = (
    ("GET", "/me", show_me, forms.Me),
    ("GET", "/now", show_now, Flow),
    ("GET", "/accounts", list_accounts, Page[AccountRow]),
    ("GET", "/account", show_account, AccountView),
    ("GET", "/account/events", list_events, Page[Event]),
    ("POST", "/account/suspend", suspend_account, forms.Steered),
    ("POST", "/account/release", release_account, forms.Steered),
    ("POST", "/account/trust", trust_account, forms.Steered),
    ("POST", "/account/note", note_account, forms.Said),
    ("POST", "/account/pin", pin_account, forms.Said),
    ("POST", "/account/unpin", unpin_account, forms.Said),
    ("POST", "/account/limit", limit_account, forms.Said),
    ("GET", "/decisions", list_decisions, Page[DecisionRow]),
    ("GET", "/decisions/{id}", show_decision, forms.Explained),
    ("GET", "/held", list_held, Page[Held]),
    ("GET", "/held/{id}", show_held, Letter),
    ("POST", "/held/release", release_held, Page[Outcome]),
    ("POST", "/held/drop", drop_held, Page[Outcome]),
    ("GET", "/learnt", list_examples, Page[Example]),
    ("POST", "/learnt", teach, Taken),
    ("POST", "/learnt/undo", unlearn, forms.Undone),
    ("GET", "/pools", list_pools, Page[PoolRow]),
    ("GET", "/pools/plan", plan_pools, PlanView),
    ("GET", "/pools/moves", list_moves, Page[Audit]),
    ("POST", "/pools/drain", drain_ip, forms.Said),
    ("POST", "/pools/undrain", undrain_ip, forms.Said),
    ("GET", "/listings", list_listings, Page[Listing]),
    ("GET", "/cases", list_cases, Page[Case]),
    ("GET", "/cases/{id}", show_case, forms.CaseView),
    ("POST", "/cases/{id}/close", close_case, forms.Said),
    ("GET", "/audit", list_audit, Page[Audit]),
)
"""Every operation: method, path, what does it, what it answers."""


def make_api(site: Site) -> FastAPI:
    """The API as an application of its own."""
    api = FastAPI(title="Penstock", version="1", docs_url=None, redoc_url=None, servers=[{"url": "/api/v1"}])
    api.state.site = site
    for method, path, endpoint, kind in ROUTES:
        good = {"content": {"application/json": {"schema": _SCHEMAS[str(kind)]}}}
        api.add_api_route(path, endpoint, methods=[method], responses={200: good, **_TROUBLES}, response_class=Response)
    described = api.openapi

    def with_parts() -> dict[str, Any]:
        found = described()
        found["components"].setdefault("schemas", {}).update(_PARTS)
        return found

    api.openapi = with_parts  # type: ignore[method-assign]
    for kind, code in ((NotThere, 404), (Refused, 409), (StoreUnavailable, 503)):
        api.add_exception_handler(kind, _told(code))
    api.add_exception_handler(AnyHTTPException, _http)
    api.add_exception_handler(RequestValidationError, _faults)
    return api


def _told(code: int) -> Callable[[Request, Exception], Any]:
    async def handler(request: Request, why: Exception) -> Response:
        return _trouble(code, str(why))

    return handler


async def _http(request: Request, why: Exception) -> Response:
    assert isinstance(why, AnyHTTPException)
    return _trouble(why.status_code, str(why.detail), why.headers)


async def _faults(request: Request, why: Exception) -> Response:
    assert isinstance(why, RequestValidationError)
    faults = (f"{'.'.join(str(one) for one in fault['loc'])}: {fault['msg']}" for fault in why.errors())
    return _trouble(422, "; ".join(faults).encode("utf-8", "replace").decode())


def _trouble(code: int, text: str, headers: Any = None) -> Response:
    found = answer({"error": text})
    found.status_code = code
    found.headers.update(headers or {})
    return found
