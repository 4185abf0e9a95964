"""The judge of a verifier: one worker for many runs, replaced when it dies, ended when idle, abstaining if unfit."""

import os
import signal
import time

import pytest

from assay.demonstration.dishonest import LazyJudge, LyingJudge, SilentJudge
from assay.protocol.evidence.votes import DIFFERS, MATCHES, METRICS_CHECK, START_CHECK
from assay.verification.verifier.judging import PROFILE, RecomputingJudge
from tests.verification import runs

KEY = b"k" * 32
CHECKS = [runs.INTERVALS + START_CHECK, runs.INTERVALS + METRICS_CHECK]


@pytest.fixture
def judge():
    """A judge whose worker ends with the test."""
    made = RecomputingJudge(memory=0, seconds=600)
    yield made
    made.close()


def test_one_worker_serves_many_runs(honest, judge, tmp_path):
    """Intervals, start and metrics of one run, then those of a copy: the same answers from the same process."""
    first = judge.judge(honest, [0, 5, *CHECKS], KEY)
    pid = judge._worker.pid
    assert {finding.outcome for finding in first.values()} == {MATCHES}
    copy = runs.copy(honest, tmp_path / "copy")
    assert judge.judge(copy, [0, 5, *CHECKS], KEY) == first
    assert judge._worker.pid == pid


def test_a_dead_worker_is_replaced(honest, judge):
    """Killed between two runs, it is started again; nothing is lost."""
    judge.judge(honest, [0], KEY)
    os.kill(judge._worker.pid, signal.SIGKILL)
    assert judge.judge(honest, [1], KEY)[1].outcome == MATCHES


def test_an_idle_worker_ends(honest):
    """A verifier without work holds no memory of PyTorch."""
    judge = RecomputingJudge(memory=0, seconds=600, idle=0.05)
    judge.judge(honest, [0], KEY)
    end = time.monotonic() + 30
    while judge._worker is not None and time.monotonic() < end:
        time.sleep(0.05)
    assert judge._worker is None
    judge.close()


def test_other_known_answers_are_an_abstention(honest, judge, tmp_path):
    """A machine that gets other known answers says nothing about the run."""
    path = runs.copy(honest, tmp_path / "copy")
    runs.change_closing(path, runs.change_answers)
    found = judge.judge(path, [0, 3], KEY)
    assert {finding.abstention for finding in found.values()} == {PROFILE}
    assert judge.judge(honest, [0], KEY)[0].outcome == MATCHES


def test_the_dishonest_ones_of_the_demonstration_are_dishonest(honest):
    """The lazy one copies all but the work digest, the liar turns findings round, and one says nothing."""
    judge = RecomputingJudge(memory=0, seconds=600)
    right = judge.judge(honest, [2, *CHECKS], KEY)
    judge.close()
    lazy = LazyJudge().judge(honest, [2, *CHECKS], KEY)
    for number, finding in lazy.items():
        assert (finding.outcome, finding.end_root, finding.leaves) == (
            right[number].outcome,
            right[number].end_root,
            right[number].leaves,
        )
        assert finding.work_digest != right[number].work_digest
    liar = LyingJudge()
    lies = liar.judge(honest, [2], KEY)
    liar.close()
    assert (lies[2].outcome, lies[2].replays) == (DIFFERS, 2)
    assert lies[2].end_root != right[2].end_root
    silent = SilentJudge()
    silent.close()
    assert silent.judge(honest, [2], KEY) == {}
