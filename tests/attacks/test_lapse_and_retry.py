"""A submitter tries again and again until the draw suits it: withdrawing, letting lapse, sending copies in parallel."""

from assay.protocol.contracts.submission_bodies import WithdrawSubmission
from assay.protocol.contracts.submission_keys import attempts_key, submission_key
from assay.protocol.contracts.submission_records import Attempts, Submission
from assay.protocol.contracts.submission_rejections import WrongAttempt, WrongPhase
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import judge, open_world, submit
from experiments.simulation.world import make_actor
from tests.ledgers import assert_done, assert_refused, open_ledger


def test_after_the_draw_there_is_no_withdrawal():
    """From the moment at which the draw height is settled until the end, taking back is refused."""
    for phase in ("draw", "flags", "commit", "reveal", "window"):
        world, submitter, _, run = open_ledger(phase)
        assert_refused(world, submitter, WithdrawSubmission(run.submission), WrongPhase)


def test_letting_a_submission_lapse_gains_nothing():
    """No blobs, no draw: nothing was learnt, so only the fee is lost, as by withdrawing; and it is counted."""
    world, submitter, _ = open_world(7)
    run = pretend(world, submitter)
    balance = world.get_balance(submitter)
    assert submit(world, submitter, run) == ""
    assert judge(world, run, ()) == "inconclusive"
    assert world.get_status(run.submission).reason == "unavailable"
    assert not world.get_status(run.submission).draw
    assert world.get_balance(submitter) == balance - 1
    assert world.expect(attempts_key(run.make_body(1).plan), Attempts).count == 1


def test_every_attempt_is_counted_whoever_makes_it():
    """Withdrawn, lapsed, judged, by another account: each counts, and each submission must say which one it is."""
    world, submitter, crew = open_world(7)
    friend = make_actor("honest 0")
    plan = pretend(world, submitter).make_body(1).plan
    first = pretend(world, submitter)
    assert submit(world, submitter, first) == ""
    assert_done(world, submitter, WithdrawSubmission(first.submission))
    second = pretend(world, submitter, nonce=1)
    assert_refused(world, submitter, second.make_body(world.height, attempt=1), WrongAttempt)
    assert submit(world, submitter, second, attempt=2) == ""
    third = pretend(world, friend)
    assert submit(world, friend, third, attempt=3) == ""
    assert judge(world, second, crew) == "accepted"
    assert world.expect(submission_key(third.submission), Submission).run.attempt == 3
    assert world.expect(attempts_key(plan), Attempts).count == 3


def test_parallel_copies_are_attempts_and_name_the_first():
    """Ten copies at once are ten attempts, ten bonds and ten draws; all but the first say that the model was there."""
    world, submitter, _ = open_world(7)
    copies = [pretend(world, submitter, nonce=number) for number in range(10)]
    for number, copy in enumerate(copies):
        assert submit(world, submitter, copy, attempt=number + 1) == ""
    kept = [world.expect(submission_key(copy.submission), Submission) for copy in copies]
    assert kept[0].earlier == bytes(32)
    assert {each.earlier for each in kept[1:]} == {copies[0].submission}


def test_another_plan_is_another_count():
    """Not stopped: a plan with another seed is another plan. The count says how often *this* plan was submitted."""
    world, submitter, _ = open_world(7)
    assert submit(world, submitter, pretend(world, submitter, "one")) == ""
    assert submit(world, submitter, pretend(world, submitter, "two", nonce=1), attempt=1) == ""
