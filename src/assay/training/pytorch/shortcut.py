"""`assay.record`: the usual loop, for those who do not want to write it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from assay.errors import UsageError
from assay.protocol.evidence.plan import ClosingRecord
from assay.training.datasets import MapDataset
from assay.training.pytorch.session import start


def record(
    model: nn.Module | Callable[[], nn.Module],
    loss: Callable[[Any, torch.Tensor], torch.Tensor],
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    data: MapDataset,
    *,
    path: str | Path,
    epochs: int,
    batch_size: int,
    seed: int | bytes = 0,
    scheduler: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
    clip: float | None = None,
    test: MapDataset | None = None,
    metrics: Sequence[str] = ("accuracy",),
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> ClosingRecord:
    """Train a model with the usual loop and record it.

    Args:
        model: a function that makes the module (its start is then a program), or a module (its start is declared).
        loss: from outputs and target to a scalar tensor; the last field of a sample is the target.
        optimizer: from parameters to the optimizer.
        data: the training set, map-style.
        path: the folder of the run.
        epochs: passes over the data.
        batch_size: samples a batch.
        seed: of initialisation, order and every draw.
        scheduler: from the optimizer to a scheduler that is stepped after every step.
        clip: greatest norm of all gradients together.
        test: a test set to evaluate on in the end.
        metrics: names of the closed list, for the test set.
        progress: is told step and intended steps.
        options: further arguments of `start`.

    Raises:
        CaptureRefused: the model or the loss does something that cannot be recorded rightly.
    """
    if isinstance(epochs, bool) or epochs < 1:
        raise UsageError("epochs is a number of at least 1", actual=repr(epochs))
    run = start(path, seed=seed, **options)
    if isinstance(model, nn.Module):
        net = model
    else:
        with run.init():
            net = model()
    used = optimizer(net.parameters())
    schedule = scheduler(used) if scheduler is not None else None
    loader = run.loader(data, batch_size=batch_size)

    @run.step(models=[net], optimizers=[used])
    def train_step(batch: Sequence[torch.Tensor]) -> torch.Tensor:
        *inputs, target = batch
        value = loss(net(*inputs), target)
        value.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        used.step()
        used.zero_grad()
        return value

    for _ in run.epochs(epochs):
        net.train()
        for batch in loader:
            train_step(batch)
            if schedule is not None:
                schedule.step()
            if progress is not None:
                progress(run.step_number, epochs * len(loader))
    if test is not None:
        run.evaluate(net, test, metrics=metrics)
    return cast(ClosingRecord, run.finish())
