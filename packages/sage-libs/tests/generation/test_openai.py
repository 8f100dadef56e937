"""The OpenAI-compatible generator against a real HTTP server: streaming, failures, secrets."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sage.common.errors import (
    ConfigError,
    EndpointError,
    MissingKeyError,
    SageError,
    UnreachableError,
)
from sage.common.records import Answer, Passage, Prompt, Query
from sage.libs.generation.generator import Generator
from sage.libs.generation.openai import OpenAIGenerator
from sage.libs.generation.testing import FakeOpenAIServer, Reply

KEY = "sk-secret0123456789"
PROMPT = Prompt("Q: when?", Query("when?"), (Passage("At 100.", source="a.md"),), system="Cite.")
HELLO = Reply(["Hel", "lo", " [1]."])


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


Ask = Callable[..., tuple[OpenAIGenerator, FakeOpenAIServer]]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Start a fake endpoint with a script and give a generator that asks it."""
    started: list[Any] = []

    def start(*script: str | Reply, **options: Any) -> tuple[OpenAIGenerator, FakeOpenAIServer]:
        server = FakeOpenAIServer(script).__enter__()
        given = {"model": "m", "base_url": server.base_url, "retry_delay_s": 0.0, **options}
        generator = OpenAIGenerator(**given)
        started.extend([server, generator])
        return generator, server

    yield start
    for item in reversed(started):
        item.__exit__(None, None, None)


def test_an_answer_carries_citations_tokens_and_its_time(ask: Ask) -> None:
    """A whole answer has text, checked citations, model, token counts and a timed step."""
    generator, server = ask(HELLO, api_key=KEY, temperature=0.0, max_tokens=9, extra_body={"n": 1})
    answer = generator.generate(PROMPT)
    assert isinstance(generator, Generator)
    assert answer.text == "Hello [1]."
    assert [c.place for c in answer.citations] == ["a.md"]
    assert (answer.model, answer.finish_reason) == ("m", "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 3)
    assert answer.steps[-1].name == "generate"
    assert answer.steps[-1].elapsed_s > 0
    request = server.requests[0]
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Cite."},
            {"role": "user", "content": "Q: when?"},
        ],
        "temperature": 0.0,
        "max_tokens": 9,
        "n": 1,
    }


def test_options_that_were_not_given_are_not_sent(ask: Ask) -> None:
    """The endpoint's own defaults hold unless an option says otherwise; no key, no header."""
    generator, server = ask(HELLO)
    generator.generate(PROMPT)
    assert set(server.requests[0].body) == {"model", "messages"}
    assert "authorization" not in server.requests[0].headers


def test_a_token_arrives_before_the_next_is_sent(ask: Ask) -> None:
    """Streaming is real: the first piece is here while the server still waits with the second."""
    arrived = threading.Event()
    held = Reply(["Hel", "lo"], hold=lambda: arrived.wait(30))
    generator, server = ask(held)
    pieces = generator.stream(PROMPT)
    assert next(pieces) == "Hel"
    assert not arrived.is_set()
    arrived.set()
    assert next(pieces) == "lo"
    answer = next(pieces)
    assert isinstance(answer, Answer)
    assert (answer.text, answer.usage.completion_tokens) == ("Hello", 2)
    assert answer.steps[-1].detail["first_token_s"] < answer.steps[-1].elapsed_s
    assert next(pieces, None) is None
    assert server.requests[0].body["stream"] is True


def test_streaming_and_asking_give_the_same_answer(ask: Ask) -> None:
    """Both ways end in one answer, citations included."""
    generator, _ = ask(HELLO, HELLO)
    whole = generator.generate(PROMPT)
    *pieces, streamed = generator.stream(PROMPT)
    assert isinstance(streamed, Answer)
    assert "".join(map(str, pieces)) == streamed.text == whole.text
    assert streamed.citations == whole.citations
    assert streamed.usage == whole.usage


def test_leaving_a_stream_early_is_fine(ask: Ask) -> None:
    """A reader may stop after the first piece; the generator answers the next prompt."""
    generator, _ = ask(Reply([f"{n} " for n in range(1000)]), HELLO)
    pieces = generator.stream(PROMPT)
    assert next(pieces) == "0 "
    pieces.close()  # type: ignore[attr-defined]
    assert generator.generate(PROMPT).text == "Hello [1]."


def test_asynchronous_callers_use_their_own_loop(ask: Ask) -> None:
    """Many prompts are in flight at once on the caller's loop."""
    generator, server = ask(*[HELLO] * 8, Reply(["a", "b"]))

    async def run() -> tuple[list[str], list[Any]]:
        answers = await asyncio.gather(*(generator.agenerate(PROMPT) for _ in range(8)))
        pieces = [piece async for piece in generator.astream(PROMPT)]
        await generator.aclose()
        return [a.text for a in answers], pieces

    texts, pieces = asyncio.run(run())
    assert texts == ["Hello [1]."] * 8
    assert pieces[:2] == ["a", "b"]
    assert len(server.requests) == 9


