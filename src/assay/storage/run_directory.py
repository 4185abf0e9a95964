"""One run on the disk: everything that was recorded, and the one process that may add to it.

```
runs/digits/
  assay-run        "assay-run <version>": what makes a folder a run
  LOCK             held by the process that writes
  plan.bin profile.bin closing.bin signature.bin …    objects: canonical bytes, each written once
  programs/<id>.bin                                   objects too
  steps.log        one row per step                   -> RunDirectory.steps
  log.jsonl        what the user logged (declared)    -> RunDirectory.log
  checkpoints/ packs/                                 -> RunDirectory.checkpoints
  blobs/           content-addressed                  -> RunDirectory.blobs
  data/            large arrays                       -> RunDirectory.fields
  audit/           results and certificates           -> RunDirectory.audit_results, write_object
```

A kill at any moment leaves a run that opens. What a method reported as durable is there, and equal; a file that is
written whole shows its old or its new bytes; anything else is removed by the next opening for writing.
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from assay.errors import UsageError
from assay.protocol.evidence.transcript import StepParts
from assay.storage.blobs import BlobStore
from assay.storage.checkpoints import CheckpointStore
from assay.storage.fields import FieldStore
from assay.storage.files import (
    MAX_OBJECT_BYTES,
    TEMPORARY,
    Files,
    NotWritable,
    OpenFile,
    UnsafePath,
    check_free_space,
    read_file,
    refuse_unless,
    write_atomic,
)
from assay.storage.json_lines import JsonLines
from assay.storage.run_layout import (
    FOLDERS,
    FORMAT,
    LOCK,
    LOG,
    STEPS,
    VERSION,
    RunExists,
    check_format,
    is_own,
    make_folders,
    take_lock,
)
from assay.storage.step_log import StepLog
from assay.storage.step_rows import LogDamaged, StepReader

_RESERVED: Final = frozenset({FORMAT, LOCK, STEPS, LOG, *FOLDERS})
_OBJECT = re.compile(r"(?:(?:programs|audit)/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_AUDIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class ObjectTaken(UsageError):
    """Other bytes are stored under this name already; evidence is never replaced silently."""

    code = "storage.object-taken"


class RunDirectory:
    """A run; made by `create` or `open`, closed by `close` or a `with` block.

    Attributes:
        path: the folder.
        writable: whether this process holds the lock.
        log: what the user logged.
        checkpoints: stored states.
        blobs: content-addressed blobs.
        fields: large arrays of data.
    """

    def __init__(self, path: Path, files: Files, lock: OpenFile | None, *, background: bool) -> None:
        self.path = path
        self.writable = lock is not None
        self._files = files
        self._lock = lock
        self._steps: StepLog | None = None
        self._rows: OpenFile | None = None
        self.checkpoints = CheckpointStore(
            files, path / "checkpoints", path / "packs", before=self._make_rows_durable, writable=self.writable
        )
        self.blobs = BlobStore(files, path / "blobs", writable=self.writable)
        self.fields = FieldStore(files, path / "data", writable=self.writable)
        self.log = JsonLines(files, path / LOG, synced=False, writable=self.writable)
        if lock is None:
            self._rows = files.open_read(path / STEPS)
            self._reader = StepReader(files, self._rows)
        else:
            self._clean()
            self._steps = StepLog(files, path / STEPS, background=background)
            self._reader = self._steps.reader
            _open_for_writing.add(self)

    @classmethod
    def create(cls, path: Path | str, *, files: Files | None = None, background: bool = True) -> Self:
        """Make a new run and open it for writing.

        Args:
            path: a folder that does not exist, is empty, or was left by a creation that did not finish. Missing
                parents are made.
            files: the disk; None: the real one.
            background: fsync rows from a thread of their own (see `StepLog`).

        Raises:
            RunExists: there is a run, or something else.
            RunLocked: another process is creating it.
            StorageError: the disk is read-only, full or failing; creating it again goes on from there.
        """
        files, path = files or Files(), Path(os.path.realpath(path))
        make_folders(files, path)
        if files.get_kind(path) != "folder":
            raise RunExists(f"{path} is a file", expected="a folder", next_step="choose another path")
        if files.get_kind(path / FORMAT) != "missing":
            raise RunExists(f"{path} is a run already", next_step="open it to resume, or choose another folder")
        odd = [name for name in files.list_names(path) if not is_own(files, path / name)]
        if odd:
            raise RunExists(f"{path} is not empty", expected="an empty folder", actual=", ".join(map(ascii, odd[:5])))
        lock = take_lock(files, path)
        try:
            for folder in FOLDERS:
                files.mkdir(path / folder)
            files.close(files.open_append(path / STEPS))
            files.fsync_dir(path)
            write_atomic(files, path / FORMAT, [f"{FORMAT} {VERSION}\n".encode()])
            return cls(path, files, lock, background=background)
        except BaseException:
            files.close(lock)
            raise

    @classmethod
    def open(
        cls, path: Path | str, *, write: bool = False, files: Files | None = None, background: bool = True
    ) -> Self:
        """Open a run.

        For reading, a run in progress is shown as far as it is on the disk. For writing, unfinished files and the
        torn end of the log are removed first.

        Args:
            path: the folder.
            write: take the lock and allow changes.
            files: the disk; None: the real one.
            background: see `create`.

        Raises:
            NotARun: there is nothing, or something else.
            NewerFormat: a later version wrote it.
            RunLocked: another process writes to it; the error names it.
            LogDamaged: rows are missing or changed that were once on the disk.
            StorageError: the disk is read-only or failing.
        """
        files, path = files or Files(), Path(os.path.realpath(path))
        check_format(files, path)
        if not write:
            return cls(path, files, None, background=False)
        lock = take_lock(files, path)
        try:
            run = cls(path, files, lock, background=background)
            run._refuse_missing_rows()
        except BaseException:
            files.close(lock)
            raise
        return run

    @property
    def steps(self) -> StepLog:
        """The rows, for appending.

        Raises:
            NotWritable: the run was opened for reading; use `read_row` and `iterate_rows`.
        """
        if self._steps is None:
            raise NotWritable(f"{self.path} was opened for reading", next_step="open it with write=True")
        return self._steps

    def _clean(self) -> None:
        """Remove what a crash left unfinished, and make the names that it left durable."""
        for folder in (self.path, *(self.path / name for name in FOLDERS)):
            for name in self._files.list_names(folder):
                if name.startswith(TEMPORARY):
                    self._files.unlink(folder / name)
            self._files.fsync_dir(folder)
        self.checkpoints.delete_unneeded()

    def _refuse_missing_rows(self) -> None:
        last = max(self.checkpoints.list_steps(), default=0)
        if self.steps.rows < last:
            self.steps.close()
            raise LogDamaged(
                f"{self.path / STEPS} lacks rows",
                expected=f"{last} rows, as many as the last checkpoint stands on",
                actual=f"{self.rows} rows",
                next_step="restore steps.log from a copy of the run",
            )

    @property
    def rows(self) -> int:
        """The number of rows that were found or appended; also the last step."""
        return len(self._reader)

    def refresh(self) -> int:
        """Look for rows that a writing process added since; return `rows`."""
        return self._reader.refresh() if self._steps is None else self.rows

    def read_row(self, step: int) -> StepParts:
        """Return the verified row of `step`, 1 ≤ step ≤ `rows`; see `StepReader.read`."""
        return (self._steps or self._reader).read(step)

    def iterate_rows(self, start: int = 0) -> Iterator[StepParts]:
        """Yield the verified rows from number `start`; row i is step i + 1; see `StepReader.iterate`."""
        return (self._steps or self._reader).iterate(start)

    def _make_rows_durable(self, step: int) -> None:
        """Before a checkpoint is named: its rows and what was logged must be on the disk."""
        if self.steps.rows < step:
            raise UsageError("a checkpoint needs the rows before it", expected=f"{step} rows", actual=self.steps.rows)
        self.steps.sync()
        self.log.sync()

    def write_object(self, name: str, data: bytes, *, replace: bool = False) -> None:
        """Write `plan.bin`, `programs/<id>.bin`, `audit/<name>.assay.json` or the like, at once and durably.

        Args:
            name: one name, or one name in `programs/` or `audit/`: letters, digits, `.`, `_`, `-`, at most 128.
            data: all bytes, at most 64 MiB.
            replace: False: refuse if other bytes are there; the same bytes are left as they are.

        Raises:
            ObjectTaken: other bytes are stored under this name.
            NotWritable: the run was opened for reading, unless the object goes into `audit/`.
            StorageError: the disk failed; the old bytes are still there.
        """
        path = self._get_object_path(name)
        refuse_unless(self.writable or name.startswith("audit/"), path)
        if not replace and self._files.get_kind(path) != "missing":
            if read_file(self._files, path) == data:
                return
            raise ObjectTaken(
                f"{path} holds something else already",
                next_step="start a new run in another folder, or restore the file",
            )
        write_atomic(self._files, path, [data])

    def read_object(self, name: str, *, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """Return the bytes of an object; the caller decodes and checks them.

        Raises:
            FileMissing: there is none.
            FileTooLarge: it is longer than `max_bytes`.
        """
        return read_file(self._files, self._get_object_path(name), max_bytes)

    def has_object(self, name: str) -> bool:
        """Return whether an object of this name is stored.

        Raises:
            UnsafePath: a link, a folder or a device has its name.
        """
        path = self._get_object_path(name)
        kind = self._files.get_kind(path)
        if kind not in {"file", "missing"}:
            raise UnsafePath(
                f"{path} is not a file", expected="a file", actual=kind, next_step="restore the run from a copy"
            )
        return kind == "file"

    def list_objects(self, folder: str) -> list[str]:
        """Return the full names of the objects in `programs` or `audit`, sorted."""
        if folder not in {"programs", "audit"}:
            raise UnsafePath("no such folder of objects", expected="programs or audit", actual=ascii(folder))
        names = [f"{folder}/{name}" for name in self._files.list_names(self.path / folder)]
        return [name for name in names if _OBJECT.fullmatch(name)]

    def audit_results(self, name: str) -> JsonLines:
        """Return the results of an audit, `audit/<name>.jsonl`; every appended line is durable.

        An audit does not change the run, so it needs no lock; two audits must not share a name.
        """
        if not _AUDIT.fullmatch(name):
            raise UnsafePath("not a name for an audit", expected="letters, digits, '_', '-'", actual=ascii(name))
        return JsonLines(self._files, self.path / "audit" / f"{name}.jsonl", synced=True)

    def check_free_space(self, needed: int) -> None:
        """Raise `DiskFull` unless `needed` more bytes fit on the disk of the run."""
        check_free_space(self._files, self.path, needed)

    def _get_object_path(self, name: str) -> Path:
        if not _OBJECT.fullmatch(name) or name in _RESERVED:
            raise UnsafePath(
                "not a name for an object", expected="such as plan.bin or programs/<id>.bin", actual=ascii(name)
            )
        return self.path / name

    def close(self) -> None:
        """Make everything durable and give the lock back. Closing twice does nothing."""
        _open_for_writing.discard(self)
        try:
            if self._steps is not None:
                self._steps.close()
            self.log.close()
        finally:
            self._refuse_changes()
            for file in (self._rows, self._lock):
                if file is not None:
                    self._files.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def abandon(self) -> None:
        """Let go of the run without writing; called in every forked child, so that the lock dies with its owner."""
        if self._steps is not None:
            self._steps.abandon()
        self.log.abandon()
        if self._lock is not None:
            self._files.close(self._lock)
        self._refuse_changes()

    def _refuse_changes(self) -> None:
        self.writable = False
        for store in (self.checkpoints, self.blobs, self.fields, self.log):
            store.writable = False


_open_for_writing: weakref.WeakSet[RunDirectory] = weakref.WeakSet()


def _abandon_in_child() -> None:
    for run in list(_open_for_writing):
        run.abandon()
    _open_for_writing.clear()


os.register_at_fork(after_in_child=_abandon_in_child)
