"""A state file gives back what was written, or says that it cannot."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.kernel.checkpoint import state_file
from sage.kernel.checkpoint.filesystem import filesystem_of
from sage.kernel.checkpoint.operator_state import Section
from sage.kernel.checkpoint.state_file import (
    WrittenFile,
    read_state_file,
    verify_state_file,
    write_state_file,
)
from sage.kernel.errors import (
    CheckpointError,
    DamagedCheckpointError,
    NewerFormatError,
    StateCodecError,
)

Operators = list[tuple[str, list[Section]]]

sections = st.builds(
    Section,
    st.sampled_from(["keyed", "listed", "whole", "schemas", "entries"]),
    st.text(max_size=8),
    st.binary(max_size=64),
)
operators = st.lists(st.tuples(st.text(max_size=6), st.lists(sections, max_size=4)), max_size=4)

SMALL: Operators = [
    ("count", [Section("keyed", "counts", b"some pairs"), Section("whole", "mark", b"\x00")]),
    ("empty", []),
    ("@input", [Section("listed", "held", b"")]),
]


def flat(operators: Operators) -> list[tuple[str, Section]]:
    return [(uid, section) for uid, found in operators for section in found]


def written(path: Path, operators: Operators = SMALL) -> WrittenFile:
    files, where = filesystem_of(str(path))
    return write_state_file(files, where, operators)


def read(path: Path, uid: str | None = None, **options: Any) -> list[tuple[str, Section]]:
    files, where = filesystem_of(str(path))
    return list(read_state_file(files, where, uid, **options))


@pytest.mark.parametrize("scheme", ["", "memory:/"])
@given(operators=operators)
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(
    scheme: str, operators: Operators, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every section comes back, in order, on disk and in an object store."""
    url = scheme + str(tmp_path_factory.getbasetemp() / "round" / "trip.state")
    files, path = filesystem_of(url)
    files.make_folder(path.rpartition("/")[0])
    file = write_state_file(files, path, operators)
    assert list(read_state_file(files, path, expected=file)) == flat(operators)
    assert file.bytes == files.size(path)
    assert file.path == "round/trip.state"
    for uid in {uid for uid, _ in operators}:
        own = [(u, s) for u, s in flat(operators) if u == uid]
        assert list(read_state_file(files, path, uid)) == own


def test_sections_are_written_as_they_come(tmp_path: Path) -> None:
    """A state is streamed: no section is asked for before the one before it is written."""
    path = tmp_path / "streamed.state"
    sizes = []

    def large() -> Iterator[Section]:
        for _ in range(8):
            yield Section("keyed", "x", bytes(1 << 20))
            sizes.append(path.stat().st_size)

    written(path, [("a", large())])  # type: ignore[list-item]
    assert all(size > n << 20 for n, size in enumerate(sizes))


@pytest.mark.parametrize("known", [True, False])
def test_every_flipped_byte_is_noticed(tmp_path: Path, known: bool) -> None:
    """Whichever byte changes, and however, nothing of the file is given out as if it were right."""
    path = tmp_path / "a.state"
    file = written(path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            path.write_bytes(
                whole[:position] + bytes([whole[position] ^ flip]) + whole[position + 1 :]
            )
            with pytest.raises(DamagedCheckpointError) as caught:
                read(path, expected=file if known else None)
            assert str(path) in caught.value.message


@pytest.mark.parametrize("known", [True, False])
def test_every_truncation_is_noticed(tmp_path: Path, known: bool) -> None:
    """However much of the end is missing, or added, it is noticed."""
    path = tmp_path / "a.state"
    file = written(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedCheckpointError):
            read(path, expected=file if known else None)
    path.write_bytes(whole + b"\x00")
    with pytest.raises(DamagedCheckpointError):
        read(path, expected=file if known else None)


def test_one_operator_is_read_although_another_is_damaged(tmp_path: Path) -> None:
    """An operator is verified alone, and nothing is yielded before it has been."""
    path = tmp_path / "a.state"
    file = written(path, [("a", [Section("whole", "x", b"aaaa")] * 2), ("b", SMALL[0][1])])
    content = path.read_bytes().replace(b"some pairs", b"same pairs")
    path.write_bytes(content)
    assert len(read(path, "a", expected=file)) == 2
    files, where = filesystem_of(str(path))
    for wanted in ("b", None):
        with pytest.raises(DamagedCheckpointError, match=r"checksum of 'b'"):
            next(read_state_file(files, where, wanted))
    with pytest.raises(DamagedCheckpointError):
        verify_state_file(files, where, file)


def test_a_file_that_is_gone_or_another_one_is_damage(tmp_path: Path) -> None:
    """A deleted file and a valid file of something else are told from the one that was written."""
    path = tmp_path / "a.state"
    with pytest.raises(DamagedCheckpointError, match="it is gone"):
        read(path)
    expected = written(path)
    written(path, [("count", [Section("keyed", "counts", b"other pair")])])
    with pytest.raises(DamagedCheckpointError):
        read(path, expected=expected)
    other = path.read_bytes()
    with pytest.raises(DamagedCheckpointError, match="not the file that was written"):
        read(path, expected=WrittenFile(expected.path, len(other), expected.checksum))


def test_a_newer_format_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a newer release is refused as such, with both versions."""
    path = tmp_path / "a.state"
    monkeypatch.setattr(state_file, "FORMAT", 7)
    written(path)
    monkeypatch.undo()
    with pytest.raises(NewerFormatError, match=r"format 7.*up to 1"):
        read(path)


def test_the_format_is_pinned(tmp_path: Path) -> None:
    """The bytes of format 1 stay what they are: an upgrade reads the checkpoints of before."""
    path = tmp_path / "a.state"
    file = written(path, [("a", [Section("whole", "x", b"payload")])])
    whole = path.read_bytes()
    assert whole[:12] == b"SAGEstat" + struct.pack("<I", 1)
    assert whole[12:24] == struct.pack("<IQ", 9, 7)
    assert whole[24:40] == b"\x92\xa5whole\xa1xpayload"
    assert file.checksum == "baa54ad49ee89e7f3d9daa5acf702b51"


def test_a_value_that_cannot_be_stored_leaves_no_file(tmp_path: Path) -> None:
    """When a section cannot be encoded, the error is the codec's and the half-file is gone."""

    def failing() -> Iterator[Section]:
        yield Section("whole", "x", bytes(1 << 20))
        raise StateCodecError("no", operator="a", state="x", type_name="Lock")

    with pytest.raises(StateCodecError):
        written(tmp_path / "a.state", [("a", failing())])  # type: ignore[list-item]
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    """A file that there is no reading for another reason may be whole: that is another error."""
    (tmp_path / "folder.state").mkdir()
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path / "folder.state")
    assert type(caught.value) is CheckpointError
