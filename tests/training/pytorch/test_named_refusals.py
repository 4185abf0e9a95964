"""What documentation and issues say is refused: file and line, reason and cure, for each, from a real step."""

# ruff: noqa: NPY002 - the steps of these tests do what users should not

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn import functional

import assay
from assay.errors import CaptureRefused
from assay.training.pytorch.refused_calls import find_objection
from tests.training.pytorch.sessions import line_of, make_data, make_net, sgd

GENERATOR = torch.Generator()
SCALER = torch.amp.GradScaler("cpu")
CASES: list[Case] = []
COUNT = 0


@dataclass
class Case:
    """A step that is refused: what the message says, what the cure says, and what the step is made of."""

    step: Any
    reason: str
    cure: str
    make: Any = make_net
    optimizer: Any = sgd
    options: dict[str, Any] = field(default_factory=dict)
    is_named: bool = False  # the line is that of `run.step(models=..., optimizers=...)`


def refused(reason, cure, **others):
    """Add the decorated step to the cases."""

    def add(step):
        CASES.append(Case(step, reason, cure, **others))
        return step

    return add


def compute_losses(net, batch):
    """The loss of each sample."""
    return functional.cross_entropy(net(batch[0]), batch[1], reduction="none")


def update(loss, optimizer):
    """Backward and update."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def train(net, optimizer, batch):
    """The usual step."""
    return update(compute_losses(net, batch).mean(), optimizer)


def attempt(path, case):
    """Record one epoch of a case."""
    net = case.make()
    optimizer = case.optimizer(net)
    with assay.start(path, seed=1, **case.options) as run:
        loader = run.loader(make_data(), batch_size=4)
        step = run.step(models=[net], optimizers=[optimizer])(lambda batch: case.step(net, optimizer, batch))  # named
        for _ in run.epochs(1):
            for batch in loader:
                step(batch)


# -- values and shapes -------------------------------------------------------------------------------------------------


@refused("reads the value of a tensor", "torch.where")
def branches(net, optimizer, batch):
    """Branch on a value."""
    loss = compute_losses(net, batch).mean()
    if loss > 0:  # here
        loss = loss * 2
    return update(loss, optimizer)


@refused("shape depends on values", "multiply by the mask")
def calls_nonzero(net, optimizer, batch):
    """Ask where the labels are."""
    places = batch[1].nonzero()  # here
    return update(compute_losses(net, batch).mean() + places.sum(), optimizer)


@refused("shape depends on values", "multiply by the mask")
def selects_by_mask(net, optimizer, batch):
    """Select by a boolean mask."""
    losses = compute_losses(net, batch)
    return update(losses[batch[1] > 0].mean(), optimizer)  # here


@refused("shape depends on values", "multiply by the mask")
def calls_masked_select(net, optimizer, batch):
    """Select by `masked_select`."""
    losses = compute_losses(net, batch)
    return update(torch.masked_select(losses, batch[1] > 0).mean(), optimizer)  # here


@refused("shape depends on values", "multiply by the mask")
def calls_unique(net, optimizer, batch):
    """Ask which labels there are."""
    labels = torch.unique(batch[1])  # here
    return update(compute_losses(net, batch).mean() + labels.sum(), optimizer)


@refused("shape depends on values", "multiply by the mask")
def repeats(net, optimizer, batch):
    """Repeat rows as often as a tensor says."""
    rows = batch[0].repeat_interleave(batch[1], dim=0)  # here
    return update(compute_losses(net, batch).mean() + rows.sum(), optimizer)


@refused("shape depends on values", "multiply by the mask")
def counts_labels(net, optimizer, batch):
    """Count labels."""
    counts = torch.bincount(batch[1])  # here
    return update(compute_losses(net, batch).mean() + counts.sum(), optimizer)


# -- other generators, counters ----------------------------------------------------------------------------------------


@refused("np.random.rand", "draw with torch operators")
def draws_by_numpy(net, optimizer, batch):
    """Draw from NumPy."""
    return update(compute_losses(net, batch).mean() * np.random.rand(), optimizer)  # here


@refused("random.random", "draw with torch operators")
def draws_by_python(net, optimizer, batch):
    """Draw from Python."""
    return update(compute_losses(net, batch).mean() * random.random(), optimizer)  # here


@refused("draws from a Generator", "draw with torch operators")
def draws_from_a_generator(net, optimizer, batch):
    """Draw from a generator that was made before."""
    noise = torch.rand(1, generator=GENERATOR)  # here
    return update(compute_losses(net, batch).mean() * noise, optimizer)


@refused("draws from an explicit torch.Generator", "draw with torch operators")
def makes_a_generator(net, optimizer, batch):
    """Draw from a generator that is made in the step."""
    generator = torch.Generator()
    noise = torch.rand(1, generator=generator)  # here
    return update(compute_losses(net, batch).mean() * noise, optimizer)


@refused("calls manual_seed", "seed nothing in the step")
def seeds(net, optimizer, batch):
    """Seed torch."""
    torch.manual_seed(0)  # here
    return update(compute_losses(net, batch).mean() * torch.rand(1), optimizer)


@refused("global COUNT", "move it out of the step")
def counts_in_a_global(net, optimizer, batch):
    """Count steps in a global."""
    global COUNT  # noqa: PLW0603 - what users should not do
    COUNT += 1  # here
    return update(compute_losses(net, batch).mean() * COUNT, optimizer)


def make_counting():
    """A net with a counter that is no buffer."""
    net = make_net()
    net.calls = 0
    return net


@refused("net.calls", "move it out of the step", make=make_counting)
def counts_in_an_attribute(net, optimizer, batch):
    """Count steps in an attribute."""
    net.calls += 1  # here
    return update(compute_losses(net, batch).mean() * net.calls, optimizer)


# -- scalers, compilers, several processes -----------------------------------------------------------------------------


@refused("GradScaler", "bfloat16 autocast without a scaler")
def scales_gradients(net, optimizer, batch):
    """Scale as for fp16."""
    optimizer.zero_grad()
    loss = compute_losses(net, batch).mean()
    SCALER.scale(loss).backward()  # here
    SCALER.step(optimizer)
    SCALER.update()
    return loss


def make_compiled():
    """A net made by torch.compile."""
    return torch.compile(make_net(), backend="eager")


def compile_in_place():
    """A net that compiles its own calls."""
    net = make_net()
    net.compile(backend="eager")
    return net


compiled_losses = torch.compile(compute_losses, backend="eager")


@refused("function made by torch.compile", "pass the function itself")
def calls_a_compiled_function(net, optimizer, batch):
    """Call a function made by torch.compile."""
    return update(compiled_losses(net, batch).mean(), optimizer)  # here


@refused("talks to other processes", "train in one process")
def reduces_over_processes(net, optimizer, batch):
    """Average gradients over processes."""
    optimizer.zero_grad()
    loss = compute_losses(net, batch).mean()
    loss.backward()
    for parameter in net.parameters():
        distributed.all_reduce(parameter.grad)  # here
    optimizer.step()
    return loss


def shard():
    """A net whose parameters are sharded over one process."""
    return fully_shard(make_net(), mesh=init_device_mesh("cpu", (1,)))


WRAPPERS = [
    ("module made by torch.compile", "_orig_mod", make_compiled),
    ("compiled in place", "module.compile()", compile_in_place),
    ("uses DataParallel", "pass the module itself", lambda: nn.DataParallel(make_net())),
    ("uses DistributedDataParallel", "the module itself", lambda: nn.parallel.DistributedDataParallel(make_net())),
    (
        "uses FullyShardedDataParallel", "pass the module itself",
        lambda: FullyShardedDataParallel(make_net(), device_id=torch.device("cpu")),
    ),
    ("uses FSDPSequential", "pass the module itself", shard),
]  # fmt: skip
CASES += [Case(train, reason, cure, make=make, is_named=True) for reason, cure, make in WRAPPERS]


# -- operators and optimizers ------------------------------------------------------------------------------------------


@torch.library.custom_op("assay_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    """Double, by code that no program can hold."""
    return torch.from_numpy(x.detach().numpy() * 2)


twice.register_autograd(lambda _context, gradient: gradient * 2)


@refused("custom operator (assay_tests.twice.default)", "torch.autograd.Function")
def calls_a_custom_operator(net, optimizer, batch):
    """Call an operator of another library than torch's."""
    return update(twice(compute_losses(net, batch)).mean(), optimizer)  # here


