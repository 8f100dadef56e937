"""Entries of a Redis stream that appear with the checkpoint that covers them.

What a subtask writes in an epoch is staged in a list of its own beside the stream, and moved from
there when the epoch is committed. Beside each ``STREAM`` there are then::

    {STREAM}:sage:ID:0-7         what subtask 0 wrote in epoch 7: a list
    {STREAM}:sage:ID:staged      which such lists there are, and whether they are prepared
    {STREAM}:sage:ID:committed   the last epoch of which each subtask has moved something
    {STREAM}:sage:ID:written:0   first and last entry of each move of subtask 0

Invariant: an entry is either staged or in the stream. Redis runs a script alone and as a whole: one
moves some entries and takes note of it, so that a move whose reply was lost can be repeated, and
goes on where the first one stopped. Staging entries can be repeated as well, since the script knows
how long the list was before.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from sage.common.errors import StorageError
from sage.libs.io.redis_server import RedisServer
from sage.libs.io.staged_sink import Share

__all__ = ["RedisStaging"]

_BUFFERED = 500
_MOVED_AT_ONCE = 1000  # moving so many keeps the server for about a millisecond
_REMOVED_AT_ONCE = 1000

_STAGE = """
local list, register = unpack(KEYS)
local name, before = ARGV[1], tonumber(ARGV[2])
local length = redis.call('LLEN', list)
if length == before then
    redis.call('HSET', register, name, 'open')
    for at = 3, #ARGV do redis.call('RPUSH', list, ARGV[at]) end
elseif length ~= before + #ARGV - 2 then
    return length
end
return -1
"""

_MOVE = """
local stream, list, register, committed, written = unpack(KEYS)
local name, subtask, epoch, most, cap = unpack(ARGV)
local items = redis.call('LRANGE', list, 0, most - 1)
local first, last
for _, item in ipairs(items) do
    local entry = {'*'}
    if cap ~= '' then entry = {'MAXLEN', '~', cap, '*'} end
    local at = 1
    while at <= #item do entry[#entry + 1], at = struct.unpack('>I4c0', item, at) end
    last = redis.call('XADD', stream, unpack(entry))
    first = first or last
