"""Guards: every change of what the body reads is seen and named; what cannot be repeated is refused."""

# ruff: noqa: PLW0108 - the steps of these tests do what users should not

from __future__ import annotations

import argparse
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from assay.training.pytorch.forbidden import StepRefused
from assay.training.pytorch.guards import collect_guards
from assay.training.pytorch.watches import watch_side_effects

torch.set_num_threads(1)

SCALE = 0.5
SETTINGS = {"alpha": 0.1, "layers": [1, 2, {"deep": "x"}]}
TABLE = np.array([1.0, 2.0])
WEIGHTS = torch.ones(2)
OPTIONS = argparse.Namespace(smoothing=0.1)


class Config:
    """A plain object."""

    kind = "class attribute"

    def __init__(self):
        self.temperature = 2.0
        self.inner = SimpleNamespace(depth=3)


class Slotted:
    """A plain object without `__dict__`."""

    __slots__ = ("rate",)

    def __init__(self):
        self.rate = 1.5


CONFIG = Config()
SLOTTED = Slotted()


class Net(nn.Module):
    """A net with an attribute that `forward` reads."""

    strength = 1.0

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(4, 2)
        self.gain = 1.5
        self.register_buffer("offset", torch.zeros(2))

    def forward(self, x):
        return self.last(self.drop(self.norm(self.first(x)))) * self.gain * self.strength + self.offset


def halve(x, by=2.0):
    """A function that the step calls."""
    return x / by * SCALE


