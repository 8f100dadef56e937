"""Records that are under way inside a task when it cuts: they are remembered and given again.

Each is kept with its riders as one encoded row, so that nothing reaches it any more. With a key
beside them rows move with it when the parallelism changes; without, any subtask may have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
from sage.kernel.errors import StateMismatchError
from sage.kernel.runtime.channel import Batch
from sage.kernel.state.codec import StateCodec

__all__ = ["InFlight"]

_MOST = 1024  # records in a restored batch


class InFlight:
    """The records under way in one task, by the input that they came in by.

    Args:
        codec: Encodes them.
    """

    def __init__(self, codec: StateCodec) -> None:
        self._codec = codec
        self._rows: dict[str, list[bytes]] = {}
        self._keys: dict[str, list[Any]] = {}
        self._layouts: dict[str, tuple[str, ...]] = {}

    def add(self, name: str, layout: tuple[str, ...], batch: Batch) -> None:
        """Remember a batch.

        Args:
            name: Of the input.
            layout: The riders of its records.
            batch: The records.
        """
        encode = self._codec.encode
        rows = self._rows.setdefault(name, [])
        rows.extend(encode(row) for row in zip(batch.values, *batch.riders, strict=True))
        self._layouts[name] = layout
        if "key" in layout:
            self._keys.setdefault(name, []).extend(batch.riders[layout.index("key")])

    def put_into(self, state: OperatorState) -> None:
        """Put everything into the state of the task's inputs."""
        for name, rows in self._rows.items():
            state.put_whole(f"layout {name}", self._layouts[name])
            if name in self._keys:
                state.put_keyed(name, self._keys[name], rows)
            else:
                state.put_listed(name, rows)

    @classmethod
    def restored(
        cls, state: RestoredState, name: str, layout: tuple[str, ...], operator: str
    ) -> Iterator[Batch]:
        """Yield what came in by an input, in batches.

        Raises:
            StateMismatchError: if other things ride beside the records now.
        """
        layouts = state.whole(f"layout {name}")
        if any(before != layout for before in layouts):
            raise StateMismatchError(
                f"operator {operator!r}: records of the checkpoint came with {layouts[0]} beside "
                f"them, and now {layout} is expected",
                operator=operator,
                hint="go on with the pipeline that made the checkpoint, or start over: fresh=True",
            )
        rows = [row for _, row in state.keyed(name)] + state.listed(name)
        for start in range(0, len(rows), _MOST):
            part = [state.codec.decode(row) for row in rows[start : start + _MOST]]
            values, *riders = map(list, zip(*part, strict=True))
            yield Batch(values, tuple(riders))
