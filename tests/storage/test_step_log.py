import errno
import threading

import pytest

from assay.errors import StorageError
from assay.protocol.encoding import encode
from assay.protocol.hashing import compute_bulk_digest
from assay.storage.files import Files
from assay.storage.step_log import StepLog
from assay.storage.step_rows import MARK_BYTES, LogDamaged, RowRefused, StepReader, frame_mark, frame_row
from tests.storage.faults import FaultyFiles
from tests.storage.samples import make_row


@pytest.fixture
def path(tmp_path):
    """A place for a log."""
    return tmp_path / "steps.log"


def write_log(path, count, *, groups=1):
    """Write `count` rows in several sittings; each sitting ends with a mark."""
    for group in range(groups):
        log = StepLog(Files(), path, background=False)
        for step in range(count * group // groups + 1, count * (group + 1) // groups + 1):
            log.append(make_row(step))
        log.close()
    return path.read_bytes()


def read_log(path):
    """Return all rows that a reader finds."""
    files = Files()
    file = files.open_read(path)
    try:
        return list(StepReader(files, file).iterate())
    finally:
        files.close(file)


def make_rows(count, salt=0):
    """Return the rows of the first steps."""
    return [make_row(step, salt) for step in range(1, count + 1)]


def test_a_row_stands_in_the_log_as_documented(path):
    """A row is its length, its canonical bytes and eight bytes of BLAKE3 over both; a closed log ends with a mark."""
    data = write_log(path, 1)
    payload = encode(make_row(1))
    framed = len(payload).to_bytes(4, "little") + payload
    row = framed + compute_bulk_digest(framed)[:8]
    mark = bytes(4) + bytes.fromhex("0e8bd1a5f3c6497c") + (1).to_bytes(8, "little")
    assert data == row + mark + compute_bulk_digest(mark)[:8]
    assert frame_row(make_row(1)) == row
    assert len(frame_mark(1)) == MARK_BYTES


def test_rows_come_back_equal_and_in_order(path):
    """What was appended in several sittings is read as one sequence, from any row on and by step."""
    write_log(path, 50, groups=3)
    log = StepLog(Files(), path, background=False)
    assert log.rows == log.durable_rows == 50
    assert list(log.iterate()) == make_rows(50)
    assert list(log.iterate(37)) == make_rows(50)[37:]
    assert list(log.iterate(50)) == []
    assert [log.read(step) for step in (50, 1, 17)] == [make_row(50), make_row(1), make_row(17)]
    log.close()


def test_rows_that_are_still_in_memory_can_be_read(path):
    """Reading writes first what has gathered; it promises nothing about power."""
    log = StepLog(Files(), path, background=False)
    log.append(make_row(1))
    assert log.read(1) == make_row(1)
    assert (log.rows, log.durable_rows) == (1, 0)
    assert log.sync() == log.durable_rows == 1
    log.close()


def test_rows_must_follow_each_other(path):
    """A step that is repeated or left out is refused, and the log stays as it was."""
    log = StepLog(Files(), path, background=False)
    log.append(make_row(1))
    for step in (0, 1, 3):
        with pytest.raises(RowRefused) as caught:
            log.append(make_row(step))
        assert (caught.value.code, caught.value.expected, caught.value.actual) == (
            "storage.row-refused",
            "step 2",
            step,
        )
    with pytest.raises(RowRefused):
        log.read(2)
    log.append(make_row(2))
    log.close()
    assert read_log(path) == make_rows(2)


def test_a_row_above_the_limit_is_refused(path):
    """Nobody can make a reader take a row of unbounded length, and no writer writes one."""
    log = StepLog(Files(), path, background=False)
    row = make_row(1)
    huge = type(row)(**{field: getattr(row, field) for field in row.__struct_fields__} | {"scalars": bytes(2**20)})
    with pytest.raises(RowRefused):
        log.append(huge)
    assert log.rows == 0
    log.close()
    path.write_bytes((2**31).to_bytes(4, "little") + bytes(100))
    assert read_log(path) == []


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_a_log_cut_anywhere_ends_at_its_last_whole_row(path, rows):
    """However many bytes of the end are missing, the whole rows before are read, and writing goes on from there."""
    data = write_log(path, rows)
    sizes = [len(frame_row(make_row(step))) for step in range(1, rows + 1)]
    for size in range(0, len(data), 1 if rows < 3 else 7):
        path.write_bytes(data[:size])
        whole = sum(sum(sizes[: count + 1]) <= size for count in range(rows))
        assert read_log(path) == make_rows(whole)
    log = StepLog(Files(), path, background=False)
    for step in range(log.rows + 1, rows + 4):
        log.append(make_row(step))
    log.close()
    assert read_log(path) == make_rows(rows + 3)


def test_every_flipped_bit_of_a_closed_log_is_found(path):
    """No bit of a row can change unseen: reading raises and names the file; a bit of the last mark costs nothing."""
    data = write_log(path, 6, groups=2)
    last_mark = len(data) - MARK_BYTES
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        if position >= last_mark:
            assert read_log(path) == make_rows(6)
            continue
        with pytest.raises(LogDamaged) as caught:
            read_log(path)
        assert caught.value.code == "storage.log-damaged"
        assert str(path) in caught.value.message


def test_a_bad_row_before_good_ones_is_damage_and_not_a_torn_end(path):
    """A row that a later mark vouches for must be there: the log is refused rather than shortened."""
    data = write_log(path, 10)
    start = sum(len(frame_row(make_row(step))) for step in range(1, 5))
    for hole in (data[:start] + bytes(40) + data[start + 40 :], data[:start] + data[start + 7 :]):
        path.write_bytes(hole)
        with pytest.raises(LogDamaged) as caught:
            read_log(path)
        assert "step 5" in caught.value.message
        assert str(path) in caught.value.message


def test_rows_before_the_damage_are_still_read(path):
    """The reader yields what is whole, then raises."""
    data = bytearray(write_log(path, 10))
    data[sum(len(frame_row(make_row(step))) for step in range(1, 5)) + 10] ^= 1
    path.write_bytes(data)
    files = Files()
    file = files.open_read(path)
    reader = StepReader(files, file)
    found = []
    with pytest.raises(LogDamaged):
        found.extend(reader.iterate())  # extend keeps what came before
    assert found == make_rows(4)
    assert reader.read(6) == make_row(6)
    with pytest.raises(LogDamaged):
        reader.read(5)
    files.close(file)


def test_a_row_in_the_place_of_another_is_damage(path):
    """Rows that are whole but swapped are found by their step."""
    write_log(path, 3)
    path.write_bytes(b"".join(frame_row(make_row(step)) for step in (1, 3, 2)) + frame_mark(3))
    with pytest.raises(LogDamaged) as caught:
        read_log(path)
    assert "a row of step 3" in caught.value.actual


def test_a_mark_far_behind_the_damage_is_found(path):
    """The search for a later mark crosses the borders of the pieces in which the file is read."""
    rows = b"".join(frame_row(make_row(step)) for step in range(1, 3))
    for gap in range(2**20 - 40, 2**20 + 40):
        path.write_bytes(rows + b"\xff" * gap + frame_mark(3))
        with pytest.raises(LogDamaged):
            read_log(path)
    path.write_bytes(rows + b"\xff" * 2**20 + frame_mark(2))
    assert read_log(path) == make_rows(2)


def test_cutting_the_log_is_durable_and_it_grows_again(path):
    """Rows behind the step are gone, others can take their place, and old marks do not vouch for them."""
    write_log(path, 20)
    log = StepLog(Files(), path, background=False)
    with pytest.raises(RowRefused):
        log.truncate_to(21)
    log.truncate_to(12)
    assert (log.rows, log.durable_rows) == (12, 12)
    for step in range(13, 16):
        log.append(make_row(step, salt=1))
    assert list(log.iterate(11)) == [make_row(12), *make_rows(15, salt=1)[12:]]
    log.close()
    assert read_log(path) == make_rows(12) + make_rows(15, salt=1)[12:]
    log = StepLog(Files(), path, background=False)
    log.truncate_to(0)
    log.close()
    assert path.read_bytes() == b""


def test_a_reader_follows_a_log_that_grows(path):
    """A reader opened early sees each row once it is written, and never half of one."""
    files = Files()
    log = StepLog(files, path, background=False)
    file = files.open_read(path)
    reader = StepReader(files, file)
    assert len(reader) == 0
    for step in range(1, 30):
        log.append(make_row(step))
        if step % 5 == 0:
            log.sync()
        if step % 3 == 0:
            log.flush()
            assert reader.refresh() == len(reader) == step
    half = frame_row(make_row(30))
    log.flush()
    with path.open("ab") as raw:
        raw.write(half[:50])
        raw.flush()
        assert reader.refresh() == 29
        raw.write(half[50:])
    assert reader.refresh() == 30
    assert list(reader.iterate()) == make_rows(30)
    files.close(file)
    log.close()


def test_a_reader_meets_a_log_that_was_cut_behind_its_back(path):
    """A file that became shorter is a typed error, not a fault of the process."""
    write_log(path, 10)
    files = Files()
    file = files.open_read(path)
    reader = StepReader(files, file)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(LogDamaged):
        list(reader.iterate())
    with pytest.raises(LogDamaged):
        reader.read(9)
    files.close(file)


class CountingFiles(Files):
    """The real disk; it tells when the fifth row is durable, and holds every fsync until it is let go."""

    def __init__(self):
        self.syncs = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def fsync(self, file):
        self.syncs += 1
        self.entered.set()
        self.gate.wait()
        super().fsync(file)


def test_rows_become_durable_without_being_asked_in_groups(path):
    """The background thread syncs what has gathered: all rows become durable, with far fewer fsyncs than rows."""
    files = CountingFiles()
    log = StepLog(files, path, sync_seconds=0.05)
    before = files.syncs
    for step in range(1, 301):
        log.append(make_row(step))
    waited = threading.Event()
    for _ in range(1000):
        if log.durable_rows == 300:
            break
        waited.wait(0.02)
    assert log.durable_rows == 300
    assert 1 <= files.syncs - before < 100
    log.close()
    assert read_log(path) == make_rows(300)


def test_appending_does_not_wait_for_a_slow_disk(path):
    """While an fsync hangs rows are still taken, and none of them counts as durable."""
    files = CountingFiles()
    log = StepLog(files, path, sync_seconds=0.01)
    files.gate.clear()
    files.entered.clear()
    log.append(make_row(1))
    assert files.entered.wait(30)
    for step in range(2, 200):
        log.append(make_row(step))
    assert (log.rows, log.durable_rows) == (199, 0)
    files.gate.set()
    assert log.sync() == 199
    log.close()


def test_a_failure_in_the_background_reaches_the_training_thread(tmp_path):
    """A full disk met by the background thread is raised by the next call, once it has happened."""
    files = FaultyFiles(tmp_path, fail_at=3, error=errno.ENOSPC)  # open, fsync, then the first write
    log = StepLog(files, tmp_path / "steps.log", sync_seconds=0.01)

    def train():
        for step in range(1, 100_000):
            log.append(make_row(step))
            threading.Event().wait(0.001)

    with pytest.raises(StorageError) as caught:
        train()
    assert caught.value.code == "storage.full"
    assert log.durable_rows == 0
    log.close()


def test_a_closed_log_refuses_everything(path):
    """After `close`, which may be called twice, nothing is taken and nothing promised."""
    log = StepLog(Files(), path)
    log.append(make_row(1))
    log.close()
    log.close()
    for action in (lambda: log.append(make_row(2)), log.sync, log.flush, lambda: log.read(1)):
        with pytest.raises(StorageError):
            action()
    assert read_log(path) == make_rows(1)
