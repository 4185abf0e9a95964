"""`AveragedModel.update_parameters` inside a recorded step."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import swa_utils
from torch.optim.swa_utils import AveragedModel

from assay.errors import CaptureRefused
from assay.training.pytorch import averages
from assay.training.pytorch.averages import adapt_averages
from assay.training.pytorch.step_runner import GraphDiffers
from tests.training.pytorch.sessions import line_of, record, record_beside_plain, sgd
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


def change_in_avg_fn(averaged, model, _count):
    """An average that also shrinks the model."""
    model.mul_(0.99)  # here
    return averaged * 0.9 + model * 0.1


def change_in_multi_avg_fn(averaged, model, _count):
    """The same over lists, past the version counter."""
    for own, other in zip(averaged, model, strict=True):
        other.data.mul_(0.99)  # here
        own.lerp_(other, 0.1)


def use_count_times_three(averaged, model, count, *, function=None):
    """PyTorch's average of models, that counts each three times."""
    function(averaged, model, count * 3)


@pytest.mark.parametrize(
    ("option", "function"), [("avg_fn", change_in_avg_fn), ("multi_avg_fn", change_in_multi_avg_fn)]
)
def test_a_function_that_changes_more_than_the_average_is_refused(option, function, tmp_path):
    """PyTorch does not call it for the first model, so that calling it would change what eager leaves."""
    nets, optimizer, body = make(**{option: function})
    with pytest.raises(CaptureRefused, match="writes to more than the average") as refused:
        record(tmp_path / "run", nets, optimizer, body)
    assert line_of(function) in str(refused.value)


def test_a_function_that_changes_its_own_tensors_is_recorded(tmp_path):
    """Writing to what the function itself made is no change of anything else."""

    def average(averaged, model, count):
        share = torch.ones_like(model).div_(count + 2)
        torch.add(share, 0.01, out=share)
        return averaged.mul_(1 - share).add_(share * model)

    closing, differing = record_beside_plain(tmp_path / "run", lambda: make(avg_fn=average), checkpoint_every=3)
    assert differing == []
    assert replay(tmp_path / "run") == []
    assert closing.steps == 6


def test_what_wraps_pytorchs_function_is_not_taken_for_it(tmp_path):
    """`functools.wraps` leads to PyTorch's function, whose branch on a number is then refused as everybody's."""
    plain = swa_utils.get_swa_multi_avg_fn()
    wrapped = functools.wraps(plain)(functools.partial(use_count_times_three, function=plain))
    nets, optimizer, body = make(multi_avg_fn=wrapped)
    with pytest.raises(CaptureRefused, match="reads the value of a tensor"):
        record(tmp_path / "run", nets, optimizer, body)


def test_a_method_in_the_place_of_pytorchs_is_recorded_as_it_is(tmp_path, monkeypatch):
    """Somebody's own `update_parameters`, put into the class, is not replaced by ours."""

    def update_parameters(self, model):
        with torch.no_grad():
            for own, other in zip(self.parameters(), model.parameters(), strict=True):
                own.lerp_(other, 0.3)

    monkeypatch.setattr(AveragedModel, "update_parameters", update_parameters)
    _, differing = record_beside_plain(tmp_path / "run", make, checkpoint_every=3)
    assert differing == []
    assert replay(tmp_path / "run") == []


def test_the_first_steps_are_compared_with_pytorchs_own_method(tmp_path, monkeypatch):
    """A fault in what is adapted is seen: what runs beside the program is not adapted."""

    def average(own, other, _count):
        for target, source in zip(own, other, strict=True):
            target.lerp_(source, 0.25)

    monkeypatch.setattr(averages, "_average_plainly", average)
    nets, optimizer, body = make(multi_avg_fn=swa_utils.get_swa_multi_avg_fn())
    with pytest.raises(GraphDiffers, match=r"module\.0\.weight"):
        record(tmp_path / "run", nets, optimizer, body)
