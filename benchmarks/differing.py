"""One short training script whose every part can be changed: for runs that differ by one planted cause.

`python -m benchmarks.differing FOLDER [THREADS]` records the unchanged script in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

import assay

SAMPLES, BATCH, EPOCHS = 48, 8, 2
STEPS = SAMPLES // BATCH * EPOCHS
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Script:
    """What a run does; the defaults are the run that all others are compared with.

    Attributes:
        seed: of the run.
        rate: a number, or a function of the step.
        decay: weight decay.
        dropout: probability.
        width: of the hidden layer.
        scale: of the initial weights of the first layer.
        shuffle: whether the order is drawn.
        noise: deviation of noise that the step adds to its batch.
        epochs: how many.
        threads: inside an operator.
        change: is given inputs and labels, and changes them in place.
        weights: a state dict: the start is then declared.
        slots: a state dict of the optimizer.
        each: is called with net, optimizer and run before each step.
        adam: AdamW instead of SGD.
        penalty: elements of a large parameter whose squares are summed, so that threads decide bits.
        finish: False: the run stays in progress.
        options: of `assay.start`.
    """

    seed: int = 1
    rate: float | Callable[[int], float] = 0.1
    decay: float = 1e-3
    dropout: float = 0.2
    width: int = 16
    scale: float = 1.0
    shuffle: bool = True
    noise: float = 0.0
    epochs: int = EPOCHS
    threads: int = 1
    change: Callable[[torch.Tensor, torch.Tensor], None] | None = None
    weights: dict[str, torch.Tensor] | None = None
    slots: dict[str, Any] | None = None
    each: Callable[[nn.Module, torch.optim.Optimizer, assay.Run], None] | None = None
    adam: bool = False
    penalty: int = 0
    finish: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def get_rate(self, step: int) -> float:
        """Return the rate of a step."""
        return self.rate(step) if callable(self.rate) else self.rate


class Net(nn.Sequential):
    """A small classifier with dropout, and perhaps a large parameter beside it."""

    def __init__(self, script: Script) -> None:
        super().__init__(nn.Linear(10, script.width), nn.ReLU(), nn.Dropout(script.dropout), nn.Linear(script.width, 3))
        self.large = nn.Parameter(torch.randn(script.penalty)) if script.penalty else None
        if script.scale != 1.0:
            with torch.no_grad():
                self[0].weight.mul_(script.scale)


def make_data() -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and labels; by NumPy, because torch's normal numbers depend on the processor's instructions."""
    generator = np.random.default_rng(1)
    inputs = generator.standard_normal((SAMPLES, 10), dtype=np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(generator.integers(0, 3, SAMPLES))


def record(path: Path, **changes: Any) -> tuple[Net, torch.optim.Optimizer]:
    """Record the script with some fields changed; return the trained model and its optimizer."""
    script = Script(**changes)
    inputs, labels = make_data()
    if script.change is not None:
        script.change(inputs, labels)
    run = assay.start(path, seed=script.seed, threads=script.threads, **{"checkpoint_every": 4, **script.options})
    try:
        net, optimizer = _make(script, run)
        loader = run.loader(TensorDataset(inputs, labels), batch_size=BATCH, shuffle=script.shuffle)

        @run.step(models=[net], optimizers=[optimizer])
        def train_step(batch: list[torch.Tensor]) -> torch.Tensor:
            values = batch[0] + script.noise * torch.randn_like(batch[0]) if script.noise else batch[0]
            loss = nn.functional.cross_entropy(net(values), batch[1])
            if net.large is not None:
                loss = loss + 1e-6 * (net.large * net.large).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        for _ in run.epochs(script.epochs):
            for batch in loader:
                optimizer.param_groups[0]["lr"] = script.get_rate(run.step_number + 1)
                if script.each is not None:
                    script.each(net, optimizer, run)
                train_step(batch)
        if script.finish:
            run.finish()
        return net, optimizer
    finally:
        run.close()


def _make(script: Script, run: assay.Run) -> tuple[Net, torch.optim.Optimizer]:
    """Return model and optimizer as the script wants them to begin."""
    if script.weights is None:
        with run.init():
            net = Net(script)
    else:
        net = Net(script)
        net.load_state_dict(script.weights)
    rate = script.get_rate(1)
    optimizer: torch.optim.Optimizer
    if script.adam:
        optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=script.decay)
    else:
        optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=script.decay)
    if script.slots is not None:
        optimizer.load_state_dict(script.slots)
    return net, optimizer


def record_apart(path: Path, **environment: str) -> None:
    """Record the unchanged script in a process of its own, with further environment variables."""
    command = [sys.executable, "-m", "benchmarks.differing", str(path)]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | environment)


if __name__ == "__main__":
    record(Path(sys.argv[1]))
