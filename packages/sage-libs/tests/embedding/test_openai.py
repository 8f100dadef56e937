"""The embedder that asks an endpoint, against a fake that is a real HTTP server."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from sage.common.errors import (
    ConfigError,
    DataError,
    EndpointError,
    MissingKeyError,
    UnreachableError,
)
from sage.libs.embedding import MockTextEmbedder, OpenAIEmbedder, load_embedder
from sage.libs.embedding.testing import CHECKS, Check, check_same_vectors
from sage.libs.generation.testing import FakeOpenAIServer, Reply

KEY = "sk-secret0123456789"
ANY = np.ones(16, dtype="<f4")

Ask = Callable[..., tuple[OpenAIEmbedder, FakeOpenAIServer]]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "VLLM_API_KEY", "VLLM_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Start a fake endpoint and give an embedder that asks it."""
    with ExitStack() as stack:

        def start(
            *script: str | Reply, served: dict[str, Any] | None = None, **options: Any
        ) -> tuple[OpenAIEmbedder, FakeOpenAIServer]:
            server = stack.enter_context(FakeOpenAIServer(script, **(served or {})))
            given = {"model": "m", "base_url": server.base_url, "retry_delay_s": 0.0, **options}
            return stack.enter_context(OpenAIEmbedder(**given)), server

        yield start


@pytest.mark.parametrize("base64", ["give", "ignore", "refuse"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_is_an_embedder(ask: Ask, check: Check, base64: str) -> None:
    """It keeps every promise of an embedder, whatever the server makes of base64."""
    embedder, _ = ask(served={"base64": base64}, batch_size=3)
    check(embedder)


def test_rows_are_where_the_server_says(ask: Ask) -> None:
    """The fake answers last text first; each text gets its own vector all the same."""
    embedder, server = ask(batch_size=4, concurrency=3)
    texts = [f"text number {n}" for n in range(30)]
    check_same_vectors(embedder, MockTextEmbedder(), texts=texts)
    assert max(len(request.body["input"]) for request in server.requests) == 4


def test_requests_are_bounded_by_characters(ask: Ask) -> None:
    """A request holds at most so many characters, or one longer text alone."""
    embedder, server = ask(batch_chars=10, concurrency=1)
    embedder.embed(["12345", "12345", "1", "1234567890123", "1"])
    asked = [request.body["input"] for request in server.requests]
    assert asked == [["12345", "12345"], ["1"], ["1234567890123"], ["1"]]


class Counted:
    """An endpoint that counts how many requests are under way."""

    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint
        self.under_way = self.most = 0

    async def post(self, path: str, body: Any) -> Any:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await self.endpoint.post(path, body)
        finally:
            self.under_way -= 1


def test_several_requests_are_under_way_but_not_more_than_allowed(ask: Ask) -> None:
    """With a concurrency of 3, three requests meet at the server, and never a fourth is sent."""
    meeting = threading.Barrier(3, timeout=30)

    def embed(texts: list[str]) -> Any:
        meeting.wait()  # passes only if three are here at once
        return MockTextEmbedder().embed(texts)

    embedder, server = ask(served={"embed": embed}, batch_size=1, concurrency=3)
    endpoint = embedder._endpoint
    counted: Any = Counted(endpoint)
    embedder._endpoint = counted
    assert embedder.embed([str(n) for n in range(9)]).shape == (9, 16)
    embedder._endpoint = endpoint
    assert (len(server.requests), counted.most) == (9, 3)


def test_what_is_sent_is_what_openai_reads(ask: Ask) -> None:
    """Model, texts, base64 and further fields are in the body, the key is in the header."""
    embedder, server = ask(api_key=KEY, extra_body={"dimensions": 16})
    embedder.embed(["a", ""])
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.requests[0].body == {
        "model": "m",
        "input": ["a", " "],
        "encoding_format": "base64",
        "dimensions": 16,
    }


def test_a_server_without_base64_is_asked_for_it_once(ask: Ask) -> None:
    """After the refusal numbers are asked for, and base64 is not tried again."""
    embedder, server = ask(served={"base64": "refuse"})
    embedder.embed(["a"])
    embedder.embed(["b"])
    formats = [request.body.get("encoding_format") for request in server.requests]
    assert formats == ["base64", None, None]


def test_the_dimension_is_asked_for_once(ask: Ask) -> None:
    """It is learnt from the first answer, by a question of its own if it is wanted before."""
    embedder, server = ask(served={"embed": MockTextEmbedder(fixed_dim=7).embed})
    assert embedder.dim == 7
    assert embedder.embed([]).shape == (0, 7)
    assert embedder.embed(["a"]).shape == (1, 7)
    assert len(server.requests) == 2


def test_another_dimension_than_expected_is_refused(ask: Ask) -> None:
    """A vector of another length names endpoint, model and both lengths."""
    embedder, server = ask(dim=384)
    with pytest.raises(
        EndpointError, match="model 'm' gave a vector of dimension 16, expected 384"
    ):
        embedder.embed(["a"])
    changing = iter([MockTextEmbedder(fixed_dim=8), MockTextEmbedder(fixed_dim=9)])
    embedder, server = ask(served={"embed": lambda texts: next(changing).embed(texts)})
    embedder.embed(["a"])
    with pytest.raises(EndpointError, match="dimension 9, expected 8") as raised:
        embedder.embed(["a"])
    assert server.base_url in str(raised.value)


def test_overload_is_waited_out(ask: Ask) -> None:
    """A busy server is asked again, as it asks for, and the vectors come."""
    busy = Reply(["busy"], status=429, headers={"Retry-After": "0"})
    embedder, server = ask(busy, Reply(["oops"], status=503))
    assert embedder.embed(["a"]).shape == (1, 16)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(["wrong key"], status=401), "check OPENAI_API_KEY"),
        (Reply(["no such model"], status=404), "check the model's name"),
        (Reply(["maximum context length is 512 tokens"], status=400), "chunk it first"),
        (Reply(["batch size 256 > 32"], status=413), "lower batch_size, now 256"),
    ],
)
def test_refusals_say_what_to_do(ask: Ask, reply: Reply, said: str) -> None:
    """What asking again cannot mend is an error at once: endpoint, its words, and a hint."""
    embedder, server = ask(reply)
    with pytest.raises(EndpointError) as raised:
        embedder.embed(["a"])
    assert server.base_url in str(raised.value)
    assert said in str(raised.value)
    assert len(server.requests) == 1


