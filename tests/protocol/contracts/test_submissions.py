import msgspec
import pytest

from assay.protocol import tags
from assay.protocol.contracts.accounts import Unaffordable
from assay.protocol.contracts.submission_bodies import AttestAvailability, FlagIntervals, WithdrawSubmission
from assay.protocol.contracts.submission_keys import (
    COUNT_KEY,
    attempts_key,
    draw_key,
    flagged_key,
    model_key,
    number_key,
    submission_key,
)
from assay.protocol.contracts.submission_records import (
    AVAILABILITY,
    COMMIT,
    DRAW,
    FLAGS,
    INCONCLUSIVE,
    WINDOW,
    WITHDRAWN,
    Attempts,
    Counter,
    IntervalList,
    Reference,
    Submission,
)
from assay.protocol.contracts.submission_rejections import (
    AlreadyAttested,
    CommitmentMalformed,
    ContextRefuted,
    ContextTaken,
    FlagRefused,
    NotDrawn,
    NotEligible,
    NotTheSubmitter,
    RootsContradicted,
    SubmissionMalformed,
    SubmissionUnknown,
    TermsRefused,
    TooFewVerifiers,
    WrongAttempt,
    WrongPhase,
)
from assay.protocol.contracts.submission_rules import compute_escrow, count_intervals, get_boundary
from assay.protocol.contracts.submissions import NO_VOTES
from assay.protocol.evidence.bundle import Checkpoint, CheckpointOpening
from assay.protocol.evidence.draw import Draw
from assay.protocol.hashing import ZERO
from assay.protocol.merkle import MerkleRoot
from experiments.simulation.runs import make_digest, pretend
from experiments.simulation.verifiers import Verifier, carry_on, judge, list_judgements, open_world, submit
from experiments.simulation.world import make_actor, verify_conserved
from tests.ledgers import assert_done, assert_refused, open_ledger

STRANGER = make_actor("stranger")


@pytest.fixture
def opened():
    """A ledger with verifiers and a run that waits to be submitted."""
    world, submitter, crew = open_world(7, [Verifier(STRANGER)])
    return world, submitter, crew, pretend(world, submitter)


def test_a_submission_holds_bond_and_escrow(opened):
    """SUB-2, SUB-5, SUB-8: what is held leaves the balance, and everything about the submission can be read."""
    world, submitter, _, run = opened
    balance = world.get_balance(submitter)
    assert submit(world, submitter, run) == ""
    status = world.get_status(run.submission)
    body = world.expect(submission_key(run.submission), Submission).run
    assert status.escrow == compute_escrow(world.parameters, body, 8)
    assert status.escrow == 100 * ((3 + 8) * 5 + 8 + 64)
    assert world.get_balance(submitter) == balance - 1 - body.bond - status.escrow
    assert (status.phase, status.eligible, status.attested, status.votes) == (AVAILABILITY, 80_000, 0, NO_VOTES)
    assert status.deadline == world.height + world.parameters.submissions.availability_blocks
    kept = world.expect(submission_key(run.submission), Submission)
    assert (kept.number, kept.account, kept.height, kept.intervals) == (0, submitter.account, world.height, 8)
    assert kept.earlier == ZERO
    assert world.expect(number_key(0), Reference).submission == run.submission
    assert world.expect(model_key(body.model_root), Reference).submission == run.submission
    assert world.expect(COUNT_KEY, Counter).count == 1
    verify_conserved(world.store.values)


def test_checks_are_paid_too(opened):
    """SUB-8: the check of the start and that of the metrics each cost a sub-quorum."""
    world, _, _, run = opened
    plain = compute_escrow(world.parameters, run.make_body(1), 8)
    assert compute_escrow(world.parameters, run.make_body(1, start_check=True), 8) == plain + 500
    both = run.make_body(1, start_check=True, metrics=bytes([1] * 32))
    assert compute_escrow(world.parameters, both, 8) == plain + 1000
    with pytest.raises(TermsRefused):
        compute_escrow(world.parameters, run.make_body(1, reward=2**62), 8)


