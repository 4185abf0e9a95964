"""The scalars row equals the numbers of the real optimizer's calls."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler
from torch.utils._python_dispatch import TorchDispatchMode

from assay.training.pytorch.scalars import OptimizerRefused, ScalarReader

torch.set_num_threads(1)
OPTIM = torch.optim
STEPS = 120

CASES: dict[str, tuple[type, dict[str, Any]]] = {
    "sgd": (OPTIM.SGD, {"lr": 0.1}),
    "sgd-momentum": (OPTIM.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}),
    "sgd-nesterov": (OPTIM.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
    "sgd-dampening": (OPTIM.SGD, {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "maximize": True}),
    "adam": (OPTIM.Adam, {"lr": 0.01}),
    "adam-decay": (OPTIM.Adam, {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
    "adam-amsgrad": (OPTIM.Adam, {"lr": 0.01, "amsgrad": True}),
    "adamw": (OPTIM.AdamW, {"lr": 0.01}),
    "adamw-amsgrad": (OPTIM.AdamW, {"lr": 0.01, "amsgrad": True, "weight_decay": 0.2}),
    "adamax": (OPTIM.Adamax, {"lr": 0.01}),
    "nadam": (OPTIM.NAdam, {"lr": 0.01}),
    "radam": (OPTIM.RAdam, {"lr": 0.01}),
    "adagrad": (OPTIM.Adagrad, {"lr": 0.01, "lr_decay": 0.1}),
    "adadelta": (OPTIM.Adadelta, {"lr": 0.5}),
    "rmsprop": (OPTIM.RMSprop, {"lr": 0.01, "momentum": 0.9, "centered": True}),
}

SCHEDULES: dict[str, Any] = {
    "warm-up": lambda opt: lr_scheduler.LambdaLR(opt, lambda step: min(1.0, (step + 1) / 10)),
    "cosine": lambda opt: lr_scheduler.CosineAnnealingLR(opt, STEPS),
    "one-cycle": lambda opt: lr_scheduler.OneCycleLR(opt, 0.3, total_steps=STEPS + 1),
    "plateau": lambda opt: lr_scheduler.ReduceLROnPlateau(opt, patience=2),
    "by-hand": lambda opt: None,
}


class IndependentLog(TorchDispatchMode):
    """Logs the numbers of a real step per parameter; written apart from the code under test."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__()
        self.owner: dict[int, int] = {}
        self.alive: list[Any] = []
        self.numbers: dict[int, list[tuple[str, float]]] = {}
        index = 0
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                slots = [
                    value for value in optimizer.state.get(parameter, {}).values() if isinstance(value, torch.Tensor)
                ]
                for tensor in (parameter, parameter.grad, *slots):
                    self.owner[id(tensor)] = index
                self.numbers[index] = []
                index += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        result = func(*args, **kwargs)
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        self.alive += [*tensors, result]
        big = [tensor for tensor in tensors if tensor.dim() > 0]
        if not big:
            return result
        owners = {self.owner[id(tensor)] for tensor in big if id(tensor) in self.owner}
        assert len(owners) == 1
        (owner,) = owners
        self.owner[id(result)] = owner
        name = str(func)
        if name in ("aten.add.Tensor", "aten.add_.Tensor", "aten.sub.Tensor"):
            kwargs.setdefault("alpha", 1)
        if name in ("aten.addcmul_.default", "aten.addcdiv_.default"):
            kwargs.setdefault("value", 1)
        for value in (*args, kwargs.get("alpha"), kwargs.get("value")):
            if type(value) in (int, float):
                self.numbers[owner].append((name, value))
        return result


def build(kind: type, settings: dict[str, Any]) -> tuple[torch.nn.Module, Any]:
    """A small net and its optimizer with two parameter groups."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    second = dict(settings, lr=settings["lr"] / 3)
    return net, kind([{"params": net[0].parameters()}, {"params": net[2].parameters(), **second}], **settings)


def set_gradients(net: torch.nn.Module) -> float:
    """Fill the gradients and return the loss."""
    net.zero_grad()
    loss = net(torch.ones(2, 3)).square().mean()
    loss.backward()
    return float(loss.detach())


def run_real_step(optimizer: Any) -> list[list[tuple[str, float]]]:
    """Step for real and return the numbers of each parameter's calls."""
    log = IndependentLog(optimizer)
    with log:
        optimizer.step()
    return [log.numbers[index] for index in sorted(log.numbers)]


