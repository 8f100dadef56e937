"""A fake OpenAI-compatible endpoint on the loopback interface, for tests and examples.

It is a real HTTP server that streams real server-sent events; what it says is scripted, and its
vectors are those of the mock embedder. A client pointed at it takes the same path as against a real
endpoint, failures included.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sage.libs.embedding.mock import MockTextEmbedder

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["FakeOpenAIServer", "Reply", "Request"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer of the server.

    Attributes:
        pieces: What the answer consists of; a stream sends each as an event of its own.
        status: The HTTP status; with another than 200 the pieces are the error's message.
        headers: More response headers, such as ``Retry-After``.
        finish_reason: Sent at the end; None leaves it and ``[DONE]`` out, as a stream that is cut.
        raw: Sent as the body instead of anything above.
        cut: Break the connection instead of ending the body properly.
        error_code: The ``code`` of an error.
        hold: Called (on a thread) between the first piece and the second; a test waits in it to
            see that the first has arrived before the second was sent.
    """

    pieces: Sequence[str] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    finish_reason: str | None = "stop"
    raw: bytes | None = None
    cut: bool = False
    error_code: str | None = None
    hold: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent: the parsed body and the headers (names in lower case)."""

    body: dict[str, Any]
    headers: dict[str, str]


class FakeOpenAIServer:
    """Serves chat completions and embeddings in a thread, on a free port of the loopback interface.

    Replies are taken from the script in order, whatever is asked for. When it is used up,
    ``/v1/chat/completions`` echoes the last question and ``/v1/embeddings`` gives vectors, which it
    lists last text first: a client has to look at their ``index``. Use it as a context manager.

    Args:
        script: Texts (answered as they are, streamed word by word) or `Reply` values.
        embed: Makes a vector (a row of floats) of each text; called on a thread for each request,
            so that a test may wait in it. Default: the mock embedder with 16 dimensions.
        base64: What the server does when it is asked for vectors in base64: give them, ``ignore``
            that and give numbers, or ``refuse`` the request.

    Attributes:
        base_url: Where a client should point.
        requests: Every request so far, in order.
    """

    def __init__(
        self,
        script: Iterable[str | Reply] = (),
        *,
        embed: Callable[[list[str]], Any] | None = None,
        base64: Literal["give", "ignore", "refuse"] = "give",
    ) -> None:
        self._embed = embed or MockTextEmbedder().embed
        self._base64 = base64
        self._script = [_reply(item) for item in script]
        self.requests: list[Request] = []
        self.base_url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> FakeOpenAIServer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        from aiohttp import web

        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_post("/v1/embeddings", self._vectors)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.base_url = f"http://{host}:{port}/v1"

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await self._received(request)
        reply = self._script.pop(0) if self._script else _echo(body)
        send: Callable[..., Awaitable[web.StreamResponse]] = (
            _send_stream if body.get("stream") and reply.status == 200 else _send_whole
        )
        return await send(request, body, reply)

    async def _vectors(self, request: web.Request) -> web.StreamResponse:
        body = await self._received(request)
        if self._script:
            return await _send_whole(request, body, self._script.pop(0))
        texts = body["input"]
        wants_base64 = body.get("encoding_format") == "base64"
        if "" in texts:
            return await _send_whole(
                request, body, Reply(["input cannot be an empty string"], status=400)
            )
        if wants_base64 and self._base64 == "refuse":
            return await _send_whole(
                request, body, Reply(["unknown field 'encoding_format'"], status=422)
            )
        rows = await asyncio.to_thread(self._embed, texts)
        answer = _embeddings(body, rows, in_base64=wants_base64 and self._base64 == "give")
        return await _send_whole(request, body, Reply(raw=json.dumps(answer).encode()))

    async def _received(self, request: web.Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Request(body, headers))
        return body


def _reply(item: str | Reply) -> Reply:
    if isinstance(item, Reply):
        return item
    first, *rest = item.split(" ")
    return Reply([first, *(" " + word for word in rest)])


def _echo(body: Mapping[str, Any]) -> Reply:
    return _reply(f"You said: {body['messages'][-1]['content']}")


async def _send_whole(
    request: web.Request, body: Mapping[str, Any], reply: Reply
) -> web.StreamResponse:
    from aiohttp import web

    text = "".join(reply.pieces)
    answer: dict[str, Any] = {
        "model": body["model"],
        "choices": [
            {
                "message": {"role": "assistant", "content": text},
                "finish_reason": reply.finish_reason,
            }
        ],
        "usage": _usage(body, reply),
    }
    if reply.status != 200:
        answer = {"error": {"message": text, "code": reply.error_code}}
    payload = json.dumps(answer).encode() if reply.raw is None else reply.raw
    response = web.StreamResponse(
        status=reply.status, headers={"Content-Type": "application/json", **reply.headers}
    )
    # A body that breaks off in the middle: promised longer than it is.
    response.content_length = len(payload) + (10 if reply.cut else 0)
    await response.prepare(request)
    await response.write(payload)
    return await _ended(request, response, cut=reply.cut)


async def _send_stream(
    request: web.Request, body: Mapping[str, Any], reply: Reply
) -> web.StreamResponse:
    from aiohttp import web

    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **reply.headers})
    response.enable_chunked_encoding()
    await response.prepare(request)
    if reply.raw is not None:
        await response.write(reply.raw)
        return await _ended(request, response, cut=reply.cut)
    for index, piece in enumerate(reply.pieces):
        if index == 1 and reply.hold is not None:
            await asyncio.to_thread(reply.hold)
        await response.write(_event(body, {"content": piece}))
    if reply.finish_reason is not None:
        await response.write(_event(body, {}, reply.finish_reason))
        usage = {"model": body["model"], "choices": [], "usage": _usage(body, reply)}
        await response.write(b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n")
    return await _ended(request, response, cut=reply.cut)


async def _ended(
    request: web.Request, response: web.StreamResponse, *, cut: bool
) -> web.StreamResponse:
    if cut:
        if request.transport is not None:
            request.transport.close()
    else:
        await response.write_eof()
    return response


def _event(
    body: Mapping[str, Any], delta: Mapping[str, str], finish_reason: str | None = None
) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    event = {"model": body["model"], "choices": [choice]}
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


def _embeddings(body: Mapping[str, Any], rows: Any, *, in_base64: bool) -> dict[str, Any]:
    import numpy as np

    data = []
    for index, row in enumerate(rows):
        vector = np.asarray(row, dtype="<f4")
        shown = base64.b64encode(vector.tobytes()).decode() if in_base64 else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    words = sum(len(text.split()) for text in body["input"])
    return {
        "object": "list",
        "model": body["model"],
        "data": data[::-1],
        "usage": {"prompt_tokens": words, "total_tokens": words},
    }


def _usage(body: Mapping[str, Any], reply: Reply) -> dict[str, int]:
    words = sum(len(message["content"].split()) for message in body.get("messages", ()))
    return {"prompt_tokens": words, "completion_tokens": len(reply.pieces)}
