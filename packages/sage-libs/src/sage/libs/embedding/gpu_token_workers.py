"""Tokenizes on several cores ahead of whoever computes with the tokens.

Threads would share one interpreter lock with the code that feeds the device, so these are
processes; they are started as commands and not by `multiprocessing`, which would run the user's
script again in each. A worker reads texts from its standard input and writes tokens to its output
until the input ends, which it does with the process that started it, however that ends.
"""

from __future__ import annotations

import atexit
import os
import queue
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final

import numpy as np

from sage.common.errors import ServiceError
from sage.libs.embedding.gpu_tokens import CachedTokenizer, TokenIds
from sage.libs.embedding.tokenizer import load_tokenizer

__all__ = ["TokenWorkers", "main"]

_REQUEST: Final = struct.Struct("<Q")  # bytes of UTF-8 that follow
_REPLY: Final = struct.Struct("<QQ")  # texts and tokens that follow, as int32
_Worker = subprocess.Popen[bytes]


class TokenWorkers:
    """Processes that tokenize; several threads may use them at once.

    Args:
        model: A directory with ``tokenizer.json``.
        max_tokens: Longest text in tokens; longer ones are cut.
        processes: How many.
    """

    def __init__(self, model: Path, max_tokens: int, processes: int) -> None:
        self._command = [sys.executable, "-m", __name__, str(model), str(max_tokens)]
        self._ahead = 2 * processes
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers = [self._started() for _ in range(processes)]
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="sage-tokens")
        atexit.register(self.close)

    def encode(self, windows: Iterable[str]) -> Iterator[TokenIds]:
        """Yield the tokens of each window, in order; some windows ahead are being tokenized.

        Args:
            windows: Several texts each, as `sage.libs.embedding.gpu_tokens.joined` makes them.

        Raises:
            ServiceError: if a process died; another one stands in for it in the next call.
        """
        pending: deque[Future[TokenIds]] = deque()
        for window in windows:
            pending.append(self._threads.submit(self._encoded, window))
            if len(pending) > self._ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def close(self) -> None:
        """End the processes; harmless when repeated."""
        atexit.unregister(self.close)
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            _end(worker)

    def _started(self) -> _Worker:
        worker = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._idle.put(worker)
        return worker

    def _encoded(self, window: str) -> TokenIds:
        worker = self._idle.get()
        try:
            tokens = _asked(worker, window)
        except (OSError, EOFError) as error:
            _end(worker)
            self._workers[self._workers.index(worker)] = self._started()
            raise ServiceError(
                f"a process that tokenizes ended with status {worker.returncode}",
                hint="its own message is on standard error; -9 is what a lack of memory gives",
                status=worker.returncode,
            ) from error
        self._idle.put(worker)
        return tokens


def main(arguments: list[str] | None = None) -> int:
    """Tokenize what comes on standard input; the arguments are a directory and a length."""
    model, max_tokens = sys.argv[1:] if arguments is None else arguments
    # Ctrl-C in a terminal reaches all its processes: the one that has the texts decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One core each: there are as many of these processes as there are cores to spare.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = CachedTokenizer(load_tokenizer(model), int(max_tokens))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while header := source.read(_REQUEST.size):
        tokens = tokenizer.encode(source.read(*_REQUEST.unpack(header)).decode("utf-8"))
        sink.write(_REPLY.pack(len(tokens.lengths), len(tokens.flat)))
        sink.write(tokens.lengths.tobytes())
        sink.write(tokens.flat.tobytes())
        sink.flush()
    return 0


def _asked(worker: _Worker, window: str) -> TokenIds:
    assert worker.stdin is not None
    assert worker.stdout is not None
    data = window.encode("utf-8")
    worker.stdin.write(_REQUEST.pack(len(data)))
    worker.stdin.write(data)
    worker.stdin.flush()
    texts, tokens = _REPLY.unpack(_read(worker.stdout, _REPLY.size))
    numbers = np.frombuffer(_read(worker.stdout, 4 * (texts + tokens)), dtype=np.int32)
    return TokenIds(numbers[texts:], numbers[:texts])


def _read(source: IO[bytes], size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _end(worker: _Worker) -> None:
    # Not by closing its input alone: a process forked from this one may hold that open.
    worker.terminate()
    worker.wait()
    for stream in (worker.stdin, worker.stdout):
        assert stream is not None
        try:
            stream.close()
        except OSError:
            continue  # what was not written yet has no reader any more


if __name__ == "__main__":
    raise SystemExit(main())