def read_per_parameter(reader: ScalarReader, optimizer: Any) -> list[list[tuple[str, float]]]:
    """Read the row and return the numbers of each parameter's calls."""
    row = reader.read()
    logs = reader.read_structured()
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    result: list[list[tuple[str, float]]] = [[] for _ in range(sum(sizes))]
    for log in logs:
        values = [value for _, _, value in log.numbers]
        assert row[log.first : log.first + len(values)].tolist() == values
        for member in log.members:
            result[sum(sizes[: log.group]) + member] = [(name, value) for name, _, value in log.numbers]
    assert sum(len(log.numbers) for log in logs) == len(row)
    return result


ALL_SCHEDULES = ("sgd-nesterov", "adam-amsgrad", "adamw")


@pytest.mark.parametrize(
    ("case", "schedule"),
    [(case, schedule) for case in CASES for schedule in (SCHEDULES if case in ALL_SCHEDULES else ["cosine"])],
)
def test_row_equals_the_real_step(case: str, schedule: str) -> None:
    """Before each of 120 steps the row equals, number by number, what the real step then feeds into its calls."""
    kind, settings = CASES[case]
    net, optimizer = build(kind, settings)
    scheduler = SCHEDULES[schedule](optimizer)
    reader = ScalarReader([optimizer])
    for step in range(STEPS):
        set_gradients(net)
        expected = read_per_parameter(reader, optimizer)
        assert run_real_step(optimizer) == expected, step
        if schedule == "plateau":
            scheduler.step(1.0)
        elif scheduler is not None:
            scheduler.step()
        elif step % 7 == 3:
            optimizer.param_groups[step % 2]["lr"] = 0.5 / (step + 1)


def test_reading_touches_nothing() -> None:
    """Parameters, gradients, slots, counters, settings and hooks are as before."""
    for kind, settings in CASES.values():
        net, optimizer = build(kind, settings)
        called: list[int] = []
        optimizer.register_step_pre_hook(lambda *_, called=called: called.append(1))
        for _ in range(3):
            set_gradients(net)
            before = copy.deepcopy((optimizer.state_dict(), net.state_dict(), [p.grad for p in net.parameters()]))
            ScalarReader([optimizer]).read()
            after = (optimizer.state_dict(), net.state_dict(), [p.grad for p in net.parameters()])
            assert str(before) == str(after)
            assert not called
            optimizer.step()
            called.clear()


@pytest.mark.parametrize("case", CASES)
def test_advance_leaves_the_counters_of_a_real_step(case: str) -> None:
    """Ten replayed steps leave the counters, and the next row, of ten real ones."""
    kind, settings = CASES[case]
    net, optimizer = build(kind, settings)
    twin_net, twin = build(kind, settings)
    for run_net, run in ((net, optimizer), (twin_net, twin)):
        set_gradients(run_net)
        run.step()
    reader = ScalarReader([optimizer])
    for _ in range(10):
        reader.read()
        reader.advance()
        set_gradients(twin_net)
        twin.step()
    assert reader.read().tolist() == ScalarReader([twin]).read().tolist()
    counters = [value for state in optimizer.state.values() for value in state.values() if value.dim() == 0]
    expected = [value for state in twin.state.values() for value in state.values() if value.dim() == 0]
    assert counters == expected


def test_parameters_with_other_counters_are_read_apart() -> None:
    """A parameter that joined later has its own bias correction; `advance` moves only those that were updated."""
    net, optimizer = build(*CASES["adamw"])
    first, second = optimizer.param_groups[0]["params"]
    reader = ScalarReader([optimizer])
    for step in range(6):
        set_gradients(net)
        if step in (0, 3):
            second.grad = None
        expected = read_per_parameter(reader, optimizer)
        if second.grad is not None:
            assert run_real_step(optimizer) == expected
        else:
            optimizer.step()
    reader.read()
    reader.advance([frozenset({id(first)})])
    assert optimizer.state[first]["step"].item() == 7
    assert optimizer.state[second]["step"].item() == 4


