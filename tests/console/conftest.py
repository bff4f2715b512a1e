"""A house for the console's tests: two tenants, people of every role, and messages that would like to be code."""

from urllib.parse import quote

import httpx2
import pytest
from console_house import House, furnish


@pytest.fixture
async def house(tmp_path):
    """A furnished house, over SQLite, without sockets."""
    one = House(tmp_path)
    await one.service.store.open()
    await furnish(one)
    yield one
    await one.service.store.close()


@pytest.fixture
async def visit(house):
    """Makes a browser of somebody who has logged in; nobody's without a name."""
    open_ones = []

    async def make(name=""):
        transport = httpx2.ASGITransport(app=house.app)
        client = httpx2.AsyncClient(transport=transport, base_url="http://console.example")
        open_ones.append(client)
        if name:
            answer = await client.post("/login", data={"name": name, "password": house.password})
            assert answer.status_code == 303, answer.text
        return client

    yield make
    for client in open_ones:
        await client.aclose()


@pytest.fixture
def path_of():
    """A part of a path."""
    return lambda text: quote(text, safe="")
