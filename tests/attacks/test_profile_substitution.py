"""A run claims another profile than the one under which it was computed, or comes from a machine that is not like this.

Neither can be told from a lie by bits alone, so neither is called one: known answers and settings decide, before any
step, whether this machine can judge. If not, it says so: exit 3, nothing refuted.
"""

import msgspec
import pytest
import torch

from assay.cli.__main__ import get_exit_code
from assay.errors import MalformedEvidence
from assay.protocol.encoding import encode
from assay.protocol.evidence.plan import Setting, compute_profile_id
from assay.protocol.hashing import ZERO
from assay.training.profile_environment import ProfileMismatch, environment_for
from assay.training.recorded import RecordedRun, RunContradicts
from assay.verification.worker import Worker
from tests.attacks.runs import audit, copy_run, find_differing, relink_under, rewrite_closing

OTHERS = {"threads": "2", "mkldnn": "False", "torch.git": "0" * 40, "cpu.capability": "VSX", "numpy.version": "9.9"}


def substitute(profile, name, value):
    """Return a profile with one setting changed."""
    settings = tuple(Setting(s.name, value if s.name == name else s.value) for s in profile.settings)
    assert settings != profile.settings
    return msgspec.structs.replace(profile, settings=settings)


def test_a_profile_beside_the_plan_is_refuted(honest, tmp_path):
    """The profile is exchanged and the plan left: they do not belong together."""
    assert RecordedRun(honest).steps == 40
    run = copy_run(honest, tmp_path / "copy")
    (run / "profile.bin").unlink()
    (run / "profile.bin").write_bytes(encode(substitute(RecordedRun(honest).profile, "threads", "2")))
    with pytest.raises(RunContradicts):
        RecordedRun(run)


@pytest.mark.parametrize("name", ["torch.git", "cpu.capability", "numpy.version"])
def test_settings_that_a_process_cannot_have(name, honest, honest_audit, tmp_path):
    """The whole run is written under another build, processor or library: this machine cannot judge it."""
    assert find_differing(honest_audit) == []
    profile = substitute(RecordedRun(honest).profile, name, OTHERS[name])
    run = relink_under(honest, tmp_path / "other", profile)
    open_worker = {"cpu.capability": lambda: environment_for(profile)}.get(name, lambda: Worker(str(run)))
    with pytest.raises(ProfileMismatch) as refusal:
        open_worker()
    assert name in str(refusal.value)
    assert get_exit_code(refusal.value) == 3


def test_known_answers_of_another_machine(honest, tmp_path):
    """Equal settings, but each program gave other bits where it was recorded: cannot judge, and nothing is refuted."""
    closing = RecordedRun(honest).closing
    others = tuple(
        use if use.known_answer == ZERO else msgspec.structs.replace(use, known_answer=b"k" * 32)
        for use in closing.programs
    )
    run = rewrite_closing(copy_run(honest, tmp_path / "copy"), programs=others)
    ready = Worker(str(run)).check_machine()
    assert (ready.ready, ready.refuted) == (False, False)
    assert "cannot judge" in ready.reason


def test_a_run_without_known_answers_is_not_judged(honest, tmp_path):
    """Answers are left out, so that an unlike machine would call an honest run false: it is not recomputed at all."""
    closing = RecordedRun(honest).closing
    silent = tuple(msgspec.structs.replace(use, known_answer=ZERO) for use in closing.programs)
    run = rewrite_closing(copy_run(honest, tmp_path / "copy"), programs=silent)
    with pytest.raises(MalformedEvidence):
        Worker(str(run)).check_machine()


def test_threads_are_applied_not_believed(honest, tmp_path):
    """The claim of two threads is carried out with two: where that gives other bits, known answers say so."""
    profile = substitute(RecordedRun(honest).profile, "threads", "2")
    run = relink_under(honest, tmp_path / "other", profile)
    try:
        worker = Worker(str(run))
        assert torch.get_num_threads() == 2
        ready = worker.check_machine()
        assert ready.ready or "cannot judge" in ready.reason
    finally:
        torch.set_num_threads(1)
    assert compute_profile_id(profile) == RecordedRun(run).plan.profile
    assert find_differing(audit(honest)) == []
