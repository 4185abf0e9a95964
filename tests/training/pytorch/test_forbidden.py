"""What a graph cannot repeat is refused before the first step."""

# ruff: noqa: PLW0108, NPY002, T201 - the steps of these tests do what users should not

from __future__ import annotations

import itertools
import random
import time

import numpy as np
import pytest
import torch
from torch import nn

from assay.training.pytorch.forbidden import StepRefused
from assay.training.pytorch.guards import collect_guards


class Net(nn.Module):
    """A net with a method that `forward` does not call."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(2, 2)

    def forward(self, x):
        return self.last(x)

    def draw(self):
        return random.random()


class Sampler:
    """Keeps a generator."""

    def __init__(self, generator):
        self.generator = generator

    def sample(self):
        return self.generator.random()


NUMPY_GENERATOR = np.random.default_rng(0)
TORCH_GENERATOR = torch.Generator()
PYTHON_GENERATOR = random.Random(0)
SAMPLER = Sampler(np.random.default_rng(0))
COUNTER = itertools.count()
SCALER = torch.amp.GradScaler("cpu")
PARALLEL = nn.DataParallel(nn.Linear(2, 2))
now = time.perf_counter


def uses_numpy_generator(x):
    """Use what the name says."""
    return x * NUMPY_GENERATOR.random()


def uses_torch_generator(x):
    """Use what the name says."""
    return x + torch.rand(2, generator=TORCH_GENERATOR)


def uses_python_generator(x):
    """Use what the name says."""
    return x * PYTHON_GENERATOR.random()


def uses_a_sampler(x):
    """Use what the name says."""
    return x * SAMPLER.sample()


def uses_random(x):
    """Use what the name says."""
    return x * random.random() if x is None else x


def uses_numpy_random(x):
    """Use what the name says."""
    return x * np.random.rand() if x is None else x


def uses_default_rng(x):
    """Use what the name says."""
    return x * np.random.default_rng(0).random() if x is None else x


def uses_time(x):
    """Use what the name says."""
    return x * time.time() if x is None else x


def uses_imported_clock(x):
    """Use what the name says."""
    return x * now() if x is None else x


def uses_a_call_that_draws(x):
    """Use what the name says."""
    return [uses_random(item) for item in x]


def uses_seed(x):
    """Use what the name says."""
    torch.manual_seed(0)
    return x


def uses_counter(x):
    """Use what the name says."""
    return x * next(COUNTER)


def uses_scaler(x):
    """Use what the name says."""
    return SCALER.scale(x)


def uses_parallel(x):
    """Use what the name says."""
    return PARALLEL(x)


def imports_random(x):
    """Import inside the step."""
    import random as chance

    return x * chance.random()


REFUSED = [
    (uses_numpy_generator, "Generator"),
    (uses_torch_generator, "Generator"),
    (uses_python_generator, "Random"),
    (uses_a_sampler, "Generator"),
    (uses_random, "draws"),
    (uses_numpy_random, "RandomState"),
    (uses_default_rng, "default_rng"),
    (uses_time, "time.time"),
    (uses_imported_clock, "time.perf_counter"),
    (uses_a_call_that_draws, "draws"),
    (uses_seed, "manual_seed"),
    (uses_counter, "iterator"),
    (uses_scaler, "GradScaler"),
    (uses_parallel, "DataParallel"),
    (imports_random, "imports random"),
]


@pytest.mark.parametrize(("function", "words"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_what_a_graph_cannot_repeat_is_refused(function, words):
    """Generators, clocks, iterators, scalers and wrappers are refused before the first step, with a cure."""
    with pytest.raises(StepRefused, match=words) as caught:
        collect_guards(function, [], [])
    assert caught.value.next_step


def test_a_refusal_names_file_and_line():
    """The line is that of the read, not of the function."""
    with pytest.raises(StepRefused) as caught:
        collect_guards(uses_seed, [], [])
    line = uses_seed.__code__.co_firstlineno + 2
    assert caught.value.message.startswith(f"{__file__}:{line}: ")


def test_compiled_modules_are_refused():
    """A module made by torch.compile is refused by name, with the cure."""
    compiled = torch.compile(nn.Linear(2, 2), backend="eager")
    with pytest.raises(StepRefused, match=r"torch\.compile"):
        collect_guards(lambda x: compiled(x), [], [])


def test_methods_that_the_step_does_not_call_are_not_held_against_it():
    """`Net.draw` uses random numbers, but no code that was reached calls it."""
    net = Net()
    assert collect_guards(lambda x: net(x), [net], []).holds()


def test_a_method_that_forward_calls_is_followed():
    """A method called on `self` belongs to the step."""

    class Noisy(Net):
        def forward(self, x):
            return x * self.draw()

    net = Noisy()
    with pytest.raises(StepRefused, match="draws"):
        collect_guards(lambda x: net(x), [net], [])


def test_print_is_noted():
    """print() is allowed; a note says that it happens only while a step is recorded."""

    def step(x):
        print(x)
        return x

    assert any("print()" in note for note in collect_guards(step, [], []).notes)
