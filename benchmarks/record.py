"""The cost of recording: a run with everything on against the same loop in plain eager PyTorch.

Both train in one process, in turns of 50 steps, at one thread. "Everything on": draws and order from the seed, guards
and the state watched at every step, transcript on the disk, state roots at the default period and at every step, a
checkpoint every 50 steps. Each of our turns writes one checkpoint and ends when it is on the disk. The first 60 steps,
in which programs are captured and eager runs beside, are apart and not counted. The baseline gathers its batches by
index from ready tensors, draws its masks with torch, steps its scheduler and writes nothing; it runs under torch's
defaults, in the same process, and so has the settings of the allocator that Assay makes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

import assay
from benchmarks.report import make_result, print_report
from benchmarks.zoo import ConvNet, Decoder, Lstm, adam, adamw, cross_entropy, list_optimizers, sgd
from benchmarks.zoo_cases import autocast, gan_optimizers, gan_step, reconstruction
from benchmarks.zoo_models import ConvolutionalGan, Recurrent, UNet, VisionTransformer

BLOCK = 50
WARM_UP = 60
MEDIAN_BAR = 0.95
Optimizer = torch.optim.Optimizer


@dataclass(frozen=True)
class Job:
    """A model, its data and its loop.

    Attributes:
        name: in words.
        make: returns the model.
        optimizer: returns its optimizer.
        data: returns inputs and targets of all samples.
        batch_size: samples a batch.
        bar: the largest ratio to eager; None: printed only.
        clip: largest norm of the gradient.
        mkldnn: whether eager's first baseline may use oneDNN.
        rounds: turns.
        loss: from model and batch.
        step: makes the step where it is not the usual one.
    """

    name: str
    make: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], Optimizer | Sequence[Optimizer]]
    data: Callable[[], tuple[torch.Tensor, torch.Tensor]]
    batch_size: int
    bar: float | None
    clip: float | None
    mkldnn: bool
    rounds: int
    loss: Callable[[nn.Module, Any], torch.Tensor] = cross_entropy
    step: Callable[..., Callable[[Any], torch.Tensor]] | None = None


def load_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Return scikit-learn's digits, f32 (1536, 1, 8, 8), and labels: 24 full batches of 64."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images[:1536] / 16.0, dtype=torch.float32).unsqueeze(1)
    return images, torch.tensor(digits.target[:1536])


def load_text(context: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return windows of a source file of torch as characters, i64 (1024, context), and the characters that follow."""
    text = Path(torch.__file__).read_text(encoding="utf-8")[:70_000]
    ids = torch.tensor([min(max(ord(c) - 32, 0), 95) for c in text])
    windows = torch.stack([ids[i * 65 : i * 65 + context + 1] for i in range(1024)])
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


JOBS = (
    Job(
        "CNN on digits", ConvNet, sgd(momentum=0.9, nesterov=True, weight_decay=5e-4), load_images, 64, 0.90, None,
        True, 30,
    ),
    Job(
        "transformer of 0.4M parameters", lambda: Decoder(width=128, layers=2, context=64), adamw,
        lambda: load_text(64), 16, 1.00, 1.0, True, 9,
    ),
    Job(
        "transformer of 3M parameters", lambda: Decoder(width=256, layers=4, context=64), adamw,
        lambda: load_text(64), 16, 1.00, 1.0, True, 3,
    ),
    Job("LSTM", Lstm, adam, lambda: load_text(32), 16, 1.05, 1.0, False, 9),
    Job("GAN", ConvolutionalGan, gan_optimizers, load_images, 64, 1.05, None, True, 15, step=gan_step),
    Job("U-Net", partial(UNet, 16), adam, load_images, 64, 1.05, None, True, 9, loss=reconstruction),
    Job("vision transformer", partial(VisionTransformer, 64), adamw, load_images, 64, 1.05, 1.0, True, 9),
    Job(
        "bf16 transformer", lambda: Decoder(width=128, layers=2, context=64), adamw, lambda: load_text(64), 16, 1.05,
        1.0, True, 5, loss=autocast,
    ),
    Job(
        "transformer under fused AdamW", lambda: Decoder(width=128, layers=2, context=64), partial(adamw, fused=True),
        lambda: load_text(64), 16, None, 1.0, True, 9,
    ),
    Job(
        "transformer under Adafactor", lambda: Decoder(width=128, layers=2, context=64),
        lambda net: torch.optim.Adafactor(net.parameters()), lambda: load_text(64), 16, None, 1.0, True, 9,
    ),
    Job("GRU", partial(Recurrent, width=64), adam, lambda: load_text(32), 16, 1.05, 1.0, False, 9),
)  # fmt: skip


def make_scheduler(optimizer: Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a warm-up over 100 steps."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 100))


def make_body(job: Job, net: nn.Module, optimizers: Sequence[Optimizer]) -> Callable[[Any], torch.Tensor]:
    """Return the step as its user writes it; recorded and eager run the same function."""
    if job.step is not None:
        return job.step(net, *optimizers)
    (optimizer,) = optimizers

    def step(batch: Any) -> torch.Tensor:
        loss = job.loss(net, batch)
        loss.backward()
        if job.clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), job.clip)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


