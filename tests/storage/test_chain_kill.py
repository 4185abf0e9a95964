"""A committing process is killed at random moments; what it reported is there, and the next one goes on."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from assay.storage.chain import ChainDatabase
from tests.storage.chain_process import expect_state, make_block

ROOT = Path(__file__).parents[2]


def commit_and_kill(folder, seed):
    """Start the process, kill it some blocks and some microseconds later, return the last height that it reported."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.chain_process", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    with child:
        reported = [child.stdout.readline() for _ in range(random.Random(seed).randrange(1, 30))]
        threading.Event().wait(random.Random(seed).random() * 0.01)
        child.kill()
        reported += child.stdout.readlines()
    return max(int(line.split()[1]) for line in reported if line.endswith("\n"))


@pytest.mark.torture
def test_a_killed_node_loses_no_block_that_it_reported(tmp_path, rounds):
    """In every round the chain stands at the end of a block, not before the last reported one, state and all."""
    folder = tmp_path / "chain"
    for seed in range(rounds(10, 100)):
        reported = commit_and_kill(folder, seed)
        chain = ChainDatabase.open(folder)
        height = chain.reads.read_height()
        assert height >= reported
        assert dict(chain._connection.execute("SELECT path, value FROM state")) == expect_state(height)
        last = make_block(height)
        assert height == 0 or chain.reads.read_block(height) == last
        assert height == 0 or chain.reads.find_transaction(last.transactions[-1].id) == (height, 19)
        assert chain._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        chain.close()
    assert height > 20
