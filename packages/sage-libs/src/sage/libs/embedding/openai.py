"""Vectors from any endpoint that speaks the OpenAI embeddings protocol: OpenAI, vLLM, TEI, others.

Invariant: row ``i`` of a result is the vector of text ``i``. Requests overlap and a server may
answer in any order, so rows are placed by the ``index`` that the server says, and an answer that
does not account for every text is an error.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from sage.common.config import Annotated, Meta, configurable
from sage.common.errors import EndpointError, MissingKeyError
from sage.libs.embedding.texts import checked_texts
from sage.libs.endpoint.address import openai_address, vllm_address
from sage.libs.endpoint.background_loop import run_in_background
from sage.libs.endpoint.client import EndpointClient
from sage.libs.endpoint.endpoint import Endpoint
from sage.libs.endpoint.retry import RetryPolicy

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

__all__ = ["OpenAIEmbedder", "from_openai_id", "from_vllm_id"]

_ADDRESSES = {"openai": openai_address, "vllm": vllm_address}
_OFFLINE = "use an embedder on this machine, or set OPENAI_BASE_URL to a local server"
_REFUSED_INPUT = (400, 413, 422)


@configurable
class OpenAIEmbedder(EndpointClient):
    """Embeds with a model behind an OpenAI-compatible endpoint; a vLLM server is one.

    Texts are sent in batches, several at a time, and vectors come back as base64 where the server
    can do that (a third of the bytes of decimal numbers). Overload (429, its ``Retry-After``
    honoured), server faults (5xx) and broken connections are asked again. An empty text is sent as
    one blank, because endpoints refuse an empty one. Connections are kept between calls; safe to
    call from many threads.

    Args:
        model: The model's name, as the endpoint knows it.
        server: ``"vllm"`` looks for the address in ``$VLLM_BASE_URL`` and falls back to
            ``http://localhost:8000/v1``; it never asks the public API.
        base_url: Where the API begins; default ``$OPENAI_BASE_URL``, else OpenAI's public API.
        api_key: Default ``$OPENAI_API_KEY``; the public API needs one, a local server mostly none.
        dim: Length of a vector, if it shall be checked; else it is what the first answer has.
        batch_size: Most texts in a request.
        batch_chars: Most characters in a request; a longer text is a request of its own.
        concurrency: Most requests of one call that are under way at a time.
        timeout_s: Seconds to wait for an answer.
        retries: How often to ask again after a failure that may pass.
        retry_delay_s: Upper bound of the first wait before asking again; it doubles each time.
        extra_body: More fields of each request, such as ``{"dimensions": 256}``.

    Raises:
        MissingKeyError: if it would ask the public API without a key.
        ConfigError: if an option is wrong.

    Example:
        >>> from sage.libs.generation.testing import FakeOpenAIServer
        >>> with FakeOpenAIServer() as server:
        ...     with OpenAIEmbedder(model="fake", base_url=server.base_url) as embedder:
        ...         embedder.model, embedder.embed(["Water boils.", "Iron rusts."]).shape
        ('openai:fake', (2, 16))
    """

    def __init__(
        self,
        *,
        model: Annotated[str, Meta(min_length=1)] = "text-embedding-3-small",
        server: Literal["openai", "vllm"] = "openai",
        base_url: str | None = None,
        api_key: str | None = None,
        dim: Annotated[int, Meta(ge=1)] | None = None,
        batch_size: Annotated[int, Meta(ge=1)] = 256,
        batch_chars: Annotated[int, Meta(ge=1)] = 200_000,
        concurrency: Annotated[int, Meta(ge=1)] = 4,
        timeout_s: Annotated[float, Meta(gt=0)] = 60.0,
        retries: Annotated[int, Meta(ge=0)] = 2,
        retry_delay_s: Annotated[float, Meta(ge=0)] = 0.5,
        extra_body: dict[str, Any] | None = None,
    ) -> None:
        address = _ADDRESSES[server]("OpenAIEmbedder", base_url, api_key)
        if address.lacks_key:
            raise MissingKeyError(
                "OPENAI_API_KEY", needed_by=f"OpenAIEmbedder({model!r})", alternative=_OFFLINE
            )
        self.model = f"{server}:{model}"
        self.backend = server
        self._name = model
        self._dim = dim
        self._batch_size, self._batch_chars = batch_size, batch_chars
        self._concurrency = concurrency
        self._extra = dict(extra_body or {})
        self._takes_base64 = True
        policy = RetryPolicy(retries=retries, base_s=retry_delay_s)
        self._endpoint = Endpoint(address.url, address.key, timeout_s, policy)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, endpoint={self._endpoint!r})"

    @property
    def dim(self) -> int:
        """Length of a vector; the endpoint is asked once, unless it is known already.

        Raises:
            UnreachableError: as `embed`.
            EndpointError: as `embed`.
        """
        return self._dim or run_in_background(self._learned_dim())

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [len(texts), dim], rows of length 1, in the order of ``texts``.

        Raises:
            DataError: if a text is not a string.
            UnreachableError: if the endpoint cannot be connected to.
            EndpointError: if it answers with an error, too late, or with something else than one
                vector of the right length for each text. Nothing is returned then.
        """
        return run_in_background(self.aembed(texts))

    async def aembed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors, as `embed`, on the running event loop."""
        import numpy as np

        sent = [text or " " for text in checked_texts(texts)]
        if not sent:
            return np.empty((0, await self._learned_dim()), dtype=np.float32)
        parts: dict[int, Vectors] = {}
        waiting = _batches(sent, self._batch_size, self._batch_chars)

        async def ask() -> None:
            for start, batch in waiting:  # one iterator for all: each batch is taken once
                parts[start] = await self._embedded(batch)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._concurrency, len(sent))):
                    group.create_task(ask())
        except ExceptionGroup as failures:
            # The first failure has cancelled the other requests; it alone says what is wrong.
            raise failures.exceptions[0] from None
        return np.concatenate([parts[start] for start in sorted(parts)])

    async def _learned_dim(self) -> int:
        if self._dim is None:
            await self._embedded(["length"])
        assert self._dim is not None
        return self._dim

    async def _embedded(self, batch: list[str]) -> Vectors:
        """Ask for the vectors of one batch; without base64 once a server has refused it."""
        body = {"model": self._name, "input": batch, **self._extra}
        if self._takes_base64 and "encoding_format" not in body:
            try:
                reply = await self._asked({**body, "encoding_format": "base64"})
            except EndpointError as error:
                if not _is_about_base64(error):
                    raise
                self._takes_base64 = False
            else:
                return self._rows(reply, len(batch))
        return self._rows(await self._asked(body), len(batch))

    async def _asked(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._endpoint.post("/embeddings", body)
        except EndpointError as error:
            if error.hint is None and error.fields.get("status") in _REFUSED_INPUT:
                error.hint = (
                    "is a text longer than the model reads (chunk it first), or is a request "
                    f"larger than the server takes (lower batch_size, now {self._batch_size})?"
                )
            raise

    def _rows(self, reply: dict[str, Any], count: int) -> Vectors:
        """Return the vectors of an answer, placed by their index, checked and of length 1."""
        import numpy as np

        try:
            items = msgspec.convert(reply, _Wire).data
            found = {item.index: _vector(item.embedding) for item in items}
        except (msgspec.ValidationError, ValueError) as error:
            raise self._broken(f"malformed answer: {error}") from None
        if len(items) != count or found.keys() != set(range(count)):
            raise self._broken(
                f"got {len(items)} vectors with the indexes {sorted(found)!s:.80} for {count} texts"
            )
        for vector in found.values():
            if len(vector) != (self._dim or len(found[0])):
                raise self._wrong_dim(len(vector))
        rows = np.stack([found[index] for index in range(count)])
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise self._broken(f"the model {self._name!r} gave a vector that is zero or not finite")
        self._dim = rows.shape[1]
        unit: Vectors = np.divide(rows, lengths, dtype=np.float32)
        return unit

    def _wrong_dim(self, dim: int) -> EndpointError:
        return self._broken(
            f"the model {self._name!r} gave a vector of dimension {dim}, expected "
            f"{self._dim or 'one length for all'}",
            "is it the same model as before? Give its dim, or ask for one with "
            "extra_body={'dimensions': ...} if the model can shorten its vectors",
        )

    def _broken(self, message: str, hint: str | None = None) -> EndpointError:
        url = self._endpoint.shown_url
        return EndpointError(f"{url}: {message}", hint=hint, url=url, model=self._name)


class _Item(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Wire(msgspec.Struct):
    """An answer; fields that we do not use are skipped."""

    data: list[_Item]


def from_openai_id(*, model: str) -> OpenAIEmbedder:
    """Return the embedder of an id such as ``"openai:text-embedding-3-small"``."""
    return OpenAIEmbedder(model=model.partition(":")[2])


def from_vllm_id(*, model: str) -> OpenAIEmbedder:
    """Return the embedder of an id such as ``"vllm:BAAI/bge-m3"``.

    The server is told to truncate texts that are too long, as the embedders on this machine do.
    """
    name = model.partition(":")[2]
    return OpenAIEmbedder(model=name, server="vllm", extra_body={"truncate_prompt_tokens": -1})


def _batches(texts: list[str], size: int, chars: int) -> Iterator[tuple[int, list[str]]]:
    """Yield runs of texts with the position of the first, within both bounds where possible."""
    start, total = 0, 0
    for end, text in enumerate(texts):
        if end > start and (end - start == size or total + len(text) > chars):
            yield start, texts[start:end]
            start, total = end, 0
        total += len(text)
    yield start, texts[start:]


def _vector(embedding: str | list[float]) -> Vectors:
    """Return what the wire holds: the bytes of little-endian floats in base64, or numbers.

    Raises:
        ValueError: if it is neither.
    """
    import numpy as np

    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    return np.asarray(embedding, dtype=np.float32)


def _is_about_base64(error: EndpointError) -> bool:
    """Whether a server complains of ``encoding_format``, which not all of them know."""
    said = error.message.lower()
    return error.fields.get("status") in _REFUSED_INPUT and (
        "encoding_format" in said or "base64" in said
    )
