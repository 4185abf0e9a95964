"""Every optimizer of torch.optim in every form: recorded with the bits of plain PyTorch, or refused by name."""

import inspect
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

import assay
from assay.errors import CaptureRefused
from assay.training.pytorch.formula import KNOWN
from assay.verification.tasks import Task
from assay.verification.worker import Worker
from tests.training.pytorch.sessions import make_body, make_data, make_net, record, record_beside_plain

STEPS, LEFT_AT = 52, 29

SETTINGS = {
    "SGD": {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
    "Adam": {"amsgrad": True, "weight_decay": 0.01},
    "AdamW": {"amsgrad": True},
    "Adamax": {"weight_decay": 0.01},
    "NAdam": {"weight_decay": 0.01},
    "RAdam": {"weight_decay": 0.01},
    "Adagrad": {"lr_decay": 0.1, "weight_decay": 0.01},
    "Adadelta": {"weight_decay": 0.01},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Rprop": {"etas": (0.3, 1.2)},
    "Muon": {"weight_decay": 0.01},
    "Adafactor": {"weight_decay": 0.01},
}
"""What is recorded."""

REFUSED = {
    "ASGD": "its operations change from step to step",
    "SparseAdam": "it works on sparse gradients",
    "LBFGS": "it evaluates the model several times in one step",
}
"""What is refused, and the reason that the message gives."""

FORMS = {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def list_forms(names):
    """Return each name with the forms that torch has of it."""
    return [
        (name, form)
        for name in names
        for form, setting in FORMS.items()
        if setting.keys() <= inspect.signature(getattr(torch.optim, name)).parameters.keys()
    ]


def make_session(name, options, dtype=torch.float32):
    """Return a net, its optimizer with two groups of their own settings, and the usual step."""
    net = make_net().to(dtype)
    kind, first, second = getattr(torch.optim, name), [*net[0].parameters()], [*net[2].parameters()]
    if name == "Muon":
        first, second = ([parameter for parameter in group if parameter.dim() == 2] for group in (first, second))
    groups = [{"params": first, "lr": 0.05}, {"params": second, "maximize": name == "SGD", "weight_decay": 0.0}]
    optimizer = kind(groups, lr=0.01, **{**SETTINGS[name], **options})

    def body(batch):
        loss = functional.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        net.zero_grad()
        return loss

    return net, optimizer, body


def change_rates(step, net, optimizer):
    """A schedule by hand, of every number that has one."""
    for group in optimizer.param_groups:
        group["lr"] = 0.05 / step
        if group.get("momentum"):
            group["momentum"] = 0.9 - 0.01 * step
        if "betas" in group and not isinstance(optimizer, torch.optim.NAdam):  # its rows hold a product over all steps
            group["betas"] = (0.9 - 0.01 * step, 0.99)


def audit(path):
    """Replay every interval of a run; return what does not match, and how many rows no settings explain."""
    worker = Worker(str(path))
    assert worker.check_machine().ready
    answers = [worker.carry_out(Task("interval", index)) for index in range(worker.run.intervals)]
    rows = worker.carry_out(Task("scalars", 0))
    return [answer for answer in answers if answer.result != "matches"], rows.detail or rows.differing_rows


@pytest.mark.parametrize(("name", "form"), list_forms(SETTINGS))
def test_recorded_resumed_and_audited(name, form, tmp_path):
    """Bit-equal to plain PyTorch over 52 steps; the same when left and begun again; the audit matches throughout."""
    options = {"epochs": 9, "data": make_data(24), "checkpoint_every": 8}
    closing, differing = record_beside_plain(
        tmp_path / "whole", lambda: make_session(name, FORMS[form]), steps=STEPS, before=change_rates, **options
    )
    assert differing == []
    for steps in (LEFT_AT, STEPS):
        net, optimizer, body = make_session(name, FORMS[form])
        found = record(
            tmp_path / "resumed", net, optimizer, body, steps=steps,
            before=lambda step, net=net, optimizer=optimizer: change_rates(step, net, optimizer), **options,
        )  # fmt: skip
        if steps < STEPS:
            found.run.close()
    assert found.run.finish().final_state == closing.final_state
    differing, unexplained = audit(tmp_path / "whole")
    assert differing == []
    assert unexplained == 0 if name in KNOWN else f"formula of {name} is not known" in unexplained


@pytest.mark.parametrize("place", ["inside", "outside"])
@pytest.mark.parametrize("name", ["Adagrad", "Adam"])
def test_slots_from_construction_belong_to_the_start(name, place, tmp_path):
    """Adagrad has slots before its first step: the initialiser makes them, wherever the optimizer is constructed."""
    run = assay.start(tmp_path / "run", seed=1, checkpoint_every=4)
    options = {"initial_accumulator_value": 0.25} if name == "Adagrad" else {}

    def make_optimizer():
        return getattr(torch.optim, name)(net.parameters(), lr=0.01, **options)

    with run.init():
        net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
        if place == "inside":
            optimizer = make_optimizer()
    if place == "outside":
        optimizer = make_optimizer()
    loader = run.loader(make_data(), batch_size=4)
    step = run.step(models=[net], optimizers=[optimizer])(make_body(net, optimizer))
    for _ in run.epochs(2):
        for batch in loader:
            step(batch)
    run.finish()
    worker = Worker(str(tmp_path / "run"))
    assert worker.carry_out(Task("start", 0)).result == "matches"
    assert audit(tmp_path / "run") == ([], 0)


def test_slots_that_were_loaded_are_no_start_of_an_initialiser(tmp_path):
    """What was loaded into an optimizer is made by no constructor: the run is refused, not found false later."""
    run = assay.start(tmp_path / "run", seed=1)
    with run.init():
        net = nn.Linear(4, 3)
    optimizer = torch.optim.Adagrad(net.parameters(), lr=0.01)
    functional.cross_entropy(net(torch.eye(4)), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    loader = run.loader(make_data(), batch_size=4)
    step = run.step(models=[net], optimizers=[optimizer])(make_body(net, optimizer))
    with pytest.raises(CaptureRefused, match="not what the recorded constructors make"):
        step(next(iter(loader)))
    run.close()


@pytest.mark.parametrize(("name", "form"), list_forms(REFUSED))
def test_refused_with_line_reason_and_cure(name, form, tmp_path):
    """The message has the line of the recorded step's call, the optimizer, why, and what to use."""
    net = make_net()
    optimizer = getattr(torch.optim, name)(net.parameters(), lr=0.01, **FORMS[form])

    def body(batch):
        loss = functional.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        net.zero_grad()
        return loss

    with pytest.raises(CaptureRefused) as refusal:
        record(tmp_path / "run", net, optimizer, body)
    assert re.match(rf".*sessions\.py:\d+: optimizer 0 \({name}\) .*{REFUSED[name]}", refusal.value.message)
    assert "use SGD, Adam" in refusal.value.next_step


def test_no_optimizer_of_torch_is_left_out():
    """Each is recorded or refused, and no other stands here."""
    kinds = {name: kind for name, kind in vars(torch.optim).items() if inspect.isclass(kind)}
    known = {name for name, kind in kinds.items() if issubclass(kind, torch.optim.Optimizer)} - {"Optimizer"}
    assert known == SETTINGS.keys() | REFUSED.keys()


@pytest.mark.parametrize(("name", "form"), list_forms(["SGD", "Adam", "AdamW", "Adagrad", "Adafactor", "RMSprop"]))
def test_parameters_of_16_bits(name, form, tmp_path):
    """Kernels round numbers to 16 bits in one place and not in another: the bits are those of the form."""

    def make():
        net, optimizer, _ = make_session(name, FORMS[form], torch.bfloat16)

        def body(batch):
            loss = functional.cross_entropy(net(batch[0].bfloat16()).float(), batch[1])
            loss.backward()
            optimizer.step()
            net.zero_grad()
            return loss

        return net, optimizer, body

    assert record_beside_plain(tmp_path / "run", make, steps=12, before=change_rates)[1] == []


FLIPS = {
    "SGD": [("maximize", True), ("momentum", 0.0), ("momentum", 0.5), ("nesterov", False), ("dampening", 0.5)],
    "Adam": [("maximize", True), ("weight_decay", 0.1), ("betas", (0.5, 0.9)), ("eps", 0.01)],
    "AdamW": [("maximize", True), ("weight_decay", 0.1), ("betas", (0.5, 0.9)), ("eps", 0.01)],
    "Adagrad": [("maximize", True), ("lr_decay", 0.5), ("weight_decay", 0.1), ("eps", 0.01)],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FLIPS)
def test_settings_changed_by_hand(name, form, tmp_path):
    """Flags are part of the program and numbers of the row: whichever changes in mid-run, the bits are eager's."""

    def change(step, net, optimizer):
        key, value = FLIPS[name][step // 4 - 1] if step % 4 == 0 and step // 4 <= len(FLIPS[name]) else (None, None)
        if key is not None:
            if name == "SGD" and key == "momentum" and not value:
                optimizer.param_groups[0]["nesterov"] = False
            optimizer.param_groups[0][key] = value

    options = {"epochs": 6, "data": make_data(24), "checkpoint_every": 8}
    _, differing = record_beside_plain(
        tmp_path / "run", lambda: make_session(name, FORMS[form]), steps=28, before=change, **options
    )
    assert differing == []
    assert audit(tmp_path / "run")[0] == []
