"""The run that all planted ones are compared with, recorded once; no test may change it."""

import pytest

from benchmarks import differing as planted


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The folder of a finished run of 12 steps."""
    path = tmp_path_factory.mktemp("base") / "run"
    planted.record(path)
    return path
