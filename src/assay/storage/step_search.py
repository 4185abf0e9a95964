"""Finding single rows of a long `steps.log` without walking it: for a comparison that takes milliseconds.

`step_rows.StepReader` walks the length of every row when it opens. Here rows are found by guessing where they lie and
looking for the next frame whose check fits, so that a row of a log of 10⁵ rows costs a few reads of some kilobytes.
Only rows that are returned are checked: what `StepReader` guarantees of a whole log is not guaranteed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from assay.errors import MalformedEvidence
from assay.protocol.encoding import decode
from assay.protocol.evidence.transcript import StepParts
from assay.storage.files import Files
from assay.storage.step_rows import (
    CHECK_BYTES,
    MAGIC,
    MARK_BYTES,
    MAX_ROW_BYTES,
    MAX_TAIL_BYTES,
    LogDamaged,
    RowRefused,
    is_whole,
    parse_mark,
)

_NEAR: Final = 4096
_FAR: Final = 2 * (MAX_ROW_BYTES + 64)
_CHUNK: Final = 1024 * 1024
_STRIDE: Final = 64 * 1024
_HEAD: Final = 0x9A
"""First byte of a row's payload: the header of an array of ten fields."""

_COUNT_NAMES: Final = 8  # guesses before a search is narrowed by halves
_WALK: Final = 24


class Frame(NamedTuple):
    """One row as it stands in the log: where, which step, its payload (canonical `StepParts`), where it ends."""

    offset: int
    step: int
    payload: bytes
    end: int


def read_step(payload: bytes) -> tuple[int, int]:
    """Return the step of a payload, and where the field behind it begins; step 0 if there is no such field."""
    first = payload[1] if len(payload) > 1 else 0xC0
    if first < 0x80:
        return first, 2
    width = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}.get(first, 0)
    if not width or len(payload) < 2 + width:
        return 0, 2
    return int.from_bytes(payload[2 : 2 + width], "big"), 2 + width


