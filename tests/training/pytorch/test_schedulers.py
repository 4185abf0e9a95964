"""Every scheduler of torch beside a recorded run: the bits of plain PyTorch, also when the run is left and resumed."""

import pytest
import torch
from torch.optim import lr_scheduler, swa_utils

import assay
from tests.training.pytorch.sessions import make_body, make_data, make_net, sgd

STEPS, LEFT_AFTER = 9, 6


def halve(count):
    """The factor of a step; a function, as most scripts have it."""
    return 0.5**count


def chain(optimizer):
    """Two schedulers, stepped by hand one after the other."""
    return [
        lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=3),
        lr_scheduler.ExponentialLR(optimizer, gamma=0.9),
    ]


SCHEDULERS = {
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, halve),
    "MultiplicativeLR": lambda optimizer: lr_scheduler.MultiplicativeLR(optimizer, lambda count: 0.95),
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5),
    "MultiStepLR": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [2, 3, 6], gamma=0.5),
    "ConstantLR": lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=5),
    "LinearLR": lambda optimizer: lr_scheduler.LinearLR(optimizer, total_iters=6),
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma=0.9),
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=7),
    "CosineAnnealingWarmRestarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=3),
    "PolynomialLR": lambda optimizer: lr_scheduler.PolynomialLR(optimizer, total_iters=8, power=2.0),
    "CyclicLR": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, step_size_up=3),
    "CyclicLR by function": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, 3, scale_fn=halve),
    "OneCycleLR": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=STEPS + 1),
    "SequentialLR": lambda optimizer: lr_scheduler.SequentialLR(optimizer, chain(optimizer), milestones=[3]),
    "ChainedScheduler": lambda optimizer: lr_scheduler.ChainedScheduler(chain(optimizer)),
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.1),
    "SWALR": lambda optimizer: swa_utils.SWALR(optimizer, swa_lr=0.01, anneal_epochs=5),
    "two by hand": chain,
}
MOVE_MOMENTUM = {"CyclicLR", "CyclicLR by function", "OneCycleLR"}


def advance(scheduler, loss):
    """Step a scheduler, or several, as a script does after a training step."""
    for item in scheduler if isinstance(scheduler, list) else [scheduler]:
        item.step(*[loss.detach()] if isinstance(item, lr_scheduler.ReduceLROnPlateau) else [])


def train(path, name, steps):
    """Record until `steps`; return run, net, batches and the settings before each step."""
    net = make_net()
    optimizer = sgd(net)
    scheduler = SCHEDULERS[name](optimizer)
    run = assay.start(path, seed=1, checkpoint_every=3)
    loader = run.loader(make_data(24), batch_size=4)
    step = run.step(models=[net], optimizers=[optimizer])(make_body(net, optimizer))
    batches, settings = [], []
    for _ in run.epochs(2):
        for batch in loader:
            if run.step_number == steps:
                return run, net, batches, settings
            batches.append([tensor.clone() for tensor in batch])
            settings.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
            advance(scheduler, step(batch))
    raise AssertionError("the data ended early")


def train_plainly(name, batches):
    """Train on the same batches in plain PyTorch; return the net and the settings before each step."""
    net = make_net()
    optimizer = sgd(net)
    scheduler = SCHEDULERS[name](optimizer)
    body, settings = make_body(net, optimizer), []
    for batch in batches:
        settings.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        advance(scheduler, body(batch))
    return net, settings


def test_every_scheduler_of_torch_is_named():
    """A new scheduler of torch wants a line in `SCHEDULERS`."""
    kinds = {
        name
        for module in (lr_scheduler, swa_utils)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, lr_scheduler.LRScheduler) and name.rstrip("R") != "_L"
    }
    assert kinds - {"LRScheduler", "_LRScheduler"} == {name for name in SCHEDULERS if " by " not in name}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step()`")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_beside_the_run_has_the_bits_of_plain_pytorch(name, tmp_path):
    """Recorded, and recorded with a break in the middle, the settings and weights are those of plain PyTorch."""
    run, net, batches, settings = train(tmp_path / "whole", name, STEPS)
    root = run.finish().final_state
    plain, expected = train_plainly(name, batches)
    assert settings == expected
    assert len({rate for rate, _ in expected}) > 1
    assert (len({momentum for _, momentum in expected}) > 1) == (name in MOVE_MOMENTUM)
    assert all(map(torch.equal, net.state_dict().values(), plain.state_dict().values()))

    train(tmp_path / "resumed", name, LEFT_AFTER)[0].close()
    run, net, _, settings = train(tmp_path / "resumed", name, STEPS)
    assert settings == expected[-len(settings) :]
    assert len(settings) < STEPS
    assert run.finish().final_state == root
