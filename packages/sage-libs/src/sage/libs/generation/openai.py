"""Answers from any endpoint that speaks the OpenAI chat protocol: OpenAI, vLLM, local servers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sage.common.config import Annotated, Meta, configurable
from sage.common.errors import EndpointError, MissingKeyError
from sage.common.records import Answer, Prompt, Usage
from sage.libs.endpoint.address import openai_address
from sage.libs.endpoint.background_loop import run_in_background
from sage.libs.endpoint.client import EndpointClient
from sage.libs.endpoint.endpoint import Endpoint
from sage.libs.endpoint.retry import RetryPolicy
from sage.libs.generation.citations import check_citations

__all__ = ["OpenAIGenerator"]

_DEFAULT_MODEL = "gpt-4o-mini"
_OFFLINE = "use ExtractiveGenerator, or set OPENAI_BASE_URL to a local server"


@configurable
class OpenAIGenerator(EndpointClient):
    """Answers with a model behind an OpenAI-compatible endpoint, with real token streaming.

    Overload (429, its ``Retry-After`` honoured), server faults (5xx) and broken connections are
    asked again with backoff, as long as no piece of the answer has come. An answer that breaks off
    is an error, never a short answer. Connections are kept between calls; safe to call from many
    threads.

    Args:
        model: The model's name, as the endpoint knows it.
        base_url: Where the API begins; default ``$OPENAI_BASE_URL``, else OpenAI's public API.
        api_key: Default ``$OPENAI_API_KEY``; the public API needs one, a local server mostly none.
        temperature: From 0 (sober) to 2; None leaves it to the endpoint.
        max_tokens: The longest answer, in tokens; None leaves it to the endpoint.
        timeout_s: Seconds to wait for an answer; of a stream, for its next piece.
        retries: How often to ask again after a failure that may pass.
        retry_delay_s: Upper bound of the first wait before asking again; it doubles each time.
        extra_body: More fields of the request, such as ``{"seed": 7}``.

    Raises:
        MissingKeyError: if it would ask the public API without a key.
        ConfigError: if an option is wrong.

    Example:
        >>> from sage.common.records import Prompt, Query
        >>> from sage.libs.generation.testing import FakeOpenAIServer
        >>> with FakeOpenAIServer(["Water boils at 100 degrees."]) as server:
        ...     with OpenAIGenerator(model="fake", base_url=server.base_url) as generator:
        ...         generator.generate(Prompt("When?", Query("When?"))).text
        'Water boils at 100 degrees.'
    """

    def __init__(
        self,
        *,
        model: Annotated[str, Meta(min_length=1)] = _DEFAULT_MODEL,
        base_url: str | None = None,
        api_key: str | None = None,
        temperature: Annotated[float, Meta(ge=0, le=2)] | None = None,
        max_tokens: Annotated[int, Meta(ge=1)] | None = None,
        timeout_s: Annotated[float, Meta(gt=0)] = 60.0,
        retries: Annotated[int, Meta(ge=0)] = 2,
        retry_delay_s: Annotated[float, Meta(ge=0)] = 0.5,
        extra_body: dict[str, Any] | None = None,
    ) -> None:
        address = openai_address("OpenAIGenerator", base_url, api_key)
        if address.lacks_key:
            raise MissingKeyError(
                "OPENAI_API_KEY", needed_by=f"OpenAIGenerator({model!r})", alternative=_OFFLINE
            )
        self.model = model
        self._options = {
            "temperature": temperature,
            "max_tokens": max_tokens,
            **(extra_body or {}),
        }
        policy = RetryPolicy(retries=retries, base_s=retry_delay_s)
        self._endpoint = Endpoint(address.url, address.key, timeout_s, policy)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, endpoint={self._endpoint!r})"

    def generate(self, prompt: Prompt) -> Answer:
        """Return the whole answer.

        Raises:
            UnreachableError: if the endpoint cannot be connected to.
            EndpointError: if it answers with an error, too late, or breaks off.
        """
        return run_in_background(self.agenerate(prompt))

    async def agenerate(self, prompt: Prompt) -> Answer:
        """Return the whole answer, as `generate`, on the running event loop."""
        started = time.perf_counter()
        reply = await self._endpoint.post("/chat/completions", self._body(prompt))
        written = _Written(self.model)
        self._take(written, reply)
        if not written.text:
            reason = written.finish_reason or "no choices[0].message.content"
            raise self._broken(f"the answer holds no text ({reason})")
        return self._answer(prompt, written, started)

    def stream(self, prompt: Prompt) -> Iterator[str | Answer]:
        """Yield the pieces of the answer as the endpoint sends them, then the `Answer`.

        The next piece is read when it is asked for, so that a slow reader slows the endpoint.
        Leaving the loop early closes the connection.

        Raises:
            UnreachableError: if the endpoint cannot be connected to.
            EndpointError: as `generate`, also after some pieces; its ``partial`` field has them.
        """
        pieces = self.astream(prompt)
        try:
            while True:
                yield run_in_background(_next(pieces))
        except _Ended:
            pass
        finally:
            # At interpreter exit the loop is gone, and its connections with it.
            with contextlib.suppress(RuntimeError):
                run_in_background(_close(pieces))

    async def astream(self, prompt: Prompt) -> AsyncIterator[str | Answer]:
        """Yield pieces and then the `Answer`, as `stream`, on the running event loop."""
        started = time.perf_counter()
        written = _Written(self.model)
        body = {
            **self._body(prompt),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        events = self._endpoint.stream("/chat/completions", body)
        try:
            async for event in events:
                piece = self._take(written, event)
                if piece:
                    if written.first_token_s is None:
                        written.first_token_s = time.perf_counter() - started
                    yield piece
        except EndpointError as error:
            # After the last word only the token count can be missing: the answer is whole.
            if not written.finish_reason:
                error.fields["partial"] = written.text
                raise
        finally:
            await _close(events)
        if not written.finish_reason:
            raise self._broken("the stream ended before the answer did", partial=written.text)
        yield self._answer(prompt, written, started)

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        options = {name: value for name, value in self._options.items() if value is not None}
        return {"model": self.model, "messages": prompt.messages, **options}

    def _take(self, written: _Written, wire: Mapping[str, Any]) -> str:
        try:
            return written.take(wire)
        except msgspec.ValidationError as error:
            raise self._broken(f"malformed answer: {error}", partial=written.text) from None

    def _broken(self, message: str, **fields: Any) -> EndpointError:
        return EndpointError(
            f"{self._endpoint.shown_url}: {message}", url=self._endpoint.shown_url, **fields
        )

    def _answer(self, prompt: Prompt, written: _Written, started: float) -> Answer:
        checked = check_citations(written.text, prompt.passages)
        detail: dict[str, Any] = {"generator": type(self).__name__, "model": written.model}
        if written.first_token_s is not None:
            detail["first_token_s"] = written.first_token_s
        if checked.dropped:
            detail["dropped_citations"] = list(checked.dropped)
        return Answer(
            checked.text,
            prompt.query,
            citations=checked.citations,
            passages=prompt.passages,
            model=written.model,
            usage=written.usage,
            finish_reason=written.finish_reason or "stop",
            steps=prompt.steps,
        ).with_step("generate", time.perf_counter() - started, **detail)


class _Text(msgspec.Struct):
    """A message, or what a stream adds to one."""

    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Text | None = None
    delta: _Text | None = None
    finish_reason: str | None = None


class _Tokens(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Wire(msgspec.Struct):
    """An answer of the endpoint, or one event of its stream; fields we do not use are skipped."""

    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Tokens | None = None


@dataclass(slots=True)
class _Written:
    """What has come of an answer so far."""

    model: str
    usage: Usage = field(default_factory=Usage)
    text: str = ""
    finish_reason: str = ""
    first_token_s: float | None = None

    def take(self, wire: Mapping[str, Any]) -> str:
        """Take an answer or an event; return the text it adds, maybe none.

        Raises:
            msgspec.ValidationError: if it does not have the shape of one.
        """
        parsed = msgspec.convert(wire, _Wire)
        self.model = parsed.model or self.model
        if parsed.usage is not None:
            self.usage = Usage(parsed.usage.prompt_tokens, parsed.usage.completion_tokens)
        choice = parsed.choices[0] if parsed.choices else _Choice()
        self.finish_reason = choice.finish_reason or self.finish_reason
        said = choice.delta or choice.message or _Text()
        # Quadratic in theory, but CPython grows the string in place.
        self.text += said.content or ""
        return said.content or ""


class _Ended(Exception):
    """The end of an asynchronous iterator, told to a thread (StopIteration cannot be)."""


async def _next(pieces: AsyncIterator[str | Answer]) -> str | Answer:
    try:
        return await anext(pieces)
    except StopAsyncIteration:
        raise _Ended from None


async def _close(iterator: AsyncIterator[Any]) -> None:
    await iterator.aclose()  # type: ignore[attr-defined]
