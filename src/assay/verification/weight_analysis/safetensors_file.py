"""Safetensors files as anybody writes them, read in parts: header under bounds, nothing mapped, nothing unpickled.

Assay's own model file is one canonical form of it (`certificate/model_file.py`); here files of other programs are
compared, so order, padding of the header and metadata are free. What could be read in two ways is refused.

Source: `spec/weight-analysis.md`, WGT-9.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

import msgspec

from assay.certificate.model_file import FILE_DTYPES, MAX_EXTENT, MAX_HEADER, MAX_RANK
from assay.errors import MalformedEvidence
from assay.protocol.evidence.model_state import DTYPES
from assay.storage.files import Files, OpenFile
from assay.verification.weight_analysis.sources import WeightTensor

_OUR_TYPES: Final = {theirs: ours for ours, theirs in FILE_DTYPES.items()}


class MalformedSafetensors(MalformedEvidence):
    """A file that is not safetensors, or that two readers could understand in two ways."""

    code: ClassVar[str] = "safetensors.malformed"


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class SafetensorsSource:
    """A safetensors file, open for reading until `close` or the end of a `with` block.

    Args:
        path: the file.
        files: the disk; None: the real one.

    Raises:
        MalformedSafetensors: header too long, not JSON, duplicate names, gaps, overlaps, or sizes that do not fit.
        StorageError: the file cannot be read.
    """

    def __init__(self, path: Path, files: Files | None = None) -> None:
        self.label = str(path)
        self._files = files or Files()
        self._file: OpenFile = self._files.open_read(path)
        try:
            self.tensors, self._offsets = self._read_header()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._files.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of a tensor from `offset`."""
        count = self._files.read_into(self._file, self._offsets[name] + offset, buffer)
        if count != len(buffer):
            raise self._malformed("the file became shorter while it was read", expected=len(buffer), actual=count)

    def _malformed(self, what: str, expected: object = None, actual: object = None) -> MalformedSafetensors:
        return MalformedSafetensors(f"{self.label}: {what}", expected=expected, actual=actual)

    def _read_header(self) -> tuple[dict[str, WeightTensor], dict[str, int]]:
        size = self._files.get_size(self._file)
        length = int.from_bytes(self._files.read_at(self._file, 0, 8), "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise self._malformed("no safetensors header", f"at most {min(MAX_HEADER, max(size - 8, 0))} bytes", length)
        text = self._files.read_at(self._file, 8, length)
        try:
            loaded = json.loads(text, object_pairs_hook=_refuse_duplicates, parse_constant=_refuse)
            decoded = msgspec.convert(loaded, dict[str, Any])
            msgspec.convert(decoded.pop("__metadata__", {}), dict[str, str])
            entries = msgspec.convert(decoded, dict[str, _Entry])
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise self._malformed("the header does not decode", actual=ascii(str(error))[:200]) from None
        return self._place(entries, 8 + length, size - 8 - length)

    def _place(
        self, entries: dict[str, _Entry], start: int, available: int
    ) -> tuple[dict[str, WeightTensor], dict[str, int]]:
        """Check that the tensors fill the rest of the file without gap or overlap."""
        tensors, offsets, position = {}, {}, 0
        for name, entry in sorted(entries.items(), key=lambda item: (item[1].data_offsets, item[0])):
            begin, end = entry.data_offsets
            dtype = _OUR_TYPES.get(entry.dtype, entry.dtype)
            if dtype not in DTYPES:
                raise self._malformed("unknown element type", expected=", ".join(_OUR_TYPES), actual=ascii(dtype)[:40])
            if len(entry.shape) > MAX_RANK or any(not 0 <= extent < MAX_EXTENT for extent in entry.shape):
                raise self._malformed(f"the shape of {ascii(name)[:80]} is out of bounds", actual=entry.shape[:20])
            if begin != position or end - begin != DTYPES[dtype] * math.prod(entry.shape):
                raise self._malformed(f"{ascii(name)[:80]} does not lie where its size says", actual=entry.data_offsets)
            tensors[name], offsets[name] = WeightTensor(dtype, tuple(entry.shape)), start + begin
            position = end
        if position != available:
            raise self._malformed("the tensors do not fill the file", expected=available, actual=position)
        return tensors, offsets


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
