"""`AveragedModel.update_parameters` inside a recorded step."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import swa_utils
from torch.optim.swa_utils import AveragedModel

from assay.errors import CaptureRefused
from assay.training.pytorch.averages import adapt_averages
from tests.training.pytorch.sessions import record, record_beside_plain, sgd
from tests.training.pytorch.test_batches_of_all_kinds import replay

OPTIONS = {
    "swa": dict,
    "swa with buffers": lambda: {"use_buffers": True},
    "swa by list": lambda: {"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()},
    "ema by list": lambda: {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9)},
    "ema by list with buffers": lambda: {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9), "use_buffers": True},
    "ema": lambda: {"avg_fn": swa_utils.get_ema_avg_fn(0.9)},
    "own": lambda: {"avg_fn": lambda averaged, model, count: averaged + (model - averaged) / (count + 2)},
}


def make_net():
    """A net with buffers of both kinds: floating and counting."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))


def make(**options):
    """Return models, optimizer and a step that averages at its end."""
    net = make_net()
    averaged, optimizer = AveragedModel(net, **options), sgd(net)

    def body(batch):
        loss = functional.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        averaged.update_parameters(net)
        return loss

    return [net, averaged], optimizer, body


@pytest.mark.parametrize("name", OPTIONS)
def test_averages_have_the_bits_of_eager_and_replay(name, tmp_path):
    """Every form that PyTorch has, over the first copy and the averages after it; one average more is one more step."""
    closing, differing = record_beside_plain(
        tmp_path / "run", lambda: make(**OPTIONS[name]()), steps=6, checkpoint_every=2
    )
    assert differing == []
    assert closing.steps == 6
    assert replay(tmp_path / "run") == []


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_adapted_update_is_the_update(name, dtype):
    """Without any recording: the same state from both, eleven times in a row."""
    net = make_net().to(dtype)
    plain, adapted = AveragedModel(net, **OPTIONS[name]()), AveragedModel(net, **OPTIONS[name]())
    for _ in range(11):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
            net[1].num_batches_tracked += 3
        plain.update_parameters(net)
        with adapt_averages():
            adapted.update_parameters(net)
        assert all(map(torch.equal, plain.state_dict().values(), adapted.state_dict().values()))


def test_a_subclass_with_an_update_of_its_own_is_not_adapted(tmp_path):
    """Its branch on a value is refused as everybody's."""

    class Own(AveragedModel):
        def update_parameters(self, model):
            if self.n_averaged > 2:
                super().update_parameters(model)
            self.n_averaged += 1

    net = make_net()
    averaged, optimizer = Own(net), sgd(net)

    def body(batch):
        loss = functional.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        averaged.update_parameters(net)
        return loss

    with pytest.raises(CaptureRefused, match=r"test_averages\.py"):
        record(tmp_path / "run", [net, averaged], optimizer, body)


def test_the_method_is_pytorchs_own_again_afterwards(tmp_path):
    """Recording leaves the class as it was."""
    own = AveragedModel.update_parameters
    nets, optimizer, body = make()
    record(tmp_path / "run", nets, optimizer, body, steps=3).run.close()
    assert AveragedModel.update_parameters is own
