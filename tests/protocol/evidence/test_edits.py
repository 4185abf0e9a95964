"""What an edit commits to: at least one tensor, in order, and a norm that is a number."""

from hashlib import sha256

import msgspec
import pytest

from assay.errors import MalformedEvidence
from assay.protocol.encoding import float_to_bits
from assay.protocol.evidence.edits import (
    EditContradicted,
    build_edit,
    compute_edit_id,
    verify_edit,
    verify_edit_tensors,
)
from assay.protocol.evidence.events import Event, commit_events, compute_events_digest
from assay.protocol.evidence.model_state import PARAM, TensorRecord
from assay.protocol.hashing import ZERO

RECORDS = [TensorRecord(PARAM, f"0/{name}", "f32", (2,), 8, sha256(name.encode()).digest()) for name in "ab"]
EDIT = build_edit(RECORDS, float_to_bits(1.5))


def test_an_edit_commits_to_its_tensors_and_norm():
    """Another tensor, order or norm gives another id (TRN-10)."""
    verify_edit(EDIT)
    verify_edit_tensors(EDIT, RECORDS)
    assert EDIT.tensors.size == 2
    others = (build_edit(RECORDS[:1], EDIT.norm), build_edit(RECORDS, float_to_bits(1.25)))
    assert len({compute_edit_id(edit) for edit in (EDIT, *others)}) == 3


@pytest.mark.parametrize("norm", [float("inf"), float("nan"), -1.0, -0.0])
def test_a_norm_is_a_finite_number_from_zero(norm):
    """Infinity, NaN and anything with a sign are refused (TRN-10)."""
    with pytest.raises(EditContradicted):
        verify_edit(msgspec.structs.replace(EDIT, norm=float_to_bits(norm)))


def test_what_does_not_fit_is_refused():
    """No tensors, another list of tensors, another order, a later version (TRN-10)."""
    with pytest.raises(EditContradicted):
        verify_edit(build_edit([], EDIT.norm))
    with pytest.raises(EditContradicted):
        verify_edit_tensors(EDIT, RECORDS[:1])
    turned = RECORDS[::-1]
    with pytest.raises(MalformedEvidence):
        verify_edit_tensors(build_edit(turned, EDIT.norm), turned)
    with pytest.raises(MalformedEvidence):
        verify_edit(msgspec.structs.replace(EDIT, version=1))


def test_the_digest_of_events_is_the_root_of_their_list():
    """None is zero bytes; otherwise a leaf holds what a closing record would commit to (TRN-9)."""
    events = [Event(0, 3, "edit", "why", compute_edit_id(EDIT)), Event(0, 3, "metric", "rate lowered", ZERO)]
    assert compute_events_digest([]) == ZERO
    assert compute_events_digest(events) == commit_events(events).root
    assert compute_events_digest(events) != compute_events_digest(events[::-1])
