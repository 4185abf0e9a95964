"""Contract `submissions`, up to the votes: submit, withdraw, attest availability, flag.

Source: `spec/submissions.md`; paper 000, section IV-B.
"""

from __future__ import annotations

from assay.protocol.amounts import MILLION, add_amounts
from assay.protocol.contracts.accounts import credit, debit
from assay.protocol.contracts.stakes import compute_snapshot_height
from assay.protocol.contracts.submission_bodies import (
    AttestAvailability,
    FlagIntervals,
    SubmitRun,
    WithdrawSubmission,
)
from assay.protocol.contracts.submission_keys import (
    COUNT_KEY,
    attempts_key,
    attestation_key,
    attesters_key,
    draw_key,
    flagged_key,
    flags_key,
    model_key,
    number_key,
    status_key,
    submission_key,
)
from assay.protocol.contracts.submission_records import (
    AVAILABILITY,
    DRAW,
    FLAGS,
    UNDECIDED,
    WITHDRAWN,
    AccountList,
    Attempts,
    Attestation,
    Counter,
    IntervalList,
    Reference,
    Submission,
    SubmissionStatus,
)
from assay.protocol.contracts.submission_rejections import (
    AlreadyAttested,
    CommitmentMalformed,
    ContextTaken,
    FlagRefused,
    NotDrawn,
    NotEligible,
    NotTheSubmitter,
    TooFewVerifiers,
    WrongAttempt,
    WrongPhase,
)
from assay.protocol.contracts.submission_rules import compute_escrow, count_intervals, verify_run
from assay.protocol.contracts.submission_status import (
    expect_phase,
    find_seat,
    get_eligible,
    get_submission,
    record_payment,
    replace_status,
    set_status,
    verify_ascending,
)
from assay.protocol.environment import Environment
from assay.protocol.evidence.draw import Draw
from assay.protocol.evidence.transcript import compute_context
from assay.protocol.hashing import ZERO
from assay.protocol.merkle import MerkleRoot, compute_root
from assay.protocol.state_view import StateView
from assay.protocol.tags import VOTES_TREE

NO_VOTES = MerkleRoot(VOTES_TREE, 0, compute_root(VOTES_TREE, ()))


def apply_submit(view: StateView, environment: Environment, sender: bytes, body: SubmitRun) -> None:
    """Take a run for judgement: bond and escrow are held, the deadline for availability runs (SUB-2 to SUB-8).

    Raises:
        InvalidTransaction: one of the classes of `submission_rejections`, or the account cannot pay.
    """
    verify_run(environment, sender, body)
    identity = compute_context(sender, environment.chain_id, body.context_nonce)
    if view.read(submission_key(identity), Submission) is not None:  # SUB-5
        raise ContextTaken("a run was submitted under this context", next_step="choose another context nonce")
    attempts = view.read(attempts_key(body.plan), Attempts) or Attempts(0)
    if body.attempt != attempts.count + 1:  # SUB-6
        raise WrongAttempt("the attempt is miscounted", expected=attempts.count + 1, actual=body.attempt)
    snapshot = compute_snapshot_height(environment.height, environment.parameters)
    seats = get_eligible(view, snapshot, sender)
    if len(seats) < body.sub_quorum:  # SUB-7
        raise TooFewVerifiers("too few verifiers", expected=f"at least {body.sub_quorum}", actual=len(seats))
    escrow = compute_escrow(environment.parameters, body, len(seats))
    debit(view, sender, add_amounts(body.bond, escrow), "bond and the escrow")  # SUB-8
    count = (view.read(COUNT_KEY, Counter) or Counter(0)).count
    first = view.read(model_key(body.model_root), Reference)
    if first is None:
        view.write(model_key(body.model_root), Reference(identity))
    view.write(COUNT_KEY, Counter(count + 1))
    view.write(number_key(count), Reference(identity))
    view.write(attempts_key(body.plan), Attempts(attempts.count + 1))
    view.write(
        submission_key(identity),
        Submission(
            submission=identity,
            number=count,
            account=sender,
            height=environment.height,
            intervals=count_intervals(body),
            snapshot_height=snapshot,
            earlier=ZERO if first is None else first.submission,
            run=body,
        ),
    )
    deadline = environment.height + environment.parameters.submissions.availability_blocks
    set_status(view, _open_status(identity, deadline, sum(seat.stake for seat in seats), body.bond, escrow))


def apply_withdraw_submission(
    view: StateView, environment: Environment, sender: bytes, body: WithdrawSubmission
) -> None:
    """Take a submission back before it is available; bond and escrow return, the attempt stays counted (SUB-9).

    Raises:
        SubmissionUnknown: there is none.
        NotTheSubmitter: it is another account's.
        WrongPhase: its blobs are available, so its draw is settled.
    """
    submission = get_submission(view, body.submission)
    if submission.account != sender:
        raise NotTheSubmitter("only the submitter can withdraw", expected=submission.account.hex())
    status = expect_phase(view, submission.submission, AVAILABILITY)
    credit(view, sender, status.bond + status.escrow)
    record_payment(view, status.submission, sender, "bond-returned", status.bond)
    record_payment(view, status.submission, sender, "escrow-returned", status.escrow)
    del environment
    set_status(view, replace_status(status, phase=WITHDRAWN, deadline=0, bond=0, escrow=0))


