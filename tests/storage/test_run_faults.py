"""The disk fails at every single call in turn, and power is lost there; what was reported as durable is still there."""

import errno
import random
import shutil
from contextlib import suppress

import pytest

from assay.errors import StorageError
from assay.storage.run_directory import RunDirectory
from assay.storage.run_layout import NotARun
from tests.storage.faults import Crash, FaultyFiles, QuickFiles
from tests.storage.samples import make_row, make_state

STEPS = 14


class Facts:
    """What the story was told to be durable."""

    def __init__(self):
        self.created = False
        self.rows = 0
        self.checkpoints = set()
        self.maybe = set()
        self.objects = {}
        self.blobs = {}
        self.fields = {}
        self.findings = 0


def write_checkpoint(run, step, facts):
    """Store a state; from the beginning it may be there, at the end it must be."""
    facts.maybe.add(step)
    run.checkpoints.write(step, **make_state(step))
    facts.checkpoints.add(step)
    facts.rows = max(facts.rows, run.steps.durable_rows)


def tell_story(path, files, facts):
    """Record a whole run; note in `facts` each promise as soon as it is made."""
    run = RunDirectory.create(path, files=files, background=False)
    facts.created = True
    run.write_object("plan.bin", b"plan")
    facts.objects["plan.bin"] = b"plan"
    facts.fields["train"] = run.fields.put("train", [b"a" * 700, b"b" * 5])
    facts.blobs[run.blobs.put(b"blob" * 300)] = b"blob" * 300
    write_checkpoint(run, 0, facts)
    for step in range(1, STEPS + 1):
        run.steps.append(make_row(step))
        if step % 3 == 0:
            run.steps.flush()
        if step % 4 == 0:
            facts.rows = run.steps.sync()
        if step % 6 == 0:
            run.log.append({"step": step, "val": step / 2})
            write_checkpoint(run, step, facts)
    facts.checkpoints.discard(6)
    run.checkpoints.remove(6)
    facts.maybe.discard(6)
    run.audit_results("mine").append({"interval": 0})
    facts.findings = 1
    run.write_object("closing.bin", b"closing")
    facts.objects["closing.bin"] = b"closing"
    run.close()
    facts.rows = STEPS


def check_promises(path, facts):
    """Open the run and find every promise kept; then go on and finish."""
    if not facts.created:
        try:
            run = RunDirectory.open(path, write=True, files=QuickFiles())
        except NotARun:
            run = RunDirectory.create(path, files=QuickFiles())
    else:
        with RunDirectory.open(path) as seen:
            check_rows(seen, facts)
        run = RunDirectory.open(path, write=True, files=QuickFiles())
    with run:
        check_rows(run, facts)
        steps = set(run.checkpoints.list_steps())
        assert facts.checkpoints <= steps <= facts.maybe
        for step in steps:
            check_checkpoint(run, step)
        assert {name: run.read_object(name) for name in facts.objects} == facts.objects
        assert {digest: run.blobs.open(digest) for digest in facts.blobs} == facts.blobs
        assert all(run.fields.open(name, digest)[:2] == b"aa" for name, digest in facts.fields.items())
        assert len(list(run.audit_results("mine").iterate())) >= facts.findings
        assert all(set(line) == {"step", "val"} for line in run.log.iterate())
        assert not [name for name in path.rglob("*") if name.name.startswith(".tmp-")]
    go_on(path)


def check_rows(run, facts):
    """All promised rows are there, and every row that is there is the right one."""
    rows = list(run.iterate_rows())
    assert len(rows) >= facts.rows
    assert rows == [make_row(step) for step in range(1, len(rows) + 1)]


def check_checkpoint(run, step):
    """A stored state is the one of its step."""
    found, expected = run.checkpoints.read(step), make_state(step)
    assert found.tensors == expected["tensors"]
    assert found.manifest.extra == expected["extra"]