def build():
    """A net, an optimizer and a step that reads many things."""
    net, criterion = Net(), nn.CrossEntropyLoss(label_smoothing=0.1, weight=torch.ones(2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    epsilon = 0.25

    def step(batch):
        loss = criterion(net(batch[0]), batch[1]) + epsilon * SETTINGS["alpha"]
        loss = halve(loss) * CONFIG.temperature * OPTIONS.smoothing * SLOTTED.rate + len(SETTINGS["layers"])
        loss = loss * float(TABLE[0]) + functional.relu(WEIGHTS).sum() * math.pi
        if CONFIG.kind == "other" or CONFIG.inner.depth > 4:
            loss = loss * 2
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def set_epsilon(value):
        nonlocal epsilon
        epsilon = value

    return SimpleNamespace(net=net, criterion=criterion, optimizer=optimizer, step=step, set_epsilon=set_epsilon)


def get_batch():
    """Two samples and their labels."""
    return torch.ones(2, 3), torch.tensor([0, 1])


def rebind_hooks(module):
    """Give a module a new dict of hooks, then a hook."""
    module._forward_hooks = type(module._forward_hooks)()
    module.register_forward_hook(lambda *_: None)


def set_global(monkeypatch, name, value):
    """Replace a global of this file for one test."""
    monkeypatch.setitem(globals(), name, value)


CHANGES = {
    "global": (lambda s, m: set_global(m, "SCALE", 0.6), "global 'SCALE'|global SCALE", "0.5 -> 0.6"),
    "global of another type": (lambda s, m: set_global(m, "SCALE", np.float32(0.5)), "global SCALE", "0.5 ->"),
    "function": (lambda s, m: set_global(m, "halve", lambda x: x), "global halve", "<lambda>"),
    "builtin": (lambda s, m: set_global(m, "len", lambda x: 3), "global len", "missing"),
    "code": (lambda s, m: m.setattr(halve, "__code__", (lambda x, by=2.0: x).__code__), "halve.__code__", "->"),
    "default": (lambda s, m: m.setattr(halve, "__defaults__", (3.0,)), "halve.__defaults__", "->"),
    "dict": (lambda s, m: m.setitem(SETTINGS, "alpha", 0.2), r"SETTINGS\[alpha\]", "0.1 -> 0.2"),
    "dict in list in dict": (lambda s, m: m.setitem(SETTINGS["layers"][2], "deep", "y"), "deep", "'x' -> 'y'"),
    "object": (lambda s, m: m.setattr(CONFIG, "temperature", 2.5), "CONFIG.temperature", "2.0 -> 2.5"),
    "object in object": (lambda s, m: m.setattr(CONFIG.inner, "depth", 5), "CONFIG.inner.depth", "3 -> 5"),
    "class attribute": (lambda s, m: m.setattr(Config, "kind", "other"), "Config.kind", "'other'"),
    "shadowed class attribute": (lambda s, m: m.setattr(CONFIG, "kind", "other"), "CONFIG.kind", "'other'"),
    "namespace": (lambda s, m: m.setattr(OPTIONS, "smoothing", 0.3), "OPTIONS.smoothing", "0.1 -> 0.3"),
    "slot": (lambda s, m: m.setattr(SLOTTED, "rate", 1.0), "SLOTTED.rate", "1.5 -> 1.0"),
    "array": (lambda s, m: TABLE.__iadd__(1), "TABLE", "written"),
    "foreign tensor": (lambda s, m: WEIGHTS.mul_(2), "WEIGHTS", "written"),
    "closure": (lambda s, m: s.set_epsilon(0.5), "closure variable epsilon", "0.25 -> 0.5"),
    "training flag": (lambda s, m: s.net.drop.eval(), "drop.training", "True -> False"),
    "attribute of a module": (lambda s, m: setattr(s.net, "gain", 2.0), "gain", "1.5 -> 2.0"),
    "attribute in place of a class attribute": (lambda s, m: setattr(s.net, "strength", 3.0), "strength", "3.0"),
    "probability": (lambda s, m: setattr(s.net.drop, "p", 0.1), "drop.p", "0.5 -> 0.1"),
    "class attribute of a module": (lambda s, m: m.setattr(Net, "strength", 2.0), "Net.strength", "1.0 -> 2.0"),
    "criterion": (lambda s, m: setattr(s.criterion, "label_smoothing", 0.2), "criterion.label_smoothing", "0.2"),
    "submodule": (lambda s, m: setattr(s.net, "last", nn.Linear(4, 2)), "last", "Linear"),
    "parameter": (lambda s, m: setattr(s.net.last, "bias", nn.Parameter(torch.ones(2))), "last.bias", "tensor"),
    "new parameter": (lambda s, m: s.net.register_parameter("extra", nn.Parameter(torch.ones(1))), "extra", "elements"),
    "buffer to None": (lambda s, m: setattr(s.net, "offset", None), "offset", "NoneType"),
    "requires_grad": (lambda s, m: s.net.first.weight.requires_grad_(False), "requires_grad of .*weight", "False"),
    "forward hook": (lambda s, m: s.net.last.register_forward_hook(lambda *_: None), "_forward_hooks", "1 elements"),
    "hooks put aside": (lambda s, m: rebind_hooks(s.net.last), "_forward_hooks", "->"),
    "gradient hook": (lambda s, m: s.net.last.weight.register_hook(lambda g: g * 2), "hooks of", "None"),
    "nesterov": (lambda s, m: s.optimizer.param_groups[0].update(nesterov=True), r"\['nesterov'\]", "False -> True"),
    "member": (lambda s, m: s.optimizer.param_groups[0]["params"].pop(), "params", "missing"),
    "group": (lambda s, m: s.optimizer.add_param_group({"params": [torch.ones(1)]}), r"param_groups\[1\]", "->"),
    "default dtype": (lambda s, m: torch.set_default_dtype(torch.float64), "default dtype", "float32"),
    "gradient mode": (lambda s, m: torch.set_grad_enabled(False), "gradient mode", "True -> False"),
    "autocast": (lambda s, m: torch.set_autocast_enabled("cpu", True), "autocast", "False -> True"),
    "threads": (lambda s, m: torch.set_num_threads(2), "threads", "1 -> 2"),
    "mkldnn": (lambda s, m: torch._C._set_mkldnn_enabled(False), "mkldnn", "True -> False"),
    "subnormals": (lambda s, m: torch.set_flush_denormal(True), "subnormal", "False -> True"),
}


@pytest.fixture(autouse=True)
def _restore():
    """Put back the global modes, and the values that tests write in place."""
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_autocast_enabled("cpu", False)
    torch.set_num_threads(1)
    torch._C._set_mkldnn_enabled(True)
    torch.set_flush_denormal(False)
    TABLE[:] = [1.0, 2.0]
    WEIGHTS.fill_(1.0)


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_seen_and_named(name, monkeypatch):
    """Guards hold before a change and not after it, and the description names it with old and new."""
    change, where, values = CHANGES[name]
    setup = build()
    guards = collect_guards(setup.step, [setup.net], [setup.optimizer])
    assert guards.holds()
    assert guards.describe_change() == []
    change(setup, monkeypatch)
    assert not guards.holds()
    lines = guards.describe_change()
    assert any(re.search(where, line) and values in line for line in lines), lines


def test_training_changes_no_guard():
    """Real steps, new rates, new gradients, evaluation and back leave the guards as they are."""
    setup = build()
    guards = collect_guards(setup.step, [setup.net], [setup.optimizer])
    scheduler = torch.optim.lr_scheduler.StepLR(setup.optimizer, 1)
    for _ in range(3):
        setup.step(get_batch())
        scheduler.step()
        setup.net.eval()
        assert not guards.holds()
        setup.net.train()
        assert guards.holds(), guards.describe_change()


def test_equal_objects_are_no_change(monkeypatch):
    """A global that is set to an equal number, text or tuple again still holds; 1, 1.0, True and -0.0 are not equal."""
    setup = build()
    guards = collect_guards(setup.step, [setup.net], [setup.optimizer])
    set_global(monkeypatch, "SCALE", float("0.5"))
    assert guards.holds()
    SETTINGS["layers"][0] = True
    assert not guards.holds()
    SETTINGS["layers"][0] = 1
    assert guards.holds()
    set_global(monkeypatch, "SCALE", 0.0)
    guards.refresh()
    set_global(monkeypatch, "SCALE", -0.0)
    assert not guards.holds()


HISTORY: list = []
CACHE: dict = {}
TOTAL = 0


def appends(x):
    """Change what the name says."""
    HISTORY.append(x)


def extends_cache(x):
    """Change what the name says."""
    CACHE["last"] = x


def counts(x):
    """Change what the name says."""
    global TOTAL  # noqa: PLW0603
    TOTAL += 1


def sets_new_global(x):
    """Change what the name says."""
    global NEW_GLOBAL  # noqa: PLW0603
    NEW_GLOBAL = x


def counts_on_an_object(x):
    """Change what the name says."""
    CONFIG.temperature += 1


def counts_on_itself(x):
    """Change what the name says."""
    counts_on_itself.calls = getattr(counts_on_itself, "calls", 0) + 1


def writes_foreign_tensor(x):
    """Change what the name says."""
    WEIGHTS.add_(1)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (appends, "HISTORY"),
        (extends_cache, "CACHE"),
        (counts, "TOTAL"),
        (sets_new_global, "NEW_GLOBAL"),
        (counts_on_an_object, r"CONFIG\.temperature"),
        (counts_on_itself, "counts_on_itself"),
        (writes_foreign_tensor, "WEIGHTS"),
    ],
)
def test_side_effects_of_the_body_are_refused(function, words, monkeypatch):
    """What the body changes in Python is named and refused, on the first and on a later call."""
    monkeypatch.setitem(globals(), "HISTORY", [])
    monkeypatch.setitem(globals(), "CACHE", {})
    monkeypatch.setattr(CONFIG, "temperature", 2.0)
    guards = collect_guards(function, [], [])
    for _ in range(2):
        with pytest.raises(StepRefused, match=words) as caught, watch_side_effects(guards):
            function(torch.ones(1))
        assert "run.log" in caught.value.next_step
    globals().pop("NEW_GLOBAL", None)