def _body(*items: tuple[int, Any]) -> Reply:
    data = [{"index": index, "embedding": embedding} for index, embedding in items]
    return Reply(raw=json.dumps({"data": data}).encode())


WHOLE = base64.b64encode(ANY.tobytes()).decode()


@pytest.mark.parametrize(
    "reply",
    [
        _body((0, WHOLE)),
        _body((0, WHOLE), (0, WHOLE)),
        _body((0, WHOLE), (2, WHOLE)),
        _body((0, WHOLE), (1, WHOLE), (1, WHOLE)),
        _body((0, WHOLE), (1, WHOLE[:12])),
        _body((0, WHOLE), (1, "not base64!")),
        _body((0, WHOLE), (1, [1.0] * 15)),
        _body((0, WHOLE), (1, [0.0] * 16)),
        _body((0, WHOLE), (1, base64.b64encode((ANY * np.nan).tobytes()).decode())),
        _body((0, []), (1, [])),
        _body((0, WHOLE), (1, None)),
        Reply(raw=b'{"data": {}}'),
        Reply(raw=b"[]"),
        Reply(raw=b"no JSON"),
        Reply(raw=b'{"error": {"message": "GPU fell off"}}'),
    ],
)
def test_an_answer_that_is_not_one_good_vector_for_each_text_is_an_error(
    ask: Ask, reply: Reply
) -> None:
    """Missing, doubled, malformed, zero, NaN: nothing of it is ever returned as a vector."""
    embedder, server = ask(reply, retries=0)
    with pytest.raises(EndpointError) as raised:
        embedder.embed(["a", "b"])
    assert server.base_url in str(raised.value)


