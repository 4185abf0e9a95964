"""Lightning's automatic step as a recorded step: the bits of Lightning's own, an audit that matches, refusals."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

import assay
from assay.errors import CaptureRefused, UsageError
from assay.training.pytorch.home import StateChanged
from assay.training.pytorch.trainer_levels import TrainerUnfit
from tests.training.pytorch.sessions import make_data

pytestmark = pytest.mark.filterwarnings("ignore")

SIZE, LENGTH = 4, 6
"""22 samples in batches of 4: six steps an epoch, the last with two samples."""


@pytest.fixture(autouse=True)
def no_process_group_stays():
    """Lightning's distributed strategy leaves a process group and variables that other packages' tests would see."""
    kept = dict(os.environ)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(kept)


class Net(LightningModule):
    """A classifier that logs, with a scheduler that Lightning calls after each step."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))

    def training_step(self, batch, batch_idx):
        loss = functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Epochs(Net):
    """The same with a scheduler that Lightning calls after each epoch."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


class Watch(Callback):
    """Keeps what Lightning hands to its callbacks; stops after a step if told."""

    def __init__(self, stop=None):
        self.batches, self.losses, self.rates, self.stop = [], [], [], stop

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches.append([tensor.clone() for tensor in batch])
        self.losses.append(outputs["loss"].item())
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        if trainer.global_step == self.stop:
            raise KeyboardInterrupt


def make_trainer(folder, *callbacks, **options):
    """Return a quiet trainer of three epochs on the CPU."""
    options = {"max_epochs": 3, **options}
    return Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", callbacks=list(callbacks), default_root_dir=str(folder), **options,
    )  # fmt: skip


def record(folder, kind=Net, *, stop=None, further=(), loader=None, finish=True, **options):
    """Record a training, or go on; return the module, what a callback saw and the trainer."""
    run = assay.start(folder, seed=1, checkpoint_every=4)
    with run.init():
        module = kind()
    watch = Watch(stop)
    trainer = make_trainer(folder.parent, assay.LightningCallback(run, level="replayable"), watch, *further, **options)
    try:
        batches = run.loader(make_data(22), batch_size=SIZE)
        trainer.fit(module, loader or batches)
        if finish:
            run.finish()
    except SystemExit:  # how Lightning ends a process at Ctrl+C
        pass
    finally:
        run.close()
    return module, watch, trainer


def get_bits(module):
    """Return the bytes of everything that a module holds."""
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in module.state_dict().items()}


def train_plainly(folder, recorded, start, kind=Net, **options):
    """Give the recorded batches to Lightning's own loop, from the same start; return as `record`."""

    class Batches:
        place = 0

        def __len__(self):
            return LENGTH

        def __iter__(self):
            for _ in range(LENGTH):
                self.place += 1
                yield recorded.batches[self.place - 1]

    module, watch = kind(), Watch()
    module.load_state_dict(start)
    trainer = make_trainer(folder, watch, **options)
    trainer.fit(module, Batches())
    return module, watch, trainer


@pytest.mark.parametrize(
    "options",
    [{}, {"gradient_clip_val": 0.1}, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}, {"max_steps": 8}],
    ids=str,
)
@pytest.mark.parametrize("kind", [Net, Epochs])
def test_the_recorded_run_has_the_bits_of_lightnings_own_loop(tmp_path, kind, options):
    """Weights, buffers, losses, rates and Lightning's own counters and logs are those of `trainer.fit` alone."""
    module, watch, trainer = record(tmp_path / "run", kind, **options)
    with assay.start(tmp_path / "start", seed=1) as run, run.init():
        start = kind().state_dict()
    other, plain, own = train_plainly(tmp_path, watch, start, kind, **options)
    assert get_bits(module) == get_bits(other)
    assert (watch.losses, watch.rates) == (plain.losses, plain.rates)
    assert (trainer.global_step, trainer.current_epoch) == (own.global_step, own.current_epoch)
    assert trainer.callback_metrics == own.callback_metrics
    assert trainer.callback_metrics


