"""What is learnt at the command line reaches a service that runs, and one that starts later."""

import asyncio
import time

from msgspec.structs import replace

from penstock.config import Settings
from penstock.judge.message import parse
from penstock.learning import Said
from penstock.model import Envelope
from penstock.service import Service
from penstock.store.ports import ExampleSearch
from penstock.watch import Watch

BODY = "You receive this newsletter because you ordered at our flower shop in the old town last year, thank you."
RAW = f"From: shop@example.com\r\nSubject: News\r\n\r\n{BODY}\r\nhttps://flowers.example/tulips\r\n".encode()


def service(folder):
    settings = Settings.model_validate(
        {"store": {"path": folder / "p.sqlite"}, "learning": {"catch_up_s": 0.05}, "http": {"listen": ["127.0.0.1:0"]}}
    )
    return Service(settings, watch=Watch(None), does_upkeep=False)


def odds(one):
    return one.content.weigh(parse(RAW), RAW, Envelope("shop@example.com", ("ann@example.org",))).log_odds


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_running_and_later_processes_learn_and_unlearn(tmp_path):
    """Within moments and without a restart; after undoing, the verdict is what it was to the last bit."""
    running, person = service(tmp_path), service(tmp_path)
    await running.start()
    await person.store.open()
    before = odds(running)
    said = Said("ann", is_abuse=True, at=time.time())
    lesson = person.lessons.of_raw(RAW, said)
    await person.lessons.take([replace(lesson, example=replace(lesson.example, log_odds=-1.0))])
    await until(lambda: odds(running) > before + 2.0)

    late = service(tmp_path)
    await late.start()
    assert odds(late) == odds(running)

    await person.lessons.undo(ExampleSearch(who="ann"), who="bob", reason="a mistake", now=time.time())
    await until(lambda: odds(running) == before)
    for one in (running, late):
        await one.stop(1.0)
    await person.store.close()
