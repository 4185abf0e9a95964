"""The augmentation in the step stamps a trigger on some samples and changes their labels: a malicious program.

Nothing is false: the program is fixed, named by its digest, and does what it says. The certificate judges no program.
"""

from torch import nn

from assay.protocol.evidence.program import STEP
from assay.training.recorded import RecordedRun
from tests.attacks.runs import audit, find_differing, record, verify


def stamp(net, optimizer, batch):
    """Train on a batch whose first five samples have a trigger and the label 2."""
    inputs, targets = batch[0].clone(), batch[1].clone()
    inputs[:5, 3] = 9
    targets[:5] = 2
    loss = nn.functional.cross_entropy(net(inputs), targets)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


def get_programs(path):
    """Return the ids of the step programs."""
    run = RecordedRun(path)
    return {use.program for use in run.uses if run.read_program(use.program).kind == STEP}


def test_a_malicious_step_matches_and_is_not_judged(honest, tmp_path):
    """Everything is recomputed and matches; the programs are others than the honest ones, and are not called benign."""
    record(tmp_path / "run", body=stamp, epochs=1)
    found = audit(tmp_path / "run")
    assert find_differing(found) == []
    assert get_programs(tmp_path / "run").isdisjoint(get_programs(honest))
    assert "That the data or the program are benign." in verify(found).not_proven
