import pytest

from assay.verification.examination import TrialFailed, estimate, examine
from assay.verification.trials import Trials
from benchmarks.doctor_scripts import CLEAN, PLANTED, get_expected


def make_trials(text, folder, steps=8, seconds=240.0):
    """Return the trials of a script that is given as text."""
    (folder / "train.py").write_text(text, encoding="utf-8")
    return Trials(folder / "train.py", (), steps, 0, seconds)


def test_a_clean_recorded_script_reaches_every_goal(tmp_path):
    """Run twice, killed and resumed, replayed: three times yes, and no blocker."""
    found = examine(make_trials(CLEAN["recorded"], tmp_path), tmp_path / "trials")
    assert [(goal.goal, goal.verdict) for goal in found.goals] == [
        ("reproducible", "yes"), ("resume-safe", "yes"), ("replayable", "yes"),
    ]  # fmt: skip
    assert found.blockers == []
    assert found.disk_bytes == 20 * 2 * 4 * (8 * 16 + 16 + 16 * 2 + 2) + 64 * 8 * 4 + 64 * 8 + 400 * 24
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "name", ["a value read in the recorded step", "a schedule that is stepped before the step", "unseeded"]
)
def test_what_only_running_finds_has_its_line_too(name, tmp_path):
    """A refusal by Assay, a resume that goes another way, weights that differ: codes and lines as planted."""
    found = examine(make_trials(PLANTED[name], tmp_path, steps=12), tmp_path / "trials")
    assert {(blocker.code, blocker.line) for blocker in found.blockers} == get_expected(PLANTED[name])
    assert "no" in {goal.verdict for goal in found.goals}


def test_the_cost_is_measured_with_and_without_assay(tmp_path):
    """The same script with Assay taken out is the baseline; the disk is counted for the steps that the script means."""
    found = estimate(make_trials(CLEAN["recorded"], tmp_path, steps=14), tmp_path / "trials")
    assert found.steps == 24
    assert found.ratio == pytest.approx(found.recorded / found.eager)
    assert found.state_bytes == 2 * 4 * (8 * 16 + 16 + 16 * 2 + 2)
    assert found.data_bytes == 64 * 8 * 4 + 64 * 8
    assert found.disk_bytes == 20 * found.state_bytes + found.data_bytes + 400 * 24


@pytest.mark.parametrize(
    "text",
    ["raise SystemExit(3)", "1 / 0", "import os\nos.abort()", "x = 1"],
    ids=["exit", "error", "abort", "nothing"],
)
def test_a_script_that_fails_is_no_finding(text, tmp_path):
    """The script's own failure, its death and a script that trains nothing: nothing is said about training."""
    with pytest.raises(TrialFailed):
        examine(make_trials(text, tmp_path), tmp_path / "trials")


def test_a_script_that_takes_too_long_is_killed_with_its_children(tmp_path):
    """The limit of time ends the process and what it started."""
    mark = tmp_path / "alive"
    text = f"import subprocess\nsubprocess.run(['sh', '-c', 'sleep 30; touch {mark}'])"
    with pytest.raises(TrialFailed, match="failed") as caught:
        examine(make_trials(text, tmp_path, seconds=6.0), tmp_path / "trials")
    assert "took longer than 6 seconds" in str(caught.value)
    assert not mark.exists()
