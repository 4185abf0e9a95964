"""A value of Python is about to be baked into the program as a constant: the step would not be what was recorded."""

import pytest
from torch import nn

from assay.errors import CaptureRefused
from assay.protocol.evidence.program import STEP
from assay.training.recorded import RecordedRun
from tests.attacks.runs import audit, find_differing, record


def step_with(factor):
    """Return a step whose loss is multiplied by what `factor` gives for (net, batch)."""

    def body(net, optimizer, batch):
        loss = nn.functional.cross_entropy(net(batch[0]), batch[1]) * factor(net, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return body


def make_counting():
    """Return a factor that counts its calls."""
    calls = []

    def count(net, batch):
        calls.append(None)
        return 1.0 + len(calls)

    return count


REFUSED = {
    "a number read from the batch": lambda: lambda net, batch: float(batch[0].mean()),
    "a choice by the batch": lambda: lambda net, batch: 2.0 if batch[1].sum() > 14 else 1.0,
    "a count kept in Python": make_counting,
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_be_baked_in_is_refused(what, tmp_path):
    """A factor that never changes is recorded and audited; one that would is refused, and no step is kept."""
    record(tmp_path / "constant", body=step_with(lambda net, batch: 0.5), epochs=1)
    assert find_differing(audit(tmp_path / "constant")) == []
    with pytest.raises(CaptureRefused):
        record(tmp_path / "refused", body=step_with(REFUSED[what]()), epochs=1)
    refused = tmp_path / "refused"
    assert RecordedRun(refused).steps == 0
    assert not (refused / "closing.bin").exists()
    assert list((refused / "checkpoints").iterdir()) == []


def test_a_value_that_changes_between_steps_makes_another_program(tmp_path):
    """An attribute is set from outside at step 6: from there the leaves name another program, and the audit matches."""

    def change(net, optimizer, step):
        net.factor = 0.5 if step < 6 else 0.25

    record(tmp_path / "run", body=step_with(lambda net, batch: net.factor), epochs=1, each=change)
    run = RecordedRun(tmp_path / "run")
    steps = [use.first_step for use in run.uses if run.read_program(use.program).kind == STEP]
    assert 6 in steps
    assert run.rows[4].leaf.program != run.rows[5].leaf.program
    assert find_differing(audit(tmp_path / "run")) == []
