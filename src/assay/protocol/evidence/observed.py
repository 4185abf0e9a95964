"""A training loop that was only watched: its digests, and nothing to compute them again from.

The chain of leaves is that of a recorded run (`transcript.py`) with zero bytes where nothing is known: which program,
which samples, which values.

Source: `spec/observed.md`.
"""

from __future__ import annotations

from typing import Final

from assay.protocol import tags
from assay.protocol.encoding import Record
from assay.protocol.evidence.fields import verify_choice, verify_digest, verify_number, verify_version
from assay.protocol.evidence.transcript import StepLeaf, StepParts
from assay.protocol.hashing import ZERO, compute_digest, compute_id, tag_bytes
from assay.protocol.merkle import MerkleRoot
from assay.protocol.signatures import sign, verify_signature

REASONS: Final = ("completed", "interrupted")


class ObservedPlan(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is known before the first step of a loop that is watched."""

    version: int
    period: int  # a leaf holds a state root every so many steps
    start_root: bytes
    profile: bytes  # id of the profile that the process had; nothing held it to it


class ObservedEnd(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is known at the end."""

    version: int
    plan: bytes
    steps: int
    transcript: MerkleRoot
    final_state: bytes
    model_root: bytes
    reason: str


def compute_observed_plan_id(plan: ObservedPlan) -> bytes:
    """Return the id that leaf 0 names (OBS-2)."""
    return compute_id(tags.OBSERVED_PLAN, plan)


def verify_observed_plan(plan: ObservedPlan) -> None:
    """Check a plan by itself (OBS-1).

    Raises:
        MalformedEvidence: one of the classes of `fields`.
    """
    verify_version(plan.version, "plan of an observed run")
    verify_number(plan.period, "period of state roots", 1)
    verify_digest(plan.start_root, "start root")
    verify_digest(plan.profile, "profile id")


def verify_observed_end(end: ObservedEnd) -> None:
    """Check the end of an observed run by itself (OBS-5).

    Raises:
        MalformedEvidence: one of the classes of `fields`.
    """
    verify_version(end.version, "end of an observed run")
    verify_digest(end.plan, "plan id")
    verify_number(end.steps, "number of steps", 1)
    verify_number(end.transcript.tag, "tag of the transcript", tags.TRANSCRIPT_TREE, tags.TRANSCRIPT_TREE)
    verify_number(end.transcript.size, "size of the transcript", end.steps + 1, end.steps + 1)
    for digest, what in ((end.transcript.root, "transcript root"), (end.final_state, "final state root")):
        verify_digest(digest, what)
    verify_digest(end.model_root, "model root")
    verify_choice(end.reason, REASONS, "reason of the end")


def rebuild_observed_leaf(parts: StepParts, previous: bytes, scalars: bytes) -> StepLeaf:
    """Return the leaf of a step from its kept parts (OBS-3); `scalars` is the raw row in force."""
    return StepLeaf(
        version=0,
        step=parts.step,
        program=ZERO,
        previous=previous,
        state_root=parts.state_root or ZERO,
        membership=ZERO,
        content=ZERO,
        scalars=compute_digest(tags.SCALARS_ROW, scalars),
        loss=ZERO,
        events=ZERO,
    )


def compute_end_message(end: ObservedEnd) -> bytes:
    """Return what whoever watched signs: tag ‖ transcript root ‖ id of the end (OBS-6)."""
    return tag_bytes(tags.OBSERVER_SIGNATURE) + end.transcript.root + compute_id(tags.OBSERVED_END, end)


def sign_end(seed: bytes, end: ObservedEnd) -> bytes:
    """Return the 64-byte signature; `seed` is the 32-byte seed of the key."""
    return sign(seed, compute_end_message(end))


def verify_end_signature(public_key: bytes, end: ObservedEnd, signature: bytes) -> None:
    """Check the signature of whoever watched (OBS-6).

    Raises:
        Refuted: this key did not sign this end.
    """
    verify_signature(public_key, compute_end_message(end), signature)
