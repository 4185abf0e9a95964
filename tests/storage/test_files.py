import errno
import os
from pathlib import Path

import numpy as np
import pytest

from assay.errors import StorageError
from assay.storage.files import (
    DiskFull,
    FileMissing,
    Files,
    FileTaken,
    FileTooLarge,
    UnsafePath,
    as_bytes_view,
    check_free_space,
    classify_error,
    read_file,
    write_atomic,
)
from tests.storage.faults import FaultyFiles


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOENT, "storage.missing"),
        (errno.ENOTDIR, "storage.missing"),
        (errno.ENOSPC, "storage.full"),
        (errno.EDQUOT, "storage.full"),
        (errno.EROFS, "storage.read-only"),
        (errno.EACCES, "storage.access"),
        (errno.EPERM, "storage.access"),
        (errno.ELOOP, "storage.unsafe-path"),
        (errno.EIO, "storage.device"),
        (errno.EMFILE, "storage.device"),
    ],
)
def test_what_the_operating_system_says_becomes_a_typed_error(number, code):
    """Each kind of failure has its own code, names the path and repeats what the system said."""
    error = classify_error(OSError(number, os.strerror(number)), Path("/somewhere/x"))
    assert error.code == code
    assert "/somewhere/x" in error.message
    assert os.strerror(number) in error.actual


def test_a_file_is_replaced_whole(tmp_path):
    """The new bytes take the name at once; pieces of any size and shape are joined."""
    files, path = Files(), tmp_path / "x"
    write_atomic(files, path, [b"old"])
    write_atomic(files, path, [b"a", bytearray(b"bc"), memoryview(b"d" * 3_000_000), memoryview(b"").cast("B"), b"e"])
    assert path.read_bytes() == b"abc" + b"d" * 3_000_000 + b"e"
    assert Files().list_names(tmp_path) == ["x"]


def test_a_failed_replacement_keeps_the_old_bytes(tmp_path):
    """At whichever call the disk fills up, the old bytes stay and nothing unfinished is left behind."""
    for call in range(1, 5):
        files = FaultyFiles(tmp_path)
        path = tmp_path / "x"
        write_atomic(files, path, [b"old"])
        files._fail_at, files._error, files._lasting = files.calls + call, errno.ENOSPC, False
        with pytest.raises(DiskFull):
            write_atomic(files, path, [b"new"])
        assert path.read_bytes() == b"old"
        assert Files().list_names(tmp_path) == ["x"]


def test_a_leftover_is_no_obstacle(tmp_path):
    """An unfinished file of a crash is overwritten by the next attempt."""
    (tmp_path / ".tmp-x").write_bytes(b"half")
    write_atomic(Files(), tmp_path / "x", [b"whole"])
    assert (tmp_path / "x").read_bytes() == b"whole"


def test_links_pipes_and_folders_are_refused(tmp_path):
    """Only ordinary files are read or written: a symbolic link is not followed and a pipe does not block."""
    (tmp_path / "real").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    files = Files()
    for name in ("link", "pipe", "folder"):
        for action in (files.open_read, files.open_append, files.lock):
            with pytest.raises(StorageError) as caught:
                files.close(action(tmp_path / name))
            assert caught.value.code in {"storage.unsafe-path", "storage.device"}
    with pytest.raises(UnsafePath):
        read_file(files, tmp_path / "link")
    with pytest.raises(StorageError):
        files.create(tmp_path / "link")
    assert (tmp_path / "real").read_bytes() == b"secret"
    assert [files.get_kind(tmp_path / name) for name in ("real", "link", "pipe", "folder", "none")] == [
        "file", "other", "other", "folder", "missing",
    ]  # fmt: skip


def test_reading_is_bounded(tmp_path):
    """A file longer than its reader accepts is refused; one of exactly that length is read."""
    (tmp_path / "x").write_bytes(b"12345")
    assert read_file(Files(), tmp_path / "x", 5) == b"12345"
    with pytest.raises(FileTooLarge) as caught:
        read_file(Files(), tmp_path / "x", 4)
    assert caught.value.code == "storage.too-large"
    with pytest.raises(FileMissing):
        read_file(Files(), tmp_path / "y")


def test_free_space_is_checked_beforehand(tmp_path):
    """What would not fit is refused with the bytes that are free; what fits passes."""
    check_free_space(Files(), tmp_path, 1)
    with pytest.raises(DiskFull) as caught:
        check_free_space(Files(), tmp_path, 2**62)
    assert caught.value.expected == f"at least {2**62} bytes free"
    assert caught.value.next_step


def test_a_lock_has_one_holder_and_tells_which(tmp_path):
    """The second taker learns the process id of the first; after `close` the lock is free."""
    files = Files()
    held = files.lock(tmp_path / "LOCK")
    with pytest.raises(FileTaken) as caught:
        files.lock(tmp_path / "LOCK")
    assert caught.value.pid == os.getpid()
    files.close(held)
    files.close(held)
    files.close(files.lock(tmp_path / "LOCK"))


def test_a_lock_file_with_foreign_bytes_names_nobody(tmp_path):
    """What stands in the file is only shown when it is a number."""
    files = Files()
    held = files.lock(tmp_path / "LOCK")
    (tmp_path / "LOCK").write_bytes(b"rm -rf /\n")
    with pytest.raises(FileTaken) as caught:
        files.lock(tmp_path / "LOCK")
    assert caught.value.pid is None
    files.close(held)


def test_a_mapped_file_is_read_only(tmp_path):
    """Mapped bytes cannot be changed; an empty file maps to no bytes."""
    (tmp_path / "x").write_bytes(b"abc")
    (tmp_path / "empty").write_bytes(b"")
    view = Files().map_read(tmp_path / "x")
    assert bytes(view) == b"abc"
    assert view.readonly
    assert bytes(Files().map_read(tmp_path / "empty")) == b""


def test_views_of_arrays_are_flat_bytes():
    """Any contiguous array, also an empty one of several dimensions, is seen as bytes."""
    assert as_bytes_view(memoryview(np.arange(4, dtype="<i2").reshape(2, 2))).tobytes() == bytes(
        [0, 0, 1, 0, 2, 0, 3, 0]
    )
    assert as_bytes_view(memoryview(np.zeros((0, 3)))).nbytes == 0
    with pytest.raises(TypeError):
        as_bytes_view(memoryview(np.zeros((4, 4))[:, ::2]))
