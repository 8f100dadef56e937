"""The result journal: what it keeps from one run to the next, and what it gives back."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.kernel.checkpoint import journal_segment, steps
from sage.kernel.checkpoint.journal import Journal, JournalFolder
from sage.kernel.checkpoint.journal_segment import read_segment
from sage.kernel.errors import CheckpointError, JournalError, NewerFormatError, StateCodecError


class Runs:
    """The runs of one job, one after the other, each killed when the next one begins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epoch = 0

    def begin(self, from_checkpoint: int = 0, function: str = "Ask") -> Journal:
        return self.begin_all(1, from_checkpoint, function)[0]

    def begin_all(
        self, subtasks: int, from_checkpoint: int = 0, function: str = "Ask"
    ) -> list[Journal]:
        self.epoch += 1
        self.journals = JournalFolder(
            self.folder, epoch=self.epoch, from_checkpoint=from_checkpoint
        )
        return [
            self.journals.journal("1-map_async", subtask, function, name="ask")
            for subtask in range(subtasks)
        ]

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.results"))


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def ask(journal: Journal, record: Any, result: Any) -> bytes:
    return journal.append(journal.digest(record), result)


def recall(journal: Journal, record: Any) -> Any:
    found = journal.recall(journal.digest(record))
    return found[1] if found is not None else "nothing"


@pytest.mark.parametrize(
    "result", ["42", None, 0, "", [], (1, 2), {"text": "a", "tokens": (1, 2)}, b"\x00", 1.5]
)
def test_a_result_comes_back_with_its_type(runs: Runs, result: Any) -> None:
    """A result, also None, is what the next run gets for an equal record."""
    ask(runs.begin(), {"q": "?"}, result)
    again = runs.begin()
    assert repr(recall(again, {"q": "?"})) == repr(result)


def test_a_result_is_there_before_anything_is_synced(runs: Runs) -> None:
    """A process that is killed just behind a call has left the result."""
    journal = runs.begin()
    ask(journal, "a", 1)
    assert [e.payload for e in read_segment(runs.files[0]).entries] == [b"\x01"]


def test_each_result_is_given_once(runs: Runs) -> None:
    """Equal records take the results of as many calls as there were, and then call again."""
    journal = runs.begin()
    for result in (1, 2):
        ask(journal, "same", result)
    again = runs.begin()
    assert {recall(again, "same"), recall(again, "same")} == {1, 2}
    assert recall(again, "same") == "nothing"


def test_nothing_of_this_run_is_given_back(runs: Runs) -> None:
    """What a run has journalled itself stands for calls that it has made."""
    journal = runs.begin()
    ask(journal, "a", 1)
    assert recall(journal, "a") == "nothing"
    late = runs.journals.journal("2-map_async", 0, "Ask")
    assert recall(late, "a") == "nothing"


def test_another_process_of_the_same_run_does_not_read_its_results(runs: Runs) -> None:
    """A worker that starts later takes only what runs before have left."""
    journal = runs.begin()
    ask(journal, "a", 1)
    elsewhere = JournalFolder(runs.folder, epoch=runs.epoch).journal("1-map_async", 1, "Ask")
    assert recall(elsewhere, "a") == "nothing"


def test_what_was_passed_on_before_the_checkpoint_is_not_asked_for(runs: Runs) -> None:
    """A run that goes on from a checkpoint gets what was decided behind it, and only that."""
    journal = runs.begin()
    journal.passed_on([ask(journal, "a", 1)])
    journal.roll(1)
    ask(journal, "b", 2)
    again = runs.begin(from_checkpoint=1)
    assert recall(again, "a") == "nothing"
    assert recall(again, "b") == 2


def test_a_result_that_waits_at_a_barrier_is_kept_behind_it(runs: Runs) -> None:
    """A call that ended before a barrier, behind one that goes on, is not made again."""
    journal = runs.begin()
    ask(journal, "waits", 1)
    journal.roll(1)
    journal.roll(2)
    runs.journals.retire(2)
    assert recall(runs.begin(from_checkpoint=2), "waits") == 1


def test_a_result_that_waited_is_given_once_from_an_older_checkpoint(runs: Runs) -> None:
    """A result that stands in several segments is one result."""
    journal = runs.begin()
    ask(journal, "waits", 1)
    journal.roll(1)
    journal.roll(2)
    again = runs.begin()
    assert recall(again, "waits") == 1
    assert recall(again, "waits") == "nothing"


