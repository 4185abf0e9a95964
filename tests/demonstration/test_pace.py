"""How many blocks the verifiers of the network demonstration get."""

import os

import msgspec

from assay.demonstration.network import BLOCK_SECONDS, make_parameters
from assay.demonstration.pace import LEAST_SECONDS, MARGIN, Pace, count_blocks, measure_pace
from assay.node.founding import decode_parameters
from assay.protocol.params import compute_longest_life
from tests.verification import runs


def test_slower_machines_get_more_blocks():
    """The least on a fast machine; otherwise all starts and intervals, shared by the cores, with the margin."""
    cores = len(os.sched_getaffinity(0))
    fast, slow = Pace(1.0, 0.001), Pace(10.0, 2.0)
    assert count_blocks([(fast, 100)], 2, 0.25) == LEAST_SECONDS * 4
    assert count_blocks([(slow, 100), (fast, 100)], 11, 0.25) == round(MARGIN * (110 + 200 + 0.1) / cores * 4 + 0.5)


def test_the_pace_is_measured_on_the_run(tmp_path):
    """Both times are above zero, and starting a worker takes longer than one more interval."""
    runs.record_apart(tmp_path / "run", ASSAY_HOME=str(tmp_path / "recorder"))
    pace = measure_pace(tmp_path / "run")
    assert pace.start > pace.interval > 0


def test_any_pace_gives_parameters_of_a_ledger():
    """Stake stays bonded for longer than a submission can live, however slow the machine is."""
    for blocks in (240, 10_000, 500_000):
        parameters = decode_parameters(msgspec.json.encode(make_parameters(blocks)))
        assert parameters.submissions.commit_blocks * BLOCK_SECONDS == blocks / 4
        assert parameters.stakes.unbonding_blocks > compute_longest_life(parameters)
