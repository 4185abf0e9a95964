"""The thin layer between Assay and the disk: every byte of a run passes through `Files`.

It is thin so that tests can put faults into it: lost writes, torn pages, a full disk at the n-th call. Two rules hold
everywhere above it. A file that is written whole is written by `write_atomic`, so that its name always shows either
the old or the new bytes. A file that grows is only appended to, and only `fsync` makes a promise.

Source: POSIX.1-2017, `fsync`, `rename`; Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from assay.errors import StorageError, UsageError

Buffer = bytes | bytearray | memoryview
"""Contiguous bytes. Arrays are passed as `memoryview(array)`."""

TEMPORARY: Final = ".tmp-"
"""Names that begin so are unfinished files; opening a run for writing deletes them."""

MAX_OBJECT_BYTES: Final = 64 * 1024 * 1024
_BATCH: Final = 1024 * 1024


class FileMissing(StorageError):
    """A file or folder that should be there is not."""

    code = "storage.missing"


class DiskFull(StorageError):
    """The disk or the quota has no room."""

    code = "storage.full"


class ReadOnlyDisk(StorageError):
    """The file system cannot be written to."""

    code = "storage.read-only"


class AccessRefused(StorageError):
    """The operating system does not let this user read or write the file."""

    code = "storage.access"


class DeviceFault(StorageError):
    """Any other failure that the operating system reports, such as an input/output error."""

    code = "storage.device"


class UnsafePath(StorageError):
    """A symbolic link, device, pipe or odd name where an ordinary file or folder belongs."""

    code = "storage.unsafe-path"


class FileTooLarge(StorageError):
    """A file is longer than what its reader accepts."""

    code = "storage.too-large"


class NotWritable(UsageError):
    """The run was opened for reading, or is closed."""

    code = "storage.not-writable"


class FileTaken(StorageError):
    """Another process holds the lock. `pid` is what the holder wrote, or None."""

    code = "storage.taken"

    def __init__(self, path: Path, pid: int | None) -> None:
        self.pid = pid
        super().__init__(f"{path} is held by another process", actual=f"process {pid}" if pid else "unknown process")


def classify_error(error: OSError, path: Path) -> StorageError:
    """Return the typed error for what the operating system said about `path`."""
    said = f"{error.strerror or error} (errno {error.errno})"
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return FileMissing(f"{path} is missing", actual=said)
        case errno.ENOSPC | errno.EDQUOT:
            return DiskFull(
                f"no room left on the disk for {path}",
                actual=said,
                next_step="free some space and start again: what was reported as written is kept",
            )
        case errno.EROFS:
            return ReadOnlyDisk(f"{path} lies on a read-only disk", actual=said, next_step="use another folder")
        case errno.EACCES | errno.EPERM:
            return AccessRefused(f"access to {path} is refused", actual=said, next_step="check owner and permissions")
        case errno.ELOOP | errno.EISDIR | errno.ENXIO:
            return UnsafePath(f"{path} is not an ordinary file", expected="a regular file", actual=said)
        case _:
            return DeviceFault(f"the disk failed at {path}", actual=said, next_step="check the disk, then start again")


class naming:  # noqa: N801 - reads as a verb: `with naming(path):`
    """Turns an OSError inside the block into the StorageError that names `path`."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise classify_error(error, self.path) from error


class OpenFile:
    """An open file: its path, for messages, and its descriptor."""

    __slots__ = ("number", "path")

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        self.number = number


