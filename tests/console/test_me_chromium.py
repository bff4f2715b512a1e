"""The page about oneself in a real Chromium: a new password, and a security key that Chromium itself plays."""

import pytest
from axe_playwright_python.async_playwright import Axe
from console_house import PASSWORD
from playwright.async_api import async_playwright, expect
from security_key_house import made
from test_chromium import CHROMIUM, FLAGS

from neighbours.postfix import free_port
from penstock.console.app import make_app
from penstock.console.server import ConsoleListener

NEW = "horse battery correct"
KEY = {
    "protocol": "ctap2", "transport": "usb", "hasResidentKey": False, "hasUserVerification": False,
    "automaticPresenceSimulation": False,
}  # fmt: skip


async def log_in(page, password):
    await page.goto("/login?next=/me")
    await page.get_by_label("Name").fill("desk")
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


async def ask_new(page):
    await page.get_by_label("Name of the new key").fill("blue")
    await page.get_by_label("Your password").fill(NEW)
    await page.get_by_role("button", name="Register a key").click()


async def violations(page):
    """What axe-core finds, light and dark."""
    found = []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        found += [(scheme, one["id"]) for one in (await Axe().run(page)).response["violations"]]
    return found


@pytest.mark.timeout(280)
async def test_a_person_changes_the_password_and_registers_a_key_that_the_login_asks_for(tmp_path):
    """All by forms; no page has anything that axe-core or the browser's console complains of."""
    site = f"http://localhost:{(port := free_port())}"
    house = await made(tmp_path, site)
    listener = ConsoleListener(make_app(house.site), [f"127.0.0.1:{port}"], [])
    await listener.start()
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=60_000)
            page = await browser.new_page(base_url=site)
            page.set_default_timeout(40_000)
            troubles = []
            page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda why: troubles.append(str(why)))
            await log_in(page, PASSWORD)
            assert not await violations(page)
            await page.get_by_label("Password of until now").fill(PASSWORD)
            await page.get_by_label("New password, 12 signs or more").fill(NEW)
            await page.get_by_label("New password again").fill(NEW)
            await page.get_by_role("button", name="Change the password").click()
            await expect(page.get_by_role("status")).to_contain_text("Your password is changed")

            devices = await page.context.new_cdp_session(page)
            await devices.send("WebAuthn.enable")
            key = (await devices.send("WebAuthn.addVirtualAuthenticator", {"options": KEY}))["authenticatorId"]
            await ask_new(page)
            await expect(page.get_by_text("Show the new key to this browser: blue")).to_be_visible()
            assert not await violations(page)
            await page.get_by_role("link", name="Back").click()
            await devices.send("WebAuthn.setAutomaticPresenceSimulation", {"authenticatorId": key, "enabled": True})
            await ask_new(page)
            await expect(page.get_by_role("status")).to_contain_text("The security key is registered")
            assert not await violations(page)

            await page.get_by_role("button", name="Log out").click()
            await log_in(page, NEW)
            await page.wait_for_url(f"{site}/me")
            (kept,) = (await house.store.person("desk")).security_keys
            assert kept.used_at == house.now
            assert kept.counter > 1

            await page.get_by_role("button", name="Log out").click()
            await devices.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": key})
            await log_in(page, NEW)
            await expect(page.get_by_text("Show one of your security keys")).to_be_visible()
            assert await page.get_by_role("button", name="Log out").count() == 0
            assert not troubles
            await browser.close()
    finally:
        await listener.stop(1.0)
        await house.service.store.close()