def test_boundaries_of_intervals(opened):
    """SUB-3: only the last interval may be shorter."""
    run = opened[3]
    body = run.make_body(1, steps=10, interval_length=4)
    assert count_intervals(body) == 3
    assert [get_boundary(body, index) for index in range(4)] == [0, 4, 8, 10]


MALFORMED = {
    "a plan of 31 bytes": {"plan": bytes(31)},
    "a closing record of 33 bytes": {"closing": bytes(33)},
    "no profile": {"profile": b""},
    "a model root of 31 bytes": {"model_root": bytes(31)},
    "no bundle": {"bundle": b""},
    "metrics of one byte": {"metrics": b"\x00"},
    "a negative nonce": {"context_nonce": -1},
    "a bond above any amount": {"bond": 2**63},
    "a negative reward": {"reward": -1},
    "no step": {"steps": 0},
    "an interval without steps": {"interval_length": 0},
    "another number of steps": {"steps": 9},
    "another number of intervals": {"interval_length": 2},
    "attempt 0": {"attempt": 0},
    "an unknown measure": {"measure": 4},
    "a negative threshold": {"threshold_ppm": -1},
    "a transcript of another kind": {"transcript": MerkleRoot(tags.EVENTS_TREE, 9, bytes(32))},
    "a transcript without leaves": {"transcript": MerkleRoot(tags.TRANSCRIPT_TREE, 0, bytes(32))},
    "checkpoints of another kind": {"checkpoints": MerkleRoot(tags.TRANSCRIPT_TREE, 9, bytes(32))},
    "a root of 31 bytes": {"checkpoints": MerkleRoot(tags.CHECKPOINT_TREE, 9, bytes(31))},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_submissions(opened, case):
    """SUB-2, SUB-3: each field has its range, and the sizes of the lists follow from steps and length."""
    world, submitter, _, run = opened
    assert_refused(world, submitter, run.make_body(world.height, **MALFORMED[case]), SubmissionMalformed)


TERMS = {
    "no sample": {"sample": 0},
    "a sample larger than the run": {"sample": 9},
    "too small a sub-quorum": {"sub_quorum": 4},
    "too large a sub-quorum": {"sub_quorum": 65},
    "too low a bond": {"bond": 999},
    "no reward": {"reward": 0},
    "a retention that is over": {"retention": 0},
    "a retention for ever": {"retention": 2**40},
}


@pytest.mark.parametrize("case", TERMS)
def test_terms_out_of_bounds(opened, case):
    """SUB-2: what the submitter chooses stays within the parameters."""
    world, submitter, _, run = opened
    assert_refused(world, submitter, run.make_body(world.height, **TERMS[case]), TermsRefused)


def test_terms_at_their_bounds(opened):
    """SUB-2: the smallest bond and reward, the whole run as sample."""
    world, submitter, _, run = opened
    assert submit(world, submitter, run, sample=8, bond=1000, reward=1, retention=world.height + 2) == ""


def test_too_many_intervals():
    """SUB-2: the parameters bound N."""
    world, submitter, _ = open_world(7, max_intervals=8)
    assert_refused(world, submitter, pretend(world, submitter, intervals=9).make_body(world.height), TermsRefused)
    assert submit(world, submitter, pretend(world, submitter)) == ""


def test_the_transcript_is_bound_to_the_account(opened):
    """SUB-4: another account, another nonce, another plan, or a broken path does not open leaf 0."""
    world, submitter, _, run = opened
    body = run.make_body(world.height)
    replace = msgspec.structs.replace
    assert_refused(world, STRANGER, body, ContextRefuted)
    assert_refused(world, submitter, replace(body, context_nonce=1), ContextRefuted)
    assert_refused(world, submitter, replace(body, plan=bytes(32)), ContextRefuted)
    assert_refused(world, submitter, replace(body, transcript_path=()), ContextRefuted)
    assert_refused(world, submitter, replace(body, transcript_path=(bytes(32),) * 4), ContextRefuted)


def test_start_and_end_stand_under_the_roots(opened):
    """SUB-4: checkpoint 0, the last checkpoint and the model root are tied to what is submitted."""
    world, submitter, _, run = opened
    body = run.make_body(world.height)
    first, last = body.first, body.last
    other = Checkpoint(0, first.checkpoint.state_root, bytes(32), 5)
    replace = msgspec.structs.replace
    for broken in (
        replace(body, first=CheckpointOpening(other, first.path)),
        replace(body, first=CheckpointOpening(first.checkpoint, ())),
        replace(body, last=first),
        replace(body, last=CheckpointOpening(replace(last.checkpoint, step=7), last.path)),
        replace(body, last=CheckpointOpening(replace(last.checkpoint, manifest=b""), last.path)),
        replace(body, rest_root=bytes(32)),
        replace(body, model_root=bytes(32)),
    ):
        assert_refused(world, submitter, broken, RootsContradicted)


def test_a_context_is_used_once(opened):
    """SUB-5: the same nonce again is refused, another nonce is another submission."""
    world, submitter, _, run = opened
    assert submit(world, submitter, run) == ""
    again = pretend(world, submitter, "another run")
    assert_refused(world, submitter, again.make_body(world.height), ContextTaken)
    assert submit(world, submitter, pretend(world, submitter, "another run", nonce=1)) == ""


def test_attempts_are_counted(opened):
    """SUB-6: a plan's second submission says 2, whoever makes it."""
    world, submitter, _, run = opened
    plan = run.make_body(1).plan
    assert submit(world, submitter, run) == ""
    for sender, nonce in ((submitter, 1), (STRANGER, 0)):
        again = pretend(world, sender, nonce=nonce)
        assert_refused(world, sender, again.make_body(world.height), WrongAttempt)
        assert_refused(world, sender, again.make_body(world.height, attempt=3), WrongAttempt)
    assert submit(world, STRANGER, pretend(world, STRANGER), attempt=2) == ""
    assert world.expect(attempts_key(plan), Attempts).count == 2


def test_the_first_with_a_model_is_known(opened):
    """SUB-5: a later submission of the same model names the first one."""
    world, submitter, _, run = opened
    assert submit(world, submitter, run) == ""
    copy = pretend(world, STRANGER)
    assert submit(world, STRANGER, copy, attempt=2) == ""
    assert world.expect(submission_key(copy.submission), Submission).earlier == run.submission


def test_too_few_verifiers():
    """SUB-7: a sub-quorum of five needs five verifiers besides the submitter."""
    world, submitter, _ = open_world(4)
    assert_refused(world, submitter, pretend(world, submitter).make_body(world.height), TooFewVerifiers)
    world, submitter, crew = open_world(5)
    insider = crew[0].actor
    assert_refused(world, insider, pretend(world, insider).make_body(world.height), TooFewVerifiers)
    assert submit(world, submitter, pretend(world, submitter)) == ""


def test_a_submission_that_nobody_can_pay(opened):
    """SUB-8: bond and escrow are paid from the balance."""
    world, submitter, _, run = opened
    assert_refused(world, submitter, run.make_body(world.height, bond=10**12), Unaffordable)


def test_a_withdrawal_returns_everything_but_the_attempt(opened):
    """SUB-9: bond and escrow return, the attempt stays counted, and nothing is judged."""
    world, submitter, crew, run = opened
    balance = world.get_balance(submitter)
    assert submit(world, submitter, run) == ""
    assert_refused(world, STRANGER, WithdrawSubmission(run.submission), NotTheSubmitter)
    assert_refused(world, submitter, WithdrawSubmission(bytes(32)), SubmissionUnknown)
    assert_done(world, submitter, WithdrawSubmission(run.submission))
    assert world.get_balance(submitter) == balance - 2
    assert world.get_status(run.submission).phase == WITHDRAWN
    assert_refused(world, submitter, WithdrawSubmission(run.submission), WrongPhase)
    assert_refused(world, crew[0].actor, AttestAvailability(run.submission, bytes(32)), WrongPhase)
    world.pass_blocks(world.parameters.submissions.availability_blocks + 1)
    assert world.get_status(run.submission).phase == WITHDRAWN
    assert world.expect(attempts_key(run.make_body(1).plan), Attempts).count == 1
    verify_conserved(world.store.values)


def test_after_availability_there_is_no_way_back():
    """SUB-9, SUB-11: as soon as the draw height is settled, the submitter cannot withdraw."""
    world, submitter, _, run = open_ledger(DRAW)
    assert_refused(world, submitter, WithdrawSubmission(run.submission), WrongPhase)


def test_availability_needs_more_than_the_share(opened):
    """SUB-10, SUB-11: half of the stake is not enough, one verifier more settles the draw height."""
    world, submitter, crew, run = opened
    assert submit(world, submitter, run) == ""
    for verifier in crew[:4]:
        verifier.attest(world, run)
        world.make_block()
    assert world.get_status(run.submission).phase == AVAILABILITY
    crew[4].attest(world, run)
    world.make_block()
    status = world.get_status(run.submission)
    assert (status.phase, status.attested, status.availability_height) == (DRAW, 50_000, world.height)
    assert status.draw_height == status.deadline == world.height + world.parameters.submissions.draw_delay


def test_who_can_attest(opened):
    """SUB-10: verifiers of the snapshot, each once, never the submitter, with a commitment of 32 bytes."""
    world, submitter, crew, run = opened
    assert submit(world, submitter, run) == ""
    body = AttestAvailability(run.submission, bytes(32))
    first = crew[0].actor
    assert_refused(world, submitter, body, NotEligible)
    assert_refused(world, first, AttestAvailability(bytes(32), bytes(32)), SubmissionUnknown)
    assert_refused(world, first, AttestAvailability(run.submission, bytes(31)), CommitmentMalformed)
    assert_done(world, first, body)
    assert_refused(world, first, body, AlreadyAttested)


def test_the_submitter_does_not_judge_its_own_run():
    """SUB-10, DRW-3: a verifier who submits can neither attest nor be drawn."""
    world, _, crew = open_world(8)
    insider = crew[0].actor
    run = pretend(world, insider)
    assert submit(world, insider, run) == ""
    assert_refused(world, insider, AttestAvailability(run.submission, bytes(32)), NotEligible)
    assert judge(world, run, crew[1:]) == "accepted"
    seats = [seat.account for judgement in list_judgements(world, run) for seat in judgement.seats]
    assert insider.account not in seats


def test_secrets_are_committed_before_the_draw():
    """SUB-10: until the block before the draw height; in that block itself it is too late."""
    world, _, _, run = open_ledger(DRAW, honest=7, bad=[Verifier(STRANGER, attests=False)])
    draw_height = world.get_status(run.submission).draw_height
    late = AttestAvailability(run.submission, bytes(32))
    assert world.height == draw_height - 2
    assert_refused(world, STRANGER, late, WrongPhase, height=draw_height)
    assert_done(world, STRANGER, late)
    assert world.height == draw_height - 1


def test_without_attestation_nothing_is_lost_but_time(opened):
    """SUB-12: if too few attest in time, the verdict is inconclusive; bond and escrow return, the fee does not."""
    world, submitter, crew, run = opened
    balance = world.get_balance(submitter)
    assert submit(world, submitter, run) == ""
    for verifier in crew[:4]:
        verifier.attest(world, run)
    world.pass_blocks(world.parameters.submissions.availability_blocks)
    status = world.get_status(run.submission)
    assert (status.phase, status.verdict, status.reason) == (WINDOW, INCONCLUSIVE, "unavailable")
    world.pass_blocks(world.parameters.submissions.window_blocks)
    assert world.get_balance(submitter) == balance - 1
    assert world.get_status(run.submission).bond == world.get_status(run.submission).escrow == 0
    verify_conserved(world.store.values)


def test_the_draw_seats_a_sub_quorum_for_each_interval():
    """SUB-12, DRW-4, DRW-5: s intervals with the last one among them, five seats each, of the quorum."""
    world, _, _, run = open_ledger(
        FLAGS, honest=12, quorum=9, terms={"start_check": True, "metrics": make_digest("run", "metrics")}
    )
    draw = world.expect(draw_key(run.submission), Draw)
    status = world.get_status(run.submission)
    assert len(draw.quorum) == 9
    assert len(draw.sample) == 3
    assert draw.sample[-1] == 7
    assert draw.facts.draw_height == status.draw_height == world.height
    assert draw.facts.beacon == world.engine.blocks[-1].header.beacon
    judgements = list_judgements(world, run)
    assert [each.interval for each in judgements] == [*draw.sample, 8, 9]
    assert [each.origin for each in judgements] == ["uniform"] * 3 + ["check"] * 2
    quorum = {seat.account for seat in draw.quorum}
    for judgement in judgements:
        assert len({seat.account for seat in judgement.seats}) == 5
        assert {seat.account for seat in judgement.seats} <= quorum


def test_flags_add_intervals():
    """SUB-13, SUB-14: a flagged interval gets a sub-quorum when the time of flags ends."""
    world, _, crew, run = open_ledger(FLAGS)
    sample = world.expect(draw_key(run.submission), Draw).sample
    free = [interval for interval in range(8) if interval not in sample]
    assert_done(world, crew[0].actor, FlagIntervals(run.submission, (free[1],)))
    assert_done(world, crew[1].actor, FlagIntervals(run.submission, (free[0],)))
    assert world.expect(flagged_key(run.submission), IntervalList).intervals == tuple(free[:2])
    assert world.get_status(run.submission).phase == COMMIT
    judged = {each.interval: each for each in list_judgements(world, run)}
    assert set(judged) == {*sample, *free[:2]}
    assert (judged[free[0]].origin, len(judged[free[0]].seats)) == ("flagged", 5)
    assert world.get_status(run.submission).flags == 2


def test_refused_flags():
    """SUB-13: existing intervals outside the sample, ascending, bounded for each verifier and for all."""
    world, submitter, crew, run = open_ledger(FLAGS, max_flags=3, flags_per_verifier=2, flag_blocks=9)
    sample = world.expect(draw_key(run.submission), Draw).sample
    free = [interval for interval in range(8) if interval not in sample]
    first = crew[0].actor
    for intervals in ((sample[0],), (8,), (-1,), (free[1], free[0]), (free[0], free[0]), tuple(free[:3])):
        assert_refused(world, first, FlagIntervals(run.submission, intervals), FlagRefused)
    assert_refused(world, submitter, FlagIntervals(run.submission, (free[0],)), NotDrawn)
    assert_refused(world, first, FlagIntervals(bytes(32), (free[0],)), SubmissionUnknown)
    assert_done(world, first, FlagIntervals(run.submission, tuple(free[:2])))
    assert_refused(world, crew[1].actor, FlagIntervals(run.submission, (free[0],)), FlagRefused)
    assert_refused(world, first, FlagIntervals(run.submission, (free[2],)), FlagRefused)
    assert_refused(world, crew[1].actor, FlagIntervals(run.submission, tuple(free[2:4])), FlagRefused)
    assert_done(world, crew[1].actor, FlagIntervals(run.submission, (free[2],)))


def test_flags_come_in_their_time(opened):
    """SUB-13: neither before the draw nor after the time of flags."""
    world, submitter, crew, run = opened
    assert submit(world, submitter, run) == ""
    assert_refused(world, crew[0].actor, FlagIntervals(run.submission, (0,)), WrongPhase)
    while world.get_status(run.submission).phase != COMMIT:
        carry_on(world, run, crew)
    assert_refused(world, crew[0].actor, FlagIntervals(run.submission, (0,)), WrongPhase)


def test_keys_do_not_meet(opened):
    """SUB-1: every key of a whole life belongs to one of the four contracts, and leads to one kind of record."""
    world, submitter, crew, run = opened
    assert submit(world, submitter, run) == ""
    assert judge(world, run, crew) == "accepted"
    contracts = {int.from_bytes(key[:2], "little") for key in world.store.values}
    assert contracts == {
        tags.SUPPLY_CONTRACT,
        tags.ACCOUNTS_CONTRACT,
        tags.STAKES_CONTRACT,
        tags.SUBMISSIONS_CONTRACT,
    }
