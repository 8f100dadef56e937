"""A connection to Redis, whose failures say which server and what to do.

The library is loaded when a connection is made. A password in the URL is never shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from sage.common.errors import (
    ConfigError,
    MissingExtraError,
    Problem,
    StorageError,
    UnreachableError,
)

__all__ = ["RedisServer"]

_CONNECT_S = 10.0
_REPEATS, _BACKOFF_S = 3, 0.02  # against a broken connection; against an outage, restart the job
_REPLY_S = 60.0  # a script that moves records may wait for another one


class RedisServer:
    """One connection to a Redis server.

    Args:
        url: ``redis://[user:password@]host[:port][/database]``, ``rediss://`` over TLS, or
            ``unix:///path/of/socket``.
        repeats: Whether a command is sent again when its reply is lost; then it must not matter
            that it may be done twice.

    Raises:
        MissingExtraError: if ``isage-libs[redis]`` is not installed.
        ConfigError: if the URL is none.
        UnreachableError: if the server cannot be reached.
    """

    def __init__(self, url: str, *, repeats: bool = True) -> None:
        try:
            import redis
            from redis.backoff import ExponentialBackoff
            from redis.retry import Retry
        except ModuleNotFoundError as error:
            raise MissingExtraError("redis", extra="isage-libs[redis]") from error
        self._error: type[Exception] = redis.RedisError
        self.place = _without_password(url)
        try:
            options: dict[str, Any] = {
                "protocol": 2,  # its answers are alike in every version of the library
                "socket_timeout": _REPLY_S,
                "socket_connect_timeout": _CONNECT_S,
            }
            backoff = ExponentialBackoff(base=_BACKOFF_S, cap=1)
            options["retry"] = Retry(backoff, _REPEATS if repeats else 0)
            self.client: Any = redis.Redis.from_url(url, **options)
        except ValueError as error:
            problem = Problem("$.url", f"{error}, got {self.place!r}")
            raise ConfigError("Redis", [problem]) from error
        try:
            self.client.ping()
        except self._error as error:
            raise UnreachableError(
                f"cannot reach Redis at {self.place}: {error}",
                hint="is it running, and is this its address?",
                server=self.place,
            ) from error

    @contextlib.contextmanager
    def failures(self, doing: str, stream: str | None = None) -> Iterator[None]:
        """Turn errors of the library into a `StorageError` that names the server."""
        what = "" if stream is None else f" the stream {stream!r} of"
        try:
            yield
        except self._error as error:
            raise StorageError(
                f"cannot {doing}{what} Redis at {self.place}: {error}",
                server=self.place,
                **({} if stream is None else {"stream": stream}),
            ) from error

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
