"""Contract `submissions`, the votes: commit, abstain, reveal.

Everybody commits before anybody reveals, so no vote can follow another one. A commitment binds its account, so it is of
no use to whoever copies it.

Source: `spec/submissions.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from assay.errors import MalformedEvidence, VerificationError
from assay.protocol import tags
from assay.protocol.contracts.submission_bodies import (
    AbstainVotes,
    CommitVotes,
    IntervalOpening,
    RevealVotes,
)
from assay.protocol.contracts.submission_keys import attestation_key, draw_key, judgement_key, private_key, vote_key
from assay.protocol.contracts.submission_records import (
    COMMIT,
    REVEAL,
    UNDECIDED,
    Attestation,
    IntervalJudgement,
    PrivateVotes,
    Submission,
    SubmissionStatus,
    VoteRecord,
)
from assay.protocol.contracts.submission_rejections import (
    AlreadyCommitted,
    AlreadyRevealed,
    CommitmentBroken,
    CommitmentMalformed,
    NotAssigned,
    NotCommitted,
    OpeningRefused,
    VoteRefused,
    WrongPhase,
)
from assay.protocol.contracts.submission_rules import get_boundary, verify_checkpoint
from assay.protocol.contracts.submission_status import (
    expect_phase,
    get_submission,
    replace_status,
    set_status,
    verify_ascending,
)
from assay.protocol.environment import Environment
from assay.protocol.evidence.draw import Draw, select_private
from assay.protocol.evidence.fields import verify_choice, verify_digest, verify_number, verify_tree
from assay.protocol.evidence.votes import (
    ABSTENTIONS,
    DIFFERS,
    MALFORMED,
    MATCHES,
    NOT_RECOMPUTED,
    WITHHELD,
    Vote,
    compute_secret_commitment,
    compute_vote_commitment,
)
from assay.protocol.hashing import ZERO
from assay.protocol.state_view import StateView

MAX_REPLAYS = 255


@dataclass(frozen=True, slots=True)
class _Voter:
    """What a voting transaction is about."""

    view: StateView
    environment: Environment
    account: bytes
    submission: Submission
    status: SubmissionStatus


def apply_commit(view: StateView, environment: Environment, sender: bytes, body: CommitVotes) -> None:
    """Take commitments to votes (SUB-15 to SUB-17).

    Raises:
        SubmissionUnknown, WrongPhase, CommitmentMalformed, NotAssigned, AlreadyCommitted: see there.
    """
    voter = _open(view, environment, sender, body.submission, COMMIT, body.round)
    if not body.commitments and not body.private:
        raise CommitmentMalformed("there is no commitment")
    verify_ascending(tuple(each.interval for each in body.commitments), "committed intervals", CommitmentMalformed)
    if any(len(each.commitment) != 32 for each in body.commitments) or any(len(each) != 32 for each in body.private):
        raise CommitmentMalformed("a commitment has a wrong length", expected="32 bytes")
    for each in body.commitments:
        _verify_open_seat(voter, each.interval)
        record = VoteRecord(sender, each.interval, body.round, each.commitment, "", None)
        view.write(vote_key(body.submission, each.interval, sender), record)
    if body.private:
        expected = _count_private(voter)
        if len(body.private) != expected:
            raise CommitmentMalformed("not one commitment for each own interval", expected=expected)
        _verify_private_open(voter)
        view.write(private_key(body.submission, sender), PrivateVotes(sender, body.private, b"", ()))
    _count(voter, len(body.commitments) + bool(body.private))


def apply_abstain(view: StateView, environment: Environment, sender: bytes, body: AbstainVotes) -> None:
    """Note that a verifier cannot judge; it costs nothing, and its stake still counts as assigned (SUB-18).

    Raises:
        SubmissionUnknown, WrongPhase, CommitmentMalformed, NotAssigned, AlreadyCommitted: see there.
    """
    voter = _open(view, environment, sender, body.submission, COMMIT, body.round)
    if not body.intervals and not body.private:
        raise CommitmentMalformed("there is nothing to abstain from")
    if body.reason not in ABSTENTIONS:
        raise CommitmentMalformed("the reason is unknown", expected=" or ".join(ABSTENTIONS))
    verify_ascending(body.intervals, "intervals", CommitmentMalformed)
    for interval in body.intervals:
        _verify_open_seat(voter, interval)
        record = VoteRecord(sender, interval, body.round, b"", body.reason, None)
        view.write(vote_key(body.submission, interval, sender), record)
    if body.private:
        _verify_private_open(voter)
        view.write(private_key(body.submission, sender), PrivateVotes(sender, (), b"", ()))
    _count(voter, len(body.intervals) + body.private)


def apply_reveal(view: StateView, environment: Environment, sender: bytes, body: RevealVotes) -> None:
    """Open committed votes, and the secret with the votes about the verifier's own intervals (SUB-19 to SUB-22).

    Raises:
        SubmissionUnknown, WrongPhase, CommitmentMalformed, NotCommitted, AlreadyRevealed, CommitmentBroken,
            VoteRefused, OpeningRefused: see there.
    """
    voter = _open(view, environment, sender, body.submission, REVEAL, body.round)
    if not body.votes and not body.secret:
        raise CommitmentMalformed("there is no vote")
    verify_ascending(tuple(vote.interval for vote in body.votes), "revealed intervals", CommitmentMalformed)
    openings = {opening.interval: opening for opening in body.openings}
    for vote in body.votes:
        if vote.interval < 0:
            raise NotCommitted("there is no such interval", actual=vote.interval)
        record = view.read(vote_key(body.submission, vote.interval, sender), VoteRecord)
        if record is None or record.round != body.round or not record.commitment:
            raise NotCommitted("this vote was not committed in this round", actual=vote.interval)
        if record.vote is not None:
            raise AlreadyRevealed("this vote was revealed already", actual=vote.interval)
        _verify_commitment(voter, vote, record.commitment)
        verify_vote(vote, *_get_claim(voter, vote, openings))
        revealed = VoteRecord(sender, vote.interval, body.round, record.commitment, "", vote)
        view.write(vote_key(body.submission, vote.interval, sender), revealed)
    if body.secret:
        _reveal_private(voter, body, openings)
    elif body.private:
        raise CommitmentMalformed("own intervals are revealed with the secret that they follow from")
    _count(voter, len(body.votes) + bool(body.secret))


def verify_vote(vote: Vote, start_root: bytes, end_root: bytes) -> None:
    """Check that a vote does not contradict itself or what was claimed (SUB-21).

    Raises:
        VoteRefused: it does.
    """
    try:
        verify_choice(vote.outcome, (MATCHES, DIFFERS, WITHHELD, MALFORMED), "outcome of a vote")
        for digest, what in (
            (vote.start_root, "start root of a vote"),
            (vote.end_root, "end root of a vote"),
            (vote.work_digest, "work digest"),
            (vote.known_answer, "digest of known answers"),
            (vote.salt, "salt"),
        ):
            verify_digest(digest, what)
        verify_tree(vote.leaves, tags.INTERVAL_LEAVES, "leaves of a vote")
        verify_number(vote.replays, "number of replays", 0, MAX_REPLAYS)
    except MalformedEvidence as error:
        raise VoteRefused("a vote is malformed", actual=f"{error.code}: {error.message}") from None
    if vote.outcome == MATCHES and (vote.start_root, vote.end_root) != (start_root, end_root):
        raise VoteRefused("a vote for the claim has other roots", expected=f"{start_root.hex()}, {end_root.hex()}")
    if vote.outcome == MATCHES and vote.replays < 1:
        raise VoteRefused("a vote for the claim without a replay", expected="at least 1", actual=vote.replays)
    if vote.outcome == DIFFERS and vote.replays < 2:
        raise VoteRefused("two replays come before calling an interval false", expected=2, actual=vote.replays)
    if vote.outcome in NOT_RECOMPUTED and ((vote.start_root, vote.end_root) != (ZERO, ZERO) or vote.leaves.size):
        raise VoteRefused("nothing was recomputed, but there is a root or a leaf", expected="zeros, no leaves")


def _open(
    view: StateView, environment: Environment, sender: bytes, identity: bytes, phase: str, voting_round: int
) -> _Voter:
    submission = get_submission(view, identity)
    status = expect_phase(view, identity, phase)
    if voting_round != status.round:
        raise WrongPhase("the submission is in another round", expected=status.round, actual=voting_round)
    return _Voter(view, environment, sender, submission, status)


def _get_judgement(voter: _Voter, interval: int) -> IntervalJudgement | None:
    if not 0 <= interval < 2**63:
        return None
    return voter.view.read(judgement_key(voter.submission.submission, interval), IntervalJudgement)


def _verify_open_seat(voter: _Voter, interval: int) -> None:
    """Check that the voter is asked about an interval in this round, and did not answer yet (SUB-15, SUB-16)."""
    judgement = _get_judgement(voter, interval)
    if judgement is None or judgement.finding != UNDECIDED or all(s.account != voter.account for s in judgement.seats):
        raise NotAssigned("the verifier is not assigned to this interval", actual=interval)
    record = voter.view.read(vote_key(voter.submission.submission, interval, voter.account), VoteRecord)
    if record is not None and record.round == voter.status.round:
        raise AlreadyCommitted("the verifier committed or abstained already", actual=interval)
    if record is not None and record.vote is not None:
        raise NotAssigned("the verifier voted on this interval in an earlier round", actual=interval)


def _count_private(voter: _Voter) -> int:
    return min(voter.environment.parameters.submissions.private_intervals, voter.submission.intervals)


def _verify_private_open(voter: _Voter) -> None:
    """Check that the voter has intervals of its own, and did not answer about them yet (SUB-17)."""
    identity = voter.submission.submission
    quorum = voter.view.expect(draw_key(identity), Draw).quorum
    has_secret = voter.view.read(attestation_key(identity, voter.account), Attestation) is not None
    if voter.status.round or not has_secret or all(seat.account != voter.account for seat in quorum):
        raise NotAssigned("the verifier has no intervals of its own", expected="in the quorum, with a secret, round 0")
    if voter.view.read(private_key(identity, voter.account), PrivateVotes) is not None:
        raise AlreadyCommitted("the verifier answered about its own intervals already")


def _verify_commitment(voter: _Voter, vote: Vote, commitment: bytes) -> None:
    found = compute_vote_commitment(
        voter.environment.chain_id, voter.submission.submission, voter.status.round, voter.account, vote
    )
    if found != commitment:  # SUB-20
        raise CommitmentBroken("the vote is not the committed one", expected=commitment.hex(), actual=found.hex())


def _get_claim(voter: _Voter, vote: Vote, openings: dict[int, IntervalOpening]) -> tuple[bytes, bytes]:
    """Return claimed start and end root of an interval; what is opened here is written down (SUB-22).

    A vote that recomputed nothing is compared with no claim: whoever could not fetch the package cannot open it.
    """
    if vote.outcome in NOT_RECOMPUTED:
        return ZERO, ZERO
    interval = vote.interval
    judgement = _get_judgement(voter, interval)
    if judgement is not None and judgement.end_root:
        return judgement.start_root, judgement.end_root
    opening = openings.get(interval)
    if opening is None:
        raise OpeningRefused("the checkpoints of an interval are not opened", expected=f"interval {interval}")
    run = voter.submission.run
    try:
        verify_checkpoint(run.checkpoints, opening.before, interval, get_boundary(run, interval))
        verify_checkpoint(run.checkpoints, opening.after, interval + 1, get_boundary(run, interval + 1))
    except VerificationError as error:
        raise OpeningRefused("the checkpoints contradict the submission", actual=error.message) from None
    start, end = opening.before.checkpoint.state_root, opening.after.checkpoint.state_root
    if judgement is not None:
        opened = msgspec.structs.replace(judgement, start_root=start, end_root=end)
        voter.view.write(judgement_key(voter.submission.submission, interval), opened)
    return start, end


def _reveal_private(voter: _Voter, body: RevealVotes, openings: dict[int, IntervalOpening]) -> None:
    """Open the secret, derive the own intervals from it, and open the votes about exactly these (SUB-19, SUB-20)."""
    identity = voter.submission.submission
    record = voter.view.read(private_key(identity, voter.account), PrivateVotes)
    if voter.status.round or record is None or not record.commitments:
        raise NotCommitted("the verifier did not commit to votes about its own intervals")
    if record.secret:
        raise AlreadyRevealed("the secret was opened already")
    attestation = voter.view.expect(attestation_key(identity, voter.account), Attestation)
    found = compute_secret_commitment(voter.environment.chain_id, identity, voter.account, body.secret)
    if len(body.secret) != 32 or found != attestation.secret_commitment:
        raise CommitmentBroken("the secret is not the committed one", expected=attestation.secret_commitment.hex())
    chosen = select_private(voter.status.draw, body.secret, voter.submission.intervals, len(record.commitments))
    if tuple(vote.interval for vote in body.private) != chosen:
        raise CommitmentBroken("these are not the verifier's own intervals", expected=str(chosen))
    for vote, commitment in zip(body.private, record.commitments, strict=True):
        _verify_commitment(voter, vote, commitment)
        verify_vote(vote, *_get_claim(voter, vote, openings))
    opened = PrivateVotes(voter.account, record.commitments, body.secret, body.private)
    voter.view.write(private_key(identity, voter.account), opened)


def _count(voter: _Voter, answers: int) -> None:
    """Count answers; when the last one is in, the phase ends with this block (SUB-23)."""
    status = replace_status(voter.status, acted=voter.status.acted + answers)
    if status.acted >= status.expected:
        status = replace_status(status, deadline=voter.environment.height)
    set_status(voter.view, status)
