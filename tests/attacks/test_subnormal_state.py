"""A state full of subnormal numbers stalls processors that handle them slowly: a replay of it must still end.

They are kept, never flushed, so the bits are the same for everybody. It costs time, which is bounded by the auditor:
a worker that takes too long is killed, and that says nothing about the run (`test_graph_bombs.py`).
"""

import numpy as np
import torch
from torch import nn

from assay.training.recorded import RecordedRun
from tests.attacks.runs import audit, find_differing, make_net, record, verify


def test_a_subnormal_state_is_replayed_bit_for_bit(honest_audit, tmp_path):
    """All weights start below 2⁻¹²⁶ and stay there: every interval matches, and the stored state is still subnormal."""
    assert find_differing(honest_audit) == []
    net = make_net()
    with torch.no_grad():
        for layer in (net[0], net[3]):
            layer.weight.fill_(1e-40)
    kept = nn.Parameter(torch.full((4096,), 1e-41))
    net.register_parameter("kept", kept)

    def body(net, optimizer, batch):
        loss = nn.functional.cross_entropy(net(batch[0]), batch[1]) + (net.kept * net.kept).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    record(tmp_path / "run", net=net, rate=1e-3, body=body, epochs=1)
    found = audit(tmp_path / "run")
    assert find_differing(found) == []
    assert verify(found).differing == []
    stored = RecordedRun(tmp_path / "run").directory.checkpoints.read(10)
    data = dict(zip([record.name for record in stored.manifest.records], stored.tensors, strict=True))["0/kept"]
    values = np.frombuffer(data, np.float32)
    assert (values > 0).all()
    assert (values < np.finfo(np.float32).tiny).all()
