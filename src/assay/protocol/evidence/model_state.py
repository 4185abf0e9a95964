"""The complete state of training as a list of tensor digests, and its roots.

The state tree has two halves: the *model tree* (parameters, persistent buffers, alias table) whose root is the model
root, and the *rest tree* (non-persistent buffers, optimizer slots, averages). state root = H(model root ‖ rest root),
so the link between them is a proof of one hash.

Source: `spec/model-state.md`.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.protocol import tags
from assay.protocol.encoding import Record, encode
from assay.protocol.merkle import compute_data_root, hash_node

PARAM, BUFFER, TRANSIENT, SLOT, AVERAGE = range(5)
"""Namespaces, in their order (MST-1). TRANSIENT: a non-persistent buffer."""

MODEL_NAMESPACES = (PARAM, BUFFER)

DTYPES = {
    "f16": 2, "bf16": 2, "f32": 4, "f64": 8, "bool": 1, "u8": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8,
}  # fmt: skip
"""Names of element types and bytes per element."""


class TensorRecord(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One tensor of a state: BLAKE3 of its raw little-endian contiguous bytes."""

    namespace: int
    name: str  # model index '/' qualified name; optimizer index '/' parameter name '/' slot
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    digest: bytes


class Alias(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A second name of a tensor that is stored once."""

    name: str
    target: str


class AliasTable(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All aliases, sorted by name."""

    aliases: tuple[Alias, ...]


def sort_key(record: TensorRecord) -> tuple[int, bytes]:
    """Order of the records in their tree: namespace, then name bytewise."""
    return record.namespace, record.name.encode()


def compute_model_root(records: Sequence[TensorRecord], aliases: AliasTable) -> bytes:
    """Return the root over parameters, persistent buffers and the alias table (MST-7); `records` sorted."""
    leaves = [encode(record) for record in records if record.namespace in MODEL_NAMESPACES]
    return compute_data_root(tags.MODEL_TREE, [*leaves, encode(aliases)])


def compute_rest_root(records: Sequence[TensorRecord]) -> bytes:
    """Return the root over everything that is in the state and not in the model (MST-7)."""
    return compute_data_root(tags.REST_TREE, [encode(r) for r in records if r.namespace not in MODEL_NAMESPACES])


def join_roots(model_root: bytes, rest_root: bytes) -> bytes:
    """Return the state root of the two halves (MST-8)."""
    return hash_node(tags.STATE_NODE, model_root, rest_root)


def compute_state_root(records: Sequence[TensorRecord], aliases: AliasTable) -> bytes:
    """Return the state root; `records` sorted by `sort_key`."""
    return join_roots(compute_model_root(records, aliases), compute_rest_root(records))


def compute_first_model_root(records: Sequence[TensorRecord], aliases: AliasTable) -> bytes:
    """Return the model root over the first of several models alone (PLN-17); `records` sorted."""
    own = tuple(alias for alias in aliases.aliases if alias.name.startswith("0/") and alias.target.startswith("0/"))
    return compute_model_root([record for record in records if record.name.startswith("0/")], AliasTable(own))
