"""One honest run, recorded once for all tests of this folder; none of them may change it."""

import pytest

from tests.verification import runs


@pytest.fixture(scope="session")
def honest(tmp_path_factory):
    """The folder of a finished run of 12 intervals."""
    path = tmp_path_factory.mktemp("honest") / "run"
    runs.record_apart(path, ASSAY_HOME=str(tmp_path_factory.mktemp("recorder")))
    return path
