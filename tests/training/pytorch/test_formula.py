"""Rows of scalars beside the optimizers' own code."""

import math

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from assay.errors import MalformedEvidence
from assay.training.pytorch import settings_solver
from assay.training.pytorch.formula import Follower, FormulaUnknown, count_differing_rows
from assay.training.pytorch.scalars import ScalarReader
from assay.training.pytorch.schedulers import SavedOptimizer, read_optimizers, save_settings
from assay.training.pytorch.settings_solver import Settings
from assay.training.recorded import RecordedRun
from tests.training.pytorch.sessions import make_body, make_data, make_net
from tests.training.pytorch.sessions import record as record_run

OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1),
    "nesterov": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "dampened": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.8, dampening=0.3),
    "adam": lambda groups: torch.optim.Adam(groups, lr=3e-3, weight_decay=0.01),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95)),
    "amsgrad": lambda groups: torch.optim.AdamW(groups, lr=3e-3, amsgrad=True),
    "adamax": lambda groups: torch.optim.Adamax(groups, lr=2e-3),
    "nadam": lambda groups: torch.optim.NAdam(groups, lr=2e-3),
    "nadam decoupled": lambda groups: torch.optim.NAdam(
        groups, lr=2e-3, weight_decay=0.01, decoupled_weight_decay=True
    ),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, lr=1e-2, momentum=0.9, centered=True),
    "adagrad": lambda groups: torch.optim.Adagrad(groups, lr=1e-2, lr_decay=1e-3),
    "adadelta": lambda groups: torch.optim.Adadelta(groups, lr=1.0),
}
SCHEDULES = {
    "constant": lambda optimizer: None,
    "cosine": lambda optimizer: schedulers.CosineAnnealingLR(optimizer, 40),
    "warm-up from zero": lambda optimizer: schedulers.LambdaLR(optimizer, lambda step: min(1.0, step / 10)),
    "exponential": lambda optimizer: schedulers.ExponentialLR(optimizer, 0.97),
}
STEPS = 30


def make_parameters(count=4):
    """Return parameters of three elements."""
    return [torch.nn.Parameter(torch.full((3,), 0.5)) for _ in range(count)]


def take_step(optimizer, parameters):
    """Update all parameters."""
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 0.25)
    optimizer.step()


def follow(optimizer, rows, groups=1):
    """Return the steps whose rows are not explained, by optimizers made from saved settings."""
    names = {id(p): f"0/p{i}" for i, p in enumerate(p for g in optimizer.param_groups for p in g["params"])}
    saved = read_optimizers(save_settings([optimizer], [], names))
    follower = Follower(saved, dict.fromkeys(names.values(), torch.float32))
    return [step for step, (row, updated) in enumerate(rows, 1) if not follower.follow(row, frozenset(updated))]


def record(optimizer, schedule, steps=STEPS, change=lambda step, optimizer: None):
    """Train, and return the rows of all steps."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    scheduler, reader, rows = schedule(optimizer), ScalarReader([optimizer]), []
    for step in range(1, steps + 1):
        change(step, optimizer)
        rows.append((reader.read(), [f"0/p{i}" for i in range(len(parameters))]))
        take_step(optimizer, parameters)
        if scheduler is not None:
            scheduler.step()
    return rows


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_honest_rows_are_explained(optimizer, schedule):
    """Whatever the rate of each step, an optimizer's own rows follow from its own code."""
    made = OPTIMIZERS[optimizer](make_parameters())
    assert follow(made, record(made, SCHEDULES[schedule])) == []


@pytest.mark.parametrize("optimizer", ["nesterov", "adam", "adamw", "nadam decoupled"])
def test_a_momentum_that_cycles_is_explained(optimizer):
    """A schedule that changes rate and momentum together leaves nothing unexplained."""
    made = OPTIMIZERS[optimizer](make_parameters())
    rows = record(made, lambda o: schedulers.OneCycleLR(o, max_lr=0.05, total_steps=STEPS + 1))
    assert follow(made, rows) == []


def test_rate_and_decay_set_by_hand_are_explained():
    """Two settings changed in one step are found one after the other."""
    made = OPTIMIZERS["adamw"](make_parameters())

    def change(step, optimizer):
        if step in {7, 19}:
            optimizer.param_groups[0].update(lr=0.01 / step, weight_decay=0.003 * step)

    assert follow(made, record(made, SCHEDULES["constant"], change=change)) == []


def test_a_rate_is_found_where_no_number_is_its_own():
    """Every number of NAdam that the rate changes depends on another setting too; the decay may change with it."""
    made = OPTIMIZERS["nadam decoupled"](make_parameters())

    def change(step, optimizer):
        if step in {7, 19}:
            optimizer.param_groups[0].update(lr=0.01 / step, weight_decay=0.003 * step)

    assert follow(made, record(made, SCHEDULES["constant"], change=change)) == []


def test_a_foreign_number_is_found_where_no_number_is_the_rates_own():
    """Trying which setting is unchanged explains no row that NAdam's code does not give."""
    made = OPTIMIZERS["nadam decoupled"](make_parameters())
    rows = record(made, SCHEDULES["cosine"])
    for step in (5, 17):
        row = rows[step - 1][0].copy()
        row[-1] += math.pi / 1000
        rows[step - 1] = (row, rows[step - 1][1])
    assert follow(made, rows) == [5, 17]


