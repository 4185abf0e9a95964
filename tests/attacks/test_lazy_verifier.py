"""Verifiers save the work: they accept without computing, or use what somebody leaked."""

from assay.protocol.evidence.votes import compute_work_key
from experiments.simulation.runs import make_digest, pretend
from experiments.simulation.verifiers import Verifier, judge, list_judgements, open_world, submit, vote_lazily
from experiments.simulation.world import make_actor, name_actors
from tests.ledgers import get_payments


def run_with(lazy, false, name, honest=9):
    """Return a ledger after a run was judged by honest and lazy verifiers, and the verdict."""
    crew = [Verifier(actor, vote_lazily) for actor in name_actors("lazy", lazy)]
    world, submitter, crew = open_world(honest, crew, name=name)
    run = pretend(world, submitter, false=false)
    assert submit(world, submitter, run) == ""
    return world, run, crew, judge(world, run, crew)


def test_a_lazy_verifier_is_paid_for_a_true_run():
    """Not stopped: on a true run laziness earns the same. Spot checks of the work digests are to change that."""
    world, run, crew, verdict = run_with(1, (), "lazy on a true run")
    assert verdict == "accepted"
    assert get_payments(world, run)[crew[-1].actor.account, "reward"] >= 100


def test_a_lazy_verifier_earns_nothing_on_a_false_interval():
    """Its vote is outvoted where somebody computes, and is not paid."""
    for number in range(10):
        world, run, crew, verdict = run_with(1, (7,), f"lazy on a false run {number}")
        assert verdict == "rejected"
        last = list_judgements(world, run)[-1]
        if any(seat.account == crew[-1].actor.account for seat in last.seats):
            break
    voted = [each for each in list_judgements(world, run) if each.finding == "accepted"]
    paid = get_payments(world, run).get((crew[-1].actor.account, "reward"), 0)
    seated = sum(any(seat.account == crew[-1].actor.account for seat in each.seats) for each in voted)
    assert paid <= 100 * (seated + 1)


def test_a_lazy_minority_does_not_save_a_false_run():
    """Four lazy verifiers of thirteen delay the verdict at most; they cannot make it."""
    for number in range(4):
        assert run_with(4, (7,), f"lazy minority {number}")[3] in {"rejected", "inconclusive"}


def test_leaked_leaves_are_as_good_as_computed_ones():
    """Not stopped: votes look alike, computed or copied beforehand; only work digests differ by account and draw."""
    world, run, crew, _ = run_with(0, (), "leaked")
    from assay.protocol.contracts.submission_keys import vote_key
    from assay.protocol.contracts.submission_records import VoteRecord

    judgement = list_judgements(world, run)[0]
    records = [
        world.expect(vote_key(run.submission, judgement.interval, seat.account), VoteRecord) for seat in judgement.seats
    ]
    assert len({record.vote.leaves for record in records}) == 1
    assert len({record.vote.work_digest for record in records}) == len(records)
    draw = world.get_status(run.submission).draw
    keys = {compute_work_key(draw, verifier.actor.account) for verifier in crew}
    assert len(keys) == len(crew)
    assert compute_work_key(make_digest("another draw"), crew[0].actor.account) not in keys
    assert make_actor("leaker").account not in {seat.account for seat in judgement.seats}
