"""A recording process is killed at random moments; what it reported is there, and the next one goes on."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from assay.storage.run_directory import RunDirectory
from tests.storage.samples import make_row, make_state

ROOT = Path(__file__).parents[2]


def record_and_kill(path, seed, lines):
    """Start the recorder, kill it some lines and some microseconds later, return all that it reported."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.recording_process", str(path), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    with child:
        reported = [child.stdout.readline() for _ in range(lines)]
        threading.Event().wait(random.Random(seed).random() * 0.02)
        child.kill()
        reported += child.stdout.readlines()
    return [line.split() for line in reported if line.endswith("\n")]


@pytest.mark.torture
def test_a_killed_recorder_loses_nothing_that_it_reported(tmp_path, rounds):
    """In every round: all reported rows, logs, blobs and the last checkpoint are there and equal; the run goes on."""
    path = tmp_path / "run"
    promised: dict[str, list] = {"rows": [0], "checkpoint": [], "blob": [], "log": []}
    for seed in range(int(os.environ.get("ASSAY_KILL_ROUNDS", rounds(10, 100)))):
        reported = record_and_kill(path, seed, lines=random.Random(seed).randrange(1, 30))
        assert reported
        for kind, value in reported:
            promised[kind].append(value if kind == "blob" else int(value))
        for write in (False, True):
            with RunDirectory.open(path, write=write) as run:
                assert run.rows >= max(promised["rows"])
                assert list(run.iterate_rows()) == [make_row(step) for step in range(1, run.rows + 1)]
                steps = run.checkpoints.list_steps()
                assert not promised["checkpoint"] or steps[-1] >= promised["checkpoint"][-1]
                for step in steps:
                    assert run.checkpoints.read(step).tensors == make_state(step)["tensors"]
                assert {bytes.fromhex(name) for name in promised["blob"]} <= set(run.blobs.list_digests())
                assert all(len(run.blobs.open(digest)) == 32_000 for digest in run.blobs.list_digests())
                assert {line["step"] for line in run.log.iterate()} >= set(promised["log"])
    assert all(promised.values())
