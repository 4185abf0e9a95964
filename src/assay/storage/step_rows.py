"""How the rows of `steps.log` stand on the disk, and their reader.

A row is  u32 n ‖ n bytes ‖ check, n ≥ 1; the bytes are canonical, the check is the first 8 bytes of BLAKE3(u32 n ‖
bytes). A mark is  u32 0 ‖ 8 bytes of magic ‖ u64 r ‖ check: when it was appended, the first r rows were on the disk.
Row i (from 0) is step i + 1. Integers are little-endian.

After a crash the bytes behind the last `fsync` may be missing, cut or full of holes, in any order. So the log ends at
its first bad row, unless a mark further on says that this row was once on the disk: then the log is damaged.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from typing import Final

from blake3 import blake3

from assay.errors import MalformedEvidence, StorageError, UsageError
from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.transcript import StepParts
from assay.storage.files import Files, OpenFile

MAX_ROW_BYTES: Final = 1024 * 1024
MAX_TAIL_BYTES: Final = 64 * 1024 * 1024
"""Bytes behind the last whole row in which a mark is looked for; a kill leaves a few rows at most."""

CHECK_BYTES: Final = 8
MAGIC: Final = bytes.fromhex("0e8bd1a5f3c6497c")
"""Chosen at random; it lets a reader find the next mark behind damaged bytes."""

MARK_BYTES: Final = 4 + 8 + 8 + CHECK_BYTES
_CHUNK: Final = 1024 * 1024
_LENGTH: Final = struct.Struct("<I")
_MARK: Final = struct.Struct("<I8sQ")


class LogDamaged(StorageError):
    """A row that was once on the disk is not there any more as it was written."""

    code = "storage.log-damaged"


class RowRefused(UsageError):
    """A row that does not follow the one before, or is too large."""

    code = "storage.row-refused"


def _compute_check(data: bytes) -> bytes:
    return blake3(data).digest(CHECK_BYTES)


def frame_row(parts: StepParts) -> bytes:
    """Return the bytes of a row as they stand in the log."""
    payload = encode(parts)
    data = _LENGTH.pack(len(payload)) + payload
    return data + blake3(data).digest(CHECK_BYTES)


def frame_mark(rows: int) -> bytes:
    """Return the bytes of a mark that says: the first `rows` rows are on the disk."""
    data = _MARK.pack(0, MAGIC, rows)
    return data + _compute_check(data)


class StepReader:
    """The rows of a log, by number; what another process appends later is seen after `refresh`.

    Opening walks the lengths of the rows and verifies those behind the last mark; every other row is verified when it
    is read. A log of 10⁶ rows is never held in memory, only 8 bytes for each row.

    Args:
        files: the disk.
        file: the open log; the reader does not close it.

    Raises:
        LogDamaged: a row that a mark vouches for is bad.
    """

    def __init__(self, files: Files, file: OpenFile) -> None:
        self._files = files
        self._file = file
        self._offsets = array("Q")
        self.marked = 0
        self.end = 0
        self.refresh()

    def __len__(self) -> int:
        return len(self._offsets)

    def refresh(self) -> int:
        """Look for rows behind the last known one; return the number of rows."""
        known, size = len(self._offsets), self._files.get_size(self._file)
        self._walk(size)
        self._verify_from(max(known, self.marked))
        self._refuse_marks_behind(size)
        return len(self._offsets)

    def _walk(self, size: int) -> None:
        """Follow the lengths from `end` through the first `size` bytes; move `end` behind the last complete frame."""
        start, chunk = self.end, b""
        while self.end + 4 + CHECK_BYTES < size:
            if self.end + MARK_BYTES > start + len(chunk):
                start, chunk = self.end, self._files.read_at(self._file, self.end, _CHUNK)
                if len(chunk) < 4:
                    return
            (length,) = _LENGTH.unpack_from(chunk, self.end - start)
            if length == 0:
                rows = parse_mark(chunk[self.end - start : self.end - start + MARK_BYTES])
                if rows is None or rows > len(self._offsets):
                    return
                self.marked = max(self.marked, rows)
                self.end += MARK_BYTES
                continue
            after = self.end + 4 + length + CHECK_BYTES
            if length > MAX_ROW_BYTES or after > size:
                return
            self._offsets.append(self.end)
            self.end = after

    def _verify_from(self, first: int) -> None:
        """Verify the rows from number `first`; forget the first bad one and all behind it."""
        row = first
        for data in self._iterate_frames(first):
            if not is_whole(data):
                break
            row += 1
        self.cut(row)

    def _refuse_marks_behind(self, size: int) -> None:
        """Raise if behind `end` stands a mark that vouches for more rows than were found."""
        position = self.end
        if size - position > MAX_TAIL_BYTES:
            raise self._damaged(len(self._offsets), f"{size - position} bytes that are no rows")
        while position < size:
            chunk = self._files.read_at(self._file, position, min(_CHUNK, size - position))
            found = chunk.find(MAGIC)
            while found >= 0:
                rows = parse_mark(chunk[max(found - 4, 0) : found - 4 + MARK_BYTES])
                if rows is not None and rows > len(self._offsets):
                    raise self._damaged(len(self._offsets), f"a later mark says that {rows} rows were on the disk")
                found = chunk.find(MAGIC, found + 1)
            if len(chunk) < _CHUNK:
                return
            position += _CHUNK - MARK_BYTES

    def _damaged(self, row: int, actual: str) -> LogDamaged:
        return LogDamaged(
            f"row {row} of {self._file.path} (step {row + 1}) is damaged",
            expected="the bytes that were written",
            actual=actual,
            next_step="restore the run from a copy; the rows before this one can still be read from it",
        )

    def _iterate_frames(self, first: int) -> Iterator[bytes]:
        """Yield the raw bytes of the rows from number `first`; stop where the file is shorter than it was."""
        start, chunk = 0, b""
        count = len(self._offsets)
        for row in range(first, count):
            position = self._offsets[row]
            if position + 4 > start + len(chunk):
                start, chunk = position, self._files.read_at(self._file, position, _CHUNK)
                if len(chunk) < 4:
                    return
            (length,) = _LENGTH.unpack_from(chunk, position - start)
            size = 4 + min(length, MAX_ROW_BYTES) + CHECK_BYTES
            if position + size > start + len(chunk):
                start, chunk = position, self._files.read_at(self._file, position, max(_CHUNK, size))
            yield chunk[position - start : position - start + size]

    def iterate(self, start: int = 0) -> Iterator[StepParts]:
        """Yield the verified rows from number `start`, 0 ≤ start; row number i is step i + 1.

        Raises:
            LogDamaged: a row is not as it was written.
        """
        row = start
        for data in self._iterate_frames(start):
            yield self._decode_row(row, data)
            row += 1
        if row < len(self._offsets):
            raise self._damaged(row, "the file became shorter")

    def read(self, step: int) -> StepParts:
        """Return the verified row of step `step`, 1 ≤ step ≤ number of rows.

        Raises:
            RowRefused: there is no such step.
            LogDamaged: the row is not as it was written.
        """
        if not 1 <= step <= len(self._offsets):
            raise RowRefused("no such step", expected=f"1 to {len(self._offsets)}", actual=step)
        position = self._offsets[step - 1]
        end = self._offsets[step] if step < len(self._offsets) else self.end  # a mark may stand between
        data = self._files.read_at(self._file, position, end - position)
        if len(data) < 4:
            raise self._damaged(step - 1, "the file became shorter")
        (length,) = _LENGTH.unpack_from(data)
        return self._decode_row(step - 1, data[: 4 + length + CHECK_BYTES])

    def _decode_row(self, row: int, data: bytes) -> StepParts:
        if not is_whole(data):
            raise self._damaged(row, "other bytes")
        try:
            parts = decode(data[4:-CHECK_BYTES], StepParts, max_bytes=MAX_ROW_BYTES)
        except MalformedEvidence as error:
            raise self._damaged(row, str(error)) from None
        if parts.step != row + 1:
            raise self._damaged(row, f"a row of step {parts.step}")
        return parts

    def cut(self, rows: int) -> None:
        """Forget the rows from number `rows`; `end` then stands where the first of them began."""
        if rows < len(self._offsets):
            self.end = self._offsets[rows]
            del self._offsets[rows:]
            self.marked = min(self.marked, rows)

    def note_row(self, size: int) -> None:
        """Take a row of `size` bytes, just appended, into the index."""
        self._offsets.append(self.end)
        self.end += size


def is_whole(data: bytes) -> bool:
    """Return whether these bytes are one row whose check fits."""
    return (
        len(data) > 4 + CHECK_BYTES
        and _LENGTH.unpack_from(data)[0] == len(data) - 4 - CHECK_BYTES
        and data[-CHECK_BYTES:] == _compute_check(data[:-CHECK_BYTES])
    )


def parse_mark(data: bytes) -> int | None:
    """Return the number of rows that a mark vouches for, or None if these bytes are no mark."""
    if len(data) != MARK_BYTES or data[-CHECK_BYTES:] != _compute_check(data[:-CHECK_BYTES]):
        return None
    length, magic, rows = _MARK.unpack_from(data)
    return int(rows) if length == 0 and magic == MAGIC else None
