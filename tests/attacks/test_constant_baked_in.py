"""A value of Python is about to be baked into the program as a constant: the step would not be what was recorded."""

import pytest
from torch import nn

from assay.errors import CaptureRefused
from tests.attacks.runs import audit, find_differing, record


def make_body(factor):
    """Return a step whose loss is multiplied by what `factor` gives for (step, batch)."""
    calls = []

    def body(net, optimizer, batch):
        calls.append(None)
        loss = nn.functional.cross_entropy(net(batch[0]), batch[1]) * factor(len(calls), batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return body


REFUSED = {
    "a number read from the batch": lambda step, batch: float(batch[0].mean()),
    "a choice by the batch": lambda step, batch: 2.0 if batch[1].sum() > 14 else 1.0,
    "a count kept in Python": lambda step, batch: 1.0 + step / 10,
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_be_baked_in_is_refused(what, tmp_path):
    """A constant factor is a constant, and the run is audited; a factor that changes is refused and nothing is kept."""
    record(tmp_path / "constant", body=make_body(lambda step, batch: 0.5), epochs=1)
    assert find_differing(audit(tmp_path / "constant")) == []
    with pytest.raises(CaptureRefused):
        record(tmp_path / "refused", body=make_body(REFUSED[what]), epochs=1)
    assert (tmp_path / "refused" / "steps.log").stat().st_size == 0
    assert not (tmp_path / "refused" / "closing.bin").exists()
    assert list((tmp_path / "refused" / "checkpoints").iterdir()) == []
