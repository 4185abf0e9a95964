"""What a run on another device than the CPU does with scripts of all sorts, in a process that has the pretend device.

Prints for each case what came out, or code and text of the error.
"""

import json
import sys
from pathlib import Path

import pretend_accelerator
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

import assay
from assay.errors import AssayError
from assay.training.pytorch.backend import TorchBackend
from assay.training.pytorch.profile import use_profile
from assay.training.recorded import RecordedRun
from assay.training.replay import Replayer

DEVICE = pretend_accelerator.DEVICE
TABLE = torch.linspace(-1.0, 1.0, 6).to(DEVICE)


def make_data(dtype=torch.float32):
    """Twenty samples with a class."""
    x = torch.arange(120).reshape(20, 6).remainder(11).to(dtype)
    return TensorDataset(x, torch.arange(20) % 2)


def make_net():
    """Return a small model on the device."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)).to(DEVICE)


def update(net, optimizer, x, y):
    """Forward, backward, update."""
    loss = functional.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


class Case:
    """A run of ten steps; a case replaces some of it."""

    dtype = torch.float32
    optimizer = torch.optim.SGD
    accumulate = None

    def make(self):
        """Return the model."""
        return make_net()

    def models(self, net):
        """Return the models of the step."""
        return [net]

    def move(self, x, y):
        """Do what the loop does with a batch before the step."""
        return x, y

    def step(self, net, optimizer, x, y):
        """Do what the step does."""
        return update(net, optimizer, x.to(DEVICE), y.to(DEVICE))

    def between(self, run, net):
        """Do what the loop does after a step."""

    def run(self, path):
        """Record, and replay every step in this process; return losses and where they lay."""
        run = assay.start(path, seed=1, checkpoint_every=5, root_period=1)
        net = self.make()
        optimizer = self.optimizer(net.parameters(), lr=0.1)
        loader = run.loader(make_data(self.dtype), batch_size=4)
        losses = []

        @run.step(models=self.models(net), optimizers=[optimizer], accumulate=self.accumulate)
        def train_step(*batch):
            return self.step(net, optimizer, *batch)

        for _ in run.epochs(2):
            for batch in loader:
                losses.append(train_step(*self.move(*batch)))
                self.between(run, net)
        state = run.at(run.step_number - 1)
        run.finish()
        return {
            "losses": [float(loss).hex() for loss in losses],
            "places": sorted({str(loss.device) for loss in losses}),
            "state": sorted({str(tensor.device) for tensor in state.values()}),
            "replayed": replay(path),
        }


def replay(path):
    """Carry out all steps again; return the first difference, or how many steps matched."""
    run = RecordedRun(path)
    with use_profile(run.profile):
        replayer = Replayer(run, TorchBackend(run.start.aliases))
        replayer.load(0)
        difference = replayer.replay(0, run.steps)
    assert torch.get_default_dtype() == torch.float32
    return run.steps if difference is None else str(difference)


class MovedOutside(Case):
    """The loop moves the batch."""

    def move(self, x, y):
        return x.to(DEVICE), y.to(DEVICE)

    def step(self, net, optimizer, x, y):
        assert x.device == y.device == DEVICE
        return update(net, optimizer, x, y)


class ChangedOutside(MovedOutside):
    """The loop moves the batch, and from the fourth step on changes it there."""

    count = 0

    def move(self, x, y):
        self.count += 1
        return x.to(DEVICE) + (1.0 if self.count > 3 else 0.0), y.to(DEVICE)


class ComputedBefore(Case):
    """The step computes in the processor's memory before it moves the batch."""

    def step(self, net, optimizer, x, y):
        return update(net, optimizer, x.exp().to(DEVICE), y.to(DEVICE))


class Pictures(Case):
    """Bytes are cut and turned in the processor's memory, and moved and converted in one call."""

    dtype = torch.uint8

    def step(self, net, optimizer, x, y):
        return update(net, optimizer, x[:, :].view(-1, 6).to(DEVICE, torch.float32) / 11, y.to(DEVICE))


class ResultElsewhere(Case):
    """The step returns its loss in the processor's memory."""

    def step(self, net, optimizer, x, y):
        return super().step(net, optimizer, x, y).detach().cpu()


class Draws(Case):
    """Noise, a choice, an order, dropout, and a number that is chosen under a mask."""

    def step(self, net, optimizer, x, y):
        x = x.to(DEVICE)
        x = x + torch.randn(x.shape, device=DEVICE) * 0.1 + torch.rand_like(x) + torch.randn(6).to(DEVICE)
        x = functional.dropout(x[torch.randperm(4, device=DEVICE)], 0.25)
        x = torch.where(x > 3, x, 0.5) * TABLE
        return update(net, optimizer, x.masked_fill(x < -2, 0.0), y.to(DEVICE))


class Edited(Case):
    """The state is edited between two steps."""

    def between(self, run, net):
        if run.step_number == 3:
            with run.edit("halve"), torch.no_grad():
                net[0].weight.mul_(0.5)


class TouchedOutside(Case):
    """The state is changed through `.data`, after the step whose state is hashed again."""

    def between(self, run, net):
        if run.step_number == 1:
            net[0].weight.data.mul_(0.5)


class TwoDevices(Case):
    """A second model lies in the processor's memory."""

    def models(self, net):
        return [net, nn.Linear(2, 2)]


class Microbatches(MovedOutside):
    """Two batches of the loader make a step, and the loop moves them."""

    accumulate = 2

    def move(self, *batches):
        return [[tensor.to(DEVICE) for tensor in batch] for batch in batches]

    def step(self, net, optimizer, *batches):
        losses = [functional.cross_entropy(net(x), y) for x, y in batches]
        for loss in losses:
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return losses[0].detach()


class Adam(Case):
    """Adam in the form over lists, which PyTorch chooses on devices that have it."""

    optimizer = torch.optim.Adam


class SkewedLists(Adam):
    """The form over lists gives other bits than one call for each tensor."""

    def run(self, path):
        pretend_accelerator.SKEWED.add("_foreach_addcdiv_")
        try:
            return super().run(path)
        finally:
            pretend_accelerator.SKEWED.clear()


class Unrepeatable(Case):
    """The device has no repeatable form of an operator."""

    def run(self, path):
        pretend_accelerator.UNREPEATABLE.add("cumsum")
        try:
            return super().run(path)
        finally:
            pretend_accelerator.UNREPEATABLE.clear()

    def step(self, net, optimizer, x, y):
        return update(net, optimizer, x.to(DEVICE).cumsum(0), y.to(DEVICE))


class OnTheCpu(Case):
    """A run on the CPU, after others, in a process that has the device."""

    def make(self):
        return make_net().to("cpu")

    def step(self, net, optimizer, x, y):
        return update(net, optimizer, x, y)


def try_case(case, path):
    """Return what a case gives."""
    try:
        return case.run(path)
    except AssayError as error:
        return {"code": error.code, "text": str(error)}


def main():
    """Try all cases."""
    cases = [
        Case, MovedOutside, ChangedOutside, ComputedBefore, Pictures, ResultElsewhere, Draws, Edited, TouchedOutside,
        TwoDevices, Microbatches, Adam, SkewedLists, Unrepeatable, OnTheCpu,
    ]  # fmt: skip
    found = {case.__name__: try_case(case(), Path(sys.argv[1]) / case.__name__) for case in cases}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
