"""One OpenAI-compatible endpoint over HTTP: asks, asks again, makes an error of every failure.

Invariant: whatever leaves this module as an error message has gone through ``_clean``, so that a
key never reaches a log, also when the endpoint echoes it.

Built on aiohttp: with hundreds of calls in flight it keeps its pace where clients that rescan one
connection pool do not.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from sage.common.errors import EndpointError, UnreachableError
from sage.libs.endpoint.background_loop import close_before_exit
from sage.libs.endpoint.retry import RetryPolicy, retry_after_s
from sage.libs.endpoint.sse import SseDecoder

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Endpoint"]

_KEY_LIKE = re.compile(r"\b(?:sk|pk|key)-[\w*-]{6,}")
_SHORTEST_SECRET = 6
_LOCAL = ("localhost", "127.0.0.1", "::1")
_HINTS = {
    401: "the key was refused: check OPENAI_API_KEY",
    403: "the key may not do this: check OPENAI_API_KEY",
    404: "check the model's name and that base_url ends where the API begins (often in /v1)",
    429: "the endpoint is busy or its quota is used up: wait, or send fewer requests at a time",
}


class Endpoint:
    """Posts to ``base_url`` and gives back parsed JSON or a stream of parsed events.

    Args:
        base_url: Where the API begins, without a trailing slash.
        api_key: Sent as a bearer token; None sends none.
        timeout_s: Seconds for a whole answer; of a stream, between two pieces.
        policy: When to ask again.
    """

    def __init__(
        self, base_url: str, api_key: str | None, timeout_s: float, policy: RetryPolicy
    ) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._policy = policy
        self.shown_url = _without_login(base_url)
        # A session belongs to the loop it was made on.
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
        close_before_exit(self)
        weakref.finalize(self, _close_later, self._sessions).atexit = False

    def __getstate__(self) -> tuple[str, str | None, float, RetryPolicy]:
        return self._base_url, self._api_key, self._timeout_s, self._policy

    def __setstate__(self, state: tuple[str, str | None, float, RetryPolicy]) -> None:
        Endpoint.__init__(self, *state)

    def __repr__(self) -> str:
        return f"Endpoint({self.shown_url!r})"

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON object that the endpoint answers with.

        Raises:
            UnreachableError: if no connection comes about.
            EndpointError: if it answers with an error, too late, or with something else than JSON.
        """
        async with self._answering(path, body, whole=True) as response:
            try:
                parsed = json.loads(await response.read())
            except ValueError:
                self._broken("the answer is not JSON")
        if not isinstance(parsed, dict):
            self._broken(f"the answer is a JSON {type(parsed).__name__}, not an object")
        self._refuse_error(parsed)
        return parsed

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield the JSON object of each event as it arrives, until ``[DONE]`` or the end.

        Asks again only before the first byte of the answer. The consumer decides whether the end
        came too early.

        Raises:
            UnreachableError: as `post`.
            EndpointError: as `post`; if the connection breaks; or at an event that is no JSON.
        """
        async with self._answering(path, body, whole=False) as response:
            decoder = SseDecoder()
            async for received in response.content.iter_any():
                for data in self._decoded(decoder.feed, received):
                    if data.strip() == "[DONE]":
                        return
                    yield self._event(data)
            for data in self._decoded(lambda _: decoder.finish(), b""):
                if data.strip() != "[DONE]":
                    yield self._event(data)

    async def close(self) -> None:
        """Close the connections made on the running loop."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def _answering(
        self, path: str, body: Mapping[str, Any], *, whole: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the response once it has a good status, asking again where that may help."""
        import aiohttp

        try:
            response = await self._asked(path, body, whole=whole)
            try:
                yield response
            finally:
                # What was not read cannot be used again: drop the connection with it.
                if response.content.at_eof():
                    response.release()
                else:
                    response.close()
        except (TimeoutError, aiohttp.ServerTimeoutError):
            self._broken(f"no answer within {self._timeout_s:g} s", "raise timeout_s")
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError) as error:
            self._broken(f"the connection broke in the middle of the answer ({_said(error)})")
        except aiohttp.ClientError as error:
            self._broken(f"not an HTTP answer ({_said(error)})")

    async def _asked(
        self, path: str, body: Mapping[str, Any], *, whole: bool
    ) -> aiohttp.ClientResponse:
        import aiohttp

        attempt = 0
        while True:
            failure: EndpointError | UnreachableError
            asked_s = None
            try:
                response = await self._sent(path, body, whole=whole)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                failure = UnreachableError(
                    f"cannot reach {self.shown_url}: {self._clean(_not_connected(error))}",
                    hint="check base_url (or OPENAI_BASE_URL, VLLM_BASE_URL) and that the "
                    "server runs",
                    url=self.shown_url,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                failure = self._error(f"the connection broke before an answer ({_said(error)})")
            else:
                if response.status == 200:
                    return response
                asked_s = retry_after_s(response.headers.get("Retry-After"), time.time())
                failure = await self._status_error(response)
                if not _may_pass(failure):
                    raise failure
            wait_s = self._policy.wait_s(attempt, asked_s)
            if wait_s is None:
                raise failure
            await asyncio.sleep(wait_s)
            attempt += 1

    async def _sent(
        self, path: str, body: Mapping[str, Any], *, whole: bool
    ) -> aiohttp.ClientResponse:
        import aiohttp

        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        timeout = aiohttp.ClientTimeout(
            total=self._timeout_s if whole else None,
            sock_connect=min(10.0, self._timeout_s),
            sock_read=self._timeout_s,
        )
        return await self._session().post(
            self._base_url + path,
            json=body,
            headers=headers,
            timeout=timeout,
            # A redirect could carry the key to another host.
            allow_redirects=False,
        )

    def _session(self) -> aiohttp.ClientSession:
        import aiohttp

        loop = asyncio.get_running_loop()
        for gone in [known for known in self._sessions if known.is_closed()]:
            del self._sessions[gone]
        session = self._sessions.get(loop)
        if session is None or session.closed:
            # The engine bounds what is in flight; a second bound here would only hide it.
            connector = aiohttp.TCPConnector(limit=0)
            local = urlsplit(self._base_url).hostname in _LOCAL
            session = aiohttp.ClientSession(connector=connector, trust_env=not local)
            self._sessions[loop] = session
        return session

    async def _status_error(self, response: aiohttp.ClientResponse) -> EndpointError:
        text = (await response.content.read(20_000)).decode("utf-8", "replace")
        status = response.status
        response.close()
        detail, endpoint_code = _explained(text)
        return self._error(
            f"answered {status} {response.reason or ''}".rstrip()
            + (f": {detail}" if detail else ""),
            _HINTS.get(status),
            status=status,
            endpoint_code=endpoint_code,
        )

    def _decoded(self, decode: Any, received: bytes) -> list[str]:
        try:
            return decode(received)  # type: ignore[no-any-return]
        except ValueError as error:
            self._broken(f"malformed event stream ({error})")

    def _event(self, data: str) -> dict[str, Any]:
        try:
            event = json.loads(data)
        except ValueError:
            self._broken(f"malformed event in the stream: {data[:200]!r}")
        if not isinstance(event, dict):
            self._broken(f"malformed event in the stream: {data[:200]!r}")
        self._refuse_error(event)
        return event

    def _refuse_error(self, parsed: Mapping[str, Any]) -> None:
        if parsed.get("error"):
            detail, endpoint_code = _explained(json.dumps(parsed))
            raise self._error(f"answered with an error: {detail}", endpoint_code=endpoint_code)

    def _broken(self, message: str, hint: str | None = None) -> NoReturn:
        # Not chained: the errors of aiohttp carry the request, and with it the key.
        raise self._error(message, hint) from None

    def _error(self, message: str, hint: str | None = None, **fields: Any) -> EndpointError:
        message = self._clean(f"{self.shown_url}: {message}")
        return EndpointError(message, hint=hint, url=self.shown_url, **fields)

    def _clean(self, text: str) -> str:
        """Take keys out of a text that goes to people."""
        # Local servers are given "x" or "none" as a key; that is no secret, and part of any word.
        if self._api_key and len(self._api_key) >= _SHORTEST_SECRET:
            text = text.replace(self._api_key, "***")
        return _KEY_LIKE.sub("***", text)


def _close_later(sessions: Mapping[asyncio.AbstractEventLoop, aiohttp.ClientSession]) -> None:
    """Close what a client that nobody closed has left open, each session on its own loop."""
    for loop, session in sessions.items():
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(session.close(), loop)


def _may_pass(failure: EndpointError) -> bool:
    """Whether asking again may help: overload and server faults, but not a used-up quota."""
    status = failure.fields["status"]
    if failure.fields["endpoint_code"] == "insufficient_quota":
        return False
    return status in (408, 409, 429) or status >= 500


def _explained(text: str) -> tuple[str, str | None]:
    """Return what an error body says, and its code; bodies differ between servers."""
    try:
        body = json.loads(text)
    except ValueError:
        return " ".join(text.split())[:300], None
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        said = error.get("message") or error.get("detail") or json.dumps(error)
        code = error.get("code")
        return str(said)[:300], None if code is None else str(code)
    return str(error)[:300], None


def _not_connected(error: BaseException) -> str:
    """Return the system's reason, such as "Connection refused", without asyncio's wrapping."""
    cause = getattr(error, "os_error", None)
    if not isinstance(cause, OSError) or cause.errno is None:
        return _said(error)
    # Numbers below 0 are those of name resolution.
    return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror or cause)


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _without_login(url: str) -> str:
    """Return the URL without a user name and password, fit to be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