def go_on(path):
    """Finish the run as if nothing had happened."""
    with RunDirectory.open(path, write=True, files=QuickFiles(), background=False) as run:
        for step in range(run.rows + 1, STEPS + 1):
            run.steps.append(make_row(step))
        run.checkpoints.write(STEPS, **make_state(STEPS))
        run.log.append({"step": STEPS, "val": 0.0})
    with RunDirectory.open(path) as run:
        assert list(run.iterate_rows()) == [make_row(step) for step in range(1, STEPS + 1)]
        check_checkpoint(run, STEPS)
        assert list(run.log.iterate())[-1] == {"step": STEPS, "val": 0.0}


def count_calls(folder):
    """Return how often the whole story changes the disk."""
    folder.mkdir()
    files = FaultyFiles(folder)
    tell_story(folder / "run", files, Facts())
    return files.calls


def test_the_story_without_faults_keeps_every_promise(tmp_path):
    """The story itself is right, and the disk is asked for something more than fifty times."""
    assert count_calls(tmp_path / "disk") > 50
    facts = Facts()
    (tmp_path / "other").mkdir()
    tell_story(tmp_path / "other" / "run", FaultyFiles(tmp_path / "other"), facts)
    assert facts.rows == STEPS
    assert facts.checkpoints == {0, 12}
    check_promises(tmp_path / "other" / "run", facts)


@pytest.mark.torture
@pytest.mark.parametrize("page", [512, 4096])
def test_power_may_be_lost_at_any_call(tmp_path, page, rounds):
    """Unsynced writes are lost, torn or reordered at every call in turn; the run opens and every promise holds."""
    total = count_calls(tmp_path / "count")
    for seed in range(rounds(2, 40)):
        for call in range(1, total + 1):
            disk, left = tmp_path / "disk", tmp_path / "left"
            disk.mkdir()
            files, facts = FaultyFiles(disk, fail_at=call, seed=call), Facts()
            with pytest.raises(Crash):
                tell_story(disk / "run", files, facts)
            files.lose_power(left, seed=seed * 100_003 + call, page=page)
            check_promises(left / "run", facts)
            shutil.rmtree(disk)
            shutil.rmtree(left)


@pytest.mark.torture
def test_power_may_be_lost_again_while_the_run_recovers(tmp_path, rounds):
    """A second loss of power at any call of the opening that repairs the first one takes nothing away."""
    total = count_calls(tmp_path / "count")
    for call in range(1, total + 1, rounds(7, 1)):
        facts = Facts()
        (tmp_path / "disk").mkdir()
        files = FaultyFiles(tmp_path / "disk", fail_at=call, seed=call)
        with pytest.raises(Crash):
            tell_story(tmp_path / "disk" / "run", files, facts)
        shutil.rmtree(tmp_path / "disk")
        again, finished = 0, not facts.created
        while not finished:
            again += 1
            first, second = tmp_path / "first", tmp_path / "second"
            files.lose_power(first, seed=call, page=512)
            recovering = FaultyFiles(first, fail_at=again, seed=again)
            try:
                RunDirectory.open(first / "run", write=True, files=recovering, background=False).close()
                finished = True
            except Crash:
                recovering.lose_power(second, seed=call + again, page=512)
                check_promises(second / "run", facts)
                shutil.rmtree(second)
            shutil.rmtree(first)


@pytest.mark.torture
def test_what_a_killed_process_left_unsynced_is_synced_before_it_counts(tmp_path, rounds):
    """A process is killed, the next one opens the run and builds on what it finds, then power is lost: all is there."""
    total = count_calls(tmp_path / "count")
    for call in range(1, total + 1):
        disk, left = tmp_path / "disk", tmp_path / "left"
        disk.mkdir()
        files, facts = FaultyFiles(disk, fail_at=call, seed=call), Facts()
        with pytest.raises(Crash):
            tell_story(disk / "run", files, facts)
        if facts.created:
            heir = files.revive()
            run = RunDirectory.open(disk / "run", write=True, files=heir, background=False)
            facts.rows = run.steps.durable_rows
            facts.checkpoints = set(run.checkpoints.list_steps())
            for digest in facts.blobs:
                run.blobs.put(facts.blobs[digest])
            for seed in range(rounds(3, 20)):
                heir.lose_power(left, seed=seed * 100_003 + call, page=512)
                check_promises(left / "run", facts)
                shutil.rmtree(left)
        shutil.rmtree(disk)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("lasting", [True, False])