def test_a_recalled_result_that_waits_at_a_barrier_is_kept(runs: Runs) -> None:
    """What came from the journal and was not passed on is there for the run after the next."""
    ask(runs.begin(), "a", 1)
    second = runs.begin()
    assert recall(second, "a") == 1
    second.roll(1)
    runs.journals.retire(1)
    assert recall(runs.begin(from_checkpoint=1), "a") == 1


def test_results_that_nobody_has_asked_for_yet_outlive_a_checkpoint(runs: Runs) -> None:
    """A run that is killed in the middle of catching up leaves the rest to the next one."""
    first = runs.begin()
    for n in range(5):
        ask(first, n, n)
    second = runs.begin()
    found = second.recall(second.digest(0))
    assert found is not None
    second.passed_on([found[0]])
    second.roll(1)
    runs.journals.retire(1)
    third = runs.begin(from_checkpoint=1)
    assert recall(third, 0) == "nothing"
    third.roll(2)
    third.roll(3)  # nothing was taken since: the file is only renamed
    runs.journals.retire(3)
    fourth = runs.begin(from_checkpoint=3)
    assert [recall(fourth, n) for n in range(5)] == ["nothing", 1, 2, 3, 4]


def test_a_result_that_was_taken_since_is_not_carried_on(runs: Runs) -> None:
    """What is left is written again where it has become less."""
    first = runs.begin()
    ask(first, "a", 1)
    ask(first, "b", 2)
    second = runs.begin()
    second.roll(1)
    found = second.recall(second.digest("a"))
    assert found is not None
    second.passed_on([found[0]])
    second.roll(2)
    third = runs.begin(from_checkpoint=2)
    assert [recall(third, "a"), recall(third, "b")] == ["nothing", 2]


def test_results_that_were_left_stay_readable_from_an_older_checkpoint(runs: Runs) -> None:
    """Where the newest checkpoint turns out damaged, the one before finds all its results."""
    ask(runs.begin(), "a", 1)
    second = runs.begin()
    second.roll(1)
    second.roll(2)
    runs.journals.retire(1)
    assert recall(runs.begin(from_checkpoint=1), "a") == 1


def test_a_result_that_nobody_asks_for_is_not_carried_for_ever(runs: Runs) -> None:
    """Where upstream is not deterministic, what is left over does not grow with each crash."""
    ask(runs.begin(), "a", 1)
    second = runs.begin()
    second.roll(2000)
    assert recall(runs.begin(from_checkpoint=2000), "a") == "nothing"


def test_a_record_may_come_to_another_subtask(runs: Runs) -> None:
    """Whichever subtask a record comes to now, it gets the result; only one of them does."""
    for subtask, journal in enumerate(runs.begin_all(3)):
        ask(journal, subtask, subtask * 10)
    for first, second in [runs.begin_all(2)]:
        assert [recall(first, n) for n in range(2)] == [0, 10]
        assert [recall(second, n) for n in range(3)] == ["nothing", "nothing", 20]