def test_assay_run_audit_carries_it_out_again(tmp_path):
    """Every interval matches, in processes that know nothing of Lightning's step, and the start too."""
    record(tmp_path / "run", gradient_clip_val=0.1)
    command = [
        sys.executable,
        "-m",
        "assay",
        "run",
        "audit",
        tmp_path / "run",
        "--out",
        tmp_path / "certificate",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)["report"]
    assert (report["matching"], report["intervals"], report["start"]) == (5, 5, "matches")


@pytest.mark.parametrize("stop", [3, 6, 9, 12])
@pytest.mark.parametrize("kind", [Net, Epochs])
def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path, kind, stop):
    """Stopped inside an epoch, and at its end: the rest has the rates, epochs and weights of an undisturbed run."""
    whole, seen, trainer = record(tmp_path / "whole", kind)
    record(tmp_path / "run", kind, stop=stop)
    module, rest, again = record(tmp_path / "run", kind)
    assert get_bits(module) == get_bits(whole)
    taken = len(rest.losses)
    assert 18 - stop <= taken <= 18 - stop + 5
    assert (rest.losses, rest.rates) == (seen.losses[-taken:], seen.rates[-taken:])
    assert (again.global_step, again.current_epoch) == (trainer.global_step, trainer.current_epoch)


class Manual(Net):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


class TwoOptimizers(Net):
    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.net[0], self.net[3])]


class Hook(Net):
    def on_before_optimizer_step(self, optimizer):
        self.net[0].weight.grad.zero_()


class InStep(Callback):
    def on_after_backward(self, trainer, pl_module):
        pl_module.net[0].weight.grad.zero_()


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        (TwoOptimizers, {}, "2 optimizers|manual optimization"),
        (Manual, {}, "manual optimization"),
        (Hook, {}, r"Hook\.on_before_optimizer_step"),
        (Net, {"further": [InStep()]}, r"InStep\.on_after_backward"),
        (Net, {"precision": "bf16-mixed"}, "precision bf16-mixed"),
        (Net, {"precision": "64-true"}, "precision 64-true"),
        (Net, {"accumulate_grad_batches": 2}, "accumulate_grad_batches=2"),
        (Net, {"limit_train_batches": 2}, "2 of 6 batches"),
        (Net, {"strategy": "ddp", "devices": 1}, "DDPStrategy"),
        (Net, {"loader": DataLoader(make_data(22), batch_size=4)}, "a DataLoader"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:40],
)
def test_what_cannot_be_recorded_is_refused_before_the_first_step(tmp_path, kind, options, reason):
    """Reason and cure; nothing was recorded."""
    if kind is TwoOptimizers:  # Lightning itself wants manual optimization for two
        kind = type("Both", (TwoOptimizers, Manual), {})
    with pytest.raises(TrainerUnfit, match="cannot be recorded as replayable") as refused:
        record(tmp_path / "run", kind, **options)
    assert re.search(reason, str(refused.value.actual))
    assert refused.value.next_step


def make_kind(step):
    """Return a module with this `training_step`."""
    return type("Other", (Net,), {"training_step": step})


def reads_epoch(self, batch, batch_idx):
    """The epoch as a factor."""
    return functional.cross_entropy(self.net(batch[0]), batch[1]) * (1 + self.current_epoch)


def reads_global_step(self, batch, batch_idx):
    """The step as a factor."""
    return functional.cross_entropy(self.net(batch[0]), batch[1]) * (1 + self.global_step)


def reads_number(self, batch, batch_idx):
    """The batch number as a factor."""
    return functional.cross_entropy(self.net(batch[0]), batch[1]) * batch_idx


def branches_on_number(self, batch, batch_idx):
    """Every second batch counts twice."""
    return functional.cross_entropy(self.net(batch[0]), batch[1]) * (2 if batch_idx % 2 == 0 else 1)


def catches(self, batch, batch_idx):
    """A refusal is caught."""
    try:
        factor = self.trainer.current_epoch
    except Exception:  # noqa: BLE001 - as careless users do
        factor = 1
    return functional.cross_entropy(self.net(batch[0]), batch[1]) * factor


def reads_rate(self, batch, batch_idx):
    """The rate as a factor."""
    return functional.cross_entropy(self.net(batch[0]), batch[1]) * self.optimizers().param_groups[0]["lr"]


