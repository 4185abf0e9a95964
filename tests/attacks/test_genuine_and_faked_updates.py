"""Genuine large updates at the beginning, faked small ones later, where nobody expects much to change."""

import numpy as np
import pytest

from assay.certificate.rejections import IntervalDiffers
from tests.attacks.runs import STEPS, audit, find_differing, forge_run, verify


def nudge(step, state):
    """Move each parameter by a thousandth of itself, as a late step might."""
    if step > 28:
        for (namespace, _), data in state.tensors.items():
            if namespace == 0:
                values = np.ndarray((len(data) // 4,), np.float32, data)
                values *= np.float32(1.001)


def test_the_genuine_part_matches_and_the_faked_part_does_not(honest, honest_audit, tmp_path):
    """Steps 29 to 40 are faked: intervals 7, 8 and 9 differ, and the last one is in every sample."""
    assert find_differing(honest_audit) == []
    forged = forge_run(honest, tmp_path / "forged", edit=nudge, skip=frozenset(range(29, STEPS + 1)))
    assert find_differing(audit(forged)) == [7, 8, 9]
    smallest = audit(forged, sample=1)
    assert find_differing(smallest) == [9]
    with pytest.raises(IntervalDiffers):
        verify(smallest)
