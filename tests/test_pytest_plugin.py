import os
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = ["pytester"]

TRAIN = """
    from pathlib import Path
    from benchmarks import differing

    calls = 0
    def train(folder):
        differing.record(folder)

    def train_with_a_counter(folder):
        global calls
        calls += 1
        differing.record(folder, rate=0.1 * calls)
"""


@pytest.fixture
def run_tests(pytester, monkeypatch):
    """Run tests written as text in a pytest of their own, with the plugin; returns the result."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))

    def run(body, *options):
        pytester.makepyfile(TRAIN + body)
        return pytester.runpytest_subprocess("-p", "assay.pytest_plugin", "-q", *options)

    return run


def test_the_plugin_is_an_entry_point():
    """Pytest finds the plugin in an installed Assay."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"assay": "assay.pytest_plugin"}


def test_training_that_repeats_passes_and_training_that_does_not_is_named(run_tests):
    """A function is called twice; a rate that depends on a counter of the module fails with the cause."""
    result = run_tests("""
    def test_same(assert_reproducible):
        assert_reproducible(train)

    def test_counter(assert_reproducible):
        assert_reproducible(train_with_a_counter)
    """)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*gave another run the second time*", "*lr is 0.1 in A, 0.2 in B*"])


def test_a_lock_is_written_compared_and_refused(run_tests, pytester):
    """`--assay-update-locks` writes the lock; then it holds; then a changed script is named."""
    same = """
    def test_lock(assert_reproducible):
        assert_reproducible(train, lock="train.lock")
    """
    run_tests(same, "--assay-update-locks").assert_outcomes(passed=1)
    assert (pytester.path / "train.lock").read_text(encoding="utf-8").startswith('{\n "assay-lock": 0')
    run_tests(same).assert_outcomes(passed=1)
    result = run_tests("""
    def test_lock(assert_reproducible):
        assert_reproducible(lambda folder: differing.record(folder, dropout=0.4), lock="train.lock")
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*is not what train.lock holds*", "*program: at step 1 draw 0 is another one*"])


def test_a_recorded_run_is_recomputed(run_tests):
    """The folder of an honest run passes; a run in progress and a function that records nothing fail."""
    result = run_tests("""
    def test_run(assert_reproducible, tmp_path):
        differing.record(tmp_path / "run")
        assert_reproducible(tmp_path / "run")

    def test_unfinished(assert_reproducible, tmp_path):
        differing.record(tmp_path / "run", finish=False)
        assert_reproducible(tmp_path / "run")

    def test_nothing(assert_reproducible):
        assert_reproducible(lambda folder: None)
    """)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*is not finished*", "*the function recorded no run*"])


def test_a_forged_run_fails(run_tests):
    """A run whose steps were computed otherwise than it claims is found by recomputing."""
    result = run_tests("""
    def test_forged(assert_reproducible, tmp_path):
        from assay.training.pytorch.backend import TorchBackend
        from assay.training.recorded import RecordedRun
        from assay.verification.forgery import forge, interpolate
        differing.record(tmp_path / "run")
        backend = TorchBackend(RecordedRun(tmp_path / "run").start.aliases)
        skipped = frozenset(range(5, 9))
        forge(tmp_path / "run", tmp_path / "forged", backend, edit=interpolate(4, 8, 1.01), skip=skipped)
        assert_reproducible(tmp_path / "forged")
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*interval 1 of*is not what was recorded*"])
