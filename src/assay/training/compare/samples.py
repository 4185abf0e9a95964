"""Which samples of two committed data sets differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assay.training.arrays import view_bytes
from assay.training.compare.side import Side
from assay.training.data_store import open_data
from assay.training.packed import PackedData, PackedField

MARK_BYTES = 8
_MOST = 8


@dataclass(frozen=True)
class DataDifference:
    """How two data sets differ.

    Attributes:
        name: "one sample", "one label", "labels", "samples", "size", "order of the samples", "fields" or "salt".
        text: one sentence.
        indices: samples that differ, ascending; empty where the sets have other sizes or fields.
        details: further lines.
    """

    name: str
    text: str
    indices: tuple[int, ...]
    details: tuple[str, ...]


def mark_samples(side: Side) -> list[bytes]:
    """Return the first bytes of the content digest of each sample: enough to see which changed, no commitment."""
    return [digest[:MARK_BYTES] for digest in _digests(open_data(side, "train")[1])]


def compare_data(a: Side, b: Side) -> DataDifference:
    """Return how the training sets of two runs differ, from the stored arrays, or from the marks that a lock has.

    Raises:
        MalformedEvidence, StorageError: a stored data set cannot be read.
    """
    if a.marks:
        return _compare_marks(a.marks, mark_samples(b))
    one, other = open_data(a, "train")[1], open_data(b, "train")[1]
    kinds_a, kinds_b = ([(field.name, field.dtype) for field in data.fields] for data in (one, other))
    if kinds_a != kinds_b:
        shown = [", ".join(f"{name or 'value'} {dtype}" for name, dtype in kinds) for kinds in (kinds_a, kinds_b)]
        return DataDifference("fields", f"the samples have other fields: {shown[0]} in A, {shown[1]} in B", (), ())
    if one.size != other.size:
        return _compare_sets(one, other)
    differing = {field.name: _find_rows(field, twin) for field, twin in zip(one.fields, other.fields, strict=True)}
    fields = [name for name, rows in differing.items() if len(rows)]
    rows = np.unique(np.concatenate(list(differing.values())))
    if not len(rows):
        return DataDifference("salt", "the samples are the same, their leaves are salted otherwise", (), ())
    if _is_reordered(one, other, len(rows)):
        text = f"the same samples stand in another order: {len(rows)} of {one.size} indices hold another sample"
        return DataDifference("order of the samples", text, tuple(rows[:_MOST].tolist()), ())
    labels = len(one.fields) > 1 and fields == [one.fields[-1].name] and one.fields[-1].dtype.startswith(("i", "u"))
    what = "label" if labels else "sample"
    name = f"one {what}" if len(rows) == 1 else f"{what}s"
    verb = "differs" if len(rows) == 1 else "differ"
    text = f"{len(rows)} of {one.size} samples {verb}, in {_show_fields(fields)}"
    return DataDifference(name, text, tuple(rows.tolist()), _show_rows(one, other, rows, fields))


def _compare_marks(one: list[bytes], other: list[bytes]) -> DataDifference:
    if len(one) != len(other):
        return DataDifference("size", f"A has {len(one)} samples, B has {len(other)}", (), ())
    rows = tuple(index for index, mark in enumerate(one) if mark != other[index])
    if not rows:
        return DataDifference("salt", "the samples are the same, their leaves are salted otherwise", (), ())
    if len(rows) > 1 and sorted(one) == sorted(other):
        return DataDifference("order of the samples", "the same samples stand in another order", rows, ())
    shown = ", ".join(map(str, rows[:_MOST])) + (f" and {len(rows) - _MOST} more" if len(rows) > _MOST else "")
    name = "one sample" if len(rows) == 1 else "samples"
    text = f"{len(rows)} of {len(one)} samples {'differs' if len(rows) == 1 else 'differ'}: {shown}"
    return DataDifference(name, text, rows, ())


def _show_fields(fields: list[str]) -> str:
    shown = [repr(name) if name else "their only field" for name in fields]
    return ("field " if len(fields) == 1 and fields[0] else "") + ", ".join(shown)


def _find_rows(field: PackedField, twin: PackedField) -> npt.NDArray[np.int64]:
    """Return the samples that differ in one field, in their bytes or their shape."""
    size = len(field.values) if field.shapes is None else len(field.shapes)
    if field.shape is not None and field.shape == twin.shape:
        one, other = (_rows(side, size) for side in (field, twin))
        return np.flatnonzero((one != other).any(axis=1)).astype(np.int64)
    return np.array([index for index in range(size) if not _same(field, twin, index)], np.int64)


def _rows(field: PackedField, size: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer(view_bytes(field.values), np.uint8).reshape(size, -1)


def _same(field: PackedField, twin: PackedField, index: int) -> bool:
    one, other = field.get_sample(index), twin.get_sample(index)
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def _digests(data: PackedData) -> list[bytes]:
    return [row.tobytes() for row in data.compute_hashes()[1]]


def _is_reordered(one: PackedData, other: PackedData, count: int) -> bool:
    return count > 1 and sorted(_digests(one)) == sorted(_digests(other))


def _compare_sets(one: PackedData, other: PackedData) -> DataDifference:
    contents_a, contents_b = set(_digests(one)), set(_digests(other))
    text = f"A has {one.size} samples, B has {other.size}"
    details = (
        f"{len(contents_a - contents_b)} different contents are in A alone",
        f"{len(contents_b - contents_a)} different contents are in B alone",
    )
    return DataDifference("size", text, (), details)


def _show_rows(one: PackedData, other: PackedData, rows: npt.NDArray[np.int64], fields: list[str]) -> tuple[str, ...]:
    lines = []
    for index in rows[:_MOST].tolist():
        parts = []
        for field, twin in zip(one.fields, other.fields, strict=True):
            if field.name not in fields:
                continue
            value, actual = field.get_sample(index), twin.get_sample(index)
            if value.size == 1 and actual.size == 1:
                parts.append(f"{field.name or 'value'}: {value.item()} in A, {actual.item()} in B")
            elif value.tobytes() != actual.tobytes():
                count = int((value != actual).sum()) if value.shape == actual.shape else value.size
                parts.append(f"{field.name or 'value'}: {count} of {value.size} elements")
        lines.append(f"sample {index}: {'; '.join(parts)}")
    if len(rows) > _MOST:
        lines.append(f"and {len(rows) - _MOST} more")
    return tuple(lines)
