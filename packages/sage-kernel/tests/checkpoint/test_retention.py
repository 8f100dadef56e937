"""Whatever was completed, given up, damaged or started again: what is kept can be loaded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from sage.kernel.checkpoint.filesystem import filesystem_of
from sage.kernel.checkpoint.manifest import Base, Manifest, TaskEntry
from sage.kernel.checkpoint.operator_state import Section
from sage.kernel.checkpoint.state_file import WrittenFile, read_state_file, write_state_file
from sage.kernel.checkpoint.storage import CheckpointStorage, folder_name, state_file_name
from sage.kernel.checkpoint.stored_checkpoint import StoredCheckpoint, read_manifest

TASKS = ("left", "right")
_fresh = itertools.count()


@dataclass
class FakeTask:
    """A task that writes the number of each checkpoint; it knows the files its state rests on."""

    name: str
    chain: list[WrittenFile] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    finished: TaskEntry | None = None

    def write(self, storage: CheckpointStorage, folder: str, number: int, full: bool) -> TaskEntry:
        if self.finished is not None:
            return self.finished
        files, path = filesystem_of(folder)
        if full or not self.chain:
            self.chain, self.numbers = [], []
        self.numbers = [*self.numbers, number]
        payloads = [b"%d" % n for n in (self.numbers if not self.chain else [number])]
        sections = [Section("keyed", "x", payload) for payload in payloads]
        bases = (Base(self.name, "x", tuple(self.chain)),) if self.chain else ()
        name = state_file_name(self.name, 0)
        file = write_state_file(files, f"{path}/{name}", [(self.name, sections)])
        self.chain = [*self.chain, file]
        return TaskEntry(self.name, (self.name,), 0, 1, file=file, bases=bases)


class FakeRuns:
    """Runs of a job, one after the other, with what each checkpoint has to contain."""

    def __init__(self, retain: int) -> None:
        self.url = f"memory://retention/{next(_fresh)}"
        self.retain = retain
        self.expected: dict[str, dict[str, list[int]]] = {}
        self.start()

    def start(self) -> None:
        self.storage = CheckpointStorage(self.url, "job", retain=self.retain)
        self.run = self.storage.take_over(lease_s=-1.0)
        stored = self.storage.newest_valid(self.run.lineage).checkpoint
        self.run.continue_from(stored.manifest.checkpoint if stored else 0)
        self.storage.remove_leftovers(self.run.epoch)
        self.tasks = {name: FakeTask(name) for name in TASKS}
        for task in stored.manifest.tasks if stored else ():
            assert stored is not None
            assert task.file is not None
            chain = [file for base in task.bases for file in base.files] + [task.file]
            self.tasks[task.head].chain = chain
            self.tasks[task.head].numbers = list(self.expected[stored.manifest.folder][task.head])

    def checkpoint(self, written: list[str], full: list[str], completes: bool) -> None:
        number = self.run.highest_begun + 1
        self.run.heartbeat(highest_begun=number)
        folder = self.storage.begin(number, self.run.epoch)
        entries = [
            task.write(self.storage, folder, number, task.name in full)
            for task in self.tasks.values()
            if task.name in written or completes
        ]
        if completes:
            self.complete(number, entries)

    def complete(self, number: int, entries: list[TaskEntry]) -> None:
        name = folder_name(number, self.run.epoch)
        self.expected[name] = {task.name: list(task.numbers) for task in self.tasks.values()}
        manifest = Manifest(
            checkpoint=number,
            epoch=self.run.epoch,
            job="job",
            folder=name,
            tasks=tuple(entries),
        )
        self.storage.complete(manifest, self.run.check)
        self.storage.retire(self.run.lineage)
        assert len(self.complete_ones()) <= self.retain

    def finish(self, name: str) -> None:
        """The input of a task ends: from now on its last file stands for it."""
        task = self.tasks[name]
        if task.chain and task.finished is None:
            *before, last = task.chain
            bases = (Base(name, "x", tuple(before)),) if before else ()
            task.finished = TaskEntry(name, (name,), 0, 1, finished=True, file=last, bases=bases)

    def complete_ones(self) -> list[StoredCheckpoint]:
        files, path = self.storage.files, self.storage.path
        return [
            StoredCheckpoint(f"{path}/{name}", read_manifest(files, f"{path}/{name}"))
            for name in files.names(path)
            if name.startswith("chk-") and files.size(f"{path}/{name}/MANIFEST.json") is not None
        ]

    def check(self) -> None:
        """Everything that is complete can be loaded, and holds what it has to."""
        complete = self.complete_ones()
        for stored in complete:
            stored.verify(self.storage.files)
            for task in stored.manifest.tasks:
                numbers = [
                    int(section.payload)
                    for file in task.files()
                    for _, section in read_state_file(
                        self.storage.files, stored.locate(file), task.head, expected=file
                    )
                ]
                assert numbers == self.expected[stored.manifest.folder][task.head]
        found = self.storage.newest_valid(self.run.lineage).checkpoint
        assert found == (complete[-1] if complete else None)

    def check_nothing_useless(self) -> None:
        """What is older than the newest is complete, or there because something needs it."""
        complete = self.complete_ones()
        if not complete:
            return
        needed = {path for stored in complete for path in stored.manifest.files()}
        names = {stored.manifest.folder for stored in complete}
        newest = complete[-1].manifest.folder
        files, path = self.storage.files, self.storage.path
        for folder in files.names(path):
            if folder.startswith("chk-") and folder < newest and folder not in names:
                assert {f"{folder}/{name}" for name in files.names(f"{path}/{folder}")} <= needed


some_tasks = st.lists(st.sampled_from(TASKS), unique=True)
checkpoints = st.tuples(some_tasks, some_tasks, st.booleans())
histories = st.lists(
    st.one_of(checkpoints, checkpoints, checkpoints, st.just("restart"), st.sampled_from(TASKS)),
    max_size=16,
)


@given(histories, st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_every_checkpoint_that_is_kept_can_be_loaded(
    history: list[tuple[list[str], list[str], bool] | str], retain: int
) -> None:
    """After any sequence of complete and abandoned checkpoints, full and incremental ones, tasks
    that end and runs that start again, what is kept is whole and nothing else is."""
    runs = FakeRuns(retain)
    for event in history:
        if event == "restart":
            runs.start()
        elif isinstance(event, str):
            runs.finish(event)
        else:
            runs.checkpoint(*event)
            if event[2]:
                runs.check_nothing_useless()
        runs.check()