class LeavesTorch(torch.autograd.Function):
    """Doubles by way of NumPy."""

    @staticmethod
    def forward(_context, x):
        """Read the values."""
        return torch.from_numpy(x.detach().numpy() * 2)  # here

    @staticmethod
    def backward(_context, gradient):
        """Double the gradient."""
        return gradient * 2


@refused("reads the values of a tensor (Tensor.numpy)", "compute with tensors alone")
def leaves_torch(net, optimizer, batch):
    """Call a function of autograd that reads values."""
    return update(LeavesTorch.apply(compute_losses(net, batch)).mean(), optimizer)


def evaluates_again(net, optimizer, batch):
    """Let the optimizer evaluate the model."""

    def evaluate():
        optimizer.zero_grad()
        loss = compute_losses(net, batch).mean()
        loss.backward()
        return loss

    return optimizer.step(evaluate)


class Bag(nn.Module):
    """Looks a row up, and gives sparse gradients."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Embedding(5, 3, sparse=True)

    def forward(self, x):
        """Choose by the signs."""
        return self.rows((x > 0).long().sum(1).clamp(max=4))


CASES += [
    Case(
        evaluates_again, "LBFGS", "use SGD, Adam", is_named=True,
        optimizer=lambda net: torch.optim.LBFGS(net.parameters()),
    ),
    Case(
        train, "SparseAdam", "use SGD, Adam", make=Bag, is_named=True,
        optimizer=lambda net: torch.optim.SparseAdam(list(net.parameters())),
    ),
]  # fmt: skip


@refused("is given a closure", "loss.backward() first")
def passes_a_closure(net, optimizer, batch):
    """Let the optimizer call the model."""

    def closure():
        optimizer.zero_grad()
        loss = compute_losses(net, batch).mean()
        loss.backward()
        return loss

    return optimizer.step(closure)  # here


@refused(
    "not contiguous", "keep parameters and gradients contiguous",
    optimizer=lambda net: torch.optim.AdamW(net.parameters(), lr=0.1, fused=True),
)  # fmt: skip
def turns_a_gradient(net, optimizer, batch):
    """Give a fused optimizer, which walks the memory of its tensors, a gradient in another order than its parameter."""
    compute_losses(net, batch).mean().backward()
    net[2].weight.grad = net[2].weight.grad.t().contiguous().t()
    optimizer.step()  # here
    return net[2].bias.sum()


@refused(
    "layout torch.sparse_coo", "sparse=True", make=Bag, optimizer=lambda net: torch.optim.SGD(net.parameters(), lr=0.1)
)
def has_sparse_gradients(net, optimizer, batch):
    """Take gradients that are sparse."""
    loss = compute_losses(net, batch).mean()
    optimizer.zero_grad()
    loss.backward()  # here
    optimizer.step()
    return loss


@refused("not repeatable by several threads (aten.index_put", "threads=1", options={"threads": 2})
def adds_at_indices(net, optimizer, batch):
    """Add to elements that several threads may want."""
    losses = compute_losses(net, batch)
    sums = torch.zeros(3).index_put((batch[1],), losses, accumulate=True)  # here
    return update(sums.square().mean(), optimizer)


@pytest.fixture
def one_process(monkeypatch):
    """A process group of this process alone; threads, globals and scaler as they were."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(f"{__name__}.COUNT", 0)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()
    torch.set_num_threads(threads)


