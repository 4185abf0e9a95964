"""Evaluations of a run in progress: kept in order, once each, up to a step."""

import pytest

from assay.protocol.evidence.plan import Evaluation, Metric
from assay.storage.run_directory import RunDirectory
from assay.training.datasets import commit_dataset
from assay.training.evaluations import EvaluationList
from tests.training.test_feed import Numbers


@pytest.fixture
def run(tmp_path):
    """An open run."""
    with RunDirectory.create(tmp_path / "run") as made:
        yield made


def make(step, value=1, program=b"p" * 32):
    """An evaluation."""
    data = commit_dataset(Numbers(), check_seed=bytes(32)).record
    return Evaluation(step, program, data, 4, (Metric("accuracy", value, 10),))


def test_evaluations_are_read_up_to_a_step(run):
    """Nothing is there at first; later ones than asked for are left out, but kept."""
    assert EvaluationList.read(run, 100) == ()
    for step in (3, 6):
        EvaluationList.append(run, make(step))
    assert [found.step for found in EvaluationList.read(run, 5)] == [3]
    assert [found.step for found in EvaluationList.read(run, 6)] == [3, 6]


def test_measuring_again_replaces(run):
    """A resumed run measures again: the same step, program and data stand once, with what was found last."""
    for evaluation in (make(3, 1), make(3, 2), make(3, 2, b"q" * 32), make(4, 2)):
        EvaluationList.append(run, evaluation)
    found = EvaluationList.read(run, 4)
    assert [(e.step, e.program[:1], e.metrics[0].value) for e in found] == [(3, b"p", 2), (3, b"q", 2), (4, b"p", 2)]
