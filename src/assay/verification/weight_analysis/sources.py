"""Where states come from: anything that has named tensors and fills a buffer with a part of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from assay.training.arrays import TYPE_NAMES, Array, view_bytes


class WeightTensor(NamedTuple):
    """A tensor of weights: element type (a key of `model_state.DTYPES`) and shape."""

    dtype: str
    shape: tuple[int, ...]


class WeightSource(Protocol):
    """One state."""

    @property
    def label(self) -> str:
        """What messages call it, such as a path or "step 200"."""
        ...

    @property
    def tensors(self) -> Mapping[str, WeightTensor]:
        """Its tensors by name, of any element type."""
        ...

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of a tensor from `offset`.

        One tensor is read front to back by one thread; others may be read at the same time.
        """
        ...


class ArraySource:
    """Arrays in memory.

    Args:
        label: what messages call it.
        arrays: by name, contiguous; `arrays.BF16` for bfloat16.
    """

    def __init__(self, label: str, arrays: Mapping[str, Array]) -> None:
        self.label = label
        self.tensors = {name: WeightTensor(TYPE_NAMES[array.dtype], array.shape) for name, array in arrays.items()}
        self._bytes = {name: view_bytes(array) for name, array in arrays.items()}

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of a tensor from `offset`."""
        buffer[:] = self._bytes[name][offset : offset + len(buffer)]
