"""The console in a real Chromium, over the demonstration's provider: what a night shift does, and what thieves try.

Screenshots of every page, full and empty, in both schemes, wide and narrow, go to build/screenshots, or to
PENSTOCK_SCREENSHOTS.
"""

import json
import os
import re
import signal
import smtplib
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from console_house import RAW
from playwright.sync_api import expect, sync_playwright

from neighbours.postfix import free_port
from penstock.cli.run import sandbox_file
from penstock.config import parse_settings
from penstock.judge.reference import make_link

CHROMIUM = os.environ.get("PENSTOCK_CHROMIUM", "/usr/bin/chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run"
).split()
PASSWORD = "correct horse battery"
PAGES = {
    "now": "/", "accounts": "/accounts", "decisions": "/decisions?action=hold", "held": "/held",
    "learnt": "/learnt", "campaigns": "/campaigns", "pools": "/pools", "moves": "/pools/moves", "plan": "/pools/plan",
    "lists": "/lists", "cases": "/cases",
    "reports": "/reports", "enforced": "/enforced?days=30", "settings": "/settings", "audit": "/audit",
    "me": "/me",
}  # fmt: skip
FOR_README = ("now", "account", "decision")
TOLD_S = 90
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
VIEWS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]
WITH_AXE = {("light", 390), ("dark", 390)}
"""axe-core takes seconds a page: colours differ by scheme; at phone width everything is there that is there at all."""


def penstock(*words, typed=None):
    """Run a command to its end."""
    command = [sys.executable, "-m", "penstock", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, input=typed, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(what, is_so, seconds=TOLD_S):
    """Wait for a thing, bounded."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.1)


def answers(address):
    try:
        with urllib.request.urlopen(f"{address}/login", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def with_ports(path):
    """The sandbox's file with ports that are free; where its console is."""
    ports = {}

    def port(found):
        ports[found[0]] = free_port()
        return f"127.0.0.1:{ports[found[0]]}"

    path.write_text(re.sub(r"127\.0\.0\.1:\d+(?!/)", port, path.read_text()))
    return f"http://127.0.0.1:{ports['127.0.0.1:8025']}"


def send_evil(path):
    """A message of the kind that would like to be code, from an account that is held."""
    settings = parse_settings(path.read_text())
    host, _, port = settings.smtp.listen[0].rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=60) as client:
        client.sendmail("joe@evil.example", ["ann@example.org"], RAW)


@contextmanager
def running(path, address):
    """`penstock run` over a configuration."""
    log = path.with_name("log").open("wb")
    process = subprocess.Popen([sys.executable, "-m", "penstock", "run", "-c", str(path)], stderr=log)
    try:
        until("the console", lambda: answers(address))
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=40)
        finally:
            process.kill()
            log.close()


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    """The demonstration's day, and `penstock run` over it; (the console's address, configuration, hijacked account)."""
    data = tmp_path_factory.mktemp("gate") / "data"
    path = sandbox_file(data)
    address = with_ports(path)
    name = json.loads(penstock("demo", "--data", data, "--json"))["hijacked"]
    with running(path, address):
        yield address, path, name


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A sandbox to which nothing has come yet, with its administrator; the console's address."""
    path = sandbox_file(tmp_path_factory.mktemp("fresh") / "data")
    address = with_ports(path)
    penstock("people", "add", "ann", "--role", "admin", "-c", path, typed=f"{PASSWORD}\n")
    with running(path, address):
        yield address