class Recorded:
    """Our side: a run in a folder.

    Args:
        job: what to train.
        folder: of the run; must not exist.
        period: state roots every so many steps; None: the default.
        steps: how many there will be at least.
    """

    def __init__(self, job: Job, folder: Path, period: int | None, steps: int) -> None:
        self.run = assay.start(folder, seed=0, checkpoint_every=BLOCK, root_period=period)
        with self.run.init():
            net = job.make()
        net.train()
        optimizers = list_optimizers(job.optimizer(net))
        self._schedulers = [make_scheduler(optimizer) for optimizer in optimizers]
        self._loader = self.run.loader(TensorDataset(*job.data()), batch_size=job.batch_size)
        body = make_body(job, net, optimizers)
        self._step = self.run.step(models=[net], optimizers=optimizers)(body)
        self._epochs = -(-steps // len(self._loader))
        self._steps = self._iterate()

    def _iterate(self) -> Iterator[None]:
        for _ in self.run.epochs(self._epochs):
            for batch in self._loader:
                self._step(batch)
                for scheduler in self._schedulers:
                    scheduler.step()
                yield

    def take(self, steps: int) -> None:
        """Carry out steps and wait until what they owe to the disk is there."""
        for _ in range(steps):
            next(self._steps)
        self.run.sync()


class Eager:
    """The baseline: the same loop without Assay."""

    def __init__(self, job: Job) -> None:
        torch.manual_seed(0)
        net = job.make()
        optimizers = list_optimizers(job.optimizer(net))
        self._schedulers = [make_scheduler(optimizer) for optimizer in optimizers]
        self._data, self._size = job.data(), job.batch_size
        self._body = make_body(job, net, optimizers)
        self._order: list[torch.Tensor] = []

    def take(self, steps: int) -> None:
        """Carry out steps."""
        inputs, targets = self._data
        for _ in range(steps):
            if not self._order:
                self._order = list(torch.randperm(len(inputs)).split(self._size))
            chosen = self._order.pop()
            self._body((inputs[chosen], targets[chosen]))
            for scheduler in self._schedulers:
                scheduler.step()


@contextmanager
def use_settings(threads: int, *, mkldnn: bool) -> Iterator[None]:
    """Run the block with these threads and this flag."""
    before = torch.get_num_threads(), torch.backends.mkldnn.set_flags(mkldnn)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.mkldnn.set_flags(*before[1])


def measure(job: Job, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a step for each side and turn."""
    steps = WARM_UP + rounds * BLOCK
    sides: dict[str, tuple[Recorded | Eager, int, bool]] = {
        "eager": (Eager(job), 1, job.mkldnn),
        "default": (Recorded(job, folder / "default", None, steps), 1, job.mkldnn),
        "period 1": (Recorded(job, folder / "period-1", 1, steps), 1, job.mkldnn),
        "two threads": (Eager(job), 2, job.mkldnn),
    }
    if not job.mkldnn:
        sides["mkldnn"] = (Eager(job), 1, True)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for side, threads, mkldnn in sides.values():
        with use_settings(threads, mkldnn=mkldnn):
            side.take(WARM_UP)
    names = list(sides)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            side, threads, mkldnn = sides[name]
            with use_settings(threads, mkldnn=mkldnn):
                start = time.perf_counter()
                side.take(BLOCK)
                taken[name].append((time.perf_counter() - start) / BLOCK)
    for side, _, _ in sides.values():
        if isinstance(side, Recorded):
            side.run.close()
    return taken


def judge(job: Job, taken: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return the lines of one job; the ratio is the median of the ratios of the turns."""
    medians = {name: statistics.median(times) for name, times in taken.items()}
    suffix = "" if job.mkldnn else " with mkldnn off"
    lines = []
    for name in ("default", "period 1"):
        for baseline, words, bar in (
            ("eager", f"eager{suffix}, one thread", job.bar),
            ("mkldnn", "default eager, one thread", None),
            ("two threads", f"eager{suffix}, two threads", None),
        ):
            if baseline in taken:
                ratio = statistics.median(a / b for a, b in zip(taken[name], taken[baseline], strict=True))
                period = "default period" if name == "default" else name
                what = f"{job.name}: recording, {period}, over {words}; seconds a step"
                lines.append(make_result(what, medians[name], medians[baseline], ratio, bar))
    return lines


def main() -> int:
    """Print one JSON object; the exit status says whether all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few turns, without the largest model")
    parser.add_argument("--only", help="jobs whose name contains this")
    options = parser.parse_args()
    results = []
    for job in JOBS:
        if (options.only and options.only not in job.name) or (options.quick and "3M" in job.name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            lines = judge(job, measure(job, Path(folder), max(1, job.rounds // 4) if options.quick else job.rounds))
        for line in lines:
            print(f"{line['ratio']:7.3f}  {line['what']}", file=sys.stderr, flush=True)
        results += lines
    judged = [line["ratio"] for line in results if line["bar"] is not None]
    what = "median over all jobs and periods of recording over eager, one thread"
    results.append(make_result(what, statistics.median(judged), 1.0, statistics.median(judged), MEDIAN_BAR))
    return print_report("record", results, torch=torch.__version__, block=BLOCK)


if __name__ == "__main__":
    sys.exit(main())
