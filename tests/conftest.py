"""What holds for every test: one thread, a home of its own, and the rounds that `make test` or `make torture` wants."""

import os
import signal

# Before anything imports torch or numpy: bits depend on the number of threads, and so do the tests' times.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

from tools import native_build

TORTURE = os.environ.get("ASSAY_TORTURE") == "1"

settings.register_profile("test", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("torture", deadline=None, max_examples=10_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("torture" if TORTURE else "test")


# A shell has what it starts in the background ignore Ctrl-C, and children inherit that; tests send it to them.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Build the native library again where its sources changed, once, before any worker starts."""
    if not hasattr(config, "workerinput") and not native_build.is_fresh(native_build.LIBRARY):
        native_build.build()


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """A folder of keys and trusted keys that belongs to this test alone."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ASSAY_HOME", str(folder))
    return folder


@pytest.fixture
def rounds():
    """Choose a number of repetitions: `rounds(10, 100)` is 10 in `make test` and 100 in `make torture`."""
    return lambda ordinary, torture: torture if TORTURE else ordinary
