"""NaN: a run that reaches it stops, and keeps what it had; a forged state of NaN is found like any other."""

import numpy as np
import pytest

from assay.training.pytorch.home import NotFinite
from assay.training.recorded import RecordedRun
from tests.attacks.runs import audit, find_differing, forge_run, load_flowers, record


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path):
    """A rate that explodes: the run stops with the step, has no closing record, and its checkpoints stay."""
    record(tmp_path / "honest", epochs=1)
    assert find_differing(audit(tmp_path / "honest")) == []
    with pytest.raises(NotFinite) as refusal:
        record(tmp_path / "run", rate=lambda step: 1e30 if step > 6 else 0.01, epochs=2)
    assert refusal.value.code == "run.not-finite"
    run = RecordedRun(tmp_path / "run")
    assert not run.is_finished
    assert run.directory.checkpoints.list_steps() == [4]


def test_data_that_are_not_a_number_stop_the_first_step(tmp_path):
    """A NaN in a sample: nothing is recorded."""
    inputs, targets = load_flowers()
    inputs[:, 0] = float("nan")
    with pytest.raises(NotFinite):
        record(tmp_path / "run", data=(inputs, targets), epochs=1)
    assert RecordedRun(tmp_path / "run").steps == 0


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FC00001, 0xFFC00000, 0x80000000])
def test_a_forged_pattern_is_another_state(bits, honest, honest_audit, tmp_path):
    """NaN of any payload, or −0 in place of what was computed, are other bytes: the interval differs."""
    assert find_differing(honest_audit) == []

    def edit(step, state):
        if step == 14:
            np.frombuffer(state.tensors[0, "0/3.bias"], np.uint32)[0] = bits

    assert find_differing(audit(forge_run(honest, tmp_path / "forged", edit=edit))) != []
