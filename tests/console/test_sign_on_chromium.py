"""Single sign-on as a browser does it, between two sites: cookies, policies and redirects are Chromium's own."""

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import async_playwright
from sign_on_house import ROLES, made
from test_chromium import CHROMIUM, FLAGS

from neighbours.glewlwyd import PASSWORD, Glewlwyd
from neighbours.postfix import free_port
from penstock.console.app import make_app
from penstock.console.server import ConsoleListener
from penstock.console.sign_on import BACK

# What the provider's own login page does.
LOG_IN = """async (password) => {
  const asked = async (method, path, body) => {
    const headers = {"Content-Type": "application/json"};
    const answer = await fetch(path, {method, headers, body: JSON.stringify(body)});
    if (!answer.ok) throw new Error(path + " " + answer.status);
  };
  await asked("POST", "/api/auth/", {username: "ann", password});
  await asked("PUT", "/api/auth/grant/penstock", {scope: "openid"});
  location.href = new URLSearchParams(location.search).get("callback_url") + "&g_continue";
}"""


@pytest.mark.timeout(280)
async def test_a_browser_comes_back_from_another_site_and_is_in(tmp_path):
    """From the page that was wanted to the provider and back to it; nothing is blocked, and the login page is open to
    all."""
    site = f"http://localhost:{(port := free_port())}"
    with Glewlwyd(site + BACK) as provider:
        provider.keep("ann", email="ann@example.net", email_verified="1", groups=["abuse-desk"])
        house = await made(tmp_path, provider.issuer, ROLES, site=site)
        listener = ConsoleListener(make_app(house.site), [f"127.0.0.1:{port}"], [])
        await listener.start()
        try:
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=60_000)
                page = await browser.new_page()
                page.set_default_timeout(40_000)
                troubles = []
                page.on("console", lambda message: troubles.append(message) if message.type == "error" else None)
                await page.goto(f"{site}/held")
                assert (await Axe().run(page)).violations_count == 0
                await page.get_by_role("link", name="Log in with Example <ID>").click()
                await page.wait_for_url(lambda url: url.startswith(f"{provider.url}/login.html?"))
                await page.evaluate(LOG_IN, PASSWORD)
                await page.wait_for_url(f"{site}/held")
                assert await page.get_by_text("ann@example.net").is_visible()
                assert not [one.text for one in troubles if not one.location["url"].startswith(provider.url)]
                cookies = {one["name"]: one for one in await page.context.cookies(site)}
                assert [name for name in cookies if name.startswith("penstock")] == ["penstock"]
                assert cookies["penstock"]["httpOnly"]
                await page.get_by_role("button", name="Log out").click()
                await page.wait_for_url(f"{site}/login")
                await browser.close()
        finally:
            await listener.stop(1.0)
            await house.service.store.close()