end
if first then redis.call('RPUSH', written, first, last) end
redis.call('LTRIM', list, #items, -1)
local before = tonumber(redis.call('HGET', committed, subtask) or 0)
if tonumber(epoch) > before then redis.call('HSET', committed, subtask, epoch) end
for _ = 1, 4 do  -- forget moves of which nothing is left in the stream
    local range = redis.call('LRANGE', written, 0, 1)
    if #range < 2 then break end
    if #redis.call('XRANGE', stream, range[1], range[2], 'COUNT', 1) > 0 then break end
    redis.call('LTRIM', written, 2, -1)
end
local left = redis.call('LLEN', list)
if left == 0 then redis.call('HDEL', register, name) end
return left
"""

_REMOVE = """
local stream, committed, written = unpack(KEYS)
local range = redis.call('LRANGE', written, 0, 1)
if #range < 2 then
    redis.call('HDEL', committed, ARGV[1])
    return 0
end
local found = redis.call('XRANGE', stream, range[1], range[2], 'COUNT', ARGV[2])
for _, entry in ipairs(found) do redis.call('XDEL', stream, entry[1]) end
if #found < tonumber(ARGV[2]) then redis.call('LTRIM', written, 2, -1) end
return 1
"""


class RedisStaging:
    """The staged entries of one subtask; see the module's docstring and `TransactionalSink`.

    Args:
        server: The connection.
        stream: The stream.
        owner: Tells the sinks of several jobs at one stream apart.
        share: Which entries are this subtask's.
        max_entries: About how many entries the stream keeps; None for all.
    """

    def __init__(
        self,
        server: RedisServer,
        stream: str,
        owner: str,
        share: Share,
        *,
        max_entries: int | None = None,
    ) -> None:
        self._server = server
        self._stream = stream
        self._owner = owner
        self._cap = "" if max_entries is None else str(max_entries)
        self._share, self._subtask = share, share.subtask
        slot = stream if "{" in stream else f"{{{stream}}}"  # all keys on one node of a cluster
        self._prefix = f"{slot}:sage:{owner}"
        self._stage, self._move, self._remove = (
            server.client.register_script(script) for script in (_STAGE, _MOVE, _REMOVE)
        )
        self._epoch: int | None = None
        self._buffer: list[bytes] = []
        self._staged = 0  # entries of this epoch that Redis has
        self._prepared: set[int] = set()  # epochs with entries that this process has prepared
        self._has_begun = False
        self._given_up: set[int] = set()  # epochs that were aborted before the first was begun

    def write(self, fields: Sequence[str | bytes]) -> None:
        """Stage one entry of this epoch: names and values by turns.

        Raises:
            StorageError: between two epochs, or if the server does not take it.
        """
        if self._epoch is None:
            raise StorageError(
                f"a record was written to the stream {self._stream!r} between two epochs",
                hint="begin() comes before the first record, and again behind prepare()",
                stream=self._stream,
            )
        self._buffer.append(b"".join(map(_framed, fields)))
        if len(self._buffer) >= _BUFFERED:
            self._push(self._epoch)

    def begin(self, epoch: int) -> None:
        """Start an epoch; nothing is sent before the first entry.

        Raises:
            StorageError: at the first one, if output is there already that is yet to be written.
        """
        if not self._has_begun:
            self._has_begun = True
            self._check_committed(epoch)
            for subtask, left_over in self._own_staged():
                self._discard(subtask, left_over)
        self._epoch, self._staged = epoch, 0

    def prepare(self, epoch: int) -> str | None:
        """Send what is left; return the name of the epoch's list, or None if nothing was written.

        Raises:
            StorageError: if the server does not take it.
        """
        if self._buffer:
            self._push(epoch)
        count, self._staged, self._epoch = self._staged, 0, None
        if not count:
            return None
        with self._failures("write to"):
            self._server.client.hset(f"{self._prefix}:staged", _name(self._subtask, epoch), "ready")
        self._prepared.add(epoch)
        return _name(self._subtask, epoch)

    def commit(self, epoch: int) -> None:
        """Move what was prepared for an epoch into the stream.

        Raises:
            StorageError: if it cannot be moved, or the server has lost it.
        """
        staged = self._own_staged(only_prepared=True)
        if epoch in self._prepared and (self._subtask, epoch) not in staged:
            committed = self._own_committed().get(self._subtask, 0)
            if committed < epoch:
                raise StorageError(
                    f"Redis at {self._server.place} has lost what was prepared for the stream "
                    f"{self._stream!r}",
                    hint="a server whose data must outlive it needs appendonly yes",
                    stream=self._stream,
                )
        for subtask, prepared in staged:
            if prepared == epoch:
                self._move_all(subtask, epoch)
        self._prepared.discard(epoch)

    def abort(self, epoch: int) -> None:
        """Throw away what was written or prepared for an epoch and is not committed."""
        if not self._has_begun:
            self._given_up.add(epoch)
        if self._epoch == epoch:
            self._epoch, self._buffer, self._staged = None, [], 0
        for subtask, staged in self._own_staged():
            if staged == epoch:
                self._discard(subtask, epoch)
        self._prepared.discard(epoch)

    def start_over(self) -> None:
        """Remove every entry, committed or not, that this subtask is in charge of; no others."""
        self._buffer, self._staged = [], 0
        for subtask, epoch in self._own_staged():
            self._discard(subtask, epoch)
        for subtask in self._own_committed():
            keys = [self._stream, f"{self._prefix}:committed", f"{self._prefix}:written:{subtask}"]
            with self._failures("write to"):
                while self._remove(keys=keys, args=[subtask, _REMOVED_AT_ONCE]):
                    pass

    def _push(self, epoch: int) -> None:
        name = _name(self._subtask, epoch)
        keys = [f"{self._prefix}:{name}", f"{self._prefix}:staged"]
        with self._failures("write to"):
            found = self._stage(keys=keys, args=[name, self._staged, *self._buffer])
        if found != -1:
            raise StorageError(
                f"{found} entries are staged as {name} for the stream {self._stream!r}, where "
                f"this subtask has staged {self._staged}: another process does the same",
                hint="has it taken this job over? Else give each sink an owner of its own",
                stream=self._stream,
            )
        self._staged += len(self._buffer)
        self._buffer = []

    def _move_all(self, subtask: int, epoch: int) -> None:
        name = _name(subtask, epoch)
        suffixes = (name, "staged", "committed", f"written:{subtask}")
        keys = [self._stream, *(f"{self._prefix}:{suffix}" for suffix in suffixes)]
        with self._failures("write to"):
            while self._move(keys=keys, args=[name, subtask, epoch, _MOVED_AT_ONCE, self._cap]):
                pass

    def _discard(self, subtask: int, epoch: int) -> None:
        name = _name(subtask, epoch)
        with self._failures("write to"):
            both = self._server.client.pipeline(transaction=True)
            both.delete(f"{self._prefix}:{name}")
            both.hdel(f"{self._prefix}:staged", name)
            both.execute()

    def _own_staged(self, *, only_prepared: bool = False) -> list[tuple[int, int]]:
        """Return subtask and epoch of what is staged by those whose work is this one's."""
        with self._failures("read"):
            found = self._server.client.hgetall(f"{self._prefix}:staged")
        names = [
            tuple(map(int, name.decode().split("-")))
            for name, phase in found.items()
            if not only_prepared or phase == b"ready"
        ]
        return sorted((s, epoch) for s, epoch in names if self._share.owns(s))

    def _own_committed(self) -> dict[int, int]:
        """Return the last epoch of which those have moved something whose work is this one's."""
        with self._failures("read"):
            found = self._server.client.hgetall(f"{self._prefix}:committed")
        return {int(s): int(epoch) for s, epoch in found.items() if self._share.owns(int(s))}

    def _check_committed(self, epoch: int) -> None:
        """Refuse to write a second time what is committed: it would then be there twice."""
        first = min(self._given_up | {epoch})
        twice = {s: last for s, last in self._own_committed().items() if last >= first}
        if not twice:
            return
        subtask, last = min(twice.items())
        told = (
            f"the stream {self._stream!r} holds what subtask {subtask} of the sink {self._owner!r} "
            f"wrote up to epoch {last}, and this run will write epoch {first} and on again"
        )
        hint = (
            "the job goes on from before it was written, or has lost its checkpoints: start "
            "over with fresh=True; or it is another job: give it an owner of its own"
        )
        self._share.refuse_twice(StorageError(told, hint=hint, stream=self._stream))

    def _failures(self, doing: str) -> AbstractContextManager[None]:
        return self._server.failures(doing, self._stream)


def _name(subtask: int, epoch: int) -> str:
    return f"{subtask}-{epoch}"


def _framed(part: str | bytes) -> bytes:
    data = part.encode("utf-8", "replace") if isinstance(part, str) else part
    return len(data).to_bytes(4, "big") + data