def test_a_counter_in_a_closure_is_refused():
    """`nonlocal` counters are named."""
    calls = 0

    def step(x):
        nonlocal calls
        calls += 1

    with pytest.raises(StepRefused, match="calls"), watch_side_effects(collect_guards(step, [], [])):
        step(1)


@pytest.mark.parametrize("period", [1, 1000])
def test_a_scheduler_that_is_stepped_in_the_body_is_refused(period):
    """A graph would not step it; also where the rate does not change at the recorded step."""
    setup = build()
    scheduler = torch.optim.lr_scheduler.StepLR(setup.optimizer, period)

    def step(batch):
        setup.step(batch)
        scheduler.step()

    guards = collect_guards(step, [setup.net], [setup.optimizer])
    with pytest.raises(StepRefused, match="scheduler") as caught, watch_side_effects(guards):
        step(get_batch())
    assert ("'lr'" in caught.value.actual) == (period == 1)


class Trainer:
    """Keeps everything in one object, as many scripts do."""

    def __init__(self):
        self.net = nn.Linear(2, 2)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1)
        self.generator = np.random.default_rng(0)
        self.weight = 1.0
        self.epoch = 0

    def train_step(self, x):
        loss = self.net(x).sum() * self.weight
        loss.backward()
        self.optimizer.step()
        return loss

    def end_epoch(self):
        self.scheduler.step()
        self.epoch += 1


