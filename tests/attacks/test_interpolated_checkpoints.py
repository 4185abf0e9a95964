"""Infinitesimal updates between interpolated checkpoints: the model is given an end, and training is pretended."""

import pytest

from assay.certificate.rejections import IntervalDiffers
from assay.verification.forgery import interpolate
from tests.attacks.runs import audit, find_differing, find_parts, forge_run, verify


@pytest.mark.parametrize("factor", [1.05, 1.000001])
def test_interpolated_intervals_differ(factor, honest, honest_audit, tmp_path):
    """However small the pretended updates, the replay of exactly those intervals gives another state."""
    assert find_differing(honest_audit) == []
    forged = forge_run(honest, tmp_path / "forged", edit=interpolate(8, 20, factor), skip=frozenset(range(9, 21)))
    found = audit(forged)
    assert find_differing(found) == [2, 3, 4]
    assert find_parts(forged, 4)[0] <= 20
    with pytest.raises(IntervalDiffers) as refusal:
        verify(found)
    assert (refusal.value.code, refusal.value.actual) == (IntervalDiffers.code, [2, 3, 4])


def test_the_report_names_step_tensor_and_distance(honest, tmp_path):
    """The finding says which tensors differ and by how much."""
    forged = forge_run(honest, tmp_path / "forged", edit=interpolate(8, 12, 1.05), skip=frozenset(range(9, 13)))
    answer = audit(forged).answers["interval", 2]
    assert 9 <= answer.step <= 12
    assert answer.replays == 2
    assert {tensor.name for tensor in answer.tensors} >= {"0/0.weight", "0/3.weight"}
    assert all(tensor.largest > 0 and tensor.elements > 0 for tensor in answer.tensors)
