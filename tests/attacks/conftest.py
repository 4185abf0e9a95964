"""One honest run and its audit, shared by all stories: none of them may change it."""

import pytest

from tests.attacks import runs


@pytest.fixture(scope="session")
def honest(tmp_path_factory):
    """The folder of an honest run of 40 steps in 10 intervals, which was audited whole: everything matches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("recorder")))
        path = tmp_path_factory.mktemp("runs") / "honest"
        _, closing = runs.record(path)
    assert closing.steps == runs.STEPS
    assert runs.find_differing(runs.audit(path)) == []
    return path


@pytest.fixture(scope="session")
def honest_audit(honest):
    """The audit of the honest run."""
    return runs.audit(honest)