def test_a_constant_row_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """SGD's row is kept while nothing that it depends on changes, and read again when a rate does."""
    net, optimizer = build(*CASES["sgd-momentum"])
    set_gradients(net)
    optimizer.step()
    reader = ScalarReader([optimizer])
    row = reader.read()
    runs: list[int] = []
    stand_in = reader._stand_ins[0]
    step = stand_in.step
    monkeypatch.setattr(stand_in, "step", lambda clone: (runs.append(1), step(clone)))
    assert reader.read().tolist() == row.tolist()
    assert not runs
    optimizer.param_groups[1]["lr"] = 0.7
    assert reader.read().tolist() != row.tolist()
    assert len(runs) == 1


def test_a_loaded_state_is_seen() -> None:
    """After `load_state_dict` the row is that of the loaded counters."""
    net, optimizer = build(*CASES["adam"])
    reader = ScalarReader([optimizer])
    rows, states = [], []
    for _ in range(5):
        set_gradients(net)
        states.append(copy.deepcopy(optimizer.state_dict()))
        rows.append(reader.read().tolist())
        optimizer.step()
    optimizer.load_state_dict(states[2])
    assert reader.read().tolist() == rows[2]


def test_layout_changes_with_the_operators() -> None:
    """The first step, where slots are born, and later steps have different layouts; two later ones have the same."""
    net, optimizer = build(*CASES["sgd-momentum"])
    reader = ScalarReader([optimizer])
    layouts = []
    for _ in range(3):
        set_gradients(net)
        reader.read()
        layouts.append(reader.get_layout())
        optimizer.step()
    assert layouts[0] != layouts[1]
    assert layouts[1] == layouts[2]


def test_several_optimizers_share_one_row() -> None:
    """The row runs over optimizers in order."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    first = OPTIM.SGD(net[0].parameters(), lr=0.25)
    second = OPTIM.SGD(net[2].parameters(), lr=0.5)
    assert ScalarReader([first, second]).read().tolist() == [-0.25, -0.5]


class SubclassedAdam(OPTIM.Adam):
    """Calls the parent's step, as user code does."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


def test_a_subclass_is_read_through_its_own_step() -> None:
    """A subclass that wraps the step gives the same row, and hooks of the real optimizer do not run."""
    net, optimizer = build(SubclassedAdam, {"lr": 0.01})
    set_gradients(net)
    calls: list[int] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append(1))
    expected = read_per_parameter(ScalarReader([optimizer]), optimizer)
    assert not calls
    assert run_real_step(optimizer) == expected


class NormRate(OPTIM.SGD):
    """A rate that depends on the values of the parameters."""

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(parameter.grad, alpha=-parameter.norm().item())


class Counting(OPTIM.SGD):
    """A counter in a plain attribute."""

    count = 0

    def step(self, closure: Any = None) -> None:
        self.__dict__["count"] = self.__dict__.get("count", 0) + 1
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(parameter.grad, alpha=-1.0 / self.count)


def test_a_counter_in_an_attribute_is_followed() -> None:
    """An optimizer that counts in an attribute of its own is read at the real count, and advanced."""
    net, optimizer = build(Counting, {"lr": 0.1})
    reader = ScalarReader([optimizer])
    optimizer.count = 0
    set_gradients(net)
    for step in range(1, 5):
        assert set(reader.read().tolist()) == {-1.0 / step}
        reader.advance()
    assert optimizer.count == 4


class CountingInState(OPTIM.SGD):
    """A counter in the state that belongs to no parameter, there from the construction."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.state["total_step"] = 0


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (CountingInState, {"lr": 0.1}, "its state holds a int that is of no parameter"),
        (OPTIM.AdamW, {"fused": True, "capturable": True}, "capturable=True"),
        (OPTIM.Adam, {"capturable": True}, "capturable=True"),
        (OPTIM.SGD, {"lr": 0.1, "differentiable": True}, "differentiable=True"),
        (OPTIM.SGD, {"lr": torch.tensor(0.1)}, "lr is a tensor"),
        (OPTIM.LBFGS, {}, "LBFGS"),
        (OPTIM.ASGD, {}, "ASGD"),
        (NormRate, {"lr": 0.1}, "reads a number from one"),
    ],
)
def test_what_cannot_be_read_is_refused(kind: type, settings: dict[str, Any], words: str) -> None:
    """An optimizer whose numbers are no function of settings and counters is refused with a cure."""
    with pytest.raises(OptimizerRefused, match=words) as caught:
        ScalarReader([kind([torch.nn.Parameter(torch.ones(2))], **settings)]).read()
    assert "next:" in str(caught.value)
