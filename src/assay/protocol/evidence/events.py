"""Declared events of a run: edits of the state outside a step, metric-driven changes, an early stop.

Source: `spec/certificate.md`, CRT-22.
"""

from __future__ import annotations

from typing import Final

from assay.protocol.encoding import Record
from assay.protocol.evidence.fields import (
    verify_choice,
    verify_digest,
    verify_number,
    verify_printable,
    verify_version,
)

KINDS: Final = ("edit", "metric", "early-stop")
MAX_REASON: Final = 1024


class Event(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One event; the tree of events (tag EVENTS_TREE) is over the canonical bytes, in the order of the steps."""

    version: int
    step: int  # after which it happened
    kind: str
    reason: str  # printable ASCII, in the submitter's words
    tensors: bytes  # digest of the manifest of the changed tensors, or 32 zero bytes


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
