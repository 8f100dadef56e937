"""``sage doctor`` and ``sage version``."""

from __future__ import annotations

from sage.cli.health import surroundings
from sage.cli.health.finding import Status
from sage.libs.embedding.backends import choose_backend


def test_the_doctor_looks_at_everything(sage):
    """Every part of the set-up has a line."""
    outcome = sage("doctor", "--json")
    subjects = {finding["subject"] for finding in outcome.json["findings"]}
    assert {"python", "packages", "onnxruntime", "weights", "cpu", "home"} <= subjects
    assert {"chromadb", "faiss-cpu", "ray", "OPENAI_API_KEY"} <= subjects


def test_the_doctor_says_what_to_do_about_each_failure(sage):
    """Nothing is reported as broken without a way out."""
    outcome = sage("doctor", "--json")
    failed = [f for f in outcome.json["findings"] if f["status"] == "fail"]
    assert all(finding["advice"] for finding in failed)
    assert outcome.code == (1 if failed else 0)


def test_the_value_of_a_key_is_never_shown(sage, monkeypatch):
    """The doctor says that a key is set, and nothing more of it."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    outcome = sage("doctor")
    assert "set, for" in outcome.out
    assert "very-secret" not in outcome.out + outcome.err


def test_a_home_that_cannot_be_written_is_a_failure(tmp_path):
    """A home below a plain file is reported with what to do."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    (finding,) = surroundings.home(tmp_path / "file" / "home")
    assert finding.status is Status.FAIL
    assert "SAGE_HOME" in finding.advice


def test_the_doctor_names_the_embedding_backend_and_why(sage):
    """What computes embeddings here is said together with the reason."""
    outcome = sage("doctor", "--json")
    (finding,) = [f for f in outcome.json["findings"] if f["subject"] == "embedding"]
    backend, reason = choose_backend()
    assert repr(backend) in finding["detail"]
    assert reason in finding["detail"]


def test_version_names_every_installed_package(sage):
    """The version of each package, for a report of a bug."""
    outcome = sage("version", "--json")
    assert outcome.json["packages"]["isage-cli"] == outcome.json["sage"]
    assert "isage-common" in outcome.json["packages"]
