"""The log of a run's steps: one `transcript.StepParts` per step, appended to `steps.log` in groups.

The bytes are described in `step_rows`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from assay.errors import StorageError
from assay.protocol.evidence.transcript import StepParts
from assay.storage.files import Files
from assay.storage.step_rows import MARK_BYTES, MAX_ROW_BYTES, RowRefused, StepReader, frame_mark, frame_row

_PRESSURE: Final = 8 * 1024 * 1024


class StepLog:
    """The log of a run that is being written; one writer, safe to use from several threads.

    `append` only puts the row into memory and returns. A background thread writes and fsyncs what has gathered,
    `sync_seconds` after the first row of a group; `sync` does both now. After any failure of the disk the log takes
    no more rows and every later call raises that same failure: what was durable stays, a new opening goes on from it.

    Args:
        files: the disk.
        path: the log; created if missing. A torn tail is cut off.
        sync_seconds: how long rows may gather; at most one fsync in this time unless asked.
        background: False: rows reach the disk by `flush`, `sync` and `close` alone.

    Raises:
        LogDamaged: see `StepReader`.
    """

    def __init__(self, files: Files, path: Path, *, sync_seconds: float = 0.5, background: bool = True) -> None:
        self._files = files
        self._file = files.open_append(path)
        try:
            self.reader = StepReader(files, self._file)
            if self.reader.end < files.get_size(self._file):
                files.truncate(self._file, self.reader.end)
            files.fsync(self._file)
        except BaseException:
            files.close(self._file)
            raise
        self._rows = self._durable = len(self.reader)
        self._marked, self._written, self._torn = self.reader.marked, self.reader.end, False
        self._buffer = bytearray()
        self._memory = threading.Lock()  # guards buffer, index and counts
        self._disk = threading.Lock()  # held while writing, so that groups keep their order
        self._failure: StorageError | None = None
        self._sync_seconds = sync_seconds
        self._background = background
        self._thread: threading.Thread | None = None
        self._wake, self._stop = threading.Event(), threading.Event()

    @property
    def rows(self) -> int:
        """The number of rows appended, on the disk or not; also the last step."""
        return self._rows

    @property
    def durable_rows(self) -> int:
        """The number of rows that are known to survive a loss of power."""
        return self._durable

    def append(self, parts: StepParts) -> None:
        """Take the row of the next step; it is durable once `durable_rows` ≥ its step.

        Raises:
            RowRefused: `parts.step` is not `rows` + 1, or the row is above 1 MiB.
            StorageError: an earlier write or fsync failed.
        """
        data = frame_row(parts)
        with self._memory:
            if self._failure is not None:
                raise self._failure
            if parts.step != self._rows + 1:
                raise RowRefused("rows are appended in order", expected=f"step {self._rows + 1}", actual=parts.step)
            if len(data) > MAX_ROW_BYTES:
                raise RowRefused("a row is too large", expected=f"below {MAX_ROW_BYTES} bytes", actual=len(data))
            if self._marked != self._durable:
                self._append_mark()
            self._buffer += data
            self.reader.note_row(len(data))
            self._rows += 1
            pressure = len(self._buffer) > _PRESSURE
        if not self._wake.is_set():
            self._wake_thread()
        if pressure:
            self.flush()

    def _append_mark(self) -> None:
        self._marked = self._durable
        self._buffer += frame_mark(self._marked)
        self.reader.end += MARK_BYTES

    def flush(self) -> None:
        """Hand all rows to the operating system: they survive the death of this process, not a loss of power."""
        self._drain(durable=False)

    def sync(self) -> int:
        """Write and fsync all rows; return the number of durable rows.

        Raises:
            StorageError: the disk failed, now or earlier.
        """
        self._drain(durable=True)
        return self._durable

    def _drain(self, *, durable: bool) -> None:
        with self._disk:
            with self._memory:
                if self._failure is not None:
                    raise self._failure
                rows = self._rows
            try:
                self._write_buffer()
                if durable and rows > self._durable:
                    self._files.fsync(self._file)
                    self._durable = rows
            except StorageError as error:
                self._failure = error
                raise

    def _write_buffer(self) -> None:
        """Write what has gathered; after an interruption (Ctrl-C) in the middle the next call begins again."""
        if self._torn:
            self._files.truncate(self._file, self._written)
        with self._memory:
            data = bytes(self._buffer)
        if data:
            self._torn = True
            self._files.write(self._file, data)
            with self._memory:
                del self._buffer[: len(data)]
                self._written += len(data)
                self._torn = False

    def _wake_thread(self) -> None:
        if self._background and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="assay-step-log", daemon=True)
            self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._stop.wait(self._sync_seconds)
            self._wake.clear()
            try:
                self._drain(durable=True)
            except StorageError:
                return  # the next call of the training thread raises it

    def read(self, step: int) -> StepParts:
        """Return the verified row of `step`; see `StepReader.read`."""
        self.flush()
        return self.reader.read(step)

    def iterate(self, start: int = 0) -> Iterator[StepParts]:
        """Yield the verified rows from number `start`; see `StepReader.iterate`."""
        self.flush()
        return self.reader.iterate(start)

    def truncate_to(self, step: int) -> None:
        """Drop all rows behind `step`, durably. Resuming does not need it: rows behind a checkpoint are compared.

        Raises:
            RowRefused: the log has fewer rows.
        """
        self.sync()
        with self._disk, self._memory:
            if not 0 <= step <= self._rows:
                raise RowRefused("the log does not reach this step", expected=f"at most {self._rows}", actual=step)
            try:
                self.reader.cut(step)
                self._files.truncate(self._file, self.reader.end)
                self._files.fsync(self._file)
            except BaseException:
                self._failure = StorageError("cutting the log failed", next_step="open the run again")
                raise
            self._rows = self._durable = step
            self._marked, self._written = min(self._marked, step), self.reader.end

    def close(self) -> None:
        """Make all rows durable, say so in a last mark, and close the file. Closing twice does nothing."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        if self._file.number < 0:
            return
        try:
            if self._failure is None:
                self.sync()
                self._append_last_mark()
        finally:
            self._files.close(self._file)
            self._failure = self._failure or StorageError("the log is closed", next_step="open the run again")

    def _append_last_mark(self) -> None:
        if self._marked != self._durable:
            with self._memory:
                self._append_mark()
            self._write_buffer()
            self._files.fsync(self._file)

    def abandon(self) -> None:
        """Forget the log without writing: for a forked child, where the file belongs to the parent."""
        self._failure = StorageError(
            "the run belongs to the parent process", next_step="log from the main process only"
        )
        self._thread = None
        self._memory, self._disk = threading.Lock(), threading.Lock()
        self._stop.set()
