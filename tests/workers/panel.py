"""A panel for tests: what is shut in it, every call in order, and faults at will."""

from penstock.clients.drivers.driver import Refused, Unavailable
from penstock.model import Rung


class Panel:
    """A driver whose other side is a set in memory."""

    def __init__(self, rungs=frozenset(Rung)):
        self.rungs = rungs
        self.is_down, self.refuses = False, set()
        self.calls, self.shut = [], set()

    def knows(self, step):
        return True

    def describe(self, step):
        return f"{step.verb} {step.thing}"

    async def carry_out(self, step):
        if self.is_down:
            raise Unavailable("connection refused")
        if step.thing.name in self.refuses:
            raise Refused("no such account")
        self.calls.append((step.verb, str(step.thing)))
        (self.shut.add if step.verb == "shut" else self.shut.discard)(step.thing)
        return "ok"

    async def close(self):
        """Nothing is open."""
