"""Something is planted beside the parameters: in an optimizer slot, in a buffer, in the position in the data."""

from dataclasses import replace

import numpy as np
import pytest

from assay.certificate.rejections import IntervalDiffers
from assay.protocol.evidence.model_state import BUFFER, SLOT
from tests.attacks.runs import audit, find_differing, forge_run, open_feed, relink, verify


def plant(namespace, fragment, value):
    """Return an edit that overwrites the tensors of a namespace after step 12."""

    def edit(step, state):
        for (space, name), data in state.tensors.items():
            if step == 12 and space == namespace and fragment in name:
                np.ndarray((len(data) // value.itemsize,), value.dtype, data)[:] = value

    return edit


PLANTED = {
    "optimizer slot": plant(SLOT, "0.weight", np.float32(0.5)),
    "running mean": plant(BUFFER, "running_mean", np.float32(3)),
    "counter": plant(BUFFER, "num_batches_tracked", np.int64(10**6)),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_beside_the_parameters_is_in_the_state_root(what, honest, honest_audit, tmp_path):
    """Parameters are left alone; the state root covers slots and buffers, so interval 2 differs at step 12."""
    assert find_differing(honest_audit) == []
    found = audit(forge_run(honest, tmp_path / "forged", edit=PLANTED[what]))
    assert find_differing(found) == [2]
    answer = found.answers["interval", 2]
    assert (answer.step, answer.parts) == (12, ("state root",))
    with pytest.raises(IntervalDiffers):
        verify(found)


def test_the_position_in_the_data_cannot_be_moved(honest, tmp_path):
    """Each step claims the batch of the step before: the position follows from t, so every such row differs."""
    feed = open_feed(honest)

    def move(step, result):
        if not 12 < step <= 16:
            return result
        batch = feed.get_batch(step - 1)
        return replace(result, membership=batch.membership, content=batch.content)

    found = audit(relink(honest, tmp_path / "moved", move))
    assert find_differing(found) == [3]
    answer = found.answers["interval", 3]
    assert (answer.step, answer.parts) == (13, ("membership", "content"))