def name_case(case):
    """The name of a test: of the step, or what is wrong."""
    return case.reason if case.is_named else case.step.__name__


@pytest.mark.filterwarnings("ignore:FSDP is switching")
@pytest.mark.parametrize("case", CASES, ids=name_case)
@pytest.mark.usefixtures("one_process")
def test_what_is_refused_by_name_says_where_why_and_what_to_do(case, tmp_path):
    """File and line, reason, cure; none of it is left to a raw error of PyTorch."""
    with pytest.raises(CaptureRefused) as caught:
        attempt(tmp_path / "run", case)
    where = LeavesTorch if case.step is leaves_torch else case.step
    expected = line_of(attempt, "# named") if case.is_named else line_of(where)
    assert caught.value.message.startswith(f"{expected}: "), caught.value.message
    assert case.reason in caught.value.message
    assert case.cure in caught.value.next_step


def test_additions_at_indices_are_recorded_in_the_deterministic_mode(tmp_path):
    """PyTorch then adds in order, whatever the number of threads: the same step is recorded with two."""
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(mode=True)
    try:
        attempt(tmp_path / "run", Case(adds_at_indices, "", "", options={"threads": 2}))
    finally:
        torch.use_deterministic_algorithms(mode=False)
        torch.set_num_threads(threads)


def test_a_function_of_autograd_made_of_torch_is_recorded(tmp_path):
    """What it does is seen operator by operator, forward and backward."""

    class Doubling(torch.autograd.Function):
        @staticmethod
        def forward(_context, x):
            return x * 2

        @staticmethod
        def backward(_context, gradient):
            return gradient * 2

    def doubles(net, optimizer, batch):
        return update(Doubling.apply(compute_losses(net, batch)).mean(), optimizer)

    attempt(tmp_path / "run", Case(doubles, "", ""))


aten = torch.ops.aten
UNREPEATABLE = [
    (aten.cumsum.default, lambda: (torch.ones(3, device="cuda"), 0)),
    (aten.histc.default, lambda: (torch.ones(3, device="cuda"),)),
    (aten.index_add_.default, lambda: (torch.ones(3, device="cuda"), 0, torch.ones(1), torch.ones(1))),
    (
        aten.index_put.default,
        lambda: (torch.ones(3, device="cuda"), [torch.zeros(1, dtype=torch.int64)], torch.ones(1)),
    ),
]


@pytest.mark.parametrize(("operator", "make"), UNREPEATABLE, ids=lambda value: getattr(value, "_opname", ""))
def test_operators_that_are_not_repeatable_on_cuda_are_refused_there(operator, make):
    """By name and cure on CUDA, and not in the deterministic mode; on the CPU with one thread they are repeatable.

    Fake tensors stand for those of a device: what is asked of them is where they are.
    """
    with FakeTensorMode():
        arguments = make()
        reason, cure = find_objection(operator, arguments, {})
        assert "not repeatable on CUDA" in reason
        assert str(operator) in reason
        assert "use_deterministic_algorithms" in cure
        torch.use_deterministic_algorithms(mode=True)
        try:
            assert find_objection(operator, arguments, {}) is None
        finally:
            torch.use_deterministic_algorithms(mode=False)
    assert find_objection(aten.cumsum.default, (torch.ones(3), 0), {}) is None
