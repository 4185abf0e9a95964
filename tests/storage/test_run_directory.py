import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from assay.errors import StorageError, UsageError
from assay.storage.files import (
    AccessRefused,
    DiskFull,
    FileMissing,
    FileTooLarge,
    NotWritable,
    ReadOnlyDisk,
    UnsafePath,
)
from assay.storage.run_directory import ObjectTaken, RunDirectory
from assay.storage.run_layout import FOLDERS, NewerFormat, NotARun, RunExists, RunLocked
from assay.storage.step_rows import LogDamaged
from tests.storage.faults import FaultyFiles
from tests.storage.samples import make_row, make_state


def make_run(path, steps=0):
    """Return a run with some rows, open for writing."""
    run = RunDirectory.create(path)
    for step in range(1, steps + 1):
        run.steps.append(make_row(step))
    return run


def test_a_run_is_created_closed_and_opened_again(tmp_path):
    """Everything that was put into a run is found by the next process, in missing parent folders too."""
    path = tmp_path / "a" / "b" / "digits"
    with make_run(path, 10) as run:
        run.checkpoints.write(10, **make_state(10))
        run.write_object("plan.bin", b"plan")
        run.write_object("programs/" + "ab" * 32 + ".bin", b"program")
        digest = run.blobs.put(b"blob")
        field = run.fields.put("train", [b"data"])
        run.log.append({"step": 10, "val": 0.5})
    for write in (True, False):
        with RunDirectory.open(str(path), write=write) as run:
            assert run.writable is write
            assert run.rows == run.refresh() == 10
            assert list(run.iterate_rows(4)) == [make_row(step) for step in range(5, 11)]
            assert run.read_row(3) == make_row(3)
            assert run.checkpoints.read(10).tensors == make_state(10)["tensors"]
            assert run.read_object("plan.bin") == b"plan"
            assert run.list_objects("programs") == ["programs/" + "ab" * 32 + ".bin"]
            assert run.blobs.open(digest) == b"blob"
            assert bytes(run.fields.open("train", field)) == b"data"
            assert list(run.log.iterate()) == [{"step": 10, "val": 0.5}]


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path):
    """One run, one writing process: the other learns its number; after the first ends the lock is free."""
    code = (
        "import sys; from assay.storage.run_directory import RunDirectory;"
        "run = RunDirectory.create(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout.readline() == "open\n"
        with pytest.raises(RunLocked) as caught:
            RunDirectory.open(tmp_path / "run", write=True)
        assert caught.value.code == "storage.locked"
        assert caught.value.actual == f"held by process {child.pid}"
        RunDirectory.open(tmp_path / "run").close()
        child.kill()
    RunDirectory.open(tmp_path / "run", write=True).close()


def test_the_same_process_cannot_write_twice(tmp_path):
    """Two sessions in one process are refused as well."""
    with make_run(tmp_path / "run"):
        with pytest.raises(RunLocked) as caught:
            RunDirectory.open(tmp_path / "run", write=True)
        assert caught.value.actual == "held by this process"
    RunDirectory.open(tmp_path / "run", write=True).close()


def test_a_run_in_progress_can_be_read(tmp_path):
    """A reader sees what has been written, changes nothing, and finds more later."""
    with make_run(tmp_path / "run", 5) as run:
        run.steps.sync()
        with RunDirectory.open(tmp_path / "run") as seen:
            assert seen.rows == 5
            for step in range(6, 9):
                run.steps.append(make_row(step))
            run.checkpoints.write(8, **make_state(8))
            assert seen.refresh() == 8
            assert seen.checkpoints.read(8).tensors == make_state(8)["tensors"]
            assert list(seen.iterate_rows()) == [make_row(step) for step in range(1, 9)]
            with pytest.raises(NotWritable):
                _ = seen.steps


def test_a_run_for_reading_takes_audits_and_nothing_else(tmp_path):
    """An auditor stores results and certificates beside the evidence without the right to change it."""
    make_run(tmp_path / "run").close()
    with RunDirectory.open(tmp_path / "run") as run:
        results = run.audit_results("second-machine")
        results.append({"interval": 3, "matches": True})
        run.write_object("audit/digits.assay.json", b"{}")
        assert run.list_objects("audit") == ["audit/digits.assay.json", "audit/second-machine.jsonl"]
        assert list(run.audit_results("second-machine").iterate()) == [{"interval": 3, "matches": True}]
        results.close()
        for action in (
            lambda: run.write_object("plan.bin", b""),
            lambda: run.blobs.put(b""),
            lambda: run.fields.put("x", []),
            lambda: run.log.append({}),
            lambda: run.checkpoints.thin(set()),
        ):
            with pytest.raises(NotWritable):
                action()


def test_a_closed_run_takes_nothing(tmp_path):
    """With the lock given back, no store writes any more; closing twice does nothing."""
    run = make_run(tmp_path / "run", 1)
    run.close()
    run.close()
    for action in (
        lambda: run.steps.append(make_row(2)),
        lambda: run.checkpoints.write(1, **make_state(1)),
        lambda: run.blobs.put(b"x"),
        lambda: run.write_object("plan.bin", b"x"),
    ):
        with pytest.raises((StorageError, NotWritable)):
            action()


def test_a_forked_child_neither_writes_nor_keeps_the_lock(tmp_path):
    """A data loader's worker that outlives its parent does not hold the run, and cannot write to it."""
    run = RunDirectory.create(tmp_path / "run", background=False)
    for step in range(1, 4):
        run.steps.append(make_row(step))
    run.steps.sync()
    ready_read, ready_write = os.pipe()
    end_read, end_write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        try:
            run.steps.append(make_row(4))
            os.write(ready_write, b"wrote")
        except StorageError:
            os.write(ready_write, b"refused")
        os.close(end_write)
        os.read(end_read, 1)
        os._exit(0)
    assert os.read(ready_read, 10) == b"refused"
    with pytest.raises(RunLocked):
        RunDirectory.open(tmp_path / "run", write=True)
    run.close()
    with RunDirectory.open(tmp_path / "run", write=True) as again:  # while the child still lives
        assert again.rows == 3
    os.close(end_write)
    os.waitpid(child, 0)
    for number in (ready_read, ready_write, end_read):
        os.close(number)


def test_what_is_no_run_is_refused(tmp_path):
    """A missing path, a file, an empty folder, another folder, a damaged format line: each says what was found."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "odd").close()
    (tmp_path / "odd" / "assay-run").write_bytes(b"assay-run 0")
    for name in ("missing", "file", "empty", "odd"):
        for write in (True, False):
            with pytest.raises(NotARun) as caught:
                RunDirectory.open(tmp_path / name, write=write)
            assert caught.value.code == "storage.not-a-run"
            assert str(tmp_path / name) in caught.value.message


def test_a_newer_format_is_refused_and_untouched(tmp_path):
    """A run of a later version is neither read nor repaired."""
    make_run(tmp_path / "run", 2).close()
    (tmp_path / "run" / "assay-run").write_bytes(b"assay-run 1\n")
    (tmp_path / "run" / ".tmp-x").write_bytes(b"")
    with pytest.raises(NewerFormat) as caught:
        RunDirectory.open(tmp_path / "run", write=True)
    assert (caught.value.expected, caught.value.actual) == ("format 0 or older", "format 1")
    assert (tmp_path / "run" / ".tmp-x").exists()


def test_creation_takes_no_folder_that_holds_something(tmp_path):
    """A run, a file or foreign files are left alone; an empty folder and an unfinished creation are used."""
    make_run(tmp_path / "run").close()
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    (tmp_path / "mixed" / "data").mkdir(parents=True)
    (tmp_path / "mixed" / "data" / "mine").write_bytes(b"x")
    for name in ("run", "file", "photos", "mixed"):
        with pytest.raises(RunExists) as caught:
            RunDirectory.create(tmp_path / name)
        assert caught.value.code == "storage.run-exists"
    (tmp_path / "empty").mkdir()
    RunDirectory.create(tmp_path / "empty").close()
    (tmp_path / "half" / "blobs").mkdir(parents=True)
    (tmp_path / "half" / "LOCK").write_bytes(b"1\n")
    (tmp_path / "half" / ".tmp-assay-run").write_bytes(b"ass")
    RunDirectory.create(tmp_path / "half").close()
    RunDirectory.open(tmp_path / "half").close()


def test_links_in_place_of_folders_are_refused(tmp_path):
    """A run that somebody else made cannot lead a reader or writer out of its folder; its own path may be a link."""
    make_run(tmp_path / "run", 2).close()
    (tmp_path / "latest").symlink_to(tmp_path / "run")
    RunDirectory.open(tmp_path / "latest", write=True).close()
    for name in (*FOLDERS, "steps.log"):
        path = tmp_path / "run" / name
        path.rename(tmp_path / "moved")
        for write in (True, False):
            with pytest.raises(UnsafePath):
                RunDirectory.open(tmp_path / "run", write=write)
        path.symlink_to(tmp_path / "moved")
        for write in (True, False):
            with pytest.raises(UnsafePath):
                RunDirectory.open(tmp_path / "run", write=write)
        path.unlink()
        (tmp_path / "moved").rename(path)
    RunDirectory.open(tmp_path / "run", write=True).close()


def test_rows_below_the_last_checkpoint_must_be_there(tmp_path):
    """A log that is shorter than its checkpoints was damaged: writing is refused, reading shows what is left."""
    with make_run(tmp_path / "run", 9) as run:
        run.checkpoints.write(9, **make_state(9))
    path = tmp_path / "run" / "steps.log"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(LogDamaged) as caught:
        RunDirectory.open(tmp_path / "run", write=True)
    assert "9 rows" in caught.value.expected
    with RunDirectory.open(tmp_path / "run") as run:
        assert 0 < run.rows < 9
        assert list(run.iterate_rows()) == [make_row(step) for step in range(1, run.rows + 1)]


def test_a_checkpoint_needs_its_rows(tmp_path):
    """A state cannot be named before the rows that lead to it; they are durable when it is."""
    with make_run(tmp_path / "run", 4) as run:
        with pytest.raises(UsageError):
            run.checkpoints.write(5, **make_state(5))
        assert run.checkpoints.list_steps() == []
        run.checkpoints.write(4, **make_state(4))
        assert run.steps.durable_rows == 4


def test_objects_are_written_once(tmp_path):
    """The same bytes may be written again, others only where replacing is meant."""
    with make_run(tmp_path / "run") as run:
        run.write_object("plan.bin", b"one")
        run.write_object("plan.bin", b"one")
        with pytest.raises(ObjectTaken):
            run.write_object("plan.bin", b"two")
        assert run.read_object("plan.bin") == b"one"
        run.write_object("plan.bin", b"two", replace=True)
        assert run.read_object("plan.bin", max_bytes=3) == b"two"
        assert run.has_object("plan.bin")
        assert not run.has_object("closing.bin")
        with pytest.raises(FileTooLarge):
            run.read_object("plan.bin", max_bytes=2)
        with pytest.raises(FileMissing):
            run.read_object("closing.bin")


LONG = "a" * 129
ODD = ("", "..", "../x", "/etc/passwd", "audit/../x", "programs/", ".tmp-x", "a/b/c", "a\nb", "a\0", "ä", LONG, "x\n")
TAKEN = ("LOCK", "steps.log", "log.jsonl", "assay-run", "blobs", "blobs/x", "packs/x", "programs", "checkpoints/1.bin")


@pytest.mark.parametrize("name", [*ODD, *TAKEN])
def test_odd_names_of_objects_are_refused(tmp_path, name):
    """No name leaves the run, hides in it, or hits what has a meaning of its own."""
    with make_run(tmp_path / "run") as run:
        before = sorted(tmp_path.rglob("*"))
        for action in (partial(run.write_object, data=b"x", replace=True), run.read_object, run.has_object):
            with pytest.raises(UnsafePath):
                action(name)
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ODD)
def test_odd_names_of_audits_are_refused(tmp_path, name):
    """The results of an audit stay in their folder, and only the folders of objects are listed."""
    with make_run(tmp_path / "run") as run:
        for action in (run.audit_results, run.list_objects):
            with pytest.raises(UnsafePath):
                action(name)


def test_the_disk_is_checked_beforehand(tmp_path):
    """What a recording will need is refused before step 1 if it does not fit."""
    with make_run(tmp_path / "run") as run:
        run.check_free_space(1000)
        with pytest.raises(DiskFull) as caught:
            run.check_free_space(2**60)
        assert caught.value.next_step


@pytest.mark.parametrize(("number", "kind"), [(errno.EROFS, ReadOnlyDisk), (errno.EACCES, AccessRefused)])
def test_a_run_on_a_disk_that_cannot_be_written(tmp_path, number, kind):
    """Opening for writing says why it cannot; opening for reading works."""
    with make_run(tmp_path / "run", 3) as run:
        run.checkpoints.write(3, **make_state(3))
    files = FaultyFiles(tmp_path, fail_at=1, error=number)
    with pytest.raises(kind) as caught:
        RunDirectory.open(tmp_path / "run", write=True, files=files)
    assert caught.value.next_step
    with RunDirectory.open(tmp_path / "run", files=files) as run:
        assert run.rows == 3
        assert run.checkpoints.read(3).tensors == make_state(3)["tensors"]
    with pytest.raises(kind):
        RunDirectory.create(tmp_path / "other", files=files)


def test_checkpoints_may_be_written_while_rows_are_appended(tmp_path):
    """A thread that stores states does not disturb the thread that appends rows."""
    with make_run(tmp_path / "run", 20) as run:

        def store():
            for step in range(20):
                run.checkpoints.write(step, **make_state(step))

        with ThreadPoolExecutor(1) as pool:
            stored = pool.submit(store)
            for step in range(21, 2001):
                run.steps.append(make_row(step))
            stored.result()
    with RunDirectory.open(tmp_path / "run") as run:
        assert list(run.iterate_rows()) == [make_row(step) for step in range(1, 2001)]
        assert run.checkpoints.read(19).tensors == make_state(19)["tensors"]
