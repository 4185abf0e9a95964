"""Every optimizer of torch in every form: bit-equal to plain PyTorch, or refused by name."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import assay
from assay.errors import CaptureRefused
from assay.training.pytorch.scalars import OptimizerRefused
from tests.training.pytorch.sessions import make_data, make_net, record, record_beside_plain

OPTIMIZERS = {
    "SGD": {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01},
    "Adam": {"amsgrad": True, "weight_decay": 0.01},
    "AdamW": {},
    "Adamax": {},
    "NAdam": {"decoupled_weight_decay": True, "weight_decay": 0.01},
    "RAdam": {},
    "Adagrad": {"lr_decay": 0.1},
    "Adadelta": {},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Rprop": {"etas": (0.3, 1.2)},
}


def make_body(net, optimizer):
    """The usual step, which clears the gradients of the whole net."""

    def body(batch):
        loss = functional.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        net.zero_grad()
        return loss

    return body


def compare(path, make_optimizer, **options):
    """Record eight steps; return what differs from plain PyTorch."""

    def make():
        net = make_net()
        optimizer = make_optimizer(net)
        return net, optimizer, make_body(net, optimizer)

    return record_beside_plain(path, make, steps=8, **options)[1]


def change_rates(step, net, optimizer):
    """A schedule by hand, of every number that has one."""
    for group in optimizer.param_groups:
        group["lr"] = 0.05 / step
        if "momentum" in group:
            group["momentum"] = 0.9 - 0.01 * step
        if "betas" in group:
            group["betas"] = (0.9 - 0.01 * step, 0.99)


@pytest.mark.parametrize("foreach", [None, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_have_the_bits_of_plain_pytorch(name, foreach, tmp_path):
    """Two groups, a schedule by hand, the default form and the form over lists."""

    def make_optimizer(net):
        groups = [{"params": net[0].parameters(), "lr": 0.05}, {"params": net[2].parameters(), "maximize": False}]
        return getattr(torch.optim, name)(groups, lr=0.01, foreach=foreach, **OPTIMIZERS[name])

    assert compare(tmp_path / "run", make_optimizer, before=change_rates) == []


def test_muon_has_the_bits_of_plain_pytorch(tmp_path):
    """Its rates depend on the shapes of the weights, tall and wide ones."""

    def make_optimizer(net):
        return torch.optim.Muon([p for p in net.parameters() if p.dim() == 2], lr=0.02)

    def before(step, net, optimizer):
        optimizer.param_groups[0]["lr"] = 0.02 / step

    assert compare(tmp_path / "run", make_optimizer, before=before) == []


@pytest.mark.parametrize(("name", "options"), [("ASGD", {}), ("Adam", {"capturable": True})])
def test_what_cannot_be_read_is_refused_by_name(name, options, tmp_path):
    """The message names optimizer and reason."""
    net = make_net()
    optimizer = getattr(torch.optim, name)(net.parameters(), lr=0.01, **options)
    with pytest.raises(OptimizerRefused, match=name):
        record(tmp_path / "run", net, optimizer, make_body(net, optimizer))


class CountingFromTheFirstStep(torch.optim.SGD):
    """A counter in the state that belongs to no parameter."""

    def step(self, closure=None):
        """Count, and update as SGD does."""
        super().step(closure)
        self.state["steps"] = self.state.get("steps", 0) + 1


def test_a_counter_beside_the_slots_is_refused(tmp_path):
    """Also where it appears in the first step only; the message names the optimizer."""
    net = make_net()
    optimizer = CountingFromTheFirstStep(net.parameters(), lr=0.1)
    with pytest.raises(CaptureRefused, match="CountingFromTheFirstStep"):
        record(tmp_path / "run", net, optimizer, make_body(net, optimizer))


def test_adam_twice_in_a_step_is_refused(tmp_path):
    """Its second update has other corrections than those that were read before the step."""
    net = make_net()
    optimizer = torch.optim.Adam(net.parameters())

    def body(batch):
        for _ in range(2):
            loss = functional.cross_entropy(net(batch[0]), batch[1])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return loss

    with pytest.raises(assay.errors.CaptureRefused, match="stand-in") as refusal:
        record(tmp_path / "run", net, optimizer, body)
    assert "once in a recorded step" in refusal.value.next_step


@pytest.mark.parametrize("name", ["NAdam", "Rprop", "RMSprop"])
def test_counters_survive_a_resumption(name, tmp_path):
    """A run that is left in the middle and begun again has the final state of one that was not."""

    def run_to(path, steps):
        net = make_net()
        optimizer = getattr(torch.optim, name)(net.parameters(), lr=0.01)
        found = record(
            path, net, optimizer, make_body(net, optimizer), steps=steps, epochs=2, data=make_data(24),
            checkpoint_every=2,
        )  # fmt: skip
        if steps < 12:
            found.run.close()
            return None
        return found.run.finish().final_state

    whole = run_to(tmp_path / "whole", 12)
    run_to(tmp_path / "resumed", 5)
    assert run_to(tmp_path / "resumed", 12) == whole


def test_masks_assign_numbers(tmp_path):
    """`x[mask] = number` is a fill of fixed shape, forward and backward."""

    def make():
        net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

        def body(batch):
            hidden = net[0](batch[0])
            copied = hidden.clone()
            copied[hidden < 0] = 0.0
            copied[batch[1] == 1] = -1.0
            loss = functional.cross_entropy(net[1](copied), batch[1])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        return net, optimizer, body

    assert record_beside_plain(tmp_path / "run", make)[1] == []


@pytest.mark.parametrize("fused", [None, True])
def test_parameters_in_another_order_of_memory(fused, tmp_path):
    """A transposed parameter is recorded as a contiguous one, fused updates included: the state is contiguous."""
    roots = []
    for name in ("transposed", "contiguous"):
        net = make_net()
        for layer in (net[0], net[2]) if name == "transposed" else ():
            layer.weight.data = layer.weight.data.t().contiguous().t()
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, fused=fused)
        roots.append(record(tmp_path / name, net, optimizer, make_body(net, optimizer)).run.finish().model_root)
    assert roots[0] == roots[1]
