"""A wanted update is chosen first, and data that give it are made up afterwards."""

import numpy as np
import pytest
import torch

from assay.certificate.rejections import IntervalDiffers
from tests.attacks.runs import audit, find_differing, forge_run, load_flowers, record, verify


def synthesise(step, arrays):
    """Return inputs that push the model somewhere else, under the labels of the committed batch."""
    return [np.sign(arrays[0] - 3).astype(np.float32) * 9, arrays[1]] if 12 < step <= 16 else arrays


def test_data_made_up_afterwards_are_not_the_committed_ones(honest, honest_audit, tmp_path):
    """The plan committed to the data before the first step: the interval that used others differs."""
    assert find_differing(honest_audit) == []
    found = audit(forge_run(honest, tmp_path / "forged", alter=synthesise))
    assert find_differing(found) == [3]
    assert "loss" in found.answers["interval", 3].parts
    with pytest.raises(IntervalDiffers):
        verify(found)


def test_data_made_up_beforehand_succeed_and_the_certificate_says_so(tmp_path):
    """Data synthesised before the plan are data: everything matches, and nothing is claimed about what they are."""
    _, targets = load_flowers()
    inputs = torch.sign(torch.linspace(-1, 1, 600)).reshape(150, 4) * 9
    record(tmp_path / "run", data=(inputs, targets), epochs=1)
    findings = verify(audit(tmp_path / "run"))
    assert findings.differing == []
    assert "That the data or the program are benign." in findings.not_proven
