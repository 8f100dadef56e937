"""A manifest says what was written, or that it was changed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.kernel.checkpoint import manifest as manifest_module
from sage.kernel.checkpoint.manifest import Base, Manifest, OperatorEntry, TaskEntry
from sage.kernel.checkpoint.state_file import WrittenFile
from sage.kernel.errors import DamagedCheckpointError, NewerFormatError

files = st.builds(WrittenFile, st.text(max_size=9), st.integers(0, 1 << 40), st.text(max_size=9))
counts = st.integers(0, 1 << 40)
manifests = st.builds(
    Manifest,
    checkpoint=counts,
    epoch=counts,
    job=st.text(max_size=9),
    folder=st.text(max_size=9),
    kind=st.sampled_from(["checkpoint", "savepoint", "final"]),
    created_at=st.floats(allow_nan=False, allow_infinity=False),
    duration_s=st.floats(0, 1e6),
    operators=st.lists(
        st.builds(OperatorEntry, st.text(), st.text(), st.text(), counts), max_size=2
    ).map(tuple),
    tasks=st.lists(
        st.builds(
            TaskEntry,
            st.text(),
            st.lists(st.text(), max_size=3).map(tuple),
            counts,
            counts,
            finished=st.booleans(),
            file=st.none() | files,
            bases=st.lists(
                st.builds(Base, st.text(), st.text(), st.lists(files, max_size=2).map(tuple)),
                max_size=2,
            ).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
)

SMALL = Manifest(
    checkpoint=2,
    epoch=1,
    job="words",
    folder="chk-2",
    tasks=(
        TaskEntry(
            "count",
            ("count", "sink"),
            0,
            1,
            file=WrittenFile("chk-2/count-0.state", 40, "ab"),
            bases=(Base("count", "counts", (WrittenFile("chk-1/count-0.state", 60, "cd"),)),),
        ),
    ),
)


@given(manifests)
@settings(max_examples=60, deadline=None)
def test_a_manifest_comes_back_as_it_was(manifest: Manifest) -> None:
    """Everything in it survives, with its types, and it is JSON that other tools can read."""
    content = manifest.to_bytes()
    assert Manifest.from_bytes(content, "m") == manifest
    assert json.loads(content)["content"]["checkpoint"] == manifest.checkpoint


def test_every_flip_and_truncation_is_noticed() -> None:
    """Whichever byte changes or is missing, it is damage, and never taken for a newer format."""
    whole = SMALL.to_bytes()
    for position in range(len(whole)):
        for flip in (0x01, 0x20, 0x80):
            changed = bytearray(whole)
            changed[position] ^= flip
            with pytest.raises(DamagedCheckpointError, match=r"chk/M.*damaged"):
                Manifest.from_bytes(bytes(changed), "chk/M")
        with pytest.raises(DamagedCheckpointError):
            Manifest.from_bytes(whole[:position], "m")
    with pytest.raises(DamagedCheckpointError):
        Manifest.from_bytes(whole + b"\n", "m")


def test_a_newer_format_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest of a newer release is not damaged: it is refused, and says what to do."""
    newer = replace(SMALL, format=9)
    with pytest.raises(NewerFormatError, match=r"format 9.*up to 1") as caught:
        Manifest.from_bytes(newer.to_bytes(), "m")
    assert "go on with the release that wrote it" in str(caught.value)
    monkeypatch.setattr(manifest_module, "FORMAT", 9)
    assert Manifest.from_bytes(newer.to_bytes(), "m") == newer


def test_sizes_count_each_file_once() -> None:
    """What a checkpoint needs and what was written for it are two sizes."""
    assert SMALL.total_bytes == 100
    assert SMALL.own_bytes == 40
    assert list(SMALL.files()) == ["chk-1/count-0.state", "chk-2/count-0.state"]
