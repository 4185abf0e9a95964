"""`requires_grad` switched inside the step, as scripts of adversarial networks do."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from assay.errors import CaptureRefused
from benchmarks.traps import replay
from tests.training.pytorch.sessions import record, record_beside_plain

STEPS = 8


def switch(net, *, on):
    """Switch the gradients of all parameters of a net."""
    for parameter in net.parameters():
        parameter.requires_grad_(on)


def compute_losses(judge, maker, batch):
    """Return the losses of judge and maker, both of everything that is trained."""
    made = maker(batch[0].flip(0))
    return functional.softplus(-judge(batch[0])).mean() + functional.softplus(judge(made)).mean(), judge(made).mean()


def back_again(judge, maker, optimizers, batch):
    """Switch off and on again: the judge is left as it was found."""
    loss, _ = compute_losses(judge, maker, batch)
    loss.backward()
    optimizers[0].step()
    switch(judge, on=False)
    optimizers[1].zero_grad()
    (-compute_losses(judge, maker, batch)[1]).backward()
    optimizers[1].step()
    switch(judge, on=True)
    return loss


def left_off(judge, maker, optimizers, batch):
    """Switch on for the judge's phase and off for the maker's, and leave it so."""
    switch(judge, on=True)
    loss, _ = compute_losses(judge, maker, batch)
    loss.backward()
    optimizers[0].step()
    switch(judge, on=False)
    optimizers[1].zero_grad()
    (-compute_losses(judge, maker, batch)[1]).backward()
    optimizers[1].step()
    return loss


def once(judge, maker, optimizers, batch):
    """Train what requires gradients, then switch the judge off: it is trained in the first step alone."""
    loss, other = compute_losses(judge, maker, batch)
    (loss - other).backward()
    optimizers[0].step()
    optimizers[1].step()
    switch(judge, on=False)
    return loss


def in_turn(judge, maker, optimizers, batch):
    """Train what requires gradients, then switch the judge: it is trained in every second step."""
    loss, other = compute_losses(judge, maker, batch)
    (loss - other).backward()
    optimizers[0].step()
    optimizers[1].step()
    switch(judge, on=not judge[0].weight.requires_grad)
    return loss


BODIES = [back_again, left_off, once, in_turn]


def make(body):
    """Return models, optimizers and step of a small adversarial pair."""
    torch.manual_seed(3)
    judge, maker = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)), nn.Linear(4, 4)
    optimizers = [torch.optim.Adam(net.parameters(), lr=0.01) for net in (judge, maker)]

    def step(batch):
        loss = body(judge, maker, optimizers, batch)
        for optimizer in optimizers:
            optimizer.zero_grad()
        return loss

    return [judge, maker], optimizers, step


@pytest.mark.parametrize("body", BODIES)
def test_switching_is_recorded(body, tmp_path):
    """Each way of switching has the bits of plain PyTorch, and is replayed."""
    flags = []

    def note(step, nets, _optimizers):
        flags.append((step, nets[0][0].weight.requires_grad))

    _, differing = record_beside_plain(
        tmp_path / "run", lambda: make(body), steps=STEPS, before=note, checkpoint_every=3
    )
    assert differing == []
    assert replay(tmp_path / "run") == []
    assert flags[:STEPS] == flags[STEPS:]  # recorded first, then plain


@pytest.mark.parametrize("body", BODIES)
def test_a_resumed_run_goes_on_with_the_flags(body, tmp_path):
    """A run that stopped between its steps ends with the model of one that did not, twice resumed too."""
    roots = []
    for folder, stops in (("whole", ()), ("resumed", (4, 7))):
        for stop in (*stops, STEPS):
            nets, optimizers, step = make(body)
            found = record(tmp_path / folder, nets, optimizers, step, steps=stop, checkpoint_every=3)
            if stop < STEPS:
                found.run.close()
        roots.append(found.run.finish().model_root)
    assert roots[0] == roots[1]


def test_parameters_that_are_no_state(tmp_path):
    """A module that was not given to the step stays guarded: nobody would put its flags back."""
    aside = nn.Linear(4, 1)
    nets, optimizers, step = make(back_again)

    def body(batch):
        switch(aside, on=False)
        return step(batch)

    with pytest.raises(CaptureRefused, match=r"changes Python objects.*requires_grad of aside"):
        record(tmp_path / "run", nets, optimizers, body)


def test_flags_that_differ_between_the_recordings(tmp_path):
    """A flag that follows something unseen is refused: here a setting of the interpreter that the step changes."""
    nets, optimizers, step = make(back_again)
    interval = sys.getswitchinterval()

    def body(batch):
        loss = step(batch)
        switch(nets[0], on=sys.getswitchinterval() < 2 * interval)
        sys.setswitchinterval(3 * interval)
        return loss

    try:
        with pytest.raises(CaptureRefused, match="leave other parameters with requires_grad"):
            record(tmp_path / "run", nets, optimizers, body)
    finally:
        sys.setswitchinterval(interval)
    assert nets[0][0].weight.requires_grad
