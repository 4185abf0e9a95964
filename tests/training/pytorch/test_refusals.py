"""What a session refuses: with file and line where one is at fault, reason and cure; models stay as they were."""

import logging
import random
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import assay
from assay.errors import CaptureRefused, UsageError
from assay.training.pytorch.home import StateChanged
from assay.training.pytorch.loader import BatchChanged
from assay.training.pytorch.step_runner import GraphDiffers
from assay.training.recorded import RecordedRun
from tests.training.pytorch.sessions import line_of, make_body, make_data, make_net, record, sgd

GENERATOR = np.random.default_rng(0)
TORCH_GENERATOR = torch.Generator()
LARGE = torch.ones(1200, 3)
SEEN: list = []
FACTOR = 1.0


def finish(loss, optimizer):
    """Backward and update."""
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


def reads_item(net, optimizer, batch):
    """Read the loss inside the step."""
    loss = functional.cross_entropy(net(batch[0]), batch[1])
    loss.item()  # here
    return finish(loss, optimizer)


def branches(net, optimizer, batch):
    """Branch on a tensor."""
    loss = functional.cross_entropy(net(batch[0]), batch[1])
    if loss > 1:  # here
        loss = loss * 2
    return finish(loss, optimizer)


def reads_numpy(net, optimizer, batch):
    """Scale by a value read through NumPy; it is the same after rolling the batch."""
    scale = float(batch[1].numpy().max())  # here
    return finish(functional.cross_entropy(net(batch[0]), batch[1]) * scale, optimizer)


def reads_list(net, optimizer, batch):
    """Scale by a value read as a list."""
    scale = float(max(batch[1].tolist()))  # here
    return finish(functional.cross_entropy(net(batch[0]), batch[1]) * scale, optimizer)


def reads_asarray(net, optimizer, batch):
    """Scale by a value read by np.asarray."""
    scale = float(np.asarray(batch[1]).max())  # here
    return finish(functional.cross_entropy(net(batch[0]), batch[1]) * scale, optimizer)


def selects(net, optimizer, batch):
    """Choose rows by a boolean mask."""
    chosen = batch[0][batch[0][:, 0] > 0]  # here
    return finish(net(chosen).square().mean(), optimizer)


def draws_numpy(net, optimizer, batch):
    """Draw from NumPy."""
    noise = np.random.rand()  # noqa: NPY002 # here
    return finish(functional.cross_entropy(net(batch[0]), batch[1]) * noise, optimizer)


def draws_python(net, optimizer, batch):
    """Draw from Python."""
    noise = random.random()  # here
    return finish(functional.cross_entropy(net(batch[0]), batch[1]) * noise, optimizer)


def reads_clock(net, optimizer, batch):
    """Read a clock."""
    now = time.time()  # here
    return finish(functional.cross_entropy(net(batch[0]), batch[1]) * (now % 2), optimizer)


def makes_generator(net, optimizer, batch):
    """Make a NumPy generator."""
    noise = np.random.default_rng().random()  # here
    return finish(functional.cross_entropy(net(batch[0]), batch[1]) * noise, optimizer)


def uses_generator(net, optimizer, batch):
    """Use a NumPy generator made before."""
    noise = GENERATOR.random()  # here
    return finish(functional.cross_entropy(net(batch[0]), batch[1]) * noise, optimizer)


def uses_torch_generator(net, optimizer, batch):
    """Use a generator of torch."""
    noise = torch.rand(1, generator=TORCH_GENERATOR)  # here
    return finish(functional.cross_entropy(net(batch[0]), batch[1]) * noise, optimizer)


def seeds(net, optimizer, batch):
    """Seed torch in the step."""
    torch.manual_seed(0)  # here
    return finish(functional.cross_entropy(net(batch[0]), batch[1]), optimizer)


def reads_large(net, optimizer, batch):
    """Read a tensor of more than 4 KiB that is no state."""
    loss = functional.cross_entropy(net(batch[0]), batch[1])
    return finish(loss + LARGE.sum(), optimizer)  # here


