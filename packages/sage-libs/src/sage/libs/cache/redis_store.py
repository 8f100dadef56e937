"""Values kept in Redis, shared by all processes that name the same server and cache.

Two tokens beside the values make invalidation one small write. A value is stored with the *epoch*
it was computed in and counts only while that is the current one: forgetting everything changes the
epoch, and the old values expire by themselves. *Drops* changes with every invalidation, also of a
single key; a value is only stored while it is what the look-up before the computation saw, which
Redis compares in one step with storing (a script).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Hashable
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from sage.common.errors import DataError
from sage.libs.cache.store import Miss
from sage.libs.cache.typed_codec import TypedCodec
from sage.libs.io.redis_server import RedisServer

__all__ = ["RedisStore"]

_LONGEST_KEY = 128  # bytes; longer ones are hashed

_KEEP = """
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""


class RedisStore:
    """Keeps values in Redis. Safe to use from many threads; how many it holds is Redis' affair.

    Args:
        url: The server: ``redis://host:port/database`` or ``unix:///path/of/socket``.
        name: Tells the caches of one server apart.
        ttl_s: Seconds after which a value is not found any more; None keeps it for good.
        value_type: What the values are, see `TypedCodec`.

    Raises:
        MissingExtraError: if ``isage-libs[redis]`` is not installed.
        UnreachableError: if the server cannot be reached.
    """

    waits = True

    def __init__(
        self, url: str, *, name: str, ttl_s: float | None = None, value_type: Any = None
    ) -> None:
        self._server = RedisServer(url)
        self._codec = TypedCodec(value_type)
        self._ttl_ms = "" if ttl_s is None else str(max(1, round(ttl_s * 1000)))
        self._prefix = f"sage:cache:{name}:".encode()
        self._epoch, self._drops = self._prefix + b"epoch", self._prefix + b"drops"
        self._keep = self._server.client.register_script(_KEEP)

    def lookup(self, key: Hashable) -> Any | Miss:
        """Return the value of a key, or a `Miss`.

        Raises:
            StorageError: if the server does not answer.
            DataError: if what it keeps cannot be read as the declared type.
        """
        with self._failures("read a cached value from"):
            found = self._server.client.mget(self._epoch, self._drops, self._key(key))
        epoch, drops, stored = (part or b"" for part in found)
        of_epoch, separator, data = stored.partition(b"\n")
        if separator and of_epoch == epoch:
            return self._codec.decode(data)
        return Miss((epoch, drops))

    def keep(self, key: Hashable, value: Any, ticket: Any) -> None:
        """Keep a value, unless any process has dropped something since the look-up.

        Raises:
            StorageError: if the server does not take it.
            DataError: if it would not come back with its types.
        """
        epoch, drops = ticket
        data = epoch + b"\n" + self._codec.encode(value)
        with self._failures("cache a value in"):
            self._keep(keys=[self._key(key), self._drops], args=[drops, data, self._ttl_ms])

    def drop(self, key: Hashable) -> None:
        """Forget one value, in all processes."""
        with self._failures("drop a cached value from"):
            both = self._server.client.pipeline(transaction=True)
            both.set(self._drops, secrets.token_hex(8))
            both.delete(self._key(key))
            both.execute()

    def clear(self) -> None:
        """Forget all values of this cache, in all processes."""
        with self._failures("clear a cache in"):
            self._server.client.mset(
                {self._epoch: secrets.token_hex(8), self._drops: secrets.token_hex(8)}
            )

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def _key(self, key: Hashable) -> bytes:
        try:
            data = msgspec.json.encode(key)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"a key in Redis is text or plain values, got {key!r:.100}: {error}",
                hint="make it with query_key",
            ) from error
        if len(data) > _LONGEST_KEY:
            data = hashlib.blake2b(data, digest_size=32).hexdigest().encode()
        return self._prefix + b"value:" + data

    def _failures(self, doing: str) -> AbstractContextManager[None]:
        return self._server.failures(doing)
