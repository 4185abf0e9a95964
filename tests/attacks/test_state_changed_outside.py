"""The state is changed between two steps, by hand: a parameter, a buffer, a slot of the optimizer."""

import pytest
import torch

from assay.errors import AssayError
from tests.attacks.runs import audit, find_differing, record

CHANGES = {
    "a parameter": lambda net, optimizer: net[0].weight.data.mul_(1.5),
    "a parameter's memory": lambda net, optimizer: net[0].weight.detach().numpy().__setitem__(0, 9.0),
    "a buffer": lambda net, optimizer: net[1].running_mean.add_(1),
    "a slot": lambda net, optimizer: optimizer.state[net[0].weight]["momentum_buffer"].zero_(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_outside_the_step_stops_the_run(what, tmp_path):
    """After step 12, a checkpoint, something is overwritten: the next step is refused, and so is no honest one."""
    record(tmp_path / "honest", epochs=2)
    assert find_differing(audit(tmp_path / "honest")) == []

    def change(net, optimizer, step):
        if step == 13:
            with torch.no_grad():
                CHANGES[what](net, optimizer)

    with pytest.raises(AssayError) as refusal:
        record(tmp_path / "changed", epochs=2, each=change)
    assert refusal.value.code.startswith("state."), refusal.value.code
    assert not (tmp_path / "changed" / "closing.bin").exists()
