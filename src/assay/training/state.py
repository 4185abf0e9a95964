"""Roots over a complete state at the speed of BLAKE3.

A layout is fixed for many steps, so everything of a tensor record but its digest is encoded and fed to SHA-256 once.
The roots are those of `protocol/evidence/model_state.py`, which is the oracle.

Source: `spec/model-state.md`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

from assay.errors import UsageError
from assay.kernels.bulk_digests import Buffer, BulkHasher, split_digests
from assay.kernels.state_tree import StateTree, is_available
from assay.protocol import tags
from assay.protocol.encoding import encode
from assay.protocol.evidence.model_state import DTYPES, MODEL_NAMESPACES, AliasTable, TensorRecord, join_roots
from assay.protocol.hashing import ZERO, compute_bulk_digest, tag_bytes
from assay.protocol.merkle import hash_leaf
from assay.training.digests import compute_root_from, prepare

NO_ALIASES = AliasTable(())


class StateLayoutError(UsageError):
    """A layout that is not sorted and unique, or a buffer that does not fit its layout."""

    code = "state.layout"


@dataclass(frozen=True)
class TensorLayout:
    """All of a tensor record that does not change from step to step."""

    namespace: int
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return DTYPES[self.dtype] * math.prod(self.shape)


@dataclass(frozen=True)
class StateRoots:
    """What `StateHasher.compute` found.

    Args:
        model_root: over parameters, persistent buffers and the alias table; 32 bytes.
        rest_root: over everything else; 32 bytes.
        state_root: of both; 32 bytes.
        joined: BLAKE3 of each tensor, in the order of the layout, one after another.
    """

    model_root: bytes
    rest_root: bytes
    state_root: bytes
    joined: bytes

    @property
    def digests(self) -> list[bytes]:
        """BLAKE3 of each tensor, in the order of the layout."""
        return split_digests(self.joined)


def hash_tensor(namespace: int, name: str, dtype: str, shape: tuple[int, ...], buffer: Buffer) -> TensorRecord:
    """Return the record of one tensor.

    Args:
        namespace: of `model_state`.
        name: the full name in the state.
        dtype: a key of `model_state.DTYPES`.
        shape: of the tensor.
        buffer: its contiguous little-endian bytes.

    Raises:
        StateLayoutError: the buffer has another length than dtype and shape.
    """
    size = TensorLayout(namespace, name, dtype, shape).nbytes
    if memoryview(buffer).nbytes != size:
        raise StateLayoutError(f"bytes of {name} do not fit", expected=size, actual=memoryview(buffer).nbytes)
    return TensorRecord(namespace, name, dtype, shape, size, compute_bulk_digest(buffer))


class StateHasher:
    """The roots of states of one fixed layout.

    Args:
        layout: every tensor, sorted by namespace, then name bytewise.
        aliases: second names of tensors that are stored once.

    Raises:
        StateLayoutError: the layout is not sorted and unique.
    """

    def __init__(self, layout: Sequence[TensorLayout], aliases: AliasTable = NO_ALIASES) -> None:
        order = [(entry.namespace, entry.name.encode()) for entry in layout]
        if any(first >= second for first, second in pairwise(order)):
            raise StateLayoutError("tensors of a state are sorted by namespace and name, each once")
        self.layout = tuple(layout)
        self._sizes = [entry.nbytes for entry in layout]
        self._split = sum(entry.namespace in MODEL_NAMESPACES for entry in layout)
        self._bulk = BulkHasher()
        starts = [self._start_leaf(entry, size) for entry, size in zip(layout, self._sizes, strict=True)]
        self._aliases = hash_leaf(tags.MODEL_TREE, encode(aliases))
        self._model_node = prepare(b"\x01" + tag_bytes(tags.MODEL_TREE))
        self._rest_node = prepare(b"\x01" + tag_bytes(tags.REST_TREE))
        self._empty_rest = sha256(b"\x02" + tag_bytes(tags.REST_TREE)).digest()
        self._tree = StateTree(starts, self._split, self._aliases, self._empty_rest) if is_available() else None
        self._leaves = [] if self._tree else [prepare(start) for start in starts]

    @staticmethod
    def _start_leaf(entry: TensorLayout, size: int) -> bytes:
        """Return all of the leaf's message but the digest at its end."""
        tag = tags.MODEL_TREE if entry.namespace in MODEL_NAMESPACES else tags.REST_TREE
        record = TensorRecord(entry.namespace, entry.name, entry.dtype, entry.shape, size, ZERO)
        return b"\x00" + tag_bytes(tag) + encode(record)[: -len(ZERO)]

    def compute(self, buffers: Sequence[Buffer]) -> StateRoots:
        """Return the roots of the state with these bytes.

        Args:
            buffers: contiguous bytes of every tensor, as u8, in the order of the layout.

        Raises:
            StateLayoutError: a buffer is missing, or has another length than the layout says.
        """
        if list(map(len, buffers)) != self._sizes:
            self._refuse(buffers)
        digests = self._bulk.compute(buffers)
        joined = digests.tobytes()
        if self._tree:
            return StateRoots(*self._tree.compute(digests), joined)
        return self._join(joined)

    def _join(self, joined: bytes) -> StateRoots:
        """Return the roots above these digests, without the native library."""
        leaves = []
        for prepared, digest in zip(self._leaves, split_digests(joined), strict=True):
            leaf = prepared()
            leaf.update(digest)
            leaves.append(leaf.digest())
        model_root = compute_root_from(self._model_node, [*leaves[: self._split], self._aliases])
        rest = leaves[self._split :]
        rest_root = compute_root_from(self._rest_node, rest) if rest else self._empty_rest
        return StateRoots(model_root, rest_root, join_roots(model_root, rest_root), joined)

    def _refuse(self, buffers: Sequence[Buffer]) -> None:
        if len(buffers) != len(self._sizes):
            raise StateLayoutError("one buffer per tensor", expected=len(self._sizes), actual=len(buffers))
        for entry, buffer, size in zip(self.layout, buffers, self._sizes, strict=True):
            if len(buffer) != size:
                raise StateLayoutError(f"bytes of {entry.name} do not fit", expected=size, actual=len(buffer))