def test_only_attributes_that_the_step_names_are_guarded():
    """What the rest of an object keeps for the loop around the step may change; what the step reads may not."""
    trainer = Trainer()
    guards = collect_guards(trainer.train_step, [trainer.net], [trainer.optimizer])
    with watch_side_effects(guards):
        trainer.train_step(torch.ones(2))
    trainer.end_epoch()
    assert guards.holds(), guards.describe_change()
    trainer.weight = 2.0
    assert not guards.holds()


def test_reading_attributes_by_computed_names_guards_them_all():
    """With getattr() no name is safe to leave out."""
    setting = Config()

    def step(x):
        return x * getattr(setting, "temper" + "ature")

    guards = collect_guards(step, [], [])
    setting.temperature = 3.0
    assert not guards.holds()


def test_an_attribute_that_forward_sets_is_refused():
    """A module that keeps its last output would keep a stale one."""

    class Keeping(Net):
        def forward(self, x):
            self.kept = super().forward(x)
            return self.kept

    net = Keeping()
    guards = collect_guards(lambda x: net(x), [net], [])
    with pytest.raises(StepRefused, match="kept"), watch_side_effects(guards):
        net(torch.ones(2, 3))


def test_a_real_step_has_no_side_effect():
    """Batch norm, slots that are born, gradients and counters are no side effects; the guards hold afterwards."""
    setup = build()
    guards = collect_guards(setup.step, [setup.net], [setup.optimizer])
    for _ in range(3):
        with watch_side_effects(guards):
            setup.step(get_batch())
        assert guards.holds()


def test_older_weight_norm_is_no_side_effect():
    """The older weight and spectral norm of torch set an attribute at each call and read it in the same call."""
    with pytest.warns(FutureWarning):
        net = nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(2, 2)))
    spectral = nn.Sequential(torch.nn.utils.spectral_norm(nn.Linear(2, 2)))
    for module in (net, spectral):
        guards = collect_guards(lambda x, module=module: module(x), [module], [])
        with watch_side_effects(guards):
            module(torch.ones(1, 2)).sum().backward()


def test_a_rebound_buffer_belongs_to_the_state():
    """A buffer that forward replaces by a new tensor is lifted by the capture, not refused here."""

    class Running(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x):
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            return x - self.mean

    net = Running()
    guards = collect_guards(lambda x: net(x), [net], [])
    with watch_side_effects(guards):
        net(torch.ones(2, 3))
    assert guards.holds()


def test_cost_grows_linearly_with_what_is_watched():
    """Twenty modules need at most thirty times the values of one: nothing is watched twice over."""
    one = nn.Sequential(nn.Linear(2, 2))
    many = nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))
    sizes = [len(collect_guards(lambda x, m=m: m(x), [m], [])._expected) for m in (one, many)]
    assert sizes[1] < 30 * sizes[0]
