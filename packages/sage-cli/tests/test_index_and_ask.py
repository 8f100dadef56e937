"""``sage index`` and ``sage ask``, with good input and with bad."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def docs(tmp_path):
    """Two documents that answer different questions."""
    root = tmp_path / "docs"
    root.mkdir()
    (root / "water.md").write_text(
        "# Water\n\nAt sea level water boils at one hundred degrees Celsius.\n"
        "It freezes at zero degrees.\n",
        encoding="utf-8",
    )
    (root / "iron.txt").write_text(
        "Iron melts at 1538 degrees. Iron rusts in wet air.\n", encoding="utf-8"
    )
    return root


@pytest.fixture
def indexed(sage, docs):
    """The documents, indexed as collection 'default'."""
    outcome = sage("index", docs, "--json")
    assert outcome.code == 0, outcome.out + outcome.err
    return docs


def test_index_reports_what_it_did(sage, docs):
    """The table has every count."""
    outcome = sage("index", docs)
    assert outcome.code == 0
    rows = dict(line.split() for line in outcome.out.splitlines()[1:] if len(line.split()) == 2)
    assert rows["added"] == "2"
    assert rows["failed"] == "0"
    assert {"changed", "removed", "unchanged", "chunks", "seconds", "docs/s"} <= rows.keys()


def test_index_again_does_nothing(sage, indexed):
    """Only what changed is touched."""
    report = sage("index", indexed, "--json").json
    assert (report["added"], report["changed"], report["unchanged"]) == ([], [], 2)


def test_chunks_that_the_model_does_not_read_to_the_end_are_warned_of(sage, docs):
    """Who asks for more tokens than the model reads is told, on stderr and in the JSON."""
    outcome = sage("index", docs, "--chunk-tokens", "500")
    assert outcome.code == 0
    assert "reads 256" in outcome.err
    warnings = sage("index", docs, "-c", "b", "--chunk-tokens", "257", "--json").json["warnings"]
    assert len(warnings) == 1
    assert sage("index", docs, "-c", "c", "--json").json["warnings"] == []


def test_a_host_that_is_not_public_has_to_be_allowed(sage):
    """The refusal names the option, and with the option the page is indexed."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(b"Iron rusts.")

        def log_message(self, *_):
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        page = f"http://127.0.0.1:{server.server_port}/a.txt"
        refused = sage("index", page)
        allowed = sage("index", page, "--allow-host", "127.0.0.1", "--json")
        server.shutdown()
    assert refused.code == 1
    assert "--allow-host 127.0.0.1" in refused.err
    assert allowed.json["added"] == [page]
    assert "a host" in sage("index", page, "--allow-host", "http://127.0.0.1").err


def test_ask_answers_with_numbered_citations_and_times(sage, indexed):
    """The answer quotes the document, says where it stands and what each stage took."""
    outcome = sage("ask", "At how many degrees does water boil?")
    assert outcome.code == 0
    assert "one hundred degrees" in outcome.out
    assert "water.md:" in outcome.out
    assert "[1]" in outcome.out
    assert "retrieve" in outcome.out
    assert " ms" in outcome.out


def test_ask_json_is_the_answer(sage, indexed):
    """Programs get text, citations, passages and steps."""
    answer = sage("ask", "When does iron rust?", "--json").json
    assert "rusts" in answer["text"]
    assert answer["citations"][0]["number"] == 1
    assert answer["citations"][0]["source"].endswith("iron.txt")
    assert answer["steps"]


def test_ask_explains_each_leg_with_ranks_scores_and_times(sage, indexed, monkeypatch):
    """``--explain`` shows what every leg, fusion and reranking made of the candidates."""
    monkeypatch.chdir(indexed)
    question = "When does water boil?"
    outcome = sage("ask", question, "--explain", "--rerank")
    assert outcome.code == 0
    for told in ("dense: 2 candidates in", "lexical: 1 candidate in", "fused: 2", "by weighted"):
        assert told in outcome.out
    header, best = outcome.out.partition("reranked: 2 candidates in")[2].splitlines()[1:3]
    assert header.split() == ["#", "dense", "lexical", "fused", "reranked", "passage"]
    assert [cell for cell in best.split() if cell.isdecimal()] == ["1"] * 5
    assert "water.md" in best
    steps = sage("ask", question, "--explain", "--json").json["steps"]
    legs = {leg["leg"]: leg for leg in steps[0]["detail"]["legs"]}
    assert legs["dense"]["candidates"][0].keys() >= {"rank", "score", "id", "place"}
    assert legs["lexical"]["elapsed_s"] > 0
    assert "legs" not in sage("ask", question, "--json").json["steps"][0]["detail"]