def test_a_citation_of_a_passage_that_is_not_there_is_dropped(ask: Ask) -> None:
    """An invented number leaves the answer and is reported in its step."""
    generator, _ = ask("It boils [1][4].")
    answer = generator.generate(PROMPT)
    assert answer.text == "It boils [1]."
    assert answer.steps[-1].detail["dropped_citations"] == [4]


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("streamed", [False, True])
def test_overload_and_server_faults_are_asked_again(ask: Ask, status: int, streamed: bool) -> None:
    """A failure that may pass is retried, and the answer comes."""
    failure = Reply(["busy"], status=status)
    generator, server = ask(failure, failure, HELLO)
    answer = list(generator.stream(PROMPT))[-1] if streamed else generator.generate(PROMPT)
    assert isinstance(answer, Answer)
    assert answer.text == "Hello [1]."
    assert len(server.requests) == 3


def test_retries_end(ask: Ask) -> None:
    """After the last retry the endpoint's own words are the error."""
    generator, server = ask(*[Reply(["overloaded"], status=503)] * 5, retries=1)
    with pytest.raises(EndpointError, match=r"answered 503 .*: overloaded") as raised:
        generator.generate(PROMPT)
    assert raised.value.fields["status"] == 503
    assert len(server.requests) == 2


def test_retry_after_is_honoured(ask: Ask) -> None:
    """It waits as long as the endpoint asks, and gives up at once when that is too long."""
    generator, _ = ask(Reply(["busy"], status=429, headers={"Retry-After": "0.2"}), HELLO)
    started = time.perf_counter()
    generator.generate(PROMPT)
    assert time.perf_counter() - started >= 0.2
    generator, server = ask(Reply(["busy"], status=429, headers={"Retry-After": "86400"}), HELLO)
    with pytest.raises(EndpointError, match="answered 429"):
        generator.generate(PROMPT)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(["wrong key"], status=401), "check OPENAI_API_KEY"),
        (Reply(["no such model"], status=404), "check the model's name"),
        (Reply(["context too long"], status=400), "context too long"),
        (Reply(["no money"], status=429, error_code="insufficient_quota"), "no money"),
        (
            Reply(["go away"], status=302, headers={"Location": "http://127.0.0.1:1/"}),
            "answered 302",
        ),
        (Reply(status=422, raw=b"<html>oops</html>"), "oops"),
    ],
)
def test_refusals_are_not_asked_again(ask: Ask, reply: Reply, said: str) -> None:
    """What asking again cannot mend is an error at once, with what the endpoint says and a hint."""
    generator, server = ask(reply, HELLO)
    with pytest.raises(EndpointError) as raised:
        generator.generate(PROMPT)
    assert said in str(raised.value)
    assert len(server.requests) == 1


DELTA = b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n'


@pytest.mark.parametrize(
    "reply",
    [
        Reply(["Hel", "lo"], finish_reason=None),
        Reply(["Hel", "lo"], finish_reason=None, cut=True),
        Reply(raw=DELTA + b'data: {"choices": [{"del', cut=True),
        Reply(raw=DELTA + b"data: {not json}\n\n"),
        Reply(raw=DELTA + b"data: [1]\n\n"),
        Reply(raw=DELTA + b'data: {"choices": 3}\n\n'),
        Reply(raw=DELTA + b'data: {"choices": [{"delta": {"content": 5}}]}\n\n'),
        Reply(raw=DELTA + b"data: \xff\xfe\n\n"),
        Reply(raw=DELTA + b'data: {"error": {"message": "GPU fell off"}}\n\n'),
        Reply(raw=b"<html>not a stream</html>"),
        Reply(raw=b""),
        Reply(raw=b"data: [DONE]\n\n"),
    ],
)
def test_a_broken_stream_is_never_an_answer(ask: Ask, reply: Reply) -> None:
    """A cut, malformed or failing stream raises, whatever came before; no answer is yielded."""
    generator, _ = ask(reply)
    got: list[object] = []
    with pytest.raises(EndpointError) as raised:
        got.extend(generator.stream(PROMPT))
    assert not any(isinstance(item, Answer) for item in got)
    if reply.pieces or (DELTA in (reply.raw or b"") and b"\xff" not in (reply.raw or b"")):
        assert str(raised.value.fields["partial"]).startswith("Hel")


def test_a_stream_that_breaks_after_its_last_word_is_whole(ask: Ask) -> None:
    """Once the endpoint said that it has finished, only the token count can be lost."""
    end = b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\n'
    generator, _ = ask(Reply(raw=DELTA + end, cut=True))
    *_, answer = generator.stream(PROMPT)
    assert isinstance(answer, Answer)
    assert (answer.text, answer.finish_reason) == ("Hel", "length")
    assert answer.usage.completion_tokens is None


