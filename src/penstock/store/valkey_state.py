"""Hot state in Valkey, or Redis: read, judge, and write only where nobody else has written in between.

A value lies behind a head of sixteen bytes: a random stamp that is new with each write, by which a script on the server
sees whether the value is still the one that was judged, and the time at which it lapses by the writer's clock. The
server's own lifetime (PX) is there so that it forgets what has lapsed.

All keys of an account share a hash tag and so a slot of Valkey Cluster. On a single server all turns of an update are
one swap; on a cluster each turn is one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import struct
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from valkey.asyncio import BlockingConnectionPool, Valkey
from valkey.asyncio.cluster import ValkeyCluster
from valkey.exceptions import NoScriptError, ValkeyClusterException, ValkeyError

from penstock.store.ports import StoreUnavailable, Turn, Write

BOUND_S = 2.0
"""What has not been answered by then is StoreUnavailable."""
_TRIES = 100
_CONNECTIONS = 64
_HEAD = struct.Struct("<8sd")

# KEYS: all that was read. ARGV: the stamp seen of each, then (index, lifetime in ms or 0 to delete, value) of each
# write. Nothing comes back where the swap was made, else what lies there now.
_SWAP = """
for i, key in ipairs(KEYS) do
  if redis.call('GETRANGE', key, 0, 7) ~= ARGV[i] then return redis.call('MGET', unpack(KEYS)) end
end
for at = #KEYS + 1, #ARGV, 3 do
  local key = KEYS[tonumber(ARGV[at])]
  if ARGV[at + 1] == '0' then redis.call('DEL', key)
  else redis.call('SET', key, ARGV[at + 2], 'PX', ARGV[at + 1]) end
