"""The process flushes subnormal numbers to zero: before the run, while it is recorded, or in the auditor's process."""

import pytest
import torch
from torch import nn

from assay.training.pytorch.profile import is_flushing_denormals
from assay.training.pytorch.step_runner import ProfileLeft
from assay.training.recorded import RecordedRun
from tests.attacks.runs import audit, find_differing, make_net, record


@pytest.fixture(autouse=True)
def restore():
    """Leave the processor as it was."""
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(1)
    torch._C._set_mkldnn_enabled(True)


def make_tiny():
    """Return a net with a weight that no longer exists once subnormal numbers are flushed."""
    net = make_net()
    net.register_parameter("tiny", nn.Parameter(torch.full((64,), 1e-39)))
    return net


def body(net, optimizer, batch):
    """Train, with an update of the tiny weight that is itself subnormal."""
    loss = nn.functional.cross_entropy(net(batch[0]), batch[1]) + (net.tiny * 1e-39).sum()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


def test_flushing_before_the_run_is_undone(tmp_path):
    """The profile says that they are kept, and they are: the run matches in a process that keeps them."""
    torch.set_flush_denormal(True)
    assert is_flushing_denormals()
    record(tmp_path / "run", net=make_tiny(), body=body, epochs=1)
    assert not is_flushing_denormals()
    settings = {setting.name: setting.value for setting in RecordedRun(tmp_path / "run").profile.settings}
    assert settings["flush_denormal"] == "False"
    assert find_differing(audit(tmp_path / "run")) == []


def test_flushing_in_the_auditors_process_is_undone(tmp_path):
    """An auditor's process that flushes gives the recorded bits all the same: the worker applies the profile."""
    record(tmp_path / "run", net=make_tiny(), body=body, epochs=1)
    torch.set_flush_denormal(True)
    assert find_differing(audit(tmp_path / "run")) == []
    assert not is_flushing_denormals()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("flush_denormal", lambda: torch.set_flush_denormal(True)),
        ("threads", lambda: torch.set_num_threads(2)),
        ("mkldnn", lambda: torch._C._set_mkldnn_enabled(False)),
    ],
)
def test_leaving_the_profile_while_the_run_is_recorded_is_refused(name, change, tmp_path):
    """From step 6 the process computes otherwise: refused, because nobody could replay it; five steps stay."""

    def leave(net, optimizer, step):
        if step == 6:
            change()

    with pytest.raises(ProfileLeft) as refusal:
        record(tmp_path / "run", net=make_tiny(), body=body, epochs=1, each=leave)
    assert refusal.value.code == "capture.profile"
    assert name in refusal.value.message
    assert not (tmp_path / "run" / "closing.bin").exists()
    assert RecordedRun(tmp_path / "run").steps <= 5