def logs_a_number(self, batch, batch_idx):
    """A number is logged."""
    loss = functional.cross_entropy(self.net(batch[0]), batch[1])
    self.log("one", 1.0)
    return loss


def logs_a_value(self, batch, batch_idx):
    """A value is read for the log."""
    loss = functional.cross_entropy(self.net(batch[0]), batch[1])
    self.log("loss", loss.item())
    return loss


def counts(self, batch, batch_idx):
    """A counter on the module."""
    loss = functional.cross_entropy(self.net(batch[0]), batch[1])
    self.seen = getattr(self, "seen", 0) + 1
    return loss


def returns_nothing(self, batch, batch_idx):
    """Lightning skips such a batch."""


@pytest.mark.parametrize(
    "step",
    [reads_epoch, reads_global_step, reads_number, branches_on_number, catches, reads_rate, logs_a_number,
     logs_a_value, counts, returns_nothing],
)  # fmt: skip
def test_a_step_that_is_no_function_of_model_and_batch_is_refused(tmp_path, step):
    """What the step asks of the trainer is never a constant of the program."""
    with pytest.raises(CaptureRefused) as refused:
        record(tmp_path / "run", make_kind(step))
    assert refused.value.next_step
    if step.__name__.startswith(("reads", "branches", "catches")):
        assert f"{__file__}:" in refused.value.message


class ChangesWeights(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 4:
            with torch.no_grad():
                pl_module.net[0].weight.mul_(0.5)


def test_a_callback_that_changes_the_model_is_refused(tmp_path):
    """The state between two steps is checked, whoever changed it."""
    with pytest.raises(StateChanged):
        record(tmp_path / "run", further=[ChangesWeights()])


class ChangesSetting(Callback):
    def __init__(self, name, value):
        self.name, self.value = name, value

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            setattr(pl_module if self.name == "training_step" else trainer, self.name, self.value)


@pytest.mark.parametrize(
    "callback",
    [
        GradientAccumulationScheduler({0: 1, 1: 2}),
        ChangesSetting("gradient_clip_val", 0.5),
        ChangesSetting("training_step", lambda batch, batch_idx: torch.zeros((), requires_grad=True)),
    ],
    ids=["accumulation", "clipping", "training_step"],
)
def test_a_callback_that_changes_the_step_is_refused(tmp_path, callback):
    """Lightning would go on in another way from there, the recorded step would not."""
    with pytest.raises(TrainerUnfit, match="was changed while training"):
        record(tmp_path / "run", further=[callback])


class ReadsElsewhere(Net):
    """Reads the epoch of a trainer that it got by another way than `self.trainer`."""

    def on_train_start(self):
        self.places = {"trainer": self.trainer}

    def training_step(self, batch, batch_idx):
        return functional.cross_entropy(self.net(batch[0]), batch[1]) * (1 + self.places["trainer"].current_epoch)


def test_a_trainer_that_is_reached_by_another_way_is_no_constant(tmp_path):
    """Either the epoch is followed, then the bits are Lightning's, or the step is refused."""
    try:
        module, watch, _ = record(tmp_path / "run", ReadsElsewhere)
    except (CaptureRefused, UsageError):
        return
    with assay.start(tmp_path / "start", seed=1) as run, run.init():
        start = ReadsElsewhere().state_dict()
    other, plain, _ = train_plainly(tmp_path, watch, start, ReadsElsewhere)
    assert (watch.losses, get_bits(module)) == (plain.losses, get_bits(other))


def test_the_trainer_is_whole_outside_the_step(tmp_path):
    """What stands in the place of the trainer while a step is carried out is gone behind it, also after a refusal."""

    class Looks(Callback):
        seen = 0

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            assert pl_module.trainer is trainer
            assert "log" not in vars(pl_module)
            self.seen += pl_module.global_step

    looks = Looks()
    record(tmp_path / "run", further=[looks], max_epochs=1)
    assert looks.seen == sum(range(1, 7))
    with pytest.raises(CaptureRefused):
        record(tmp_path / "other", make_kind(reads_number))


def test_there_are_two_levels(tmp_path):
    """Another name is refused where the callback is made."""
    with assay.start(tmp_path / "run") as run, pytest.raises(UsageError, match="no such level"):
        assay.LightningCallback(run, level="certified")
