"""Random numbers and clocks of Python are refused while a step is recorded; `test_guards` has the side effects."""

# ruff: noqa: PLW0108, NPY002 - the steps of these tests do what users should not

from __future__ import annotations

import random
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from assay.training.pytorch.forbidden import StepRefused
from assay.training.pytorch.watches import watch_python_randomness


def run_under_watch(function, *arguments):
    """Call a function under the watch for randomness."""
    with watch_python_randomness():
        return function(*arguments)


@pytest.mark.parametrize(
    "function",
    [
        lambda: time.time(),
        lambda: time.perf_counter(),
        lambda: random.random(),
        lambda: np.random.rand(),
        lambda: np.random.default_rng(3),
        lambda: torch.manual_seed(3),
        lambda: torch.random.manual_seed(3),
        lambda: random.betavariate(1, 2),
        lambda: np.random.standard_normal(2),
        lambda: torch.rand(2),
        lambda: torch.default_generator.manual_seed(torch.initial_seed() + 1),
    ],
)
def test_draws_and_clocks_are_seen_while_recording(function):
    """Calls are refused; draws that no patch sees are found by the generators' states."""
    with pytest.raises(StepRefused):
        run_under_watch(function)


def test_the_watch_ends():
    """Afterwards, also after an error, every function is the original."""
    originals = (time.time, random.random, np.random.default_rng, torch.manual_seed)
    with pytest.raises(ZeroDivisionError), watch_python_randomness():
        1 / 0  # noqa: B018
    assert (time.time, random.random, np.random.default_rng, torch.manual_seed) == originals


def test_the_watch_lets_a_step_through():
    """A step that draws nothing, and the clocks of libraries, pass."""
    net = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    with watch_python_randomness():
        net(torch.ones(2)).sum().backward()
        optimizer.step()
        timed_out = not threading.Event().wait(0.001)
    assert timed_out
