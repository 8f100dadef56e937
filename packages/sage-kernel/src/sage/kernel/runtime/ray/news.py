"""What an actor's task has to say to the coordinator, fetched by the driver with calls that wait.

An answer, also an empty one, is a sign of life: it comes from a thread of its own, whatever the
task does meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue

from ray import cloudpickle

from sage.kernel.checkpoint.messages import Declined, Message
from sage.kernel.runtime.ray.failures import travelling

__all__ = ["News", "unpacked_news"]


class News:
    """Messages in the order in which the task gave them."""

    def __init__(self) -> None:
        self._messages: SimpleQueue[Message | None] = SimpleQueue()

    def put(self, message: Message) -> None:
        """Add a message."""
        self._messages.put(message)

    def end(self) -> None:
        """Say that there will be no more."""
        self._messages.put(None)

    def take(self, wait_s: float) -> tuple[bytes, bool]:
        """Return what there is, packed, and whether it is the last; wait if there is nothing."""
        got: list[Message | None] = []
        try:
            got.append(self._messages.get(timeout=wait_s))
            while True:
                got.append(self._messages.get_nowait())
        except Empty:
            pass
        messages = [_portable(message) for message in got if message is not None]
        return cloudpickle.dumps(messages) if messages else b"", None in got


def unpacked_news(packed: bytes) -> Sequence[Message]:
    """Return the messages that were packed."""
    return cloudpickle.loads(packed) if packed else ()


def _portable(message: Message) -> Message:
    if isinstance(message, Declined):
        return replace(message, error=travelling(message.error))
    return message