def test_results_of_another_config_are_left_alone(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that has changed calls again, and is told by name why."""
    ask(runs.begin(function="Ask 1234"), "a", 1)
    with caplog.at_level(logging.WARNING):
        again = runs.begin(function="Ask 5678")
    assert recall(again, "a") == "nothing"
    assert "1 journalled results of operator 'ask' are not used" in caplog.text
    assert "'Ask 1234'" in caplog.text or "Ask 1234" in caplog.text


@pytest.mark.parametrize("kept", range(1, 60, 7))
def test_an_entry_that_was_cut_off_is_dropped(
    runs: Runs, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A kill in the middle of a write costs that one result, and nobody is alarmed."""
    journal = runs.begin()
    ask(journal, "a", 1)
    whole = runs.files[0].stat().st_size
    ask(journal, "b", "x" * 100)
    os.truncate(runs.files[0], whole + kept)
    again = runs.begin()
    assert recall(again, "a") == 1
    assert recall(again, "b") == "nothing"
    assert not caplog.records


def test_a_file_that_was_cut_off_at_any_byte_can_be_read(runs: Runs) -> None:
    """However little of a segment there is, it is read as far as it goes."""
    journal = runs.begin()
    ask(journal, "a", 1)
    first = runs.files[0].stat().st_size
    ask(journal, "b", 2)
    content = runs.files[0].read_bytes()
    for size in range(len(content) + 1):
        runs.files[0].write_bytes(content[:size])
        segment = read_segment(runs.files[0])
        assert len(segment.entries) == (size >= first) + (size == len(content))
        assert not segment.damaged


def test_damage_in_the_middle_is_said_and_costs_no_more_than_what_it_hit(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    """Bits that have flipped lose the entry they are in; the log names operator and file."""
    journal = runs.begin()
    for n in range(3):
        ask(journal, n, "x" * 50)
    path = runs.files[0]
    content = bytearray(path.read_bytes())
    content[content.index(b"x" * 50)] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        again = runs.begin()
    assert [recall(again, n) for n in range(3)] == ["nothing", "x" * 50, "x" * 50]
    assert "'ask' is damaged in 1 places" in caplog.text
    assert path.name in caplog.text


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_no_bit_that_flips_makes_a_wrong_result(at: int, bit: int) -> None:
    """A flipped bit anywhere costs results, or says so; it never gives one that was not written."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder))
        journal = runs.begin()
        for n in range(3):
            ask(journal, n, f"result {n}")
        path = runs.files[0]
        content = bytearray(path.read_bytes())
        content[at % len(content)] ^= 1 << bit
        path.write_bytes(content)
        try:
            again = runs.begin()
        except CheckpointError:
            return
        for n in range(3):
            assert recall(again, n) in (f"result {n}", "nothing")


def test_a_newer_format_is_refused(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that this version cannot read are not silently paid for again."""
    with monkeypatch.context() as newer:
        newer.setattr(journal_segment, "_FORMAT", 9)
        ask(runs.begin(), "a", 1)
    with pytest.raises(NewerFormatError, match="has format 9"):
        runs.begin()


def test_what_is_no_journal_is_refused(runs: Runs) -> None:
    """A file that is something else is an error that names it."""
    ask(runs.begin(), "a", 1)
    runs.files[0].write_bytes(b"something else altogether")
    with pytest.raises(CheckpointError, match="is no journal"):
        runs.begin()


def test_what_cannot_be_stored_names_operator_and_type(runs: Runs) -> None:
    """Records and results of other types are refused, and nothing is written."""
    journal = runs.begin()
    with pytest.raises(StateCodecError, match=r"'ask'.*type object"):
        journal.digest(object())
    with pytest.raises(StateCodecError, match=r"'ask'.*type object"):
        ask(journal, "a", object())
    assert not runs.files


def test_equal_records_have_equal_digests(runs: Runs) -> None:
    """A digest depends on values and types, not on the order of a set."""
    journal = runs.begin()
    one, other = {0, 8}, {8, 0}  # they collide
    assert [*one] != [*other]
    assert journal.digest({"tags": one}) == journal.digest({"tags": other})
    assert journal.digest(frozenset({1, "a"})) == journal.digest(frozenset({"a", 1}))
    different = [1, True, 1.0, "1", (1,), [1], {1}, b"1", None]
    assert len({journal.digest(record) for record in different}) == len(different)


def test_retiring_keeps_what_the_oldest_checkpoint_needs(runs: Runs) -> None:
    """Segments below the oldest checkpoint that is kept are deleted, and no others."""
    journal = runs.begin()
    for checkpoint in range(1, 5):
        journal.passed_on([ask(journal, checkpoint, checkpoint)])
        journal.roll(checkpoint)
    journal.close()
    runs.journals.retire(3)
    assert [path.name[:8] for path in runs.files] == ["00000003"]
    runs.journals.clear()
    assert not runs.files


def test_a_journal_without_results_leaves_no_files(runs: Runs) -> None:
    """Barriers alone write nothing."""
    journal = runs.begin()
    for checkpoint in range(1, 4):
        journal.roll(checkpoint)
    journal.close()
    assert not runs.files


def test_one_sync_covers_all_that_was_written(runs: Runs) -> None:
    """Results that are passed on together are synced together, and only once."""
    journal = runs.begin()
    seen: list[str] = []
    steps.watch(seen.append)
    try:
        for n in range(10):
            ask(journal, n, n)
        journal.sync()
        journal.sync()
    finally:
        steps.watch(None)
    assert seen.count("journal.write.after") == 10
    assert seen.count("journal.sync.after") == 1


def test_a_segment_that_was_rolled_is_synced_before_its_results_go_on(runs: Runs) -> None:
    """A barrier between the end of a call and its sync does not leave the result behind."""
    journal = runs.begin()
    ask(journal, "a", 1)
    seen: list[str] = []
    steps.watch(seen.append)
    try:
        journal.roll(1)
    finally:
        steps.watch(None)
    assert seen.count("journal.sync.after") == 2  # the old segment, and what was open in the new


def test_a_disk_that_is_full_ends_it(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a result cannot be written nothing goes on, and the error says where and what to do."""
    journal = runs.begin()
    ask(journal, "a", 1)

    def full(descriptor: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        with pytest.raises(JournalError, match="cannot write the journal of operator 'ask'"):
            ask(journal, "b", 2)
    for doing in (journal.sync, journal.check, lambda: ask(journal, "c", 3)):
        with pytest.raises(JournalError, match="No space left"):
            doing()
    assert recall(runs.begin(), "a") == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A journal that cannot be opened is an error before anything has run."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalError, match="cannot be opened") as caught:
        JournalFolder(tmp_path / "file", epoch=1).journal("1", 0, "Ask")
    assert "journal_dir" in str(caught.value)


def test_a_job_without_journals_touches_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no folder, retiring looks nowhere, least of all where the user is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    mine = tmp_path / "mine" / "00000001-mine.results"
    mine.touch()
    journals = JournalFolder("", epoch=1)
    journals.retire(5)
    journals.clear()
    assert mine.exists()
    with pytest.raises(JournalError, match="no folder"):
        journals.journal("1", 0, "Ask")
    JournalFolder(tmp_path / "not there yet", epoch=1).retire(5)


def test_operators_do_not_share_results(runs: Runs) -> None:
    """Operators with uids that look alike as file names have journals of their own."""
    runs.begin()
    for uid in ("a/b", "a_b", "a:b", "../up"):
        ask(runs.journals.journal(uid, 0, "Ask"), "x", uid)
    runs.begin()
    for uid in ("a/b", "a_b", "a:b", "../up"):
        assert recall(runs.journals.journal(uid, 0, "Ask"), "x") == uid
    assert all(runs.folder in path.parents for path in runs.files)


def test_writing_and_rolling_on_two_threads_loses_nothing(runs: Runs) -> None:
    """A call that ends while the barrier passes is behind it, or waits and is carried behind it."""
    journal = runs.begin()
    many = 2000

    def calls() -> None:
        for n in range(many):
            ask(journal, n, n)

    thread = threading.Thread(target=calls)
    thread.start()
    checkpoint = 0
    while thread.is_alive() and checkpoint < 40:
        checkpoint += 1
        journal.roll(checkpoint)
    thread.join()
    again = runs.begin(from_checkpoint=checkpoint)
    assert [recall(again, n) for n in range(many)] == list(range(many))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_happens_no_result_is_lost_and_none_is_given_twice(data: st.DataObject) -> None:
    """An oracle of what each cut still needs agrees with the journal over kills and barriers.

    Every run begins at the last complete checkpoint, works on records in order, with some of them
    decided and not passed on, and is killed.
    """
    stream = data.draw(st.lists(st.integers(0, 3), min_size=8, max_size=8), label="stream")
    made: list[int] = []  # the record of each call, whose result is its place here
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder))
        complete, begun = 0, 0
        passed_on: dict[int, list[int]] = {0: []}  # results passed on before each checkpoint
        for _ in range(data.draw(st.integers(1, 4), label="kills")):
            journal = runs.begin(from_checkpoint=complete)
            passed = list(passed_on[complete])
            waiting: list[tuple[bytes, int]] = []
            for action in data.draw(st.lists(st.sampled_from("dddppbB"), max_size=14)):
                at = len(passed) + len(waiting)
                if action == "d" and at < len(stream):
                    digest = journal.digest(stream[at])
                    found = journal.recall(digest)
                    if found is None:
                        found = journal.append(digest, len(made)), len(made)
                        made.append(stream[at])
                    assert made[found[1]] == stream[at]
                    assert found[1] not in [*passed, *(result for _, result in waiting)]
                    waiting.append(found)
                elif action == "p" and waiting:
                    entry, result = waiting.pop(0)
                    journal.passed_on([entry])
                    passed.append(result)
                elif action in "bB":
                    begun += 1
                    journal.roll(begun)
                    passed_on[begun] = list(passed)
                    if action == "B":
                        complete = begun
                        runs.journals.retire(complete)
        for record, calls in Counter(made).items():
            assert calls <= stream.count(record)
