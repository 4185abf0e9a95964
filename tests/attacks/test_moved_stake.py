"""Stake is moved while a submission is judged: in, to be drawn; out, to escape."""

from assay.protocol.contracts.stake_records import DepositStake, Stake, WithdrawStake
from assay.protocol.contracts.stakes import stake_key
from assay.protocol.contracts.submission_bodies import AttestAvailability
from assay.protocol.contracts.submission_keys import draw_key
from assay.protocol.contracts.submission_rejections import NotEligible
from assay.protocol.evidence.draw import Draw
from assay.protocol.params import compute_longest_life
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import Verifier, judge, list_judgements, open_world, submit
from experiments.simulation.world import make_actor, verify_conserved
from tests.ledgers import assert_done, assert_refused


def test_stake_that_comes_after_the_submission_judges_nothing():
    """The snapshot is older than the submission: a fortune that is deposited now is neither asked nor drawn."""
    late = make_actor("late")
    world, submitter, crew = open_world(7, [Verifier(late)], stake=10_000)
    from experiments.simulation.world import World, make_parameters

    world = World(make_parameters(), (submitter, *(each.actor for each in crew)), name="late stake")
    world.stake({each.actor: 10_000 for each in crew[:-1]})
    run = pretend(world, submitter)
    assert submit(world, submitter, run) == ""
    assert_done(world, late, DepositStake(10**9))
    assert_refused(world, late, AttestAvailability(run.submission, bytes(32)), NotEligible)
    assert judge(world, run, crew[:-1]) == "accepted"
    seats = {seat.account for seat in world.expect(draw_key(run.submission), Draw).quorum}
    seats |= {seat.account for each in list_judgements(world, run) for seat in each.seats}
    assert late.account not in seats


def test_stake_that_leaves_is_still_there_to_be_slashed():
    """A verifier withdraws everything after the draw and breaks its reveal: it loses its share all the same."""
    leaver = Verifier(make_actor("leaver"), reveals=False)
    world, submitter, crew = open_world(9, [leaver], quorum=10)
    run = pretend(world, submitter)
    assert submit(world, submitter, run, sample=8) == ""
    assert_done(world, leaver.actor, WithdrawStake(10_000))
    assert judge(world, run, crew) == "accepted"
    stake = world.expect(stake_key(leaver.actor.account), Stake)
    assert stake.bonded == 0
    assert sum(waiting.amount for waiting in stake.unbondings) == 9_500
    assert stake.unbondings[0].height > world.height
    assert world.parameters.stakes.unbonding_blocks > compute_longest_life(world.parameters)
    verify_conserved(world.store.values)


def test_weights_are_those_of_the_snapshot():
    """More stake, or less, between draw and verdict changes no vote's weight."""
    world, submitter, crew = open_world(7)
    run = pretend(world, submitter)
    assert submit(world, submitter, run) == ""
    assert_done(world, crew[0].actor, DepositStake(10**9))
    assert_done(world, crew[1].actor, WithdrawStake(10_000))
    assert judge(world, run, crew) == "accepted"
    assert {seat.stake for each in list_judgements(world, run) for seat in each.seats} == {10_000}