class StepSearch:
    """The rows of a log by their step.

    Args:
        files: the disk.
        path: the log.

    Raises:
        LogDamaged: its first or its last row is not as it was written.
        StorageError: the disk.
    """

    def __init__(self, files: Files, path: Path) -> None:
        self._files = files
        self._file = files.open_read(path)
        self._size = files.get_size(self._file)
        self._known: dict[int, Frame] = {}
        self.bytes = self._size
        try:
            self._first = self._search_from(0, self._size)
            self._last = self._find_last()
        except BaseException:
            files.close(self._file)
            raise

    def __len__(self) -> int:
        return self._last.step if self._last is not None else 0

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        self._files.close(self._file)

    def _find_last(self) -> Frame | None:
        """Return the last whole row; a torn end behind it is left out, unless a mark says that it was once whole."""
        stride = _STRIDE
        while True:
            start = max(0, self._size - stride)
            last: Frame | None = None
            frame = self._search_from(start, self._size)
            while frame is not None:
                last = frame
                frame = self._read_frame(self._skip_marks(frame.end))
            if last is not None or start == 0:
                break
            if stride >= MAX_TAIL_BYTES:
                raise self._damaged(0, f"{stride} bytes at its end that are no rows")
            stride *= 16
        self._refuse_marks_behind(last)
        return last

    def _refuse_marks_behind(self, last: Frame | None) -> None:
        position, rows = (last.end, last.step) if last is not None else (0, 0)
        while position < self._size:
            chunk = self._files.read_at(self._file, position, _CHUNK)
            found = chunk.find(MAGIC)
            while found >= 0:
                claimed = parse_mark(chunk[max(found - 4, 0) : found - 4 + MARK_BYTES])
                if claimed is not None and claimed > rows:
                    raise self._damaged(rows, f"a later mark says that {claimed} rows were on the disk")
                found = chunk.find(MAGIC, found + 1)
            if len(chunk) < _CHUNK:
                return
            position += _CHUNK - MARK_BYTES

    def _damaged(self, row: int, actual: str) -> LogDamaged:
        return LogDamaged(
            f"{self._file.path} is damaged behind step {row}",
            expected="the rows that were written",
            actual=actual,
            next_step="restore the run from a copy; `assay run verify` says what else does not hold",
        )

    def _skip_marks(self, offset: int) -> int:
        while parse_mark(self._files.read_at(self._file, offset, MARK_BYTES)) is not None:
            offset += MARK_BYTES
        return offset

    def _read_frame(self, offset: int) -> Frame | None:
        """Return the whole row that begins at `offset`, or None."""
        data = self._files.read_at(self._file, offset, _NEAR)
        if len(data) < 4:
            return None
        length = int.from_bytes(data[:4], "little")
        size = 4 + length + CHECK_BYTES
        if not 0 < length <= MAX_ROW_BYTES or offset + size > self._size:
            return None
        if size > len(data):
            data = self._files.read_at(self._file, offset, size)
        return self._make_frame(offset, data[:size])

    @staticmethod
    def _make_frame(offset: int, data: bytes) -> Frame | None:
        if not is_whole(data):
            return None
        payload = data[4:-CHECK_BYTES]
        step, _ = read_step(payload)
        return Frame(offset, step, payload, offset + len(data)) if step else None

    def _search_from(self, offset: int, limit: int) -> Frame | None:
        """Return the first whole row that begins at or behind `offset` and before `limit`, or None."""
        for reach in (_NEAR, _FAR):
            chunk = self._files.read_at(self._file, offset, reach)
            place = chunk.find(_HEAD, 4)
            while place >= 0 and offset + place - 4 < limit:
                length = int.from_bytes(chunk[place - 4 : place], "little")
                end = place + length + CHECK_BYTES
                if 0 < length <= MAX_ROW_BYTES and end <= len(chunk):
                    frame = self._make_frame(offset + place - 4, chunk[place - 4 : end])
                    if frame is not None:
                        return frame
                place = chunk.find(_HEAD, place + 1)
            if offset + len(chunk) >= self._size and len(chunk) < reach:
                return None
        return None

    def find(self, step: int) -> Frame:
        """Return the row of `step`, 1 ≤ step ≤ `len`.

        Raises:
            RowRefused: there is no such step.
            LogDamaged: no whole row of this step is where it should be.
        """
        if self._first is None or self._last is None or not 1 <= step <= len(self):
            raise RowRefused("no such step", expected=f"1 to {len(self)}", actual=step)
        if step in self._known:
            return self._known[step]
        low, high = self._first, self._last
        for guess in range(64):
            if step in {low.step, high.step}:
                found = low if low.step == step else high
                self._known[step] = found
                return found
            if not low.step < step < high.step:
                break
            if step - low.step <= _WALK:
                return self._walk(low, step)
            middle = self._guess(low, high, step, halve=guess >= _COUNT_NAMES)
            frame = self._search_from(middle, high.offset)
            if frame is None:
                return self._walk(low, step)
            if frame.step <= step:
                low = frame
            else:
                high = frame
        raise self._damaged(min(low.step, step - 1), "rows whose steps do not ascend")

    @staticmethod
    def _guess(low: Frame, high: Frame, step: int, *, halve: bool) -> int:
        span = high.offset - low.end
        if halve:
            return low.end + span // 2
        share = span * (step - low.step - 1) // (high.step - low.step)
        return low.end + max(0, share - 8 * (low.end - low.offset))

    def _walk(self, frame: Frame, step: int) -> Frame:
        while frame.step < step:
            following = self._read_frame(self._skip_marks(frame.end))
            if following is None or following.step != frame.step + 1:
                raise self._damaged(frame.step, "no whole row of the next step")
            frame = following
        self._known[step] = frame
        return frame

    def read(self, step: int) -> StepParts:
        """Return the decoded row of `step`; raises as `find`."""
        frame = self.find(step)
        try:
            return decode(frame.payload, StepParts, max_bytes=MAX_ROW_BYTES)
        except MalformedEvidence as error:
            raise self._damaged(step - 1, str(error)) from None

    def iterate(self, step: int = 1) -> Iterator[bytes]:
        """Yield the payloads of the rows from `step` on, their checks unseen.

        Raises:
            LogDamaged: the lengths do not lead from row to row.
        """
        if len(self) < step:
            return
        position, last = self.find(step).offset, len(self)
        chunk, base = b"", position
        while step <= last:
            place = position - base
            if place + 4 > len(chunk):
                chunk, base, place = self._files.read_at(self._file, position, _CHUNK), position, 0
            length = int.from_bytes(chunk[place : place + 4], "little")
            if length == 0:
                if parse_mark(self._files.read_at(self._file, position, MARK_BYTES)) is None:
                    raise self._damaged(step - 1, "bytes that are no row")
                position += MARK_BYTES
                continue
            size = 4 + length + CHECK_BYTES
            if length > MAX_ROW_BYTES or position + size > self._size:
                raise self._damaged(step - 1, "bytes that are no row")
            if place + size > len(chunk):
                chunk, base, place = self._files.read_at(self._file, position, max(_CHUNK, size)), position, 0
            yield chunk[place + 4 : place + 4 + length]
            position += size
            step += 1


_decoder = msgspec.msgpack.Decoder(StepParts, strict=True)


def decode_quickly(payload: bytes) -> StepParts:
    """Return a row without the checks of its canonical form, for looking over many; a find is read again by `read`.

    Raises:
        MalformedEvidence: it is no row at all.
    """
    try:
        return _decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise MalformedEvidence("a row does not decode", actual=str(error)) from None
