"""A process that follows a log into a store until it is killed: `python -m tests.workers.follower STORE LOG`."""

import asyncio
import ipaddress
import sys
import time
from importlib import resources
from pathlib import Path

from penstock.judge.identity import Extractor, Identity
from penstock.judge.policy import Policy
from penstock.judge.rules import Rules
from penstock.model import Mode
from penstock.pipeline import Pipeline, Unwatched
from penstock.protocols.deliveries import Reader, postfix
from penstock.protocols.receivers import Replies
from penstock.store.sqlite import SqliteStore
from penstock.workers.feedback import Feedback


def made(store, **more):
    """Pipeline and feedback over a store."""
    replies = Replies((resources.files("penstock.protocols") / "replies.toml").read_text("utf-8"))
    identity = Identity((Extractor("login", "sasl"),), (ipaddress.ip_network("127.0.0.1/32"),))
    rules = Rules(identity, Policy.from_budgets(), Mode.OBSERVE, b"k" * 32, replies.reason_of)
    pipeline = Pipeline(store, None, rules, Unwatched(), clock=time.perf_counter)
    given = {"read_token": lambda text: None, "tag_of": lambda name: "", "count": lambda name: None, "now": time.time}
    return pipeline, Feedback(store, pipeline, replies, **(given | more))


async def follow(store_path, log_path):
    store = SqliteStore(Path(store_path))
    await store.open()
    _, feedback = made(store)
    print("ready", flush=True)
    await feedback.follow(Path(log_path), Reader(postfix), idle_s=0.02, from_start=True)


if __name__ == "__main__":
    asyncio.run(follow(*sys.argv[1:]))
