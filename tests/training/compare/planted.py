"""Pairs of short runs that differ by one planted cause; recorded in this process."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

import assay

SAMPLES, BATCH, EPOCHS = 48, 8, 2
STEPS = SAMPLES // BATCH * EPOCHS


@dataclass(frozen=True)
class Script:
    """What a run does; the defaults are the run that all others are compared with."""

    seed: int = 1
    rate: Any = 0.1
    decay: float = 1e-3
    dropout: float = 0.2
    width: int = 16
    scale: float = 1.0
    shuffle: bool = True
    noise: float = 0.0
    epochs: int = EPOCHS
    threads: int = 1
    change: Any = None  # of (inputs, labels)
    weights: Any = None  # declared start: a state dict
    slots: Any = None  # declared optimizer state
    each: Any = None  # called with (net, optimizer, run) before each step
    adam: bool = False
    finish: bool = True
    options: dict = field(default_factory=dict)


def make_data():
    """Return inputs and labels."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(SAMPLES, 10, generator=generator), torch.randint(0, 3, (SAMPLES,), generator=generator)


def make_net(script):
    """Return a small classifier with dropout."""
    net = nn.Sequential(nn.Linear(10, script.width), nn.ReLU(), nn.Dropout(script.dropout), nn.Linear(script.width, 3))
    if script.scale != 1.0:
        with torch.no_grad():
            net[0].weight.mul_(script.scale)
    return net


def record(path, script=None, **changes):
    """Record a run and return (net, optimizer)."""
    script = script or Script(**changes)
    inputs, labels = make_data()
    if script.change is not None:
        script.change(inputs, labels)
    run = assay.start(path, seed=script.seed, threads=script.threads, **{"checkpoint_every": 4, **script.options})
    try:
        if script.weights is None:
            with run.init():
                net = make_net(script)
        else:
            net = make_net(script)
            net.load_state_dict(script.weights)
        rates = script.rate if callable(script.rate) else lambda step: script.rate
        if script.adam:
            optimizer = torch.optim.AdamW(net.parameters(), lr=rates(1), weight_decay=script.decay)
        else:
            optimizer = torch.optim.SGD(net.parameters(), lr=rates(1), momentum=0.9, weight_decay=script.decay)
        if script.slots is not None:
            optimizer.load_state_dict(script.slots)
        loader = run.loader(TensorDataset(inputs, labels), batch_size=BATCH, shuffle=script.shuffle)

        @run.step(models=[net], optimizers=[optimizer])
        def train_step(batch):
            values = batch[0] + script.noise * torch.randn_like(batch[0]) if script.noise else batch[0]
            loss = nn.functional.cross_entropy(net(values), batch[1])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        for _ in run.epochs(script.epochs):
            for batch in loader:
                optimizer.param_groups[0]["lr"] = rates(run.step_number + 1)
                if script.each is not None:
                    script.each(net, optimizer, run)
                train_step(batch)
        if script.finish:
            run.finish()
        return net, optimizer
    finally:
        run.close()
