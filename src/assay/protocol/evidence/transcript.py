"""The chain of step leaves.

Source: `spec/transcript.md`.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.protocol import tags
from assay.protocol.encoding import Record
from assay.protocol.hashing import ZERO, compute_digest, compute_id
from assay.protocol.merkle import MerkleRoot, compute_data_root

EMPTY_CONTEXT = b""


class StartLeaf(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """leaf_0: binds the plan, the context and the start."""

    version: int
    plan: bytes
    context: bytes  # empty alone; H(account, chain id, nonce) on a ledger
    start_root: bytes


class StepLeaf(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """leaf_t, t ≥ 1."""

    version: int
    step: int
    program: bytes
    previous: bytes
    state_root: bytes  # after the step, or 32 zero bytes, by the period
    membership: bytes  # Merkle root over data leaves in batch order
    content: bytes  # Merkle root over the collated fields as fed
    scalars: bytes  # digest of the scalars row
    loss: bytes  # Merkle root over the returned tensors in pytree order
    events: bytes  # 32 zero bytes: none


class StepParts(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a run keeps of one step: enough to rebuild its leaf, and to compare two runs without replay."""

    step: int
    program: int  # index in the run's list of programs
    state_root: bytes  # empty: none
    membership: bytes
    content: bytes
    scalars: bytes | None  # raw little-endian float64 row; None: same as the step before
    loss: tuple[bytes, ...]  # raw bytes of the returned tensors; a tensor above 64 bytes: its BLAKE3
    loss_root: bytes
    events: bytes  # empty: none
    leaf: bytes  # id of the leaf


def compute_context(account: bytes, chain_id: bytes, nonce: int) -> bytes:
    """Return the context under which an account submits a run to a ledger, 32 bytes; `nonce` is its own choice."""
    return compute_digest(tags.CONTEXT, account + chain_id + nonce.to_bytes(8, "little"))


def compute_start_id(leaf: StartLeaf) -> bytes:
    """Return the id of leaf_0 (TRN-1)."""
    return compute_id(tags.START_LEAF, leaf)


def compute_step_id(leaf: StepLeaf) -> bytes:
    """Return the id of leaf_t (TRN-1)."""
    return compute_id(tags.STEP_LEAF, leaf)


def compute_transcript(leaf_ids: Sequence[bytes]) -> MerkleRoot:
    """Return the committed list of the ids of leaf_0, leaf_1, …: steps + 1 leaves, leaf t at index t (TRN-7)."""
    return MerkleRoot(tags.TRANSCRIPT_TREE, len(leaf_ids), compute_data_root(tags.TRANSCRIPT_TREE, leaf_ids))


def compute_scalars_digest(row: bytes) -> bytes:
    """Return the digest of a raw scalars row (TRN-6)."""
    return compute_digest(tags.SCALARS_ROW, row)


def rebuild_leaf(parts: StepParts, program: bytes, previous: bytes, scalars: bytes) -> StepLeaf:
    """Return the leaf of a step from its kept parts; `scalars` is the raw row in force."""
    return join_leaf(parts, program, previous, compute_scalars_digest(scalars))


def join_leaf(parts: StepParts, program: bytes, previous: bytes, scalars: bytes) -> StepLeaf:
    """Return the leaf of a step from its kept parts; `scalars` is the digest of the row in force."""
    return StepLeaf(
        version=0,
        step=parts.step,
        program=program,
        previous=previous,
        state_root=parts.state_root or ZERO,
        membership=parts.membership,
        content=parts.content,
        scalars=scalars,
        loss=parts.loss_root,
        events=parts.events or ZERO,
    )
