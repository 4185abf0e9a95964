"""Modules of installed packages that keep something on first use: the try before the recording must not hide it."""

import importlib
import textwrap

import pytest
import torch

from assay.errors import CaptureRefused
from tests.training.pytorch.sessions import make_body, make_data, record, record_beside_plain, sgd

PACKAGE = """
    from random import random

    import torch
    from torch import nn

    CALLS = []

    class Cached(nn.Module):
        # Keeps a table on first use, as rotary embeddings do: its length in Python, its values in a buffer.

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)
            self.length = 0
            self.register_buffer("table", torch.zeros(4), persistent=False)

        def forward(self, x):
            if self.length < x.shape[1]:
                self.table.copy_(torch.arange(1.0, 5.0))
                self.length = x.shape[1]
            return self.layer(x * self.table)

    class Remembering(nn.Module):
        # Keeps what it computed of the last batch.

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)
            self.last = None

        def forward(self, x):
            shift = 0.0 if self.last is None else self.last
            self.last = x.mean(0).detach()
            return self.layer(x + shift)

    class Initialised(nn.Module):
        # Does something else on first use, and remembers that in a global of the package.

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            factor = 1.0 if CALLS else 2.0
            CALLS[:] = [True]
            return self.layer(factor * x)

    class Mentioning(nn.Module):
        # Draws from Python's generator, but only if asked to.

        def __init__(self, probability=0.0):
            super().__init__()
            self.layer = nn.Linear(4, 3)
            self.probability = probability

        def forward(self, x):
            if self.probability > 0 and random() < self.probability:
                x = 2 * x
            return self.layer(x)

    class Lazy(nn.Module):
        # Keeps what is the same whenever it is made.

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)
            self.table = None

        def forward(self, x):
            if self.table is None:
                self.table = torch.arange(1.0, 5.0)
            return self.layer(x * self.table)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module that lies where packages are installed."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "caching_package.py").write_text(textwrap.dedent(PACKAGE))
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    monkeypatch.delitem(importlib.sys.modules, "caching_package", raising=False)
    return importlib.import_module("caching_package")


def make(kind):
    """A module, its optimizer and the usual step."""
    net = kind()
    optimizer = sgd(net)
    return net, optimizer, make_body(net, optimizer)


@pytest.mark.parametrize(("name", "trace"), [("Cached", "set length"), ("Initialised", "differ")])
def test_what_the_try_leaves_is_not_taken_for_the_start(package, tmp_path, name, trace):
    """The state is put back after the try and Python objects are not: the recording would use what the try left."""
    with pytest.raises(CaptureRefused, match="other bits when it runs again") as refusal:
        record(tmp_path / "run", *make(getattr(package, name)))
    assert trace in str(refusal.value.actual)
    assert "once" in refusal.value.next_step


def test_what_is_kept_of_the_last_batch_is_refused(package, tmp_path):
    """Such a module keeps something at every step, which is seen while it is recorded."""
    with pytest.raises(CaptureRefused, match=r"changes Python objects.*last"):
        record(tmp_path / "run", *make(package.Remembering))


def test_the_cure_of_a_table_kept_on_first_use(package, tmp_path):
    """A model that ran once has its table from the start."""

    def make_warm():
        net, optimizer, body = make(package.Cached)
        with torch.no_grad():
            net(next(iter(make_data()))[0][None])
        return net, optimizer, body

    closing, differing = record_beside_plain(tmp_path / "run", make_warm)
    assert (closing.steps, differing) == (6, [])


def test_a_table_that_is_always_the_same_is_no_hindrance(package, tmp_path):
    """What the try keeps does not matter where it is what the step would have made itself."""
    closing, differing = record_beside_plain(tmp_path / "run", lambda: make(package.Lazy))
    assert (closing.steps, differing) == (6, [])


def test_a_draw_of_a_package_that_does_not_happen_is_no_hindrance(package, tmp_path):
    """Code of packages mentions Python's generator for options that are off; its state shows whether it is used."""
    closing, differing = record_beside_plain(tmp_path / "run", lambda: make(package.Mentioning))
    assert (closing.steps, differing) == (6, [])


@pytest.mark.parametrize("switch", [1, 5])
def test_a_draw_of_a_package_is_refused_when_it_happens(package, tmp_path, switch):
    """From the first step, or after the option was turned on between two steps."""
    net, optimizer, body = make(package.Mentioning)

    def before(step):
        net.probability = 0.5 if step >= switch else 0.0

    with pytest.raises(CaptureRefused, match="draws from Python's generator"):
        record(tmp_path / "run", net, optimizer, body, before=before)
