"""A step behaves until a certain step, and plants something then: it has to count, and what counts is in the state.

Counters are listed in the certificate. A counter that also reads the batch is not found: it looks like a statistic.
"""

import torch
from torch import nn

from tests.attacks.runs import audit, find_differing, make_net, read_predicate, record, verify


class Counting(nn.Module):
    """A classifier that counts, and adds to its outputs from the eighth step."""

    def __init__(self, *, reads_batch=False):
        super().__init__()
        self.inner = nn.Linear(4, 3)
        self.reads_batch = reads_batch
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, fields):
        if self.training:
            self.seen.add_(1 + (fields.mean() * 1e-30 if self.reads_batch else 0))
        planted = (self.seen > 8).to(torch.float32)
        return self.inner(fields) + planted * torch.tensor([5.0, 0.0, 0.0])


def test_a_buffer_that_counts_is_listed(tmp_path):
    """Also one of reals: its new value does not depend on the batch. The words name it; the run matches."""
    record(tmp_path / "honest", net=nn.Sequential(nn.Linear(4, 3)), epochs=1)
    assert not any("it could count by" in said for said in verify(audit(tmp_path / "honest")).not_proven)
    record(tmp_path / "run", net=Counting(), epochs=1)
    found = audit(tmp_path / "run")
    assert find_differing(found) == []
    assert any("0/seen" in summary.counters for summary in read_predicate(found).programs)
    said = verify(found).not_proven
    assert "That the step does the same at all times: it could count by 0/seen." in said


def test_the_counter_of_batch_norm_is_listed_too(honest_audit):
    """An honest model may have counters: batch norm's is named."""
    said = verify(honest_audit).not_proven
    assert "That the step does the same at all times: it could count by 0/1.num_batches_tracked." in said
    assert make_net()[1].num_batches_tracked == 0


def test_a_counter_that_reads_the_batch_is_not_found(tmp_path):
    """A count with a vanishing share of the batch looks like a statistic: not listed. The program is not judged."""
    record(tmp_path / "run", net=Counting(reads_batch=True), epochs=1)
    found = audit(tmp_path / "run")
    assert find_differing(found) == []
    assert not any("0/seen" in summary.counters for summary in read_predicate(found).programs)
    assert "That the data or the program are benign." in verify(found).not_proven