def test_one_failed_request_fails_the_call_by_its_own_error(ask: Ask) -> None:
    """Of many requests the one that failed is reported, not a group of them."""
    failure = Reply(["wrong key"], status=401)
    embedder, _ = ask(failure, batch_size=1)
    with pytest.raises(EndpointError, match="answered 401"):
        embedder.embed(["a", "b", "c", "d", "e"])
    assert embedder.embed(["a"]).shape == (1, 16)


def test_a_server_that_is_down_is_named() -> None:
    """Where nothing listens, the error says which address, without the login in it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    url = f"http://user:hunter2@127.0.0.1:{port}/v1"
    with (
        OpenAIEmbedder(model="m", base_url=url, retries=0) as embedder,
        pytest.raises(UnreachableError, match=f"127.0.0.1:{port}/v1: Connection refused") as raised,
    ):
        embedder.embed(["a"])
    assert "hunter2" not in str(raised.value)


def test_texts_are_checked_before_anything_is_sent(ask: Ask) -> None:
    """A wrong text among many costs no request."""
    embedder, server = ask(batch_size=1)
    with pytest.raises(DataError, match="expected texts, got int: 3"):
        embedder.embed(["a", "b", 3])  # type: ignore[list-item]
    assert server.requests == []


def test_the_key_is_shown_nowhere(ask: Ask) -> None:
    """Neither the repr nor an error holds it, even when the endpoint echoes it."""
    embedder, _ = ask(Reply([f"bad key {KEY}"], status=401), api_key=KEY)
    with pytest.raises(EndpointError) as raised:
        embedder.embed(["a"])
    shown = [repr(embedder), str(vars(embedder)), str(raised.value), str(raised.value.to_dict())]
    assert not any(KEY in text for text in shown)


def test_the_public_api_needs_a_key() -> None:
    """Without one it says which variable is missing when the embedder is made."""
    with pytest.raises(MissingKeyError, match="OPENAI_API_KEY"):
        load_embedder("openai:text-embedding-3-small")
    with pytest.raises(ConfigError, match=r"\$\.model"):
        load_embedder("openai:")


def test_the_environment_says_where_a_model_id_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    """``openai:`` and ``vllm:`` ids ask the addresses of the environment, each with its own key."""
    with FakeOpenAIServer() as openai, FakeOpenAIServer() as vllm:
        monkeypatch.setenv("OPENAI_BASE_URL", openai.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("VLLM_BASE_URL", vllm.base_url)
        for kind, server, key in (("openai", openai, f"Bearer {KEY}"), ("vllm", vllm, None)):
            embedder: Any = load_embedder(f"{kind}:by-environment")
            assert (embedder.model, embedder.backend) == (f"{kind}:by-environment", kind)
            embedder.embed(["a"])
            assert server.requests[0].body["model"] == "by-environment"
            assert server.requests[0].headers.get("authorization") == key
            embedder.close()
    assert vllm.requests[0].body["truncate_prompt_tokens"] == -1


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://localhost:8000/v1"),
        ({"OPENAI_BASE_URL": "http://there:1/v1"}, "http://there:1/v1"),
        ({"OPENAI_BASE_URL": "http://there:1/v1", "VLLM_BASE_URL": "http://v:2"}, "http://v:2"),
    ],
)
def test_a_vllm_server_is_never_the_public_api(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str
) -> None:
    """Without its own variable it is the endpoint of OPENAI_BASE_URL, else port 8000 here."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert repr(OpenAIEmbedder(model="m", server="vllm")).endswith(f"endpoint=Endpoint({url!r}))")
