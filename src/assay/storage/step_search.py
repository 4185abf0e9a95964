"""Finding single rows of a long `steps.log` without walking it: for a comparison that takes milliseconds.

`step_rows.StepReader` walks the length of every row when it opens. Here the log is mapped, and a row is found by
guessing where it lies and looking for the next frame whose check fits, so that a row of a log of 10⁵ rows costs a few
pages.
Only rows that are returned are checked: what `StepReader` guarantees of a whole log is not guaranteed here.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from assay.errors import MalformedEvidence
from assay.protocol.decoders import get_decoder
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

_HEAD: Final = b"\x9a"
"""First byte of a row's payload: the header of an array of ten fields."""

_TAIL: Final = 4096
_GUESSES: Final = 8  # before a search is narrowed by halves
_WALK: Final = 8
_unpack_length = struct.Struct("<I").unpack_from


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
        LogDamaged: no row can be found where rows should be.
        StorageError: the disk.
    """

    def __init__(self, files: Files, path: Path) -> None:
        self.path = path
        view = files.map_read(path)
        self._data: Any = view.obj if view.nbytes else b""  # an mmap; its slices are bytes
        self._expect(mmap.MADV_RANDOM)
        self._size = view.nbytes
        self._known: dict[int, Frame] = {}
        self._first = self._search_from(0, self._size)
        self._last = self._find_last()

    def __len__(self) -> int:
        return self._last.step if self._last is not None else 0

    def _expect(self, advice: int) -> None:
        """Tell the operating system how pages are about to be read."""
        if isinstance(self._data, mmap.mmap):
            self._data.madvise(advice)

    def map_all(self) -> Any:
        """Return the bytes of the log, mapped, to be read from the front; slices are bytes."""
        self._expect(mmap.MADV_SEQUENTIAL)
        return self._data

    @property
    def end(self) -> int:
        """Where the last row ends."""
        return self._last.end if self._last is not None else 0

    def _find_last(self) -> Frame | None:
        """Return the last whole row; a torn end behind it is left out, unless a mark says that it was once whole."""
        stride = _TAIL
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
                raise self.make_damaged(0, f"{stride} bytes at its end that are no rows")
            stride *= 16
        self._refuse_marks_behind(last)
        return last

    def _refuse_marks_behind(self, last: Frame | None) -> None:
        position, rows = (last.end, last.step) if last is not None else (0, 0)
        found = self._data.find(MAGIC, position)
        while found >= 4:
            claimed = parse_mark(self._data[found - 4 : found - 4 + MARK_BYTES])
            if claimed is not None and claimed > rows:
                raise self.make_damaged(rows, f"a later mark says that {claimed} rows were on the disk")
            found = self._data.find(MAGIC, found + 1)

    def make_damaged(self, step: int, actual: str) -> LogDamaged:
        """Return the error that says behind which step the log is damaged, and how."""
        return LogDamaged(
            f"{self.path} is damaged behind step {step}",
            expected="the rows that were written",
            actual=actual,
            next_step="restore the run from a copy; `assay run verify` says what else does not hold",
        )

    def _skip_marks(self, offset: int) -> int:
        while parse_mark(self._data[offset : offset + MARK_BYTES]) is not None:
            offset += MARK_BYTES
        return offset

    def _read_frame(self, offset: int) -> Frame | None:
        """Return the whole row that begins at `offset`, or None."""
        if not 0 <= offset <= self._size - 4:
            return None
        (length,) = _unpack_length(self._data, offset)
        end = offset + 4 + length + CHECK_BYTES
        if not 0 < length <= MAX_ROW_BYTES or end > self._size:
            return None
        data = self._data[offset:end]
        if not is_whole(data):
            return None
        payload = data[4:-CHECK_BYTES]
        step, _ = read_step(payload)
        return Frame(offset, step, payload, end) if step else None

    def _search_from(self, offset: int, limit: int) -> Frame | None:
        """Return the first whole row that begins at or behind `offset` and before `limit`, or None."""
        stop = min(limit + 4, offset + MAX_ROW_BYTES + 64)
        place = self._data.find(_HEAD, offset + 4, stop)
        while place >= 0:
            frame = self._read_frame(place - 4)
            if frame is not None:
                return frame
            place = self._data.find(_HEAD, place + 1, stop)
        return None

    def find(self, step: int, near: int = -1) -> Frame:
        """Return the row of `step`, 1 ≤ step ≤ `len`.

        Args:
            step: counted from 1.
            near: an offset at which it may begin, as it does in a log like this one.

        Raises:
            RowRefused: there is no such step.
            LogDamaged: no whole row of this step is where it should be.
        """
        if self._first is None or self._last is None or not 1 <= step <= len(self):
            raise RowRefused("no such step", expected=f"1 to {len(self)}", actual=step)
        found = self._known.get(step)
        if found is None:
            guessed = self._read_frame(near)
            found = guessed if guessed is not None and guessed.step == step else self._search(step)
            self._known[step] = found
        return found

    def _search(self, step: int) -> Frame:
        low, high = self._bracket(step)
        for guess in range(64):
            if step in {low.step, high.step}:
                return low if low.step == step else high
            if not low.step < step < high.step:
                break
            if step - low.step <= _WALK:
                return self._walk(low, step)
            frame = self._search_from(self._guess(low, high, step, halve=guess >= _GUESSES), high.offset)
            if frame is None:
                return self._walk(low, step)
            if frame.step <= step:
                low = frame
            else:
                high = frame
        raise self.make_damaged(min(low.step, step - 1), "rows whose steps do not ascend")

    def _bracket(self, step: int) -> tuple[Frame, Frame]:
        """Return the nearest known rows around a step."""
        ends = [frame for frame in (self._first, self._last) if frame is not None]
        known = [*ends, *self._known.values()]
        low = max((frame for frame in known if frame.step <= step), key=lambda frame: frame.step, default=known[0])
        high = min((frame for frame in known if frame.step >= step), key=lambda frame: frame.step, default=known[-1])
        return low, high

    @staticmethod
    def _guess(low: Frame, high: Frame, step: int, *, halve: bool) -> int:
        span = high.offset - low.end
        if halve:
            return low.end + span // 2
        share = span * (step - low.step - 1) // (high.step - low.step)
        return low.end + max(0, share - (low.end - low.offset))

    def _walk(self, frame: Frame, step: int) -> Frame:
        while frame.step < step:
            following = self._read_frame(self._skip_marks(frame.end))
            if following is None or following.step != frame.step + 1:
                raise self.make_damaged(frame.step, "no whole row of the next step")
            frame = following
        return frame

    def read(self, step: int) -> StepParts:
        """Return the decoded row of `step`; raises as `find`."""
        frame = self.find(step)
        try:
            return decode(frame.payload, StepParts, max_bytes=MAX_ROW_BYTES)
        except MalformedEvidence as error:
            raise self.make_damaged(step - 1, str(error)) from None

    def iterate(self, step: int = 1) -> Iterator[bytes]:
        """Yield the payloads of the rows from `step` on, their checks unseen.

        Raises:
            LogDamaged: the lengths do not lead from row to row.
        """
        last = len(self)
        if last < step:
            return
        position = self.find(step).offset
        data, size = self.map_all(), self._size
        while step <= last:
            if position + 4 > size:
                raise self.make_damaged(step - 1, "the end of the file")
            (length,) = _unpack_length(data, position)
            if length == 0:
                position = self._step_over_mark(position, step)
                continue
            end = position + 4 + length
            if length > MAX_ROW_BYTES or end + CHECK_BYTES > size:
                raise self.make_damaged(step - 1, "bytes that are no row")
            yield data[position + 4 : end]
            position = end + CHECK_BYTES
            step += 1

    def _step_over_mark(self, position: int, step: int) -> int:
        if parse_mark(self._data[position : position + MARK_BYTES]) is None:
            raise self.make_damaged(step - 1, "bytes that are no row")
        return position + MARK_BYTES


_decoder = get_decoder(StepParts)


def decode_quickly(payload: bytes) -> StepParts:
    """Return a row without the checks of its canonical form, for looking over many; a find is read again by `read`.

    Raises:
        MalformedEvidence: it is no row at all.
    """
    try:
        return _decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise MalformedEvidence("a row does not decode", actual=str(error)) from None