def test_any_call_may_fail(tmp_path, code, lasting):
    """The disk is full, failing or read-only from the n-th call, or at it alone: a typed error, and nothing is lost."""
    total = count_calls(tmp_path / "count")
    for call in range(1, total + 1):
        disk, left = tmp_path / "disk", tmp_path / "left"
        disk.mkdir()
        files, facts = FaultyFiles(disk, fail_at=call, error=code, lasting=lasting, seed=call), Facts()
        with pytest.raises(StorageError) if lasting else suppress(StorageError):
            tell_story(disk / "run", files, facts)
        files.lose_power(left, seed=call, page=512)
        check_promises(disk / "run", facts)
        check_promises(left / "run", facts)
        shutil.rmtree(disk)
        shutil.rmtree(left)


def test_the_failing_disk_can_lose_what_was_not_synced(tmp_path):
    """The model itself bites: without fsync rows are lost, and a torn log is not what was written."""
    disk = tmp_path / "disk"
    disk.mkdir()
    files = FaultyFiles(disk)
    run = RunDirectory.create(disk / "run", files=files, background=False)
    for step in range(1, 40):
        run.steps.append(make_row(step))
        run.steps.flush()
    written = (disk / "run" / "steps.log").read_bytes()
    found = set()
    for seed in range(20):
        files.lose_power(tmp_path / f"left{seed}", seed=seed, page=512)
        data = (tmp_path / f"left{seed}" / "run" / "steps.log").read_bytes()
        found.add(data == written[: len(data)])
        with RunDirectory.open(tmp_path / f"left{seed}" / "run", write=True) as left:
            rows = list(left.iterate_rows())
            assert len(rows) < 39
            assert rows == [make_row(step) for step in range(1, len(rows) + 1)]
    assert False in found
    run.close()


def test_a_log_that_failed_takes_no_more_rows(tmp_path):
    """After a failed fsync the log repeats the same error: nothing can be promised until the run is opened again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    total = len(_calls_until_rows(disk))
    files = FaultyFiles(disk, fail_at=total + 2, error=errno.EIO, lasting=False)
    run = RunDirectory.create(disk / "again", files=files, background=False)
    run.steps.append(make_row(1))
    with pytest.raises(StorageError) as first:
        run.steps.sync()
    assert first.value.code == "storage.device"
    for action in (run.steps.sync, run.steps.flush, lambda: run.steps.append(make_row(2))):
        with pytest.raises(StorageError) as later:
            action()
        assert later.value is first.value
    assert run.steps.durable_rows == 0
    run.close()


def _calls_until_rows(disk):
    files = FaultyFiles(disk)
    RunDirectory.create(disk / "run", files=files, background=False).close()
    return files.names


def test_an_interrupted_write_is_done_again(tmp_path):
    """Ctrl-C in the middle of a write leaves a log that goes on: the torn bytes are cut and all rows written."""
    rng = random.Random(1)

    class Interrupted(FaultyFiles):
        armed = False

        def write(self, file, data):
            if self.armed:
                self.armed = False
                super().write(file, bytes(data)[: rng.randrange(1, len(data))])
                raise KeyboardInterrupt
            super().write(file, data)

    disk = tmp_path / "disk"
    disk.mkdir()
    files = Interrupted(disk)
    with RunDirectory.create(disk / "run", files=files, background=False) as run:
        for step in range(1, 4):
            run.steps.append(make_row(step))
        files.armed = True
        with pytest.raises(KeyboardInterrupt):
            run.steps.sync()
        run.steps.append(make_row(4))
        assert run.steps.sync() == 4
    with RunDirectory.open(disk / "run") as run:
        assert list(run.iterate_rows()) == [make_row(step) for step in range(1, 5)]
