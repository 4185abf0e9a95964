"""Steps that were never carried out: the state stands still while the transcript goes on."""

import pytest

from assay.certificate.rejections import IntervalDiffers
from tests.attacks.runs import audit, find_differing, find_parts, forge_run, read_files, verify


def test_skipped_steps_are_found_where_they_are(honest, honest_audit, tmp_path):
    """Steps 9 to 16 are not carried out: intervals 2 and 3 differ, no other."""
    assert find_differing(honest_audit) == []
    before = read_files(honest)
    forged = forge_run(honest, tmp_path / "forged", skip=frozenset(range(9, 17)))
    found = audit(forged)
    assert find_differing(found) == [2, 3]
    assert "state root" in found.answers["interval", 2].parts or "loss" in found.answers["interval", 2].parts
    assert find_parts(forged, 3)[0] <= 16
    with pytest.raises(IntervalDiffers) as refusal:
        verify(found)
    assert refusal.value.actual == [2, 3]
    assert read_files(honest) == before