@pytest.fixture(scope="module")
def chromium():
    """One Chromium for all of these tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=60_000)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, gate):
    """Opens a window of its own, which must meet no error and ask no other host."""
    windows, strangers, errors = [], [], []

    def make(name="", address=gate[0], **more):
        context = chromium.new_context(base_url=address, **more)
        windows.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", lambda one: None if one.url.startswith((address, "data:")) else strangers.append(one.url))
        page.on("console", lambda one: errors.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda one: errors.append(str(one)))
        page.on("dialog", lambda one: (errors.append(f"dialog {one.message}"), one.dismiss()))
        if name:
            log_in(page, name)
        return page

    yield make
    for context in windows:
        context.close()
    assert not strangers
    assert not [one for one in errors if "401" not in one and "403" not in one and "404" not in one]


@pytest.fixture(scope="module")
def people(gate):
    """An administrator, made by the command as on the first day, and the others."""
    path = gate[1]
    for name, words in {
        "ann": ("--role", "admin"), "rita": ("--role", "read"), "desk": (),
        "reseller": ("--tenant", "demo1.example"), "other": ("--tenant", "nobody.example"),
    }.items():  # fmt: skip
        penstock("people", "add", name, *words, "-c", path, typed=f"{PASSWORD}\n")
    return path


def log_in(page, name):
    page.goto("/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def test_on_the_first_day_the_console_says_how_to_make_the_first_administrator(opened):
    """Nobody may log in yet; the page has the command."""
    page = opened()
    page.goto("/")
    expect(page.get_by_text("penstock people add NAME --role admin")).to_be_visible()


@pytest.mark.usefixtures("people")
def test_the_hijacked_account_is_found_released_and_suspended_again(opened, gate):
    """From the first page by two clicks; the reason is on record, and the command line agrees."""
    name = gate[2]
    page = opened("ann")
    expect(page.locator(".tile").first).to_be_visible()
    page.get_by_role("link", name="suspended").click()
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.locator(".uplot canvas")).to_be_visible()
    page.get_by_label("Why (kept in the audit)").first.fill("new password by phone")
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_role("status")).to_have_text("The account is released.")
    page.get_by_label("Why (kept in the audit)").first.fill("again from Brazil")
    page.get_by_role("button", name="Suspend").click()
    expect(page.get_by_role("status")).to_have_text("The account is suspended.")
    expect(page.get_by_role("cell", name="again from Brazil")).to_be_visible()
    assert json.loads(penstock("accounts", "show", name, "--json", "-c", gate[1]))["standing"] == "suspended"


@pytest.mark.usefixtures("people")
def test_search_narrows_the_list_while_one_types(opened, gate):
    """And the address keeps it, so that it can be sent to a colleague."""
    page = opened("rita")
    page.goto("/accounts")
    rows = page.locator("#rows tr")
    before = rows.count()
    part = gate[2].split(":")[1][:8]
    page.get_by_label("A part of the name").press_sequentially(part)
    page.wait_for_url(f"**text={part}*")
    assert 1 <= rows.count() < before


@pytest.mark.usefixtures("people")
def test_held_mail_is_released_by_keys(opened):
    """j, x, r: one message is gone to the next hop, and says so."""
    page = opened("desk")
    page.goto("/held")
    boxes = page.locator("input[name=id]")
    before = boxes.count()
    assert before > 0
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(boxes.first).to_be_checked()
    page.keyboard.press("r")
    expect(page.get_by_role("status")).to_contain_text("Released: 1")
    assert boxes.count() == before - 1


@pytest.mark.usefixtures("people")
def test_roles_and_tenants_stand_apart(opened, gate):
    """A reader finds no buttons, a reseller nothing of others and no settings."""
    name = gate[2]
    page = opened("rita")
    page.goto(f"/accounts/{name}")
    assert page.get_by_role("button", name="Suspend").count() == 0
    assert page.goto("/settings").status == 403
    page = opened("other")
    assert page.goto(f"/accounts/{name}").status == 404
    page.goto("/accounts")
    expect(page.get_by_text("No account fits.")).to_be_visible()
    assert page.goto("/audit").status == 403
    page = opened("reseller")
    page.goto("/accounts")
    assert page.get_by_role("link", name="Settings").count() == 0


@pytest.mark.usefixtures("people")
def test_a_form_of_another_site_does_nothing(opened, gate, chromium):
    """Sent by a page of somewhere else in the same browser, with its cookies."""
    address, path, name = gate
    page = opened("desk")
    evil = page.context.new_page()
    form = f"<form method=post action='{address}/steer/release/{name}'><input name=reason value=x></form>"
    evil.route("http://evil.test/", lambda one: one.fulfill(body=form, content_type="text/html"))
    evil.goto("http://evil.test/")
    with evil.expect_navigation():
        evil.evaluate("document.forms[0].submit()")
    assert "another site" in evil.inner_text("body") or "Log in" in evil.inner_text("body")
    assert json.loads(penstock("accounts", "show", name, "--json", "-c", path))["standing"] == "suspended"


@pytest.mark.usefixtures("people")
def test_nothing_that_a_message_brings_along_runs(opened, gate, tmp_path):
    """Hostile subject, name, HTML, link and attachment's name are text; nothing is loaded (see `opened`)."""
    send_evil(gate[1])
    page = opened("ann")
    page.goto("/decisions?from=joe%40evil.example")
    page.get_by_role("link", name="script").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("<script>alert(1)</script>")
    assert page.evaluate("document.querySelectorAll('main script, main img, main iframe').length") == 0