def test_ask_filters_by_metadata(sage, indexed):
    """``--filter`` narrows the passages; what is wrong with it is told with the place."""
    iron = str(indexed / "iron.txt")
    outcome = sage("ask", "water", "--filter", json.dumps({"source": iron}), "--json")
    assert {p["source"] for p in outcome.json["passages"]} == {iron}
    for wrong, told in [
        ('{"page": {"$gtt": 1}}', "did you mean '$gt'"),
        ("{page: 1}", "is not JSON"),
        ("[1]", "expected a JSON object"),
    ]:
        refused = sage("ask", "water", "--filter", wrong)
        assert refused.code == 1
        assert told in refused.err


@pytest.mark.parametrize("question", ["", "   "])
def test_an_empty_question_is_refused(sage, question):
    """Asking nothing is told so."""
    outcome = sage("ask", question)
    assert outcome.code == 1
    assert "the question is empty" in outcome.err


def test_an_unknown_collection_says_how_to_make_it(sage):
    """The hint is the command to run."""
    outcome = sage("ask", "why?", "--collection", "nothing")
    assert outcome.code == 1
    assert "nothing" in outcome.err
    assert "sage index" in outcome.err


def test_the_openai_generator_without_a_key_names_the_variable(sage, indexed):
    """No key, no silent fallback."""
    outcome = sage("ask", "why?", "--generator", "openai")
    assert outcome.code == 1
    assert "OPENAI_API_KEY" in outcome.err
    assert "[missing-key]" in outcome.err


def test_an_unreachable_endpoint_is_named(sage, indexed, monkeypatch):
    """The address that does not answer is in the message."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    outcome = sage("ask", "why?", "--generator", "openai", "--json")
    assert outcome.code == 1
    assert outcome.json["error"]["code"] == "unreachable"
    assert outcome.json["error"]["message"] == (
        "cannot reach http://127.0.0.1:9/v1: Connection refused"
    )


class EchoingEndpoint(BaseHTTPRequestHandler):
    """Answers every request with an error that repeats its headers, as careless gateways do."""

    def do_POST(self):
        body = json.dumps({"error": {"message": f"refused: {self.headers['Authorization']}"}})
        self.send_response(401)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        """Keep the test's output clean."""