def apply_attest(view: StateView, environment: Environment, sender: bytes, body: AttestAvailability) -> None:
    """Count a verifier who could fetch every blob; with enough stake the draw is settled (SUB-10, SUB-11).

    Raises:
        SubmissionUnknown: there is none.
        WrongPhase: the draw is near or over.
        NotEligible: the sender was no verifier at the snapshot, or is the submitter.
        AlreadyAttested: it did so before.
        CommitmentMalformed: the commitment to the secret is not 32 bytes.
    """
    submission = get_submission(view, body.submission)
    status = _expect_before_draw(view, environment, submission.submission)
    seat = find_seat(get_eligible(view, submission.snapshot_height, submission.account), sender)
    if seat is None:
        raise NotEligible("the account was no verifier at the snapshot", expected=submission.snapshot_height)
    if len(body.secret_commitment) != 32:
        raise CommitmentMalformed("a commitment to a secret has a wrong length", expected=32)
    key = attestation_key(submission.submission, sender)
    if view.read(key, Attestation) is not None:
        raise AlreadyAttested("this verifier attested already")
    view.write(key, Attestation(sender, seat.stake, environment.height, body.secret_commitment))
    attesters = view.read(attesters_key(submission.submission), AccountList) or AccountList(())
    view.write(attesters_key(submission.submission), AccountList((*attesters.accounts, sender)))
    attested = status.attested + seat.stake
    rules = environment.parameters.submissions
    if status.phase == DRAW or attested * MILLION <= status.eligible * rules.attested_ppm:
        set_status(view, replace_status(status, attested=attested))
        return
    height = environment.height  # SUB-11: the draw height is settled here, before anybody knows its beacon
    changed = replace_status(
        status, attested=attested, phase=DRAW, availability_height=height, draw_height=height + rules.draw_delay
    )
    set_status(view, replace_status(changed, deadline=changed.draw_height))


def apply_flag(view: StateView, environment: Environment, sender: bytes, body: FlagIntervals) -> None:
    """Add intervals to those that are judged; bounded, and paid from the escrow (SUB-13).

    Raises:
        SubmissionUnknown: there is none.
        WrongPhase: it is not the time of flags.
        NotDrawn: the sender is not in the quorum.
        FlagRefused: an interval does not exist, is judged anyway, or is one too many.
    """
    submission = get_submission(view, body.submission)
    status = expect_phase(view, submission.submission, FLAGS)
    rules = environment.parameters.submissions
    draw = view.expect(draw_key(submission.submission), Draw)
    if all(seat.account != sender for seat in draw.quorum):
        raise NotDrawn("only the quorum can flag intervals")
    own = view.read(flags_key(submission.submission, sender), IntervalList) or IntervalList(())
    flagged = view.read(flagged_key(submission.submission), IntervalList) or IntervalList(())
    verify_ascending(body.intervals, "flagged intervals", FlagRefused)
    if len(own.intervals) + len(body.intervals) > rules.flags_per_verifier:
        raise FlagRefused("too many flags of one verifier", expected=f"at most {rules.flags_per_verifier}")
    if len(flagged.intervals) + len(body.intervals) > rules.max_flags:
        raise FlagRefused("too many flags of one submission", expected=f"at most {rules.max_flags}")
    for interval in body.intervals:
        if not 0 <= interval < submission.intervals or interval in draw.sample or interval in flagged.intervals:
            raise FlagRefused("the interval does not exist or is judged anyway", actual=interval)
    view.write(flags_key(submission.submission, sender), IntervalList(own.intervals + body.intervals))
    everything = tuple(sorted((*flagged.intervals, *body.intervals)))
    view.write(flagged_key(submission.submission), IntervalList(everything))
    set_status(view, replace_status(status, flags=len(everything)))


def _expect_before_draw(view: StateView, environment: Environment, identity: bytes) -> SubmissionStatus:
    """Return the status of a submission whose draw is not due yet: later secrets could follow the beacon (SUB-10)."""
    status = view.expect(status_key(identity), SubmissionStatus)
    is_waiting = status.phase == DRAW and not status.round and environment.height < status.draw_height
    if status.phase != AVAILABILITY and not is_waiting:
        raise WrongPhase("it is too late to attest", expected=AVAILABILITY, actual=status.phase)
    return status


def _open_status(identity: bytes, deadline: int, eligible: int, bond: int, escrow: int) -> SubmissionStatus:
    return SubmissionStatus(
        submission=identity,
        phase=AVAILABILITY,
        round=0,
        deadline=deadline,
        eligible=eligible,
        attested=0,
        availability_height=0,
        draw_height=0,
        later_draws=(),
        draw=b"",
        flags=0,
        acted=0,
        expected=0,
        verdict=UNDECIDED,
        reason="",
        verdict_height=0,
        final_height=0,
        bond=bond,
        escrow=escrow,
        votes=NO_VOTES,
    )
