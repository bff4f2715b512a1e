"""The API against its own OpenAPI document: schemathesis sends what fits and what does not, and no answer is a 5xx."""

import asyncio
import threading

import pytest
import schemathesis
from console_house import House, furnish
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from penstock.console.api import ROUTES
from penstock.console.server import ConsoleListener

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A furnished house behind a real socket, in a loop of its own; (address, an administrator's header)."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def open_house():
        house = House(tmp_path_factory.mktemp("served"))
        await house.store.open()
        await furnish(house)
        listener = ConsoleListener(house.app, ["127.0.0.1:0"], [])
        await listener.start()
        return house, listener, await house.token("admin")

    house, listener, header = asyncio.run_coroutine_threadsafe(open_house(), loop).result(60)
    address = listener.addresses[0]
    yield f"http://{address}/api/v1", header
    asyncio.run_coroutine_threadsafe(listener.stop(1.0), loop).result(20)
    asyncio.run_coroutine_threadsafe(house.store.close(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)


@pytest.fixture(scope="module")
def document(served):
    """The API as it describes itself."""
    return schemathesis.openapi.from_url(f"{served[0]}/openapi.json")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route[0]} {route[1]}")
def test_no_request_brings_the_api_down(served, document, route):
    """Statuses, types and bodies are those that the document promises."""
    method, path, _, _ = route
    operation = document[path][method]

    @given(case=operation.as_strategy())
    @settings(max_examples=20, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def tried(case):
        case.call_and_validate(headers=served[1], checks=CHECKS, timeout=60)

    tried()