@pytest.mark.parametrize("option", ["--json", "--debug", "--top-k=3"])
def test_the_key_is_shown_nowhere(sage, indexed, monkeypatch, caplog, option):
    """Neither message, JSON, traceback nor log have the key, even if the endpoint echoes it."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret-0123")
    with ThreadingHTTPServer(("127.0.0.1", 0), EchoingEndpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        outcome = sage("ask", "why does iron rust?", "--generator", "openai", option)
        server.shutdown()
    assert outcome.code == 1
    assert "refused" in outcome.out + outcome.err
    assert "very-secret" not in outcome.out + outcome.err + caplog.text
    assert ("Traceback" in outcome.err) == (option == "--debug")


def test_an_unknown_generator_lists_the_known_ones(sage):
    """A wrong choice is a usage error."""
    outcome = sage("ask", "why?", "--generator", "extractiv")
    assert outcome.code == 2
    assert "extractive" in outcome.err


def test_a_missing_directory_is_told(sage, tmp_path):
    """The path is in the message."""
    outcome = sage("index", tmp_path / "nope")
    assert outcome.code == 1
    assert "nope" in outcome.err
    assert "Traceback" not in outcome.err


def test_an_empty_directory_is_told(sage, tmp_path):
    """With the kinds of files that are read."""
    outcome = sage("index", tmp_path)
    assert outcome.code == 1
    assert "no documents" in outcome.err
    assert ".pdf" in outcome.err


def test_garbage_named_pdf_alone_is_an_error_with_its_reason(sage, tmp_path):
    """If nothing could be indexed the exit code says so."""
    (tmp_path / "fake.pdf").write_bytes(bytes(range(256)) * 20)
    outcome = sage("index", tmp_path)
    assert outcome.code == 1
    assert "fake.pdf" in outcome.err
    assert "Traceback" not in outcome.err


def test_garbage_beside_good_documents_is_named_and_the_rest_is_indexed(sage, docs):
    """One bad file does not spoil the run, and is not passed over in silence."""
    (docs / "fake.pdf").write_bytes(bytes(range(256)) * 20)
    outcome = sage("index", docs)
    assert outcome.code == 0
    assert "1 document was not indexed" in outcome.err
    assert "fake.pdf" in outcome.err
    assert sage("ask", "When does iron rust?").code == 0


def test_what_cannot_be_read_is_named_and_the_rest_is_indexed(sage, docs):
    """A link to nothing, a link to itself and a pipe are told by name, in words."""
    (docs / "gone.md").symlink_to(docs / "nowhere.md")
    (docs / "loop.md").symlink_to(docs / "loop.md")
    os.mkfifo(docs / "pipe.txt")
    outcome = sage("index", docs, "--json")
    assert outcome.code == 0
    told = {f["source"].rpartition("/")[2]: f["reason"] for f in outcome.json["failed"]}
    assert told.keys() == {"gone.md", "loop.md", "pipe.txt"}
    assert "nowhere.md" in told["gone.md"]
    assert "not a regular file" in told["pipe.txt"]
    assert sage("ask", "When does iron rust?").code == 0
    assert "3 documents were not indexed" in sage("index", docs).err


def without_privileges():
    """Give up, from the next exec on, what lets root read every file."""
    if os.geteuid() == 0:
        drop_from_bounding_set, override_permissions, search_and_read = 24, 1, 2
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        for capability in (override_permissions, search_and_read):
            if prctl(drop_from_bounding_set, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_a_file_without_permission_is_named_and_its_old_version_answers(docs, tmp_path):
    """The run says which file it may not read, and what was indexed of it before is kept."""
    environment = {**os.environ, "SAGE_HOME": str(tmp_path / "home"), "COLUMNS": "100"}

    def sage(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "sage.cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
            preexec_fn=without_privileges,
        )

    options = ("--model", "mock:32", "--store", "numpy")
    assert sage("index", docs, *options).returncode == 0
    (docs / "iron.txt").chmod(0)
    again = sage("index", docs)
    assert again.returncode == 0
    assert "no permission to read" in again.stderr
    assert "iron.txt" in again.stderr
    assert "the version indexed before still answers" in again.stderr
    assert "rusts" in sage("ask", "When does iron rust in wet air?").stdout

    alone = sage("index", docs / "iron.txt", "--collection", "new", *options)
    assert alone.returncode == 1
    assert "no permission to read" in alone.stderr
    assert "Traceback" not in alone.stderr


def test_another_model_is_refused_by_name(sage, indexed):
    """A collection is not mixed from two embedding models."""
    outcome = sage("index", indexed, "--model", "mock:16")
    assert outcome.code == 1
    assert "mock:16" in outcome.err
    assert "MiniLM" in outcome.err


def test_an_unknown_store_gets_a_suggestion(sage, docs):
    """A store that is not registered is refused before anything is written."""
    outcome = sage("index", docs, "--store", "crhoma")
    assert outcome.code == 1
    assert "chroma" in outcome.err


def test_a_home_that_cannot_be_written_is_a_one_screen_message(sage, docs, tmp_path):
    """A file where the home should be is told as such."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    outcome = sage("index", docs, "--home", tmp_path / "file" / "home")
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert "internal-error" not in outcome.err


def test_debug_after_the_command_shows_the_traceback(sage, tmp_path):
    """``--debug`` is taken before and after the command."""
    for arguments in (("--debug", "index"), ("index", "--debug")):
        outcome = sage(*arguments, tmp_path / "nope")
        assert "Traceback" in outcome.err


def test_json_errors_are_json(sage, tmp_path):
    """Code, message and hint on stdout."""
    outcome = sage("index", tmp_path / "nope", "--json")
    assert json.loads(outcome.out)["error"].keys() >= {"code", "message", "hint"}
