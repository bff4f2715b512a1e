"""Chat through the real Apprise: what is said arrives, and what does not is told."""

import json

import pytest

from neighbours.panel_http import PanelHttp
from penstock.clients.chat import Chat


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in Apprise's plugins
async def test_what_is_said_arrives_at_every_service():
    """Apprise's own JSON service stands for all."""
    answers = [(200, ""), (500, "")]
    async with PanelHttp(lambda request: answers.pop(0)) as panel:
        chat = Chat([panel.url.replace("http://", "json://")])
        assert await chat.say("Penstock at mx", "joe was shut") == ""
        assert await chat.say("Penstock at mx", "joe was shut") == "a service did not take it"
        told = json.loads(panel.requests[0].body)
        assert (told["title"], told["message"]) == ("Penstock at mx", "joe was shut")


def test_a_service_that_is_none_is_named():
    """At the start, by its place; the URL itself may hold a secret."""
    with pytest.raises(ValueError, match=r"notices.chat\[0\]"):
        Chat(["nonsense-without-scheme"])