def draws_again(net, optimizer, batch):
    """Draw a mask in a part that is computed twice."""
    y = checkpoint(lambda x: functional.dropout(net(x), 0.5), batch[0], use_reentrant=False)  # here
    loss = functional.cross_entropy(y, batch[1])
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


def unlisted(net, optimizer, batch):
    """Use an operator outside the closed list."""
    extra = torch.special.i0(batch[0]).sum()  # here
    return finish(functional.cross_entropy(net(batch[0]), batch[1]) + extra, optimizer)


def accumulates(net, optimizer, batch):
    """Never drop gradients: the step depends on the one before."""
    loss = functional.cross_entropy(net(batch[0]), batch[1])
    loss.backward()  # here
    optimizer.step()
    return loss


WITH_LINE = [
    reads_item, branches, reads_numpy, reads_list, reads_asarray, selects, draws_numpy, draws_python, reads_clock,
    makes_generator, uses_generator, uses_torch_generator, seeds, reads_large, draws_again, unlisted, accumulates,
]  # fmt: skip


def counts(net, optimizer, batch):
    """Count steps in Python."""
    net.calls = getattr(net, "calls", 0) + 1
    return finish(functional.cross_entropy(net(batch[0]), batch[1]) * net.calls, optimizer)


def appends(net, optimizer, batch):
    """Keep the losses in a list."""
    loss = functional.cross_entropy(net(batch[0]), batch[1])
    SEEN.append(loss.detach())
    return finish(loss, optimizer)


def changes_global(net, optimizer, batch):
    """Anneal a global."""
    global FACTOR  # noqa: PLW0603 - what users should not do
    FACTOR *= 0.9
    return finish(functional.cross_entropy(net(batch[0]), batch[1]) * FACTOR, optimizer)


def sets_rate(net, optimizer, batch):
    """Decay the rate inside the step."""
    loss = finish(functional.cross_entropy(net(batch[0]), batch[1]), optimizer)
    for group in optimizer.param_groups:
        group["lr"] *= 0.9
    return loss


def returns_number(net, optimizer, batch):
    """Return something beside tensors."""
    return finish(functional.cross_entropy(net(batch[0]), batch[1]), optimizer), 1


WITHOUT_LINE = {
    counts: "calls", appends: "SEEN", changes_global: "FACTOR", sets_rate: "lr", returns_number: "returns int",
}  # fmt: skip


def take_bytes(net, optimizer):
    """Everything that a step may change."""
    slots = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    return [tensor.detach().numpy().tobytes() for tensor in (*net.state_dict().values(), *slots)]


def refuse(path, function, *, make=sgd):
    """Record until the refusal and return it; nothing of the run or the models may have changed."""
    net = make_net()
    optimizer = make(net)
    before = take_bytes(net, optimizer)
    with pytest.raises(CaptureRefused) as caught:
        record(path, net, optimizer, lambda batch: function(net, optimizer, batch))
    assert take_bytes(net, optimizer) == before
    assert not optimizer.state
    assert all(parameter.grad is None for parameter in net.parameters())
    left = RecordedRun(path)
    assert (left.steps, left.uses) == (0, ())
    left.close()
    assert caught.value.next_step
    return caught.value


@pytest.mark.parametrize("function", WITH_LINE, ids=lambda function: function.__name__)
def test_what_cannot_be_recorded_is_refused_with_its_line(function, tmp_path):
    """The message names file and line of the step and the cure; models, optimizers and run are as before."""
    refusal = refuse(tmp_path / "run", function)
    assert line_of(function) in str(refusal)


@pytest.mark.parametrize("function", WITHOUT_LINE, ids=lambda function: function.__name__)
def test_what_changes_python_is_refused_by_name(function, tmp_path, monkeypatch):
    """The message names what the step changes or returns, and the cure."""
    monkeypatch.setattr("tests.training.pytorch.test_refusals.FACTOR", 1.0)
    SEEN.clear()
    assert WITHOUT_LINE[function] in str(refuse(tmp_path / "run", function))


