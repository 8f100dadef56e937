"""What an operator of one subtask says in a checkpoint, and what it is given back.

State comes in three kinds, which differ in where they go when the parallelism changes:

* *keyed*: pairs of key and value; they move with the key's group;
* *listed*: items that any subtask may take over, such as records in a buffer;
* *whole*: one value of the subtask, such as a watermark; every new subtask sees all of them.

Taking a snapshot and writing it are two things. It is taken on the task's thread between two
batches, while nothing else happens there, and so has to be quick; it is encoded on another thread
while the task goes on. Invariant: nothing in a snapshot can be reached by what goes on. Values that
nobody can change are shared, all others become bytes when they are put in (or are copied by the
operator before it changes them, see ``put_lazily``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from sage.kernel.errors import StateMismatchError
from sage.kernel.state.backend import StateEntry
from sage.kernel.state.key_group import key_group, subtask_of_group

if TYPE_CHECKING:
    from sage.kernel.state.codec import StateCodec
    from sage.kernel.state.keyed_state import KeyedState, StateSchema

__all__ = ["CHUNK", "Chunk", "OperatorState", "RestoredState", "Section", "chunks_of"]

CHUNK = 4096  # pairs that are encoded at a time: the interpreter is held for less than 1 ms

_PLAIN, _ENCODED, _COLUMNS = 0, 1, 2


class Chunk(NamedTuple):
    """Some pairs: parallel lists."""

    keys: Sequence[Any]
    values: Sequence[Any]


class Section(NamedTuple):
    """A piece of an operator's state as bytes.

    Attributes:
        kind: ``"keyed"``, ``"column"``, ``"listed"``, ``"whole"``, ``"schemas"`` or ``"entries"``.
        name: Its name within the operator.
        payload: The bytes.
    """

    kind: str
    name: str
    payload: bytes


def chunks_of(pairs: Iterable[tuple[Any, Any]]) -> Iterator[Chunk]:
    """Yield pairs of key and value in chunks."""
    iterator = iter(pairs)
    while part := list(islice(iterator, CHUNK)):
        keys, values = zip(*part, strict=True)
        yield Chunk(keys, values)


class OperatorState:
    """What one operator of one subtask has to remember.

    Args:
        codec: Encodes its values, and names the operator in errors.

    Attributes:
        changes: Names of keyed state of which only what changed since the snapshot before is in it;
            what is in a later snapshot stands, and nothing can be taken away.

    Example:
        >>> from sage.kernel.state.codec import StateCodec
        >>> state = OperatorState(StateCodec("count"))
        >>> state.put_keyed("counts", ["tea", "milk"], [2, 1])
        >>> state.put_whole("watermark", 7.5)
        >>> [section.kind for section in state.sections()]
        ['keyed', 'whole']
    """

    def __init__(self, codec: StateCodec) -> None:
        self._codec = codec
        self._keyed: list[tuple[str, Iterable[Chunk], bool]] = []
        self._listed: dict[str, list[Any]] = {}
        self._whole: dict[str, Any] = {}
        self._columns: dict[str, list[Any]] = {}
        self._schemas: tuple[StateSchema, ...] = ()
        self._entries: Iterable[StateEntry] = ()
        self.changes: set[str] = set()

    def put_keyed(self, name: str, keys: Collection[Any], values: Collection[Any]) -> None:
        """Add pairs of key and value; the values are detached now."""
        detached = self._codec.all_detached(list(values))
        self._keyed.append((name, _sliced(list(keys), detached), True))

    def put_lazily(self, name: str, chunks: Iterable[Chunk], *, changes: bool = False) -> None:
        """Add pairs that are read later, on another thread; nothing may change in them any more.

        Args:
            name: Name of the state.
            chunks: The pairs.
            changes: Whether they are only what changed since the snapshot before.
        """
        self._keyed.append((name, chunks, False))
        if changes:
            self.changes.add(name)

    def put_column(self, name: str, values: list[Any]) -> None:
        """Add the values of keys that are put in apart, in the same order; read later.

        Keys that are there for good are then written once, and all values in each snapshot: that
        is less work than to find out which have changed. `RestoredState.paired` joins the two.

        Args:
            name: Name of the values.
            values: Values that nothing can change, in a list of their own.
        """
        self._columns[name] = values

    def put_records(
        self, name: str, keys: Sequence[Any], values: Sequence[Any], records: list[Any]
    ) -> None:
        """Add pairs whose values hold users' records; later changes to those do not reach them.

        Where nothing can change the records, which is found out at C's speed if all of them are
        plain or tuples, the values are encoded later, else each of them now.

        Args:
            name: Name of the state.
            keys: The keys.
            values: Tuples of plain values, of such tuples and of records; made for this call.
            records: All records that are in them.
        """
        codec = self._codec
        may_be_frozen = not records or codec.detached(records[0]) is records[0]
        if may_be_frozen and codec.all_detached(records) is records:
            self.put_lazily(name, _sliced(list(keys), list(values)))
        else:
            self.put_keyed(name, keys, values)

    def put_listed(self, name: str, items: Sequence[Any]) -> None:
        """Add items that any subtask may take over; they are detached now."""
        self._listed[name] = self._codec.all_detached(list(items))

    def put_whole(self, name: str, value: Any) -> None:
        """Add a value of the whole subtask; it is detached now."""
        self._whole[name] = self._codec.detached(value)

    def put_keyed_state(self, keyed: KeyedState) -> None:
        """Add everything in a `KeyedState`, as it is now."""
        self._schemas = keyed.schemas
        self._entries = keyed.snapshot()

    def sections(self) -> Iterator[Section]:
        """Yield everything as bytes; called once, on any thread.

        Raises:
            StateCodecError: if a value cannot be stored.
        """
        codec = self._codec
        for name, chunks, detached in self._keyed:
            for chunk in chunks:
                yield Section("keyed", name, self._packed(chunk.keys, chunk.values, detached))
        for name, values in self._columns.items():
            for start in range(0, len(values), CHUNK):
                yield Section("column", name, codec.encode(values[start : start + CHUNK]))
        for name, items in self._listed.items():
            yield Section("listed", name, self._packed((), items, True))
        for name, value in self._whole.items():
            yield Section("whole", name, codec.encode_detached(value))
        if self._schemas:
            yield Section("schemas", "", codec.encode([list(s) for s in self._schemas]))
        entries = iter(self._entries)
        while part := list(islice(entries, CHUNK)):
            yield Section("entries", "", codec.encode(_columns(part)))

    def _packed(self, keys: Sequence[Any], values: Sequence[Any], detached: bool) -> bytes:
        """Encode parallel lists; values that were encoded already are told by a mark."""
        codec = self._codec
        if detached and bytes in set(map(type, values)):
            encoded = [codec.encode_detached(value) for value in values]
            return codec.encode([_ENCODED, list(keys), encoded])
        if _are_alike(values):
            return codec.encode([_COLUMNS, list(keys), _columns(values)])
        return codec.encode([_PLAIN, list(keys), list(values)])


def _are_alike(values: Sequence[Any]) -> bool:
    """Return whether values are tuples of one length."""
    if not values or type(values[0]) is not tuple or not values[0]:
        return False
    return set(map(type, values)) == {tuple} and len(set(map(len, values))) == 1


def _columns(values: Sequence[Any]) -> list[list[Any]]:
    """Return tuples side by side, which is faster to encode than one by one."""
    return [list(map(itemgetter(n), values)) for n in range(len(values[0]))]


def _sliced(keys: list[Any], values: list[Any]) -> Iterator[Chunk]:
    for start in range(0, len(keys), CHUNK):
        yield Chunk(keys[start : start + CHUNK], values[start : start + CHUNK])


@dataclass
class RestoredState:
    """What one operator of one subtask is given back.

    Attributes:
        codec: Decodes its values, and names the operator in errors.
        subtask: Which subtask it is now.
        parallelism: How many there are now.
        parallelism_before: How many there were.
        parts: The sections of each old subtask that this one has to look at, in their order: its
            own where the parallelism is the same, else those of all.
    """

    codec: StateCodec
    subtask: int = 0
    parallelism: int = 1
    parallelism_before: int = 1
    parts: list[list[Section]] = field(default_factory=list)
    _named: dict[tuple[str, str], list[Section]] = field(default_factory=dict, init=False)
    _asked: set[tuple[str, str]] = field(default_factory=set, init=False)

    @classmethod
    def of(cls, state: OperatorState, codec: StateCodec | None = None) -> RestoredState:
        """Return what was just taken, as one subtask gets it back: for tests of operators."""
        from sage.kernel.state.codec import StateCodec

        return cls(codec if codec is not None else StateCodec(), parts=[list(state.sections())])

    @property
    def is_rescaled(self) -> bool:
        """Whether the parallelism has changed."""
        return self.parallelism != self.parallelism_before

    def keyed(self, name: str) -> Iterator[tuple[Any, Any]]:
        """Yield this subtask's pairs of key and value, in the order in which they were put in.

        Names whose pairs have the same keys in the same order give them in the same order.
        """
        for section in self._sections("keyed", name):
            keys, values = self._unpacked(section)
            if not self.is_rescaled:
                yield from zip(keys, values, strict=True)
                continue
            for key, value in zip(keys, values, strict=True):
                if self._is_own(key_group(key)):
                    yield key, value

    def paired(self, keys: str, values: str) -> Iterator[tuple[Any, Any]]:
        """Yield this subtask's pairs of keys and the column of their values.

        Args:
            keys: Name of the keys, put in as keyed state.
            values: Name of the column.
        """
        known = chain.from_iterable(self._unpacked(s)[0] for s in self._sections("keyed", keys))
        column = (self.codec.decode(s.payload) for s in self._sections("column", values))
        for key, value in zip(known, chain.from_iterable(column), strict=True):
            if not self.is_rescaled or self._is_own(key_group(key)):
                yield key, value

    def listed(self, name: str) -> list[Any]:
        """Return this subtask's share of the items."""
        items = [
            item
            for section in self._sections("listed", name)
            for item in self._unpacked(section)[1]
        ]
        return items[self.subtask :: self.parallelism] if self.is_rescaled else items

    def whole(self, name: str) -> list[Any]:
        """Return the values of the old subtasks; one, unless the parallelism has changed."""
        return [self.codec.decode(section.payload) for section in self._sections("whole", name)]

    def into(self, keyed: KeyedState) -> None:
        """Restore a `KeyedState`.

        Raises:
            StateError: if a state was declared with another kind or expiry.
        """
        from sage.kernel.state.keyed_state import StateSchema

        schemas = {
            StateSchema(*schema): None
            for section in self._sections("schemas", "")
            for schema in self.codec.decode(section.payload)
        }
        keyed.restore(schemas, self._entries())

    def _entries(self) -> Iterator[StateEntry]:
        for section in self._sections("entries", ""):
            for entry in map(StateEntry, *self.codec.decode(section.payload)):
                if not self.is_rescaled or self._is_own(entry.group):
                    yield entry

    def refuse_rescale(self, operator: str, reason: str) -> StateMismatchError:
        """Return the error for state that cannot be spread over another number of subtasks."""
        return StateMismatchError(
            f"operator {operator!r} had {self.parallelism_before} subtasks and now has "
            f"{self.parallelism}: {reason}",
            operator=operator,
            hint=f"give it parallelism={self.parallelism_before} again",
        )

    def _is_own(self, group: int) -> bool:
        return subtask_of_group(group, self.parallelism) == self.subtask

    def refuse_leftovers(self, operator: str) -> None:
        """Refuse what nobody has asked for: another operator, or another way, put it in.

        Raises:
            StateMismatchError: naming the operator and one piece of its state.
        """
        left = self._by_name.keys() - self._asked
        names = sorted(name or kind for kind, name in left if not name.startswith("#"))
        if names:
            raise StateMismatchError(
                f"operator {operator!r} has state in the checkpoint that it cannot take back: "
                f"{names[0]!r} (it was set up in another way, or was another one)",
                operator=operator,
                hint="go on with the pipeline that made the checkpoint, or start over: fresh=True",
            )

    def _sections(self, kind: str, name: str) -> list[Section]:
        self._asked.add((kind, name))
        return self._by_name.get((kind, name), [])

    @property
    def _by_name(self) -> dict[tuple[str, str], list[Section]]:
        if not self._named:  # an operator may have thousands of names, such as one for each slice
            for section in chain.from_iterable(self.parts):
                self._named.setdefault((section.kind, section.name), []).append(section)
        return self._named

    def _unpacked(self, section: Section) -> tuple[list[Any], list[Any]]:
        form, keys, values = self.codec.decode(section.payload)
        if form == _COLUMNS:
            return keys, list(zip(*values, strict=True))
        return keys, list(map(self.codec.decode, values)) if form == _ENCODED else values
