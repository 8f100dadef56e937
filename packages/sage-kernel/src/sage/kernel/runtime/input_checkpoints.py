"""What a task remembers of its inputs: the records that are under way when it cuts.

Under way are the inputs of calls that have not come back, batches for which there was no room yet,
and in the head of a loop the records that come round until the barrier has come round too (Carbone
et al., Lightweight Asynchronous Snapshots, 2015). Until then the cut is *open*. How many records
each input has given is remembered as well, without those that will be given again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
from sage.kernel.graph.transformation import Partitioning
from sage.kernel.runtime.channel import Batch, Channel
from sage.kernel.runtime.in_flight import InFlight
from sage.kernel.state.codec import StateCodec

if TYPE_CHECKING:
    from sage.kernel.runtime.task import Task

__all__ = ["InputCheckpoints"]

_RECEIVED = "#received"
_WATERMARKS = "#watermarks"


class InputCheckpoints:
    """Checkpoints of the inputs of one task; a task of a source has none.

    Args:
        task: The task.
    """

    def __init__(self, task: Task) -> None:
        self.uid = f"@{task.vertex.head.uid}"
        self._task = task
        self._operator = task.vertex.head.name
        self._codec = StateCodec(self._operator)
        self._under_way: InFlight | None = None  # while a cut is open
        self._received_before: dict[str, int] = {}
        self._watermarks_before: list[float] | None = None
        self._coming_round: set[Channel] = set()

    # The cut.

    def cut(self) -> bool:
        """Remember what is under way; return whether something is still to come round a loop."""
        task = self._task
        self._under_way = under_way = InFlight(self._codec)
        in_flight = task.hosted.in_flight() if task.hosted is not None else None
        if in_flight is not None and in_flight.values:
            channel = task.inputs[0]
            under_way.add(_name_of(channel), self._layout(channel), in_flight)
        for channel, item in task.held_back:
            if isinstance(item, Batch):
                under_way.add(_name_of(channel), self._layout(channel), item)
        self._received_before = self._received(in_flight)
        self._watermarks_before = task.watermarks.snapshot() if task.watermarks else None
        self._coming_round = {channel for channel in task.inputs if channel.feeds_back}
        return bool(self._coming_round)

    def comes_round(self, channel: Channel, batch: Batch) -> None:
        """See a batch that came by a back edge; it belongs to the cut that awaits its barrier."""
        if self._under_way is not None and channel in self._coming_round:
            self._under_way.add(_name_of(channel), self._layout(channel), batch)

    def came_round(self, channel: Channel) -> bool:
        """See the barrier of the open cut come by a back edge; return whether it was the last."""
        self._coming_round.discard(channel)
        return not self._coming_round

    def close_cut(self) -> OperatorState:
        """Return what was cut, now that nothing is still to come that belongs to it."""
        assert self._under_way is not None
        under_way, self._under_way = self._under_way, None
        self._coming_round = set()
        state = OperatorState(self._codec)
        state.put_whole(_RECEIVED, self._received_before)
        if self._watermarks_before is not None:
            state.put_whole(_WATERMARKS, self._watermarks_before)
        under_way.put_into(state)
        return state

    def last_words(self) -> OperatorState:
        """Return what remains to be remembered of a task that has come to its end."""
        state = OperatorState(self._codec)
        state.put_whole(_RECEIVED, self._received(None))
        return state

    def _received(self, in_flight: Batch | None) -> dict[str, int]:
        """Return how many records each input has given, without those that are given again."""
        received: dict[str, int] = {}
        for channel in self._task.inputs:
            name = _name_of(channel)
            received[name] = received.get(name, 0) + channel.received
        left = len(in_flight.values) if in_flight is not None else 0
        for name, count in received.items():
            taken = min(left, count)
            received[name] -= taken
            left -= taken
        return received

    # The beginning.

    def restore(self, state: RestoredState) -> None:
        """Give the task what was under way, to be taken before anything that comes.

        Raises:
            StateMismatchError: if it does not fit to the inputs of now.
        """
        task = self._task
        watermarks = state.whole(_WATERMARKS)
        if task.watermarks is not None and watermarks:
            task.watermarks.restore(*watermarks)
        first_of: dict[str, Channel] = {}
        for channel in task.inputs:
            first_of.setdefault(_name_of(channel), channel)
        if task.subtask == 0 or not state.is_rescaled:
            for counts in state.whole(_RECEIVED):
                for name, received in counts.items():
                    if (counted := first_of.get(name)) is not None:
                        counted.sent += received
                        counted.received += received
        for name, channel in first_of.items():
            for batch in InFlight.restored(state, name, self._layout(channel), self._operator):
                if state.is_rescaled and self._is_broadcast(channel):
                    why = "records under way to all of its subtasks cannot be divided"
                    raise state.refuse_rescale(self._operator, why)
                channel.readmit(batch)
                task.held_back.append((channel, batch))
        state.refuse_leftovers(self._operator)

    def restore_counts_of_chain(self) -> None:
        """Count what came before, when the task was inside of a chain and no channel counted it."""
        came = self._task.chain.nodes[0].statistics.entered
        self._task.inputs[0].sent += came
        self._task.inputs[0].received += came

    def _is_broadcast(self, channel: Channel) -> bool:
        edges = self._task.vertex.head.inputs
        return any(
            edge.partitioning is Partitioning.BROADCAST and edge.input_index == channel.input_index
            for edge in edges
        )

    def _layout(self, channel: Channel) -> tuple[str, ...]:
        return self._task.chain.root.layouts[channel.input_index]


def _name_of(channel: Channel) -> str:
    back = " back" if channel.feeds_back else ""
    return f"{channel.input_index}{back} {channel.edge[0]}"
