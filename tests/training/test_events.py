"""Declared events on the disk, and how far an edit moved the state."""

import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import MalformedEvidence
from assay.protocol.encoding import encode, float_to_bits
from assay.protocol.evidence.events import Event
from assay.protocol.evidence.model_state import DTYPES, PARAM
from assay.protocol.hashing import ZERO
from assay.storage.run_directory import RunDirectory
from assay.training.events import (
    NAME,
    EditTooLarge,
    EventList,
    EventsContradicted,
    StoredEvent,
    compute_change,
    is_norm_right,
    make_edit,
    read_events,
    write_events,
)
from assay.training.state import hash_tensor


def make_record(dtype, data):
    """Return the record of a flat tensor with these bytes."""
    return hash_tensor(PARAM, "0/w", dtype, (len(data) // DTYPES[dtype],), data)


def make_event(step, reason="why"):
    """Return an edit of one tensor."""
    return make_edit(step, reason, [make_record("f32", bytes(8))], 1.0)


@pytest.fixture
def run(tmp_path):
    """An empty run."""
    with RunDirectory.create(tmp_path / "run") as found:
        yield found


def test_events_are_read_as_they_were_written(run):
    """No file means no event; a list survives the disk."""
    assert read_events(run) == ()
    stored = (make_event(0), make_event(7), StoredEvent(Event(0, 9, "metric", "rate halved", ZERO), None, ()))
    write_events(run, stored)
    assert read_events(run) == stored


EVENT = make_event(3)
HOSTILE = {
    "out of order": (make_event(7), make_event(3)),
    "edit missing": (StoredEvent(EVENT.event, None, EVENT.records),),
    "tensors missing": (StoredEvent(EVENT.event, EVENT.edit, ()),),
    "another edit": (StoredEvent(EVENT.event, make_edit(3, "why", EVENT.records, 2.0).edit, EVENT.records),),
    "edit of another kind": (StoredEvent(Event(0, 3, "metric", "why", ZERO), EVENT.edit, EVENT.records),),
    "unknown kind": (StoredEvent(Event(0, 3, "magic", "why", ZERO), None, ()),),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_events_that_do_not_hold_are_refused(run, what):
    """Whatever was put on the disk is checked when it is read."""
    run.write_object(NAME, encode(EventList(0, HOSTILE[what])))
    with pytest.raises(MalformedEvidence):
        read_events(run)


def test_there_is_a_limit(run):
    """More than 4,096 events are refused when they are written."""
    with pytest.raises(EventsContradicted):
        write_events(run, [make_event(0)] * 4097)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=50))
def test_the_norm_is_that_of_the_difference(pairs):
    """It is what a sum without rounding gives, up to what is allowed for."""
    old, new = (struct.pack(f"<{len(pairs)}f", *values) for values in zip(*pairs, strict=True))
    norm = compute_change([make_record("f32", new)], [old], [new])
    exact = math.sqrt(math.fsum((a - b) ** 2 for a, b in pairs))
    assert norm == pytest.approx(exact, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32", "f64", "i64", "i32", "i16", "i8", "u8"])
def test_every_element_type_has_a_norm(dtype):
    """Numbers of each type are read as what they are; two tensors are one vector."""
    names = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64", "u8": "uint8"}
    kind = getattr(torch, names.get(dtype, dtype.replace("i", "int")))
    old, new = torch.tensor([1, 5, 0], dtype=kind), torch.tensor([4, 1, 0], dtype=kind)
    data = [tensor.view(torch.uint8).numpy().tobytes() for tensor in (old, new)]
    record = make_record(dtype, data[1])
    assert compute_change([record], data[:1], data[1:]) == 5.0
    assert compute_change([record] * 4, data[:1] * 4, data[1:] * 4) == 10.0


def test_large_tensors_are_read_in_parts():
    """A tensor above the size of a part gives the same."""
    old = np.zeros(3_000_001, np.float32)
    new = old + np.float32(2)
    record = make_record("f32", new.tobytes())
    assert compute_change([record], [old.tobytes()], [new.tobytes()]) == pytest.approx(2 * math.sqrt(3_000_001))


def test_an_infinite_change_is_refused_and_a_false_norm_is_seen():
    """What overflows cannot be declared; a norm that is off by more than a millionth is not right (TRN-11)."""
    big = struct.pack("<2d", 1e308, -1e308)
    norm = compute_change([make_record("f64", big)], [bytes(16)], [big])
    with pytest.raises(EditTooLarge):
        make_edit(1, "why", [make_record("f64", big)], norm)
    edit = make_event(3).edit
    assert edit.norm == float_to_bits(1.0)
    assert is_norm_right(edit, 1.0 + 5e-7)
    assert not is_norm_right(edit, 1.0 + 5e-6)