@pytest.mark.parametrize(
    "make",
    [
        lambda net: torch.optim.SGD(net.parameters(), lr=torch.tensor(0.1)),
        lambda net: torch.optim.LBFGS(net.parameters()),
        lambda net: torch.optim.ASGD(net.parameters()),
    ],
    ids=["tensor rate", "LBFGS", "ASGD"],
)
def test_optimizers_that_cannot_be_recorded_are_refused(make, tmp_path):
    """Forms and classes of optimizers whose numbers do not follow from settings and counters are refused."""
    net = make_net()
    optimizer = make(net)
    before = [value.clone() for value in net.state_dict().values()]
    with pytest.raises(UsageError) as caught:
        record(tmp_path / "run", net, optimizer, make_body(net, optimizer))
    assert caught.value.next_step
    assert all(map(torch.equal, before, net.state_dict().values()))


def test_a_closure_is_refused(tmp_path):
    """`optimizer.step(closure)` evaluates the model inside the optimizer."""
    net = make_net()
    optimizer = sgd(net)

    def body(batch):
        def closure():
            optimizer.zero_grad()
            loss = functional.cross_entropy(net(batch[0]), batch[1])
            loss.backward()
            return loss

        return optimizer.step(closure)

    with pytest.raises(CaptureRefused, match="is given a closure") as refusal:
        record(tmp_path / "run", net, optimizer, body)
    assert "loss.backward() first" in refusal.value.next_step


# -- what happens between loader and step, and between two steps -------------------------------------------------------


def record_with(path, change, *, at=1, steps=6):
    """Record with `change(net, optimizer, batch)` before the step `at`."""
    net = make_net()
    optimizer = sgd(net)
    body = make_body(net, optimizer)
    run = assay.start(path, seed=1)
    loader = run.loader(make_data(), batch_size=4)
    step = run.step(models=[net], optimizers=[optimizer])(body)
    try:
        for _ in run.epochs(2):
            for batch in loader:
                fed = change(net, optimizer, batch) if run.step_number + 1 == at else None
                step(batch if fed is None else fed)
                if run.step_number == steps:
                    return run.finish()
    finally:
        run.close()


def add_one(_net, _optimizer, batch):
    """Add in place."""
    batch[0].add_(1)


def add_by_numpy(_net, _optimizer, batch):
    """Add where torch does not see it."""
    array = batch[0].numpy()
    array += 1


def copy_batch(_net, _optimizer, batch):
    """Give a copy."""
    return [tensor.clone() for tensor in batch]


def drop_field(_net, _optimizer, batch):
    """Give a part."""
    return batch[:1]


def want_gradient(_net, _optimizer, batch):
    """Ask for a gradient outside the step."""
    batch[0].requires_grad_()


@pytest.mark.parametrize("change", [add_one, add_by_numpy, copy_batch, drop_field, want_gradient])
def test_a_batch_that_is_not_the_committed_one_is_refused(change, tmp_path):
    """A batch changed or replaced between loader and step would be recorded with the wrong content."""
    with pytest.raises(BatchChanged) as caught:
        record_with(tmp_path / "run", change)
    assert "into the step" in caught.value.next_step


def test_an_older_batch_is_refused(tmp_path):
    """The batch of the step before belongs to the step before."""
    net = make_net()
    optimizer = sgd(net)
    run = assay.start(tmp_path / "run")
    loader = run.loader(make_data(), batch_size=4)
    step = run.step(models=[net], optimizers=[optimizer])(make_body(net, optimizer))
    with run:
        batches = iter(loader)
        first = next(batches)
        step(first)
        next(batches)
        with pytest.raises(BatchChanged):
            step(first)


def in_place(net, _optimizer, _batch):
    """Change a parameter in place."""
    with torch.no_grad():
        net[0].weight.mul_(0.5)


def by_data(net, _optimizer, _batch):
    """Change a parameter through .data, which leaves no version."""
    net[0].weight.data.mul_(0.5)


def new_data(net, _optimizer, _batch):
    """Give a parameter other memory."""
    net[0].weight.data = net[0].weight.data.clone()


def load_model(net, _optimizer, _batch):
    """Load other weights."""
    net.load_state_dict(make_net(3).state_dict())


