"""How far a recomputed state is from a claimed one: for people who ask what happened. No verdict depends on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from assay.protocol.evidence.model_state import TensorRecord
from assay.training.arrays import NUMPY_TYPES
from assay.verification.tasks import TensorDifference

MAX_LISTED = 20


def compare_states(
    records: Sequence[TensorRecord],
    claimed: Sequence[bytes | bytearray | memoryview],
    actual: Sequence[bytes | bytearray | memoryview],
) -> tuple[TensorDifference, ...]:
    """Return the tensors that differ, those with the greatest difference first, at most `MAX_LISTED`."""
    found = [
        compare_tensors(record, one, other)
        for record, one, other in zip(records, claimed, actual, strict=True)
        if bytes(one) != bytes(other)
    ]
    found.sort(key=lambda difference: -difference.largest)
    return tuple(found[:MAX_LISTED])


def compare_tensors(
    record: TensorRecord, claimed: bytes | bytearray | memoryview, actual: bytes | bytearray | memoryview
) -> TensorDifference:
    """Return how two tensors of one type differ."""
    kind = np.dtype(NUMPY_TYPES[record.dtype])
    if kind.fields is not None:  # bfloat16 stands as two bytes
        kind = np.dtype(np.uint16)
    one, other = np.frombuffer(claimed, kind), np.frombuffer(actual, kind)
    differing = one.view(f"u{kind.itemsize}") != other.view(f"u{kind.itemsize}")
    with np.errstate(all="ignore"):
        distance = np.abs(one[differing].astype(np.float64) - other[differing].astype(np.float64))
    largest = float(np.nan_to_num(distance.max(initial=0.0), nan=1e308, posinf=1e308))
    ulps = count_ulps(one, other) if record.dtype == "f32" else ()
    return TensorDifference(record.name, largest, int(differing.sum()), len(one), ulps)


def count_ulps(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> tuple[int, ...]:
    """Return the histogram of distances in units in the last place: 1, 2 to 3, 4 to 7, …; at most 32 buckets."""

    def order(values: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
        bits = values.view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    distance = np.abs(order(one) - order(other))
    distance = distance[distance > 0]
    if not len(distance):
        return ()
    buckets = np.bincount(np.minimum(np.log2(distance).astype(np.int64), 31))
    return tuple(int(count) for count in buckets)
