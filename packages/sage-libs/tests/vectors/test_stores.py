"""What single stores promise beyond the conformance suite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import (
    ConfigError,
    DataError,
    MissingExtraError,
    StorageError,
    UnknownNameError,
)
from sage.libs.vectors import (
    FaissStore,
    Hit,
    NumpyStore,
    ShardedStore,
    default_store_kind,
    open_store,
)
from sage.libs.vectors.filters import matches, parse_filter
from sage.libs.vectors.numpy_store import top_rows
from sage.libs.vectors.store import saved_index_kind


def clustered(rows: int, dim: int = 32) -> np.ndarray:
    """Vectors around a few hundred centres, as texts are."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(300, dim))
    return (centres[rng.integers(300, size=rows)] + 0.5 * rng.normal(size=(rows, dim))).astype(
        np.float32
    )


@pytest.mark.parametrize(("rows", "kind"), [(999, "flat"), (3_000, "ivf"), (12_000, "hnsw")])
def test_faiss_index_follows_the_size(tmp_path: Path, rows: int, kind: str) -> None:
    """The index is chosen by size, finds what an exact search finds, and is there after closing."""
    vectors = clustered(rows)
    ids = [str(n) for n in range(rows)]
    even = [{"even": n % 2 == 0} for n in range(rows)]
    store = FaissStore(dim=32, path=tmp_path)
    exact = NumpyStore(dim=32)
    for one in (store, exact):
        one.upsert(ids, vectors, even)
    assert store.index_kind == kind
    store.close()
    store = FaissStore(dim=32, path=tmp_path)
    assert store.index_kind == kind
    queries = vectors[:100] + 0.1
    for where in (None, {"even": True}):
        found = [{h.id for h in hits} for hits in store.search(queries, 10, where)]
        right = [{h.id for h in hits} for hits in exact.search(queries, 10, where)]
        recall = np.mean([len(f & r) / 10 for f, r in zip(found, right, strict=True)])
        assert recall > 0.985
    store.delete(ids[: rows // 2])
    exact.delete(ids[: rows // 2])
    assert store.count() == rows - rows // 2
    gone = {h.id for hits in store.search(queries, 10) for h in hits} & set(ids[: rows // 2])
    assert not gone
    best = [hits[0].id for hits in store.search(queries, 1)]
    assert (
        np.mean([b == h[0].id for b, h in zip(best, exact.search(queries, 1), strict=True)]) > 0.95
    )


def test_faiss_grows_in_steps(tmp_path: Path) -> None:
    """Rows added over several openings all stay findable while the index changes its kind."""
    vectors = clustered(2_400)
    for start in range(0, 2_400, 600):
        store = FaissStore(dim=32, path=tmp_path)
        store.upsert([str(n) for n in range(start, start + 600)], vectors[start : start + 600])
        store.close()
    store = FaissStore(dim=32, path=tmp_path)
    assert store.index_kind == "ivf"
    hits = store.search(vectors, 1)
    assert np.mean([int(h[0].id) == n for n, h in enumerate(hits)]) > 0.99


@pytest.mark.parametrize("kind", ["numpy", "faiss"])
def test_damage_is_an_error(tmp_path: Path, kind: str) -> None:
    """A store whose files are cut off, gone, or differ in one bit is refused by its path."""
    store = open_store(kind, tmp_path, dim=4)
    store.upsert(["a", "b"], np.eye(2, 4), [{"n": 1}, {}], ["one", "two"])
    store.close()
    other = "faiss" if kind == "numpy" else "numpy"
    with pytest.raises(StorageError, match=f"holds a '{kind}' store"):
        open_store(other, tmp_path, dim=4)
    for part in [p for p in tmp_path.iterdir() if p.name != "LOCK"]:
        whole = part.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        for damaged in (whole[: len(whole) // 2], b"", bytes(flipped)):
            part.write_bytes(damaged)
            with pytest.raises(StorageError, match=str(tmp_path)):
                open_store(kind, tmp_path, dim=4)
        if part.name != "store.json":
            part.unlink()
            with pytest.raises(StorageError, match="is missing"):
                open_store(kind, tmp_path, dim=4)
        part.write_bytes(whole)
    assert open_store(kind, tmp_path, dim=4).count() == 2


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    """Files of before there were checksums are refused by their format, not called damaged."""
    (tmp_path / "store.json").write_text('{"kind":"faiss","dim":4,"format":1,"token":"x"}')
    with pytest.raises(StorageError, match="has the format 1, this version of SAGE reads 2"):
        open_store("faiss", tmp_path, dim=4)


@pytest.mark.parametrize("kind", ["numpy", "faiss", "chroma", "sharded"])
def test_another_model_is_refused(tmp_path: Path, kind: str) -> None:
    """A store remembers the model that made its vectors, and refuses another one by name."""
    store = open_store(kind, tmp_path, dim=4, model="small")
    store.upsert(["a"], np.eye(1, 4))
    store.close()
    with pytest.raises(StorageError, match="with model 'small', not 'large'"):
        open_store(kind, tmp_path, dim=4, model="large")
    for model in ("small", None):
        again = open_store(kind, tmp_path, dim=4, model=model)
        assert (again.count(), again.model) == (1, "small")  # type: ignore[attr-defined]
        again.close()


@pytest.mark.parametrize(
    ("kind", "rows", "index"),
    [("numpy", 5, "flat"), ("faiss", 5, "flat"), ("faiss", 1_200, "ivf"), ("sharded", 20, "flat")],
)
def test_a_saved_store_says_its_index(tmp_path: Path, kind: str, rows: int, index: str) -> None:
    """Which index a store has is known without opening it, and is what the open store says."""
    store = open_store(kind, tmp_path, dim=32)
    store.upsert([str(n) for n in range(rows)], clustered(rows))
    store.close()
    assert saved_index_kind(kind, tmp_path) == index == store.index_kind  # type: ignore[attr-defined]
    assert saved_index_kind("faiss", tmp_path / "nothing") is None


def test_the_number_of_shards_stays(tmp_path: Path) -> None:
    """A sharded store opened with another number or kind of shards is refused, unless it is new."""
    store = ShardedStore(dim=4, path=tmp_path, shards=3)
    store.upsert([str(n) for n in range(50)], np.random.default_rng(0).normal(size=(50, 4)))
    store.close()
    with pytest.raises(StorageError, match="with shards 3, not 4"):
        ShardedStore(dim=4, path=tmp_path, shards=4)
    with pytest.raises(StorageError, match="with store 'faiss', not 'numpy'"):
        ShardedStore(dim=4, path=tmp_path, shards=3, store="numpy")
    with pytest.raises(ConfigError, match="cannot be sharded"):
        ShardedStore(dim=4, store="sharded")
    sizes = [FaissStore(dim=4, path=shard).count() for shard in sorted(tmp_path.glob("shard-*"))]
    assert sum(sizes) == 50
    assert min(sizes) > 5


def test_one_failing_shard_is_an_error() -> None:
    """A search in which one shard fails is an error, and never the hits of the others."""
    store = ShardedStore(dim=4, shards=2, store="numpy")
    store.upsert([str(n) for n in range(20)], np.random.default_rng(0).normal(size=(20, 4)))

    class Failing(NumpyStore):
        """A shard whose files are gone."""

        def search(self, *args: object) -> list[list[Hit]]:
            raise StorageError("gone")

    for number in (0, 1):
        whole = store._shards[number]
        store._shards[number] = Failing(dim=4)
        with pytest.raises(StorageError, match="gone"):
            store.search(np.ones(4), 3)
        store._shards[number] = whole
    assert len(store.search(np.ones(4), 30)[0]) == 20
    store.close()


@pytest.mark.parametrize(
    "bad",
    [
        {"ids": [""]},
        {"ids": [7]},
        {"ids": ["\ud800"]},
        {"texts": ["\ud800"]},
        {"metadatas": [{"n": 2**63}]},
        {"metadatas": [{"x": float("nan")}]},
        {"metadatas": [{"$gt": 1}]},
        {"metadatas": [{"": 1}]},
    ],
    ids=repr,
)
def test_what_cannot_be_saved_is_refused_at_once(tmp_path: Path, bad: dict[str, Any]) -> None:
    """What one of the stores could not write down or give back is refused by all, when it comes."""
    store = NumpyStore(dim=2, path=tmp_path)
    with pytest.raises(DataError):
        store.upsert(**{"ids": ["a"], "vectors": [[1, 0]], **bad})
    assert store.count() == 0


def test_the_same_row_again_costs_nothing(tmp_path: Path) -> None:
    """Rows put in again are not indexed again, nor saved again; other metadata still count."""
    store = FaissStore(dim=4, path=tmp_path)
    rows = np.random.default_rng(0).normal(size=(50, 4))
    ids = [str(n) for n in range(50)]
    for _ in range(3):
        store.upsert(ids, rows, [{"n": 1}] * 50)
        store.flush()
        saved = {p.name for p in tmp_path.iterdir()}
    store.upsert(ids, rows, [{"n": 1}] * 50)
    store.flush()
    assert {p.name for p in tmp_path.iterdir()} == saved
    assert store.search(rows[0], 1, {"n": 2}) == [[]]
    store.upsert(ids[:1], rows[:1], [{"n": 2}], ["new"])
    (hit,) = store.search(rows[0], 3, {"n": 2})[0]
    assert (hit.id, hit.text, dict(hit.metadata)) == ("0", "new", {"n": 2})


@pytest.mark.parametrize("rows", [3_000, 12_000])
def test_asking_for_most_rows_gives_them(rows: int) -> None:
    """An index that finds a few by itself still gives all rows when all are asked for."""
    vectors = clustered(rows, 8)
    store = FaissStore(dim=8)
    store.upsert([str(n) for n in range(rows)], vectors, [{"n": n} for n in range(rows)])
    (hits,) = store.search(vectors[0], rows)
    assert {int(hit.id) for hit in hits} == set(range(rows))
    (hits,) = store.search(vectors[0], 50, {"n": {"$gte": rows - 60}})
    exact = np.argsort(-(vectors / np.linalg.norm(vectors, axis=1)[:, None] @ vectors[0])[-60:])
    assert [int(hit.id) for hit in hits] == [int(n) + rows - 60 for n in exact[:50]]


@pytest.mark.parametrize("kind", ["numpy", "faiss"])
def test_a_full_disk_keeps_the_old_rows(tmp_path: Path, kind: str) -> None:
    """When saving fails half-way, the store opens with the rows of the last good save."""
    store = open_store(kind, tmp_path / "store", dim=64)
    store.upsert(["old"], np.ones((1, 64)))
    store.close()
    script = f"""
import resource, signal, sys
import numpy as np
from pathlib import Path
from sage.common.errors import StorageError
from sage.libs.vectors import open_store
store = open_store({kind!r}, Path(sys.argv[1]), dim=64)
store.upsert([str(n) for n in range(500)], np.random.default_rng(0).normal(size=(500, 64)))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    store.close()
except StorageError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot write the vector store" in run.stdout, run.stderr
    again = open_store(kind, tmp_path / "store", dim=64)
    assert again.count() == 1
    assert again.search(np.ones(64), 1)[0][0].id == "old"
    token = json.loads((tmp_path / "store" / "store.json").read_text())["token"]
    names = {p.name for p in (tmp_path / "store").iterdir()}
    assert all(name in ("store.json", "LOCK") or name.startswith(token) for name in names)


def test_unknown_kind_is_refused() -> None:
    """A store that does not exist is refused with a suggestion."""
    with pytest.raises(UnknownNameError, match="did you mean 'faiss'"):
        open_store("fais", None, dim=2)
    with pytest.raises(ConfigError):
        NumpyStore(dim=0)


def test_without_chromadb(tmp_path: Path) -> None:
    """Without Chroma the default is FAISS; asking for Chroma names the extra, before any work."""
    script = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'chromadb' else find(n, *a)\n"
        "import sys; sys.modules['chromadb'] = None\n"
        "from sage.libs.vectors import *\n"
        "print(default_store_kind())\n"
        "from sage.libs.collection import Collection\n"
        "def update():\n"
        "    with Collection.update('c', model='mock', store='chroma', home=sys.argv[1]): pass\n"
        "chroma = lambda: open_store('chroma', None, dim=2)\n"
        "for make in (chroma, lambda: ChromaStore(dim=2), update):\n"
        "    try: make()\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert run.stdout.startswith("faiss\n")
    assert run.stdout.count(MissingExtraError.__name__) == 3
    assert run.stdout.count("pip install 'isage-libs[chroma]'") == 3


def test_importing_loads_no_library() -> None:
    """The package is imported without numpy, FAISS or Chroma."""
    script = (
        "import sys, sage.libs.vectors, sage.libs.embedding, sage.libs.collection\n"
        "heavy = {'numpy', 'faiss', 'chromadb', 'onnxruntime', 'tokenizers', 'bm25s'}\n"
        "print(heavy & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_default_kind_can_be_opened() -> None:
    """The default kind is one that is installed."""
    assert default_store_kind() in ("chroma", "faiss")


def test_every_problem_of_a_filter_is_listed() -> None:
    """Two mistakes are reported together, each with its path."""
    with pytest.raises(ConfigError) as caught:
        parse_filter({"$and": [{"a": {"$x": 1}}, {"b": [1]}]})
    assert [p.path for p in caught.value.problems] == ["$.$and[0].a", "$.$and[1].b"]


@given(st.lists(st.floats(-1, 1, width=16), min_size=1), st.integers(1, 20))
def test_top_rows(scores: list[float], top_k: int) -> None:
    """The best rows come first, and the earlier of equals."""
    expected = sorted(range(len(scores)), key=lambda n: (-scores[n], n))[:top_k]
    assert top_rows(np.asarray(scores, dtype=np.float32), top_k).tolist() == expected


SCALARS = st.one_of(st.booleans(), st.integers(-2, 2), st.sampled_from(["a", "b", 0.5]))


@given(st.dictionaries(st.sampled_from("xyz"), SCALARS), SCALARS, st.sampled_from("xyz"))
def test_filters_have_complements(metadata: dict[str, object], value: object, field: str) -> None:
    """For any row exactly one of $eq and $ne, and of $in and $nin, matches."""
    for one, other, operand in (("$eq", "$ne", value), ("$in", "$nin", [value, "c"])):
        both = [parse_filter({field: {operator: operand}}) for operator in (one, other)]
        assert sum(matches(condition, metadata) for condition in both if condition) == 1