def test_a_customer_reads_why_in_his_language_and_speaks_up(opened, gate, people):
    """No login; the desk finds it in the account's record; nothing is released."""
    settings = parse_settings(people.read_text())
    key = settings.store.path.with_name("reference.key").read_bytes()
    held = json.loads(penstock("held", "list", "--json", "-c", people))[0]
    page = opened(locale="de-DE")
    page.goto(f"/why/{make_link(held['id'], key)}")
    if "Warum eine Nachricht" not in page.inner_text("h1"):  # the demonstration's day is a little older than the link
        pytest.fail(page.inner_text("body"))
    page.get_by_role("button", name="Das war ich").click()
    expect(page.get_by_role("status").first).to_contain_text("Abuse-Team")
    assert json.loads(penstock("held", "show", held["id"], "--json", "-c", people))["state"] == "held"
    page = opened("desk")
    page.goto(f"/accounts/{held['account']}")
    expect(page.get_by_role("cell", name="customer says: this was me").first).to_be_visible()


@pytest.fixture(scope="module")
def shots():
    folder = Path(os.environ.get("PENSTOCK_SCREENSHOTS") or SCREENSHOTS)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def look(page, path, picture, *, has_axe):
    """A picture of a page, and its troubles: what axe-core finds, and a page that scrolls sideways."""
    page.goto(path)
    page.wait_for_load_state("load")
    page.screenshot(path=picture, full_page=True)
    found = Axe().run(page).response["violations"] if has_axe else []
    troubles = [f"{picture.stem}: {one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth + 1"):
        troubles.append(f"{picture.stem}: wider than the window")
    return troubles


@pytest.mark.parametrize(("scheme", "width"), VIEWS)
def test_every_page_passes_axe_in_both_schemes_and_on_a_phone(opened, gate, people, shots, scheme, width):
    """No violation that axe-core knows, no sideways scrolling of the page itself."""
    view = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    page, troubles, has_axe = opened("ann", **view), [], (scheme, width) in WITH_AXE
    held = json.loads(penstock("held", "list", "--json", "-c", people))[0]
    more = {
        "account": f"/accounts/{gate[2]}",
        "events": f"/events/{gate[2]}",
        "decision": f"/decisions/{held['id']}",
        "held-one": f"/held/{held['id']}",
        "nothing": "/nothing",
    }
    for name, path in (PAGES | more).items():
        troubles += look(page, path, shots / f"{name}-{scheme}-{width}.png", has_axe=has_axe)
        if name in FOR_README and (scheme, width) == ("light", 1280):
            page.screenshot(path=shots / f"readme-{name}.png")
    settings = parse_settings(people.read_text())
    link = make_link(held["id"], settings.store.path.with_name("reference.key").read_bytes())
    page = opened(**view)
    for name, path in (("login", "/login"), ("customer", f"/why/{link}")):
        troubles += look(page, path, shots / f"{name}-{scheme}-{width}.png", has_axe=has_axe)
    assert not troubles, "\n".join(troubles)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_every_page_says_what_it_is_for_while_there_is_nothing_yet(opened, fresh, shots, scheme, width):
    """On the first day: no bare heading, and nothing that axe-core or a phone's width minds."""
    page = opened("ann", fresh, color_scheme=scheme, viewport={"width": width, "height": 900})
    troubles = []
    for name, path in PAGES.items():
        picture = shots / f"empty-{name}-{scheme}-{width}.png"
        troubles += look(page, path, picture, has_axe=(scheme, width) in WITH_AXE)
        if len(page.locator("main").inner_text().split()) < len(page.locator("h1").inner_text().split()) + 4:
            troubles.append(f"{picture.stem}: says nothing")
    assert not troubles, "\n".join(troubles)
