"""A run that was killed, interrupted or closed goes on to the same roots; a script that changed is refused by name."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from assay.storage.run_directory import RunDirectory
from assay.training.recorded import RecordedRun

ROOT = Path(__file__).parents[3]


class Script:
    """The script, each time in a new process."""

    def __init__(self, folder):
        self.folder = folder
        self.count = 0
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.training.pytorch.recording_script"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", *sys.path]), "ASSAY_HOME": str(folder / "home")},
        )  # fmt: skip

    def run(self, path, *, after=0.0, **changes):
        """Carry the script out; return exit status and output."""
        self.count += 1
        output = self.folder / f"output-{self.count}"
        words = [output, after, path, *(f"{name}={value}" for name, value in changes.items())]
        self.server.stdin.write(" ".join(map(str, words)) + "\n")
        self.server.stdin.flush()
        status = int(self.server.stdout.readline())
        return status, output.read_text(encoding="utf-8") if output.exists() else ""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A process that carries out the script whenever it is told."""
    made = Script(tmp_path_factory.mktemp("script"))
    yield made
    made.server.stdin.close()
    made.server.stdout.close()
    made.server.wait()


@pytest.fixture(scope="module")
def roots(script):
    """What an undisturbed run prints."""
    status, output = script.run(script.folder / "undisturbed")
    assert status == 0, output
    assert len(output.split()) == 3
    return output


def read_rows(path):
    """Return the leaves that are on the disk."""
    with RunDirectory.open(path) as run:
        return [parts.leaf for parts in run.iterate_rows()]


@pytest.mark.torture
def test_a_killed_run_goes_on_to_the_same_roots(script, roots, tmp_path, rounds):
    """Killed at steps and at moments, no leaf that was written changes, and the roots in the end are the same."""
    count = rounds(10, 100)
    rng = random.Random(count)
    path, leaves, kills = tmp_path / "run", [], 0
    for number in range(count):
        kill = {"kill": rng.randrange(1, 18)} if number % 2 else {"after": rng.random()}
        status, output = script.run(path, **kill)
        assert status in {-signal.SIGKILL, 0}, output
        kills += status != 0
        found = read_rows(path) if path.exists() and (path / "steps.log").exists() else []
        assert leaves == found[: len(leaves)]
        leaves = found
        if status == 0 or (path / "signature.bin").exists():  # else killed between the end of the run and of its script
            assert status or output == roots
            path, leaves = tmp_path / f"run-{number}", []
    assert kills
    assert script.run(path) == (0, roots)


def test_a_run_killed_before_its_signature_is_signed_when_it_is_resumed(script, roots, tmp_path):
    """The closing record alone does not end a run: the script goes on, writes the same record, and signs it."""
    assert script.run(tmp_path / "run") == (0, roots)
    signature, closing = ((tmp_path / "run" / name) for name in ("signature.bin", "closing.bin"))
    signed, closed = signature.read_bytes(), closing.read_bytes()
    signature.unlink()
    assert script.run(tmp_path / "run") == (0, roots)
    assert (signature.read_bytes(), closing.read_bytes()) == (signed, closed)


@pytest.mark.parametrize("step", [3, 9])
def test_an_interrupted_run_goes_on_to_the_same_roots(step, script, roots, tmp_path):
    """Ctrl-C leaves a run that opens, has no closing record and goes on."""
    status, _ = script.run(tmp_path / "run", interrupt=step)
    assert status == 130
    left = RecordedRun(tmp_path / "run")
    assert not left.is_finished
    assert left.steps in {step - 1, step}
    left.close()
    assert script.run(tmp_path / "run") == (0, roots)


def test_a_finished_run_is_not_started_again(script, roots):
    """The closing record ends a run: the same script says so and changes nothing."""
    path = script.folder / "undisturbed"
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    status, output = script.run(path)
    assert (status, output.split()[0]) == (4, "run.finished")
    after = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert [file.name for file in before if before[file] != after[file]] in ([], ["LOCK"])
    assert after.keys() == before.keys()
    assert roots


CHANGES = {
    "batch size": ({"batch": 6}, "resume.plan-changed", "batch_size"),
    "seed": ({"seed": 4}, "resume.plan-changed", "seed"),
    "data": ({"data": 5}, "resume.plan-changed", "data"),
    "epochs": ({"epochs": 5}, "resume.plan-changed", "intended_steps"),
    "width": ({"width": 9}, "resume.plan-changed", "0/0.bias"),
    "start": ({"start": "declared"}, "resume.plan-changed", "start"),
    "optimizer": ({"optimizer": "adam"}, "usage", "other optimizers"),
    "schedulers": ({"schedule": 0}, "usage", "other schedulers"),
    "step": ({"body": "smooth"}, "resume.differs", "instead of"),
}


def test_a_changed_script_is_refused_by_name(script, roots, tmp_path):
    """Each change is named with what was expected and found; nothing is written, and the old script still goes on."""
    path = tmp_path / "run"
    assert script.run(path, interrupt=10)[0] == 130
    before, programs = read_rows(path), sorted(file.name for file in (path / "programs").iterdir())
    for changes, code, words in CHANGES.values():
        status, output = script.run(path, **changes)
        assert (status, output.split()[0]) == (4, code), output
        assert words in output
        assert "expected:" in output
        assert "unchanged script" in output
        assert read_rows(path) == before
        assert sorted(file.name for file in (path / "programs").iterdir()) == programs
    assert script.run(path) == (0, roots)


def test_a_step_is_compared_even_if_the_checkpoint_was_the_last_thing_written(script, tmp_path):
    """Without a row after the newest checkpoint the run goes back one, so that a changed step cannot slip in."""
    path = tmp_path / "run"
    assert script.run(path, kill=9, sync=1)[0] == -signal.SIGKILL
    with RunDirectory.open(path) as run:
        assert run.checkpoints.list_steps()[-1] == run.rows == 8
    status, output = script.run(path, body="smooth")
    assert (status, output.split()[0]) == (4, "resume.differs")
    assert "at step 5\n" in output
    assert len(read_rows(path)) == 8


def test_a_declared_start_is_read_back(script, tmp_path):
    """Weights that every process makes anew come from the run: killed or not, each run of its own goes on."""
    path = tmp_path / "run"
    for kill in (2, 10):
        assert script.run(path, start="declared", kill=kill)[0] == -signal.SIGKILL
        rows = read_rows(path)
    assert script.run(path, start="declared")[0] == 0
    assert read_rows(path)[: len(rows)] == rows
    finished = RecordedRun(path)
    assert len(finished.rows) == 18
    finished.close()