def test_rows_that_nothing_explains_take_a_bounded_time(monkeypatch):
    """Settings are held a bounded number of times for a row, so that false rows cannot hold up an audit."""
    solve, attempt, tried = Settings.solve, Settings._solve, [0]
    monkeypatch.setattr(Settings, "solve", lambda *given: tried.append(0) or solve(*given))

    def count(*given):
        tried[-1] += 1
        return attempt(*given)

    monkeypatch.setattr(Settings, "_solve", count)
    most = []
    for bound in (1, 32):
        monkeypatch.setattr(settings_solver, "MOST_HOLDS", bound)
        made = OPTIMIZERS["nadam decoupled"](make_parameters())
        rows = record(made, SCHEDULES["cosine"])
        rows[4][0][-1] += math.pi / 1000
        tried.clear()
        assert 5 in follow(made, rows)
        most.append(max(tried))
    assert most[0] == 2 < most[1] <= 33


def test_groups_with_settings_of_their_own_are_explained():
    """Each group is solved by itself."""
    groups = [
        {"params": make_parameters(2), "weight_decay": 0.1},
        {"params": make_parameters(1), "lr": 1e-4, "weight_decay": 0.0},
    ]
    made = torch.optim.AdamW(groups, lr=1e-3)
    assert follow(made, record(made, SCHEDULES["cosine"])) == []


def test_a_parameter_that_is_trained_later_has_corrections_of_its_own():
    """Parameters with other step counts have other numbers, and both are explained."""
    parameters = make_parameters()
    made, rows = torch.optim.AdamW(parameters, lr=1e-3), []
    scheduler, reader = schedulers.ExponentialLR(made, 0.95), ScalarReader([made])
    for step in range(1, STEPS + 1):
        trained = len(parameters) if step > 8 else 2
        rows.append((reader.read(), [f"0/p{place}" for place in range(trained)]))
        for place, parameter in enumerate(parameters):
            parameter.grad = torch.ones(3) if place < trained else None
        made.step()
        scheduler.step()
    assert follow(made, rows) == []


@pytest.mark.parametrize("name", ["nesterov", "adam", "adamw", "rmsprop"])
def test_numbers_that_carry_something_else_are_counted(name):
    """A row with one number that no settings give is reported, and the rows after it are not blamed for it."""
    made = OPTIMIZERS[name](make_parameters())
    rows = record(made, SCHEDULES["cosine"])
    place = {"nesterov": 1, "adam": 4, "adamw": 4, "rmsprop": 2}[name]
    for step in (5, 17):
        row = rows[step - 1][0].copy()
        row[place] += math.pi / 1000
        rows[step - 1] = (row, rows[step - 1][1])
    found = follow(made, rows)
    assert set(found) <= {5, 17}
    if name.startswith("adam"):  # there the number has company that depends on the same settings
        assert found == [5, 17]


def test_a_frozen_bias_correction_is_found():
    """Rows that repeat those of the second step are no rows of Adam."""
    made = OPTIMIZERS["adam"](make_parameters())
    rows = record(made, SCHEDULES["constant"], steps=12)
    frozen = [*rows[:2], *[(rows[1][0], updated) for _, updated in rows[2:]]]
    assert follow(made, frozen) == list(range(3, 13))


def test_a_row_of_another_length_is_found():
    """A row with more numbers than the optimizers have is not explained."""
    made = OPTIMIZERS["sgd"](make_parameters())
    rows = record(made, SCHEDULES["constant"], steps=3)
    rows[1] = (np.append(rows[1][0], 0.0), rows[1][1])
    assert follow(made, rows) == [2]


def test_an_optimizer_of_somebody_else_is_not_judged():
    """Only classes whose formula is known are made again; names are looked up in a closed list."""
    with pytest.raises(FormulaUnknown, match="is not known here"):
        Follower([SavedOptimizer("LBFGS", [{}], [["0/p"]], has_stepped=False)], {"0/p": torch.float32})


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b"\xff", b'{"dict":[]}', b'{"dict":[["optimizers",{"list":["SGD"]}]]}',
        b'{"dict":[["optimizers",["SGD"]],["groups",[[{"dict":[["lr",{"list":[]}]]}]]],["parameters",[[["0/p"]]]],["counters",[[[null]]]]]}',
        b"[" * 5000,
    ],
    ids=range(8),
)  # fmt: skip
def test_settings_of_a_stranger_are_read_strictly(data):
    """Settings that have another form are refused as malformed, whatever they are."""
    with pytest.raises(MalformedEvidence):
        read_optimizers(data)


@pytest.mark.parametrize("optimizer", ["nesterov", "adamw", "adagrad"])
def test_a_declared_start_is_followed_from_its_first_step(optimizer, tmp_path):
    """A stored start with an optimizer that has not stepped: every row is explained."""
    net = make_net()
    made = OPTIMIZERS[optimizer](net.parameters())
    record_run(tmp_path / "run", net, made, make_body(net, made)).run.finish()
    run = RecordedRun(tmp_path / "run")
    assert run.directory.checkpoints.list_steps()[0] == 0
    assert count_differing_rows(run) == 0
    run.close()


def test_a_start_with_an_optimizer_that_had_stepped_is_not_followed(tmp_path):
    """Nobody can say how its counters came about."""
    net = make_net()
    made = torch.optim.Adam(net.parameters())
    make_body(net, made)(make_data()[:4])
    record_run(tmp_path / "run", net, made, make_body(net, made)).run.finish()
    run = RecordedRun(tmp_path / "run")
    with pytest.raises(FormulaUnknown, match="had stepped before"):
        count_differing_rows(run)
    run.close()


def test_a_parameter_of_two_optimizers_is_not_followed():
    """A program changes the parameter, and does not say for whom."""
    saved = [SavedOptimizer("SGD", [{}], [["0/p"]], has_stepped=False)] * 2
    with pytest.raises(FormulaUnknown, match="two optimizers train '0/p'"):
        Follower(saved, {"0/p": torch.float32})
