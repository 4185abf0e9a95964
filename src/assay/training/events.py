"""The declared events of a run on the disk, each with what it needs to be done again.

Source: `spec/transcript.md`, TRN-9 to TRN-11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Final, Protocol

import numpy as np
import numpy.typing as npt

from assay.errors import MalformedEvidence, UsageError
from assay.protocol.encoding import Record, bits_to_float, decode, encode, float_to_bits
from assay.protocol.evidence.edits import Edit, build_edit, compute_edit_id, verify_edit, verify_edit_tensors
from assay.protocol.evidence.events import MAX_REASON, Event, verify_event
from assay.protocol.evidence.model_state import TensorRecord
from assay.protocol.hashing import ZERO
from assay.storage.run_directory import RunDirectory

NAME: Final = "events.bin"
MAX_EVENTS: Final = 4096
NORM_TOLERANCE: Final = 1e-6
"""Relative; the norm is for people, and its last bits depend on the order of a sum."""

_CHUNK = 1 << 20
_TYPES: Final = {
    "f16": "<f2", "f32": "<f4", "f64": "<f8", "bool": "|u1", "u8": "|u1", "i8": "|i1", "i16": "<i2", "i32": "<i4",
    "i64": "<i8", "bf16": "<u2",
}  # fmt: skip

Buffer = bytes | bytearray | memoryview


class EventsContradicted(MalformedEvidence):
    """Stored events that are out of order, too many, or lack what they name."""

    code: ClassVar[str] = "events.contradicted"


class ReasonUnfit(UsageError):
    """A reason that no event can hold."""

    code: ClassVar[str] = "event.reason"


class EditTooLarge(UsageError):
    """A change whose norm is larger than any number."""

    code: ClassVar[str] = "edit.too-large"


class ObjectHome(Protocol):
    """What events are read from: a run, however it was opened."""

    def has_object(self, name: str) -> bool:
        """Return whether an object of this name is stored."""
        ...

    def read_object(self, name: str) -> bytes:
        """Return the bytes of an object."""
        ...


class StoredEvent(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An event and, of an edit, the records of the changed tensors; their bytes are blobs of the run."""

    event: Event
    edit: Edit | None
    records: tuple[TensorRecord, ...]


class EventList(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All events of a run, in the order of their steps."""

    version: int
    events: tuple[StoredEvent, ...]


def read_events(run: ObjectHome) -> tuple[StoredEvent, ...]:
    """Return the events of a run, each checked by itself and all in order.

    Raises:
        MalformedEvidence: one does not hold.
    """
    if not run.has_object(NAME):
        return ()
    stored = decode(run.read_object(NAME), EventList).events
    if len(stored) > MAX_EVENTS:
        raise EventsContradicted("too many events", expected=f"at most {MAX_EVENTS}", actual=len(stored))
    for one in stored:
        _verify_stored(one)
    steps = [one.event.step for one in stored]
    if steps != sorted(steps):
        raise EventsContradicted("events are not in the order of their steps", actual=steps[:10])
    return stored


def _verify_stored(one: StoredEvent) -> None:
    verify_event(one.event)
    if one.event.kind == "edit":
        if one.edit is None:
            raise EventsContradicted(f"the edit after step {one.event.step} is not there")
        verify_edit(one.edit)
        verify_edit_tensors(one.edit, one.records)
    elif one.edit is not None or one.records:
        raise EventsContradicted(f"an event of kind {one.event.kind} has an edit", expected="none")
    if (ZERO if one.edit is None else compute_edit_id(one.edit)) != one.event.tensors:
        raise EventsContradicted(f"the event after step {one.event.step} names another edit")


def write_events(run: RunDirectory, stored: Sequence[StoredEvent]) -> None:
    """Replace the list of events, durably.

    Raises:
        EventsContradicted: more than a run may have.
    """
    if len(stored) > MAX_EVENTS:
        raise EventsContradicted("too many events", expected=f"at most {MAX_EVENTS}", actual=len(stored))
    run.write_object(NAME, encode(EventList(0, tuple(stored))), replace=True)


def verify_reason(reason: str, what: str) -> None:
    """Check that a reason can be a part of an event.

    Raises:
        ReasonUnfit: it is empty, too long, or not of printable ASCII.
    """
    if not isinstance(reason, str) or not (0 < len(reason) <= MAX_REASON and reason.isascii() and reason.isprintable()):
        raise ReasonUnfit(
            f"{what} needs a reason",
            expected=f"1 to {MAX_REASON} printable characters of ASCII",
            actual=repr(reason)[:100],
        )


def make_note(kind: str, step: int, reason: str) -> StoredEvent:
    """Return an event after `step` that changes no tensor: of kind "metric" or "early-stop".

    Args:
        kind: of the event.
        step: after which it happened.
        reason: in any characters; what no event can hold is written in another way.
    """
    text = "".join(one if one.isprintable() else " " for one in reason.encode("ascii", "backslashreplace").decode())
    stored = StoredEvent(Event(0, step, kind, text[:MAX_REASON], ZERO), None, ())
    _verify_stored(stored)
    return stored


def make_edit(step: int, reason: str, records: Sequence[TensorRecord], norm: float) -> StoredEvent:
    """Return the event of an edit after `step`.

    Raises:
        MalformedEvidence: the reason is no printable ASCII text of at most 1024 characters.
        EditTooLarge: the norm is infinite.
    """
    if not math.isfinite(norm):
        raise EditTooLarge("the norm of the edit is infinite", expected="a finite number", actual=norm)
    edit = build_edit(records, float_to_bits(norm))
    stored = StoredEvent(Event(0, step, "edit", reason, compute_edit_id(edit)), edit, tuple(records))
    _verify_stored(stored)
    return stored


def compute_change(records: Sequence[TensorRecord], before: Sequence[Buffer], after: Sequence[Buffer]) -> float:
    """Return the Euclidean norm of the change of tensors, in binary64.

    Args:
        records: of the tensors; element types are taken from them.
        before: their bytes before it.
        after: their bytes after it.
    """
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for record, old, new in zip(records, before, after, strict=True):
            for place in range(0, record.nbytes, _CHUNK):
                parts = (_read(record, data, place) for data in (new, old))
                difference = np.subtract(*parts)
                total += float(np.dot(difference, difference))
    return math.sqrt(total) if total == total else math.inf  # noqa: PLR0124 - NaN: infinity minus infinity


def _read(record: TensorRecord, data: Buffer, place: int) -> npt.NDArray[np.float64]:
    chunk = np.frombuffer(memoryview(data)[place : place + _CHUNK], _TYPES[record.dtype])
    if record.dtype == "bf16":
        return (chunk.astype("<u4") << 16).view("<f4").astype(np.float64)
    return chunk.astype(np.float64)


def is_norm_right(edit: Edit, norm: float) -> bool:
    """Return whether a recomputed norm is the one that was written, but for the order of a sum (TRN-11)."""
    written = bits_to_float(edit.norm)
    return abs(written - norm) <= NORM_TOLERANCE * max(written, norm)
