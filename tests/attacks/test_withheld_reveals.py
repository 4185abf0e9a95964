"""Verifiers commit, look at what the others reveal, and hold their own votes back; or an operator holds them back."""

from assay.protocol.contracts.submission_records import FINAL, REVEAL
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import Verifier, carry_on, judge, open_world, submit
from experiments.simulation.world import name_actors
from tests.ledgers import get_payments, get_stake


def test_commit_and_withhold_costs_more_than_a_wrong_vote():
    """A withheld vote loses a share of the stake; a wrong one would have lost its reward alone."""
    holders = [Verifier(actor, reveals=False) for actor in name_actors("holder", 2)]
    world, submitter, crew = open_world(9, holders, quorum=11)
    run = pretend(world, submitter)
    assert submit(world, submitter, run, sample=8) == ""
    assert judge(world, run, crew) == "accepted"
    for holder in holders:
        lost = get_payments(world, run)[holder.actor.account, "broken-reveal"]
        assert lost >= 500 > run.make_body(1).reward
        assert get_stake(world, holder.actor) == 10_000 - lost
        assert (holder.actor.account, "reward") not in get_payments(world, run)


def test_withholding_delays_and_does_not_decide():
    """Two thirds of the assigned stake are needed for a verdict, so holding back never turns one around."""
    for number, false in enumerate([(), (7,)]):
        holders = [Verifier(actor, reveals=False) for actor in name_actors("holder", 3)]
        world, submitter, crew = open_world(7, holders, name=f"withholding {number}")
        run = pretend(world, submitter, false=false)
        assert submit(world, submitter, run) == ""
        assert judge(world, run, crew) in {"rejected" if false else "accepted", "inconclusive"}


def test_a_censored_reveal_is_punished_like_a_withheld_one():
    """Not stopped under `solo`: an operator that leaves reveals out of every block of the window is not found out."""
    world, submitter, crew = open_world(9, quorum=9)
    run = pretend(world, submitter)
    assert submit(world, submitter, run, sample=8) == ""
    while world.get_status(run.submission).phase != REVEAL:
        carry_on(world, run, crew)
    victim = crew[0]
    begun = world.height
    for verifier in crew[1:]:
        verifier.reveal(world, run)
    world.make_block()
    world.pass_blocks(world.parameters.submissions.reveal_blocks - 1)
    assert world.height - begun == world.parameters.submissions.reveal_blocks
    assert get_payments(world, run)[victim.actor.account, "broken-reveal"] == 500
    judge(world, run, crew)
    assert world.get_status(run.submission).phase == FINAL
    assert get_stake(world, victim.actor) <= 9_500