@pytest.mark.parametrize(
    "reply",
    [
        Reply(["Hello"], cut=True),
        Reply(raw=b"not json"),
        Reply(raw=b"[]"),
        Reply(raw=b"{}"),
        Reply(raw=b'{"choices": []}'),
        Reply(raw=b'{"choices": [{"message": {"content": null}}]}'),
        Reply(raw=b'{"choices": [{"message": {"content": ["a"]}}]}'),
        Reply(raw=b'{"error": "no model loaded"}'),
    ],
)
def test_a_reply_that_is_no_answer_is_an_error(ask: Ask, reply: Reply) -> None:
    """A body that is cut, is not JSON, or holds no text raises."""
    generator, _ = ask(reply, retries=0)
    with pytest.raises(EndpointError):
        generator.generate(PROMPT)


def test_a_silent_endpoint_times_out(ask: Ask) -> None:
    """A stream that goes silent is an error after timeout_s, and keeps what it had."""
    release = threading.Event()
    generator, _ = ask(Reply(["Hel", "lo"], hold=lambda: release.wait(30)), timeout_s=0.2)
    try:
        with pytest.raises(EndpointError, match=r"no answer within 0\.2 s") as raised:
            list(generator.stream(PROMPT))
        assert raised.value.fields["partial"] == "Hel"
    finally:
        release.set()


def test_an_unreachable_endpoint_is_named() -> None:
    """Where nothing listens, the error names the address, without the login in it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    url = f"http://user:hunter2@127.0.0.1:{port}/v1"
    with (
        OpenAIGenerator(model="m", base_url=url, retries=1, retry_delay_s=0.0) as generator,
        pytest.raises(UnreachableError) as raised,
    ):
        generator.generate(PROMPT)
    assert f"http://127.0.0.1:{port}/v1: Connection refused" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_missing_key_is_named_when_the_generator_is_made() -> None:
    """Without a key for the public API it says which variable is missing and how to do without."""
    with pytest.raises(MissingKeyError) as raised:
        OpenAIGenerator(model="gpt-3.5-turbo")
    assert "OPENAI_API_KEY" in str(raised.value)
    assert "ExtractiveGenerator" in str(raised.value)
    assert "OPENAI_BASE_URL" in str(raised.value)


def test_the_environment_gives_address_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_BASE_URL and OPENAI_API_KEY are the defaults; a local server needs no key."""
    with FakeOpenAIServer([HELLO, HELLO]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url + "/")
        with OpenAIGenerator(model="m") as generator:
            generator.generate(PROMPT)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        with OpenAIGenerator(model="m") as generator:
            generator.generate(PROMPT)
        assert [r.headers.get("authorization") for r in server.requests] == [None, f"Bearer {KEY}"]


@pytest.mark.parametrize("base_url", ["api.example.org/v1", "ftp://example.org", "http://"])
def test_an_address_that_is_none_is_refused(base_url: str) -> None:
    """The address is checked when the generator is made."""
    with pytest.raises(ConfigError, match="expected an http or https URL"):
        OpenAIGenerator(model="m", base_url=base_url)


@pytest.mark.parametrize("key", [KEY, "local.secret0123"])
def test_the_key_is_shown_nowhere(ask: Ask, caplog: pytest.LogCaptureFixture, key: str) -> None:
    """The key is in no repr, no log and no error, even when the endpoint echoes it."""
    caplog.set_level(logging.DEBUG)
    echo = Reply([f"Incorrect API key provided: {key}, or sk-other***1234"], status=401)
    generator, _ = ask(echo, Reply([f"bad {key}"], status=400), api_key=key)
    shown = [repr(generator), str(vars(generator))]
    for _ in range(2):
        with pytest.raises(SageError) as raised:
            generator.generate(PROMPT)
        shown += [str(raised.value), repr(raised.value), str(raised.value.to_dict())]
    assert not any("secret0123" in text or "sk-other" in text for text in [*shown, caplog.text])


_FORGETFUL = """
import gc
from sage.common.records import Prompt, Query
from sage.libs.generation import OpenAIGenerator
from sage.libs.generation.testing import FakeOpenAIServer

def ask(server):
    generator = OpenAIGenerator(model="m", base_url=server.base_url)
    return generator, generator.generate(Prompt("q", Query("q"))).text, generator.stream(
        Prompt("q", Query("q"))
    )

with FakeOpenAIServer() as server:
    ask(server)
    gc.collect()
    kept, text, pieces = ask(server)
    print(text, next(pieces))
"""


def test_a_generator_that_nobody_closed_leaves_quietly() -> None:
    """Neither collected nor at the end of the process does it complain of open connections."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _FORGETFUL],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "You said: q You\n", "")


def test_a_generator_can_be_copied_after_use(ask: Ask) -> None:
    """Each parallel instance gets its own copy, on other processes too; connections stay behind."""
    generator, server = ask(HELLO, HELLO, HELLO)
    generator.generate(PROMPT)
    for other in (copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        with other:
            assert other.generate(PROMPT).text == "Hello [1]."
    assert len(server.requests) == 3


def test_the_fake_endpoint_echoes_when_its_script_is_used_up(ask: Ask) -> None:
    """Without a script it still answers, so that examples can run against it."""
    generator, _ = ask()
    assert generator.generate(PROMPT).text == "You said: Q: when?"