def assign_model(net, _optimizer, _batch):
    """Put other tensors in the place of the weights."""
    net.load_state_dict({k: v.clone() for k, v in net.state_dict().items()}, assign=True)


def replace_parameter(net, _optimizer, _batch):
    """Put another parameter in the place of one."""
    net[0].weight = nn.Parameter(net[0].weight.detach().clone())


def load_optimizer(_net, optimizer, _batch):
    """Load other slots."""
    state = optimizer.state_dict()
    state["state"] = {
        key: {name: value.clone().zero_() for name, value in slots.items()} for key, slots in state["state"].items()
    }
    optimizer.load_state_dict(state)


def zero_slot(_net, optimizer, _batch):
    """Change a slot in place."""
    next(iter(optimizer.state.values()))["momentum_buffer"].zero_()


def drop_slots(_net, optimizer, _batch):
    """Forget all slots."""
    optimizer.state.clear()


CHANGES = [in_place, by_data, new_data, load_model, assign_model, replace_parameter, load_optimizer, zero_slot,
           drop_slots]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_state_changed_outside_the_step_is_refused(change, tmp_path):
    """Every way to change model or optimizer between two steps is an error that names the steps and the cure."""
    with pytest.raises(StateChanged, match="between step 2 and step 3") as caught:
        record_with(tmp_path / "run", change, at=3)
    assert "inside the step" in caught.value.next_step


@pytest.mark.parametrize("change", [in_place, by_data, load_optimizer])
def test_a_change_after_the_last_step_is_refused(change, tmp_path):
    """`finish` and `evaluate` see a change after the last step, too."""
    net = make_net()
    optimizer = sgd(net)
    found = record(tmp_path / "run", net, optimizer, make_body(net, optimizer), steps=6)
    change(net, optimizer, None)
    with pytest.raises(StateChanged):
        found.run.evaluate(net, make_data(5), metrics=["accuracy"])
    with pytest.raises(StateChanged):
        found.run.finish()
    found.run.close()


def test_gradients_left_by_other_code_are_not_ignored(tmp_path):
    """A backward outside the step would add to the step's gradients in plain PyTorch."""

    def backward(net, _optimizer, batch):
        functional.cross_entropy(net(batch[0]), batch[1]).backward()

    with pytest.raises(GraphDiffers, match="gradients"):
        record_with(tmp_path / "run", backward, at=5)


class Sharing(nn.Module):
    """A buffer that is a row of the weight."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("row", self.linear.weight.data[0])

    def forward(self, x):
        return self.linear(x) + self.row.sum()


def test_state_that_overlaps_is_refused(tmp_path):
    """Two tensors of the state that share memory are named before the first step."""
    net = Sharing()
    optimizer = sgd(net)
    with pytest.raises(CaptureRefused, match=r"0/row and 0/linear.weight|0/linear.weight and 0/row"):
        record(tmp_path / "run", net, optimizer, make_body(net, optimizer))


def test_a_parameter_without_a_model_is_refused(tmp_path):
    """An optimizer that trains a parameter of no given model would change something that is not recorded."""
    net, other = make_net(), make_net()
    optimizer = torch.optim.SGD([*net.parameters(), *other.parameters()], lr=0.1)
    with pytest.raises(UsageError, match="no model has"):
        record(tmp_path / "run", net, optimizer, make_body(net, optimizer))


class Counting:
    """Counts."""

    def __init__(self):
        self.count = 0

    def increase(self):
        """Return a number that grows by one."""
        self.count += 1
        return self.count


def test_what_guards_cannot_see_is_found_by_the_eager_run_beside(tmp_path):
    """What a script hangs on a logger is not watched; a step that counts there differs from its graph beside it."""
    net = make_net()
    optimizer = sgd(net)
    hidden = logging.getLogger("a logger with a counter")
    hidden.counter = Counting()

    def loss(net, batch):
        return functional.cross_entropy(net(batch[0]), batch[1]) * (2.0 if hidden.counter.increase() > 4 else 1.0)

    with pytest.raises(GraphDiffers, match="at step 3: "):
        record(tmp_path / "run", net, optimizer, make_body(net, optimizer, loss))
