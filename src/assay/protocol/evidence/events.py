"""Declared events of a run: edits of the state outside a step, metric-driven changes, an early stop.

Source: `spec/certificate.md`, CRT-22; `spec/transcript.md`, TRN-9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from assay.protocol import tags
from assay.protocol.encoding import Record, encode
from assay.protocol.evidence.fields import (
    verify_choice,
    verify_digest,
    verify_number,
    verify_printable,
    verify_version,
)
from assay.protocol.hashing import ZERO
from assay.protocol.merkle import MerkleRoot, compute_data_root

EDIT: Final = "edit"
METRIC: Final = "metric"
EARLY_STOP: Final = "early-stop"
KINDS: Final = (EDIT, METRIC, EARLY_STOP)
MAX_REASON: Final = 1024


class Event(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One event; the tree of events (tag EVENTS_TREE) is over the canonical bytes, in the order of the steps."""

    version: int
    step: int  # after which it happened
    kind: str
    reason: str  # printable ASCII, in the submitter's words
    tensors: bytes  # digest of the manifest of the changed tensors, or 32 zero bytes


def compute_events_digest(events: Sequence[Event]) -> bytes:
    """Return what the leaf of step t holds of the events after step t − 1; zero bytes for none (TRN-9)."""
    return commit_events(events).root if events else ZERO


def commit_events(events: Sequence[Event]) -> MerkleRoot:
    """Return the committed list of events, such as all of a run for its closing record."""
    root = compute_data_root(tags.EVENTS_TREE, [encode(event) for event in events])
    return MerkleRoot(tags.EVENTS_TREE, len(events), root)


def verify_event(event: Event) -> None:
    """Check an event by itself (CRT-22).

    Raises:
        MalformedEvidence: one of the classes of `fields`.
    """
    verify_version(event.version, "event")
    verify_number(event.step, "step of an event")
    verify_choice(event.kind, KINDS, "kind of event")
    verify_printable(event.reason, "reason of an event", MAX_REASON)
    verify_digest(event.tensors, "digest of changed tensors")
