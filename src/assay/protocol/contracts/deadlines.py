"""Contract `submissions`, what happens at the end of blocks: draws, the ends of phases, verdicts.

Source: `spec/submissions.md`, SUB-12, SUB-14 and SUB-23 to SUB-30.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from assay.protocol.contracts.judgement import judge
from assay.protocol.contracts.penalties import punish_absence, punish_broken_reveals
from assay.protocol.contracts.settlement import settle
from assay.protocol.contracts.submission_keys import (
    attestation_key,
    draw_key,
    due_key,
    equivocation_key,
    flagged_key,
    judged_key,
    judgement_key,
    private_key,
    status_key,
    submission_key,
    vote_key,
)
from assay.protocol.contracts.submission_records import (
    ACCEPTED,
    ACCUSED,
    AVAILABILITY,
    CHECK,
    COMMIT,
    DRAW,
    FLAGGED,
    FLAGS,
    INCONCLUSIVE,
    REJECTED,
    REVEAL,
    UNDECIDED,
    UNIFORM,
    WINDOW,
    Attestation,
    DueList,
    IntervalJudgement,
    IntervalList,
    PrivateVotes,
    Reference,
    Submission,
    SubmissionStatus,
    VoteRecord,
)
from assay.protocol.contracts.submission_status import get_eligible, replace_status, set_status
from assay.protocol.environment import Environment
from assay.protocol.evidence.draw import (
    Draw,
    DrawFacts,
    Seat,
    compute_draw_id,
    draw_further,
    draw_quorum,
    draw_sub_quorum,
    select_sample,
)
from assay.protocol.evidence.votes import DIFFERS, MATCHES, METRICS_CHECK, START_CHECK, Vote
from assay.protocol.hashing import ZERO
from assay.protocol.params import ROUNDS
from assay.protocol.state_view import StateView

REASONS: Final = ("matched", "differs", "withheld", "malformed", "unavailable", "no-agreement")
"""Why a verdict is what it is: outcome of the deciding votes; too few attested in time; no two thirds agreed."""

UNAVAILABLE, NO_AGREEMENT = REASONS[4:]


def end_submissions(view: StateView, environment: Environment) -> None:
    """Carry on every submission whose phase ends with this block (SUB-23)."""
    key = due_key(environment.height)
    due = view.read(key, DueList)
    if due is None:
        return
    for identity in due.submissions:
        status = view.expect(status_key(identity), SubmissionStatus)
        if status.deadline == environment.height:  # an earlier deadline may have replaced this one
            submission = view.expect(submission_key(identity), Submission)
            _ENDS[status.phase](view, environment, submission, status)
    view.write(key, None)


def get_judgements(view: StateView, identity: bytes) -> Iterator[IntervalJudgement]:
    """Yield everything that sub-quorums judge of a submission, in ascending order."""
    judged = view.read(judged_key(identity), IntervalList)
    for interval in () if judged is None else judged.intervals:
        yield view.expect(judgement_key(identity, interval), IntervalJudgement)


def get_votes(view: StateView, identity: bytes, judgement: IntervalJudgement) -> list[Vote | None]:
    """Return the revealed vote of each seat; None: there is none, or the account was found equivocating (SUB-24)."""
    votes = []
    for seat in judgement.seats:
        record = view.read(vote_key(identity, judgement.interval, seat.account), VoteRecord)
        is_proven = view.read(equivocation_key(identity, seat.account), Reference) is not None
        votes.append(None if record is None or is_proven else record.vote)
    return votes


def _end_availability(view: StateView, environment: Environment, run: Submission, status: SubmissionStatus) -> None:
    """Give up what too few verifiers attested: nothing was drawn, so nothing is held against the submitter (SUB-12)."""
    del run
    _decide(view, environment, status, INCONCLUSIVE, UNAVAILABLE)


def _end_draw(view: StateView, environment: Environment, run: Submission, status: SubmissionStatus) -> None:
    """Draw: quorum and sample at first, larger sub-quorums in later rounds (SUB-12, SUB-28)."""
    if status.round:
        _seat_again(view, environment, run, status)
        return
    facts = DrawFacts(
        submission=run.submission,
        availability_height=status.availability_height,
        draw_height=environment.height,
        beacon=environment.beacon,
        snapshot_height=run.snapshot_height,
        sample=run.run.sample,
        intervals=run.intervals,
        sub_quorum=run.run.sub_quorum,
        parameters=environment.parameters.version,
    )
    draw = compute_draw_id(facts)
    eligible = get_eligible(view, run.snapshot_height, run.account)
    size = max(environment.parameters.submissions.quorum, run.run.sub_quorum)
    quorum = draw_quorum(draw, eligible, size)
    sample = select_sample(draw, facts)
    view.write(draw_key(run.submission), Draw(facts, quorum, sample))
    seats = tuple(sorted(quorum, key=lambda seat: seat.account))
    checks = [run.intervals + START_CHECK] * run.run.start_check
    checks += [run.intervals + METRICS_CHECK] * (run.run.metrics != ZERO)
    for interval in (*sample, *checks):
        origin = UNIFORM if interval < run.intervals else CHECK
        drawn = draw_sub_quorum(draw, environment.beacon, interval, 0, seats, run.run.sub_quorum)
        _begin_judgement(view, run, interval, origin, 0, drawn)
    deadline = environment.height + environment.parameters.submissions.flag_blocks
    set_status(view, replace_status(status, phase=FLAGS, draw=draw, deadline=deadline))


def _end_flags(view: StateView, environment: Environment, run: Submission, status: SubmissionStatus) -> None:
    """Draw sub-quorums for flagged intervals, by a beacon that nobody knew while flagging (SUB-14)."""
    flagged = view.read(flagged_key(run.submission), IntervalList)
    if flagged is not None:
        quorum = view.expect(draw_key(run.submission), Draw).quorum
        seats = tuple(sorted(quorum, key=lambda seat: seat.account))
        for interval in flagged.intervals:
            drawn = draw_sub_quorum(status.draw, environment.beacon, interval, 0, seats, run.run.sub_quorum)
            _begin_judgement(view, run, interval, FLAGGED, 0, drawn)
    _begin_commit(view, environment, run, status)


def _end_commit(view: StateView, environment: Environment, run: Submission, status: SubmissionStatus) -> None:
    """Punish who neither committed nor abstained, a little; then everybody reveals (SUB-23)."""
    absent, committed = [], 0
    for account, record in _list_records(view, run, status):
        if record is None or record.round != status.round:
            absent.append(account)
        else:
            committed += bool(record.commitment)
    for account in _list_private_members(view, environment, run, status):
        private = view.read(private_key(run.submission, account), PrivateVotes)
        if private is None:
            absent.append(account)
        else:
            committed += bool(private.commitments)
    punish_absence(view, environment, run.submission, absent)
    deadline = environment.height + environment.parameters.submissions.reveal_blocks
    revealing = replace_status(status, phase=REVEAL, acted=0, expected=committed, deadline=deadline)
    if committed:
        set_status(view, revealing)
    else:
        _end_reveal(view, environment, run, revealing)


def _end_reveal(view: StateView, environment: Environment, run: Submission, status: SubmissionStatus) -> None:
    """Punish broken reveals, count the votes, and decide, escalate or give up (SUB-24 to SUB-29)."""
    broken = []
    for account, record in _list_records(view, run, status):
        if record is not None and record.round == status.round and record.commitment and record.vote is None:
            broken.append(account)
    for account in _list_private_members(view, environment, run, status):
        private = view.read(private_key(run.submission, account), PrivateVotes)
        if private is not None and private.commitments and not private.secret:
            broken.append(account)
    punish_broken_reveals(view, environment, run.submission, broken)
    findings = [_judge_one(view, run, judgement) for judgement in get_judgements(view, run.submission)]
    rejected = next((each for each in findings if each.finding == REJECTED), None)
    accused = _list_accused(view, environment, run, status)
    if rejected is not None:
        outcome = DIFFERS if rejected.answer is None else rejected.answer.outcome
        _decide(view, environment, status, REJECTED, REASONS[outcome])
    elif not accused and all(each.finding == ACCEPTED for each in findings):
        _decide(view, environment, status, ACCEPTED, REASONS[MATCHES])
    elif status.round + 1 == ROUNDS:
        _decide(view, environment, status, INCONCLUSIVE, NO_AGREEMENT)
    else:
        for interval in accused:
            _begin_judgement(view, run, interval, ACCUSED, status.round + 1, ())
        deadline = environment.height + environment.parameters.submissions.draw_delay
        set_status(view, replace_status(status, phase=DRAW, round=status.round + 1, deadline=deadline))


def _end_window(view: StateView, environment: Environment, run: Submission, status: SubmissionStatus) -> None:
    """Pay everybody; nothing changes afterwards (SUB-30)."""
    settle(view, environment, run, status, list(get_judgements(view, run.submission)))


_ENDS: Final[dict[str, Callable[[StateView, Environment, Submission, SubmissionStatus], None]]] = {
    AVAILABILITY: _end_availability,
    DRAW: _end_draw,
    FLAGS: _end_flags,
    COMMIT: _end_commit,
    REVEAL: _end_reveal,
    WINDOW: _end_window,
}


def _seat_again(view: StateView, environment: Environment, run: Submission, status: SubmissionStatus) -> None:
    """Add verifiers to every undecided interval: more in the second round, everybody in the third (SUB-28)."""
    eligible = get_eligible(view, run.snapshot_height, run.account)
    for judgement in get_judgements(view, run.submission):
        if judgement.finding != UNDECIDED:
            continue
        interval, seats = judgement.interval, judgement.seats
        drawn = draw_further(
            status.draw, environment.beacon, interval, status.round, run.run.sub_quorum, seats, eligible
        )
        changed = msgspec.structs.replace(judgement, round=status.round, seats=seats + drawn)
        view.write(judgement_key(run.submission, interval), changed)
    later_draws = (*status.later_draws, environment.height)
    _begin_commit(view, environment, run, replace_status(status, later_draws=later_draws))


def _begin_judgement(
    view: StateView, run: Submission, interval: int, origin: str, voting_round: int, seats: tuple[Seat, ...]
) -> None:
    judged = view.read(judged_key(run.submission), IntervalList) or IntervalList(())
    view.write(judged_key(run.submission), IntervalList(tuple(sorted((*judged.intervals, interval)))))
    start_root, end_root = _get_check_claim(run, interval)
    judgement = IntervalJudgement(
        interval=interval,
        origin=origin,
        round=voting_round,
        seats=seats,
        start_root=start_root,
        end_root=end_root,
        finding=UNDECIDED,
        for_claim=0,
        against=0,
        answer=None,
    )
    view.write(judgement_key(run.submission, interval), judgement)


def _get_check_claim(run: Submission, interval: int) -> tuple[bytes, bytes]:
    """Return what is claimed about a check; nothing yet about an interval, which is opened later (SUB-22)."""
    if interval == run.intervals + START_CHECK:
        return ZERO, run.run.first.checkpoint.state_root
    if interval == run.intervals + METRICS_CHECK:
        return ZERO, run.run.metrics
    return b"", b""


def _begin_commit(view: StateView, environment: Environment, run: Submission, status: SubmissionStatus) -> None:
    """Wait for an answer by everybody who is asked in this round (SUB-15, SUB-17)."""
    expected = len(_list_records(view, run, status))
    expected += len(_list_private_members(view, environment, run, status))
    deadline = environment.height + environment.parameters.submissions.commit_blocks
    set_status(view, replace_status(status, phase=COMMIT, acted=0, expected=expected, deadline=deadline))


def _list_records(view: StateView, run: Submission, status: SubmissionStatus) -> list[tuple[bytes, VoteRecord | None]]:
    """Return who is asked about what in this round, with what they did: each seat without an earlier vote."""
    found = []
    for judgement in get_judgements(view, run.submission):
        if judgement.finding != UNDECIDED:
            continue
        for seat in judgement.seats:
            record = view.read(vote_key(run.submission, judgement.interval, seat.account), VoteRecord)
            if record is None or record.vote is None or record.round == status.round:
                found.append((seat.account, record))
    return found


def _list_private_members(
    view: StateView, environment: Environment, run: Submission, status: SubmissionStatus
) -> list[bytes]:
    """Return who has intervals of its own: members of the quorum who committed to a secret, in the first round."""
    if status.round or not environment.parameters.submissions.private_intervals:
        return []
    quorum = view.expect(draw_key(run.submission), Draw).quorum
    keys = ((seat.account, attestation_key(run.submission, seat.account)) for seat in quorum)
    return [account for account, key in keys if view.read(key, Attestation) is not None]


def _list_accused(view: StateView, environment: Environment, run: Submission, status: SubmissionStatus) -> list[int]:
    """Return intervals that a verifier found different on its own, and that no sub-quorum judges yet (SUB-27)."""
    judged = view.expect(judged_key(run.submission), IntervalList).intervals
    found = []
    for account in _list_private_members(view, environment, run, status):
        private = view.read(private_key(run.submission, account), PrivateVotes)
        if private is None or view.read(equivocation_key(run.submission, account), Reference) is not None:
            continue
        found += [vote.interval for vote in private.votes if vote.outcome != MATCHES and vote.interval not in judged]
    return sorted(dict.fromkeys(found))


def _judge_one(view: StateView, run: Submission, judgement: IntervalJudgement) -> IntervalJudgement:
    if judgement.finding != UNDECIDED:
        return judgement
    finding, for_claim, against, answer = judge(judgement.seats, get_votes(view, run.submission, judgement))
    judged = msgspec.structs.replace(judgement, finding=finding, for_claim=for_claim, against=against, answer=answer)
    view.write(judgement_key(run.submission, judgement.interval), judged)
    return judged


def _decide(view: StateView, environment: Environment, status: SubmissionStatus, verdict: str, reason: str) -> None:
    """Write a verdict; it is final when the window closes (SUB-29)."""
    deadline = environment.height + environment.parameters.submissions.window_blocks
    decided = replace_status(
        status,
        phase=WINDOW,
        verdict=verdict,
        reason=reason,
        verdict_height=environment.height,
        deadline=deadline,
    )
    set_status(view, decided)