end
"""
_SWAP_SHA = hashlib.sha1(_SWAP.encode(), usedforsecurity=False).hexdigest()


def tag_of(key: str) -> str:
    """What all keys of a slot share: the text after the kind, up to the first `|`.

    `a:<account>`, `l:<account>` and `s:<account>|<source>` so have one tag, whatever an account is called: one that has
    a `|` itself is cut in all three alike, and merely shares its slot with the accounts that begin as it does.
    """
    return key.partition(":")[2].partition("|")[0]


def place_of(key: str) -> str:
    """Where a key lies: its tag in braces, which alone decides the slot, then what else the key says."""
    kind, _, rest = key.partition(":")
    tag, bar, more = rest.partition("|")
    return f"{{{tag}}}{kind}{bar}{more}"


class ValkeyState:
    """Turns over one server, or over a cluster where the server says that it is part of one."""

    def __init__(self, url: str, now: Callable[[], float]) -> None:
        self._url = url
        self._now = now
        self._client: Any = None
        self._is_cluster = False
        # Turns of one process on one slot wait here for each other; only other nodes can get in between.
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def open(self) -> None:
        """Connect, and see whether this is a cluster. Raises StoreUnavailable."""
        bounds = {"socket_timeout": BOUND_S, "socket_connect_timeout": BOUND_S}
        url = self._url.replace("redis", "valkey", 1) if self._url.startswith("redis") else self._url
        try:
            pool = BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS, timeout=BOUND_S, **bounds)
            self._client = Valkey.from_pool(pool)
        except ValueError as trouble:
            raise StoreUnavailable(f"Valkey: {trouble}") from trouble
        try:
            facts = await self._ask("INFO", "cluster")
            self._is_cluster = bool(facts.get("cluster_enabled"))
        except StoreUnavailable:
            await self.close()
            raise
        if self._is_cluster:
            await self.close()
            self._client = ValkeyCluster.from_url(url, **bounds)

    async def close(self) -> None:
        """Let go of the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes | None]:
        """Values by key, what has lapsed left out. Raises StoreUnavailable."""
        if not keys:
            return {}
        groups: dict[str, list[str]] = {}
        for key in keys:
            groups.setdefault(tag_of(key) if self._is_cluster else "", []).append(key)
        state: dict[str, bytes | None] = {}
        async with _Bound():
            for group in groups.values():
                found = await self._ask("MGET", *map(place_of, group))
                state.update(self._values(group, found))
        return {key: state[key] for key in keys}

    async def run(self, turns: Sequence[Turn]) -> None:
        """Run the turns in order. Raises StoreUnavailable, and what a step raises."""
        async with _Bound():
            for together in ((one,) for one in turns) if self._is_cluster else (turns,):
                await self._run_together(together)

    async def _run_together(self, turns: Sequence[Turn]) -> None:
        keys = tuple(dict.fromkeys(key for turn in turns for key in turn.keys))
        if not keys:
            return
        places = tuple(map(place_of, keys))
        async with AsyncExitStack() as locked:
            for tag in sorted({tag_of(key) for key in keys}):
                await locked.enter_async_context(self._locks.setdefault(tag, asyncio.Lock()))
            found = await self._ask("MGET", *places)
            for attempt in range(_TRIES):
                written = _play(turns, self._values(keys, found))
                if not written:
                    return
                found = await self._swap(keys, places, found, written)
                if found is None:
                    return
                if attempt > 1:
                    # Several nodes want the same keys: who steps aside for a moment lets the others finish.
                    await asyncio.sleep(random.random() * 0.0005 * attempt)  # noqa: S311
                    found = await self._ask("MGET", *places)
        raise StoreUnavailable(f"Valkey: {keys[0]} was changed by others {_TRIES} times")

    async def _swap(
        self, keys: tuple[str, ...], places: tuple[str, ...], found: list[bytes | None], written: Mapping[str, Write]
    ) -> list[bytes | None] | None:
        now, stamp = self._now(), os.urandom(8)
        values: list[bytes | int] = [one[:8] if one else b"" for one in found]
        for key, write in written.items():
            index = keys.index(key) + 1
            if write.value is None or write.keep_s <= 0:
                values += (index, 0, b"")
            else:
                value = _HEAD.pack(stamp, now + write.keep_s) + write.value
                values += (index, max(1, int(write.keep_s * 1000)), value)
        try:
            changed = await self._ask("EVALSHA", _SWAP_SHA, len(places), *places, *values)
        except _NoScript:
            changed = await self._ask("EVAL", _SWAP, len(places), *places, *values)
        return None if changed is None else list(changed)

    def _values(self, keys: Sequence[str], found: Sequence[bytes | None]) -> dict[str, bytes | None]:
        now = self._now()
        return {
            key: one[16:] if one and _HEAD.unpack_from(one)[1] > now else None
            for key, one in zip(keys, found, strict=True)
        }

    async def _ask(self, *command: Any) -> Any:
        if self._client is None:
            raise StoreUnavailable("the store is closed")
        try:
            return await self._client.execute_command(*command)
        except NoScriptError:
            raise _NoScript from None
        except (ValkeyError, ValkeyClusterException, OSError) as trouble:
            raise StoreUnavailable(f"Valkey: {trouble or type(trouble).__name__}") from trouble


class _NoScript(Exception):
    """The server does not know the script yet, or any more."""


class _Bound:
    """Two seconds for everything inside, then StoreUnavailable."""

    async def __aenter__(self) -> None:
        self._timeout = asyncio.timeout(BOUND_S)
        await self._timeout.__aenter__()

    async def __aexit__(self, *trouble: Any) -> None:
        try:
            await self._timeout.__aexit__(*trouble)
        except TimeoutError:
            raise StoreUnavailable(f"Valkey: no answer in {BOUND_S:g} s") from None


def _play(turns: Sequence[Turn], state: dict[str, bytes | None]) -> dict[str, Write]:
    """Run the steps, each over what the ones before it have written; what is to be written in the end."""
    written: dict[str, Write] = {}
    for turn in turns:
        for key, write in turn.step({key: state[key] for key in turn.keys}).items():
            state[key] = write.value
            written[key] = write
    return written