class Files:
    """The real disk. Every method raises a `StorageError` that names the path; symbolic links are never followed."""

    def create(self, path: Path) -> OpenFile:
        """Create a file that must not exist yet, for writing."""
        return self._open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def open_append(self, path: Path) -> OpenFile:
        """Open a file for appending and reading; create it if needed."""
        return self._open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)

    def open_read(self, path: Path) -> OpenFile:
        """Open an existing file for reading."""
        return self._open(path, os.O_RDONLY)

    def _open(self, path: Path, flags: int) -> OpenFile:
        with naming(path):
            number = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
            if not stat.S_ISREG(os.fstat(number).st_mode):
                os.close(number)
                raise UnsafePath(f"{path} is not an ordinary file", expected="a regular file", actual="a special file")
        return OpenFile(path, number)

    def write(self, file: OpenFile, data: Buffer) -> None:
        """Write all of `data` at the end of what was written."""
        view = memoryview(data)
        with naming(file.path):
            while view:
                view = view[os.write(file.number, view) :]

    def read_at(self, file: OpenFile, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end of the file."""
        buffer = bytearray(size)
        return bytes(memoryview(buffer)[: self.read_into(file, offset, buffer)])

    def read_into(self, file: OpenFile, offset: int, buffer: bytearray | memoryview) -> int:
        """Fill `buffer` from `offset`; return the number of bytes, smaller than asked only at the end of the file."""
        view, done = memoryview(buffer), 0
        with naming(file.path):
            while done < len(view):
                count = os.preadv(file.number, [view[done:]], offset + done)
                if count == 0:
                    break
                done += count
        return done

    def get_size(self, file: OpenFile) -> int:
        """Return the length of an open file in bytes."""
        with naming(file.path):
            return os.fstat(file.number).st_size

    def truncate(self, file: OpenFile, size: int) -> None:
        """Cut an open file to `size` bytes."""
        with naming(file.path):
            os.ftruncate(file.number, size)

    def fsync(self, file: OpenFile) -> None:
        """Return when all bytes of the file are on the disk."""
        with naming(file.path):
            os.fsync(file.number)

    def close(self, file: OpenFile) -> None:
        """Close the file; closing twice does nothing."""
        number, file.number = file.number, -1
        if number >= 0:
            with naming(file.path):
                os.close(number)

    def fsync_dir(self, path: Path) -> None:
        """Return when the names in a folder are on the disk."""
        with naming(path):
            number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(number)
            finally:
                os.close(number)

    def replace(self, source: Path, target: Path) -> None:
        """Give `source` the name `target`, at once, in place of what had it."""
        with naming(target):
            source.replace(target)

    def unlink(self, path: Path) -> None:
        """Delete a file."""
        with naming(path):
            path.unlink()

    def mkdir(self, path: Path) -> None:
        """Make a folder; its parent must exist. One that exists already is left as it is."""
        with naming(path):
            try:
                path.mkdir()
            except FileExistsError:
                if self.get_kind(path) != "folder":
                    raise UnsafePath(f"{path} is not a folder", expected="a folder") from None

    def list_names(self, path: Path) -> list[str]:
        """Return the names in a folder, sorted."""
        with naming(path):
            return sorted(entry.name for entry in path.iterdir())

    def get_kind(self, path: Path) -> str:
        """Return "file", "folder", "missing" or "other"; a symbolic link is "other"."""
        try:
            mode = path.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return "missing"
        except OSError as error:
            raise classify_error(error, path) from error
        return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"

    def get_free_space(self, path: Path) -> int:
        """Return the number of bytes that this user may still write to the disk of `path`."""
        with naming(path):
            found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def lock(self, path: Path) -> OpenFile:
        """Take the lock of a file for this process until `close`, and write the process id into it.

        Raises:
            FileTaken: another open file, in this or another process, holds it.
        """
        file = self._open(path, os.O_RDWR | os.O_CREAT)
        try:
            with naming(path):
                try:
                    fcntl.flock(file.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    text = os.pread(file.number, 20, 0).strip()
                    raise FileTaken(path, int(text) if text.isdigit() else None) from None
                os.ftruncate(file.number, 0)
                os.pwrite(file.number, b"%d\n" % os.getpid(), 0)
        except BaseException:
            self.close(file)
            raise
        return file

    def get_lock_holder(self, path: Path) -> int | None:
        """Return the process id that the holder of a lock wrote, 0 where it wrote none, or None if nobody holds it."""
        if self.get_kind(path) == "missing":
            return None
        file = self.open_read(path)
        try:
            with naming(path):
                try:
                    fcntl.flock(file.number, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    text = os.pread(file.number, 20, 0).strip()
                    return int(text) if text.isdigit() else 0
            return None
        finally:
            self.close(file)

    def map_read(self, path: Path) -> memoryview:
        """Return the read-only bytes of a file, mapped; pages are read when they are touched."""
        file = self.open_read(path)
        try:
            if self.get_size(file) == 0:
                return memoryview(b"")
            with naming(path):
                return memoryview(mmap.mmap(file.number, 0, access=mmap.ACCESS_READ))
        finally:
            self.close(file)


def refuse_unless(writable: bool, path: Path) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise `NotWritable` where a store was opened for reading."""
    if not writable:
        raise NotWritable(f"{path} is not open for writing", next_step="open the run with write=True")


def as_bytes_view(data: Buffer) -> memoryview:
    """Return `data` as a flat view of bytes; raises TypeError where it is not contiguous."""
    view = memoryview(data)
    return view.cast("B") if view.nbytes else memoryview(b"")


def read_file(files: Files, path: Path, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
    """Return all bytes of a file.

    Raises:
        FileMissing: there is none.
        FileTooLarge: it is longer than `max_bytes`.
    """
    file = files.open_read(path)
    try:
        data = files.read_at(file, 0, min(files.get_size(file), max_bytes) + 1)
    finally:
        files.close(file)
    if len(data) > max_bytes:
        raise FileTooLarge(f"{path} is too large", expected=f"at most {max_bytes} bytes", actual="more")
    return data


def write_atomic(files: Files, path: Path, parts: Iterable[Buffer], *, sync_folder: bool = True) -> None:
    """Write a whole file so that after any crash its name shows either what was there before or all of `parts`.

    Args:
        files: the disk.
        path: the file to write or replace.
        parts: its bytes; small parts are gathered, so many of them are cheap.
        sync_folder: make the name durable too; False if the caller calls `fsync_dir` later, once for several files.
    """
    temporary = path.with_name(TEMPORARY + path.name)
    if files.get_kind(temporary) != "missing":
        files.unlink(temporary)
    file = files.create(temporary)
    try:
        _write_gathered(files, file, parts)
        files.fsync(file)
        files.close(file)
        files.replace(temporary, path)
    except Exception:
        discard(files, file)
        raise
    if sync_folder:
        files.fsync_dir(path.parent)


def discard(files: Files, file: OpenFile) -> None:
    """Close and delete an unfinished file as far as the disk lets us; opening the run again deletes what stays."""
    with suppress(StorageError):
        files.close(file)
    with suppress(StorageError):
        files.unlink(file.path)


def _write_gathered(files: Files, file: OpenFile, parts: Iterable[Buffer]) -> None:
    waiting: list[memoryview] = []
    size = 0
    for part in parts:
        view = as_bytes_view(part)
        waiting.append(view)
        size += view.nbytes
        if size >= _BATCH:
            files.write(file, waiting[0] if len(waiting) == 1 else b"".join(waiting))
            waiting, size = [], 0
    if size:
        files.write(file, b"".join(waiting))


def check_free_space(files: Files, path: Path, needed: int) -> None:
    """Refuse before the work begins what would fill the disk.

    Raises:
        DiskFull: fewer than `needed` bytes are free where `path` lies.
    """
    free = files.get_free_space(path)
    if free < needed:
        raise DiskFull(
            f"not enough room on the disk of {path}",
            expected=f"at least {needed} bytes free",
            actual=f"{free} bytes free",
            next_step="free some space, use another folder, or keep fewer checkpoints",
        )
