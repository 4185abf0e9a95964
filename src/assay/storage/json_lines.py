"""Append-only files of one JSON object per line, which people and other tools can read as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from assay.errors import StorageError, UsageError
from assay.protocol.decoders import get_json_decoder
from assay.storage.files import MAX_OBJECT_BYTES, FileMissing, Files, OpenFile, read_file, refuse_unless, write_atomic

MAX_LINE_BYTES: Final = 1024 * 1024
_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = get_json_decoder(dict[str, Any])


class LineDamaged(StorageError):
    """A line that was once on the disk does not decode."""

    code = "storage.line-damaged"


class LineRefused(UsageError):
    """Values that one line of JSON cannot hold."""

    code = "storage.line-refused"


def _decode_line(line: bytes) -> dict[str, Any]:
    if len(line) >= MAX_LINE_BYTES:
        raise ValueError("the line is too long")
    return _decoder.decode(line)


class JsonLines:
    """A file of lines; only the process that holds the run's lock may append.

    Args:
        files: the disk.
        path: the file; it is created by the first `append`.
        synced: fsync after every line. A bad line before the last is then damage; otherwise, lines that were not
            synced may be torn by a loss of power, and the file ends at the first bad one.
        max_bytes: the longest file that is read.
        writable: False: refuse to change anything.
    """

    def __init__(
        self,
        files: Files,
        path: Path,
        *,
        synced: bool,
        max_bytes: int = 16 * MAX_OBJECT_BYTES,
        writable: bool = True,
    ) -> None:
        self._files = files
        self._path = path
        self._synced = synced
        self._max_bytes = max_bytes
        self._file: OpenFile | None = None
        self._dirty = False
        self.writable = writable

    def append(self, values: Mapping[str, Any]) -> None:
        """Write one line; durable on return if `synced`, else after `sync`. NaN and infinity are written as null.

        Raises:
            LineRefused: a value is not JSON, or the line is above 1 MiB.
            NotWritable: the run was opened for reading.
            StorageError: the disk failed; the file is repaired by the next opening.
        """
        refuse_unless(self.writable, self._path)
        try:
            line = _encoder.encode(dict(values)) + b"\n"
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise LineRefused("these values cannot be written as JSON", actual=str(error)) from None
        if len(line) > MAX_LINE_BYTES:
            raise LineRefused("the line is too long", expected=f"at most {MAX_LINE_BYTES} bytes", actual=len(line))
        if self._file is None:
            self._file = self._open_repaired()
        self._dirty = True
        try:
            self._files.write(self._file, line)
            if self._synced:
                self.sync()
        except BaseException:
            self._abandon_file()
            raise

    def _open_repaired(self) -> OpenFile:
        is_new = self._files.get_kind(self._path) == "missing"
        end = 0 if is_new else self._parse()[1]
        file = self._files.open_append(self._path)
        try:
            if self._files.get_size(file) > end:
                self._files.truncate(file, end)
            self._files.fsync(file)
            if is_new:
                self._files.fsync_dir(self._path.parent)
        except BaseException:
            self._files.close(file)
            raise
        return file

    def _abandon_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._files.close(file)

    def sync(self) -> None:
        """Return when all lines are on the disk."""
        if self._dirty and self._file is not None:
            self._files.fsync(self._file)
            self._dirty = False

    def iterate(self) -> Iterator[dict[str, Any]]:
        """Yield the lines; none if there is no file.

        Raises:
            LineDamaged: the file is `synced` and a line before the last is bad.
            FileTooLarge: it is longer than allowed.
        """
        return iter(self._parse()[0])

    def _parse(self) -> tuple[list[dict[str, Any]], int]:
        """Return the good lines and the offset behind the last of them."""
        try:
            data = read_file(self._files, self._path, self._max_bytes)
        except FileMissing:
            return [], 0
        lines: list[dict[str, Any]] = []
        position = 0
        while (end := data.find(b"\n", position)) >= 0:
            line = data[position:end]
            try:
                lines.append(_decode_line(line))
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                if self._synced and end + 1 < len(data):
                    raise self._damaged(len(lines) + 1, error) from None
                break
            position = end + 1
        return lines, position

    def _damaged(self, number: int, error: Exception) -> LineDamaged:
        return LineDamaged(
            f"line {number} of {self._path} is damaged",
            expected="one JSON object",
            actual=str(error),
            next_step="restore the file from a copy, or delete it",
        )

    def keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Rewrite the file at once with only those lines for which `wanted` is true."""
        refuse_unless(self.writable, self._path)
        self.close()
        lines = self._parse()[0]
        write_atomic(self._files, self._path, [_encoder.encode(line) + b"\n" for line in lines if wanted(line)])

    def close(self) -> None:
        """Make the lines durable and close the file; a later `append` opens it again."""
        try:
            self.sync()
        finally:
            self._abandon_file()

    def abandon(self) -> None:
        """Close the file without writing: for a forked child."""
        self._abandon_file()
