import pytest

from assay.errors import StorageError
from assay.protocol.encoding import decode
from assay.protocol.evidence.transcript import StepParts
from assay.storage.files import Files
from assay.storage.step_log import StepLog
from assay.storage.step_rows import LogDamaged, RowRefused, frame_mark, frame_row
from assay.storage.step_search import StepSearch, decode_quickly


def make_row(step, scalars=None, size=4):
    """Return a row whose digests depend on its step."""
    digest = step.to_bytes(32, "little")
    return StepParts(
        step, 1, digest if step % 5 == 0 else b"", digest, digest, scalars, (bytes(size),), digest, b"", digest
    )


def write_log(path, rows):
    """Write rows through the log itself, with marks between."""
    log = StepLog(Files(), path, background=False)
    for number, row in enumerate(rows):
        log.append(row)
        if number % 37 == 0:
            log.sync()
    log.close()


@pytest.mark.parametrize("count", [1, 2, 30, 700])
def test_every_row_is_found_where_the_reader_finds_it(tmp_path, count):
    """Rows of very different lengths, marks between them: each step is found, and the walk yields all."""
    rows = [
        make_row(step, b"\x9a" * (8 * (step % 7 * 40 + 1)) if step % 11 == 1 else None, size=step % 64)
        for step in range(1, count + 1)
    ]
    write_log(tmp_path / "steps.log", rows)
    search = StepSearch(Files(), tmp_path / "steps.log")
    assert len(search) == count
    assert [search.read(step) for step in range(count, 0, -1)] == rows[::-1]
    assert [decode(payload, StepParts) for payload in search.iterate()] == rows
    assert [decode_quickly(payload) for payload in search.iterate(count)] == rows[-1:]
    for step in (0, count + 1):
        with pytest.raises(RowRefused):
            search.find(step)


def test_an_empty_log_has_no_rows(tmp_path):
    """Neither rows nor an error."""
    (tmp_path / "steps.log").write_bytes(b"")
    search = StepSearch(Files(), tmp_path / "steps.log")
    assert len(search) == 0
    assert list(search.iterate()) == []


def test_a_torn_end_is_left_out(tmp_path):
    """A last row that was cut belongs to no step, as for the reader."""
    rows = [make_row(step) for step in range(1, 50)]
    data = b"".join(map(frame_row, rows))
    (tmp_path / "steps.log").write_bytes(data[:-5])
    assert len(StepSearch(Files(), tmp_path / "steps.log")) == 48


def test_rows_that_a_mark_vouches_for_are_missed(tmp_path):
    """A bad row before a mark that says that it was on the disk is damage, not an end."""
    rows = [make_row(step) for step in range(1, 50)]
    data = bytearray(b"".join(map(frame_row, rows)))
    data[-20] ^= 1
    (tmp_path / "steps.log").write_bytes(bytes(data) + frame_mark(49))
    with pytest.raises(LogDamaged, match="is damaged"):
        StepSearch(Files(), tmp_path / "steps.log")


def test_a_row_that_is_damaged_in_the_middle_is_named_when_it_is_read(tmp_path):
    """In a long log, finding the damaged row raises; rows before it are still found."""
    rows = [make_row(step) for step in range(1, 1000)]
    frames = list(map(frame_row, rows))
    frames[200] = frames[200][:30] + bytes([frames[200][30] ^ 1]) + frames[200][31:]
    (tmp_path / "steps.log").write_bytes(b"".join(frames) + frame_mark(999))
    search = StepSearch(Files(), tmp_path / "steps.log")
    assert search.read(199) == rows[198]
    with pytest.raises(StorageError):
        search.read(201)
    with pytest.raises(StorageError):
        search.read(202)
