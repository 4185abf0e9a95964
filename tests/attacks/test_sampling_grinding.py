"""Somebody chooses the draw: by the order of transactions, by withholding a beacon, by being the operator."""

import pytest

from assay.errors import InvalidBlock
from assay.protocol.blocks import verify_header
from assay.protocol.contracts.account_records import Transfer
from assay.protocol.contracts.submission_keys import draw_key
from assay.protocol.evidence.draw import Draw
from assay.protocol.seals.solo import FAULT_MODEL
from experiments.grinding.grind import grind_as_operator, measure_private_hits
from experiments.simulation.verifiers import carry_on
from tests.ledgers import open_ledger


def draw_after(noise):
    """Return the draw of one submission on one ledger, with other transactions before and in the block of the draw."""
    world, submitter, crew, run = open_ledger("draw", honest=9, name="order")
    while world.get_status(run.submission).phase == "draw":
        for amount in noise:
            world.send(submitter, Transfer(crew[0].actor.account, amount))
        world.make_block()
    return world.expect(draw_key(run.submission), Draw)


def test_the_order_of_transactions_moves_nothing():
    """The draw is a function of settled heights and the beacon: no transaction, and no order of them, changes it."""
    assert draw_after([]) == draw_after([1, 2, 3]) == draw_after([3, 1])


def test_a_beacon_cannot_be_left_out():
    """A block without the next reveal, or with another one, is no block; under `solo` there is then none at all."""
    world, _, _, _ = open_ledger("draw")
    blocks = world.engine.blocks
    from assay.protocol.blocks import get_position

    header = blocks[-1].header
    for reveal in (blocks[-2].header.reveal, bytes(32), b""):
        forged = type(header)(**{**{n: getattr(header, n) for n in header.__struct_fields__}, "reveal": reveal})
        with pytest.raises(InvalidBlock) as refusal:
            verify_header(get_position(blocks[-2].header), forged)
        assert refusal.value.code in {"block.beacon-reveal", "block.malformed"}


def test_the_draw_height_is_settled_before_its_beacon():
    """A fixed delay after availability: a submitter who dislikes the draw can neither move it nor take the run back."""
    world, _, crew, run = open_ledger("draw")
    settled = world.get_status(run.submission).draw_height
    carry_on(world, run, crew)
    assert world.expect(draw_key(run.submission), Draw).facts.draw_height == settled


def test_a_solo_operator_can_grind():
    """Not stopped: whoever knows every beacon chooses the submission whose sample misses the false interval."""
    assert "operator" in FAULT_MODEL
    found = grind_as_operator(intervals=20, sample=3, false=4, tries=200)
    assert found is not None
    assert 4 not in found.sample


def test_private_samples_with_an_honest_seat_see_what_was_ground_away():
    """The ground sample never has the false interval; honest secrets hit it as often as they are many."""
    result = measure_private_hits(intervals=20, sample=3, honest=10, rounds=400)
    assert result.ground_sample_hits == 0
    expected = 1 - (1 - 1 / 20) ** 10
    spread = 2.576 * (expected * (1 - expected) / 400) ** 0.5
    assert abs(result.private_hits / 400 - expected) < spread
