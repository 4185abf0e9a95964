import msgspec
import pytest

from assay.protocol import tags
from assay.protocol.contracts.submission_bodies import (
    AbstainVotes,
    CommitVotes,
    IntervalCommitment,
    RevealVotes,
)
from assay.protocol.contracts.submission_keys import judgement_key, private_key, vote_key
from assay.protocol.contracts.submission_records import (
    COMMIT,
    FLAGS,
    REVEAL,
    WINDOW,
    IntervalJudgement,
    PrivateVotes,
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
    SubmissionUnknown,
    VoteRefused,
    WrongPhase,
)
from assay.protocol.contracts.voting import verify_vote
from assay.protocol.evidence.votes import DIFFERS, MALFORMED, MATCHES, WITHHELD, compute_vote_commitment
from assay.protocol.hashing import ZERO
from assay.protocol.merkle import MerkleRoot
from experiments.simulation.runs import make_digest
from experiments.simulation.verifiers import (
    NO_LEAVES,
    Verifier,
    carry_on,
    find_asked,
    find_committed,
    list_judgements,
    make_vote,
    vote_honestly,
)
from experiments.simulation.world import make_actor
from tests.ledgers import assert_done, assert_refused, open_ledger

DIGEST = bytes([7] * 32)


def find_busy(world, run, crew, count=1):
    """Return a verifier with at least so many assigned intervals, and these."""
    for verifier in crew:
        asked = find_asked(world, run, verifier.actor.account)
        if len(asked) >= count and verifier.find_private(world, run):
            return verifier, asked
    raise LookupError("nobody is busy enough")


def find_idle(world, run, crew, interval):
    """Return a verifier that is not assigned to an interval."""
    judgement = world.expect(judgement_key(run.submission, interval), IntervalJudgement)
    seated = {seat.account for seat in judgement.seats}
    return next(verifier.actor for verifier in crew if verifier.actor.account not in seated)


def commit(run, *pairs, private=()):
    """Return a body with commitments."""
    commitments = tuple(IntervalCommitment(interval, digest) for interval, digest in pairs)
    return CommitVotes(run.submission, 0, commitments, tuple(private))


def reveal(run, votes=(), secret=b"", private=(), opened=()):
    """Return a body with votes and the openings of some intervals."""
    openings = tuple(run.open(interval) for interval in opened)
    return RevealVotes(run.submission, 0, tuple(votes), secret, tuple(private), openings)


def test_a_commitment_is_kept():
    """SUB-15, SUB-16, SUB-17: commitments to assigned and to own votes are kept, without names of own intervals."""
    world, _, crew, run = open_ledger(COMMIT)
    verifier, asked = find_busy(world, run, crew)
    assert_done(world, verifier.actor, commit(run, (asked[0], DIGEST), private=[DIGEST]))
    record = world.expect(vote_key(run.submission, asked[0], verifier.actor.account), VoteRecord)
    assert record == VoteRecord(verifier.actor.account, asked[0], 0, DIGEST, "", None)
    private = world.expect(private_key(run.submission, verifier.actor.account), PrivateVotes)
    assert private == PrivateVotes(verifier.actor.account, (DIGEST,), b"", ())
    assert world.get_status(run.submission).acted == 2


def test_refused_commitments():
    """SUB-15, SUB-16, SUB-17: assigned intervals, ascending, 32 bytes, in phase and round, by who is asked."""
    world, submitter, crew, run = open_ledger(COMMIT)
    verifier, asked = find_busy(world, run, crew, 2)
    actor = verifier.actor
    refuse = lambda body, refusal, who=actor: assert_refused(world, who, body, refusal)  # noqa: E731
    refuse(commit(run), CommitmentMalformed)
    refuse(commit(run, (asked[1], DIGEST), (asked[0], DIGEST)), CommitmentMalformed)
    refuse(commit(run, (asked[0], DIGEST), (asked[0], DIGEST)), CommitmentMalformed)
    refuse(commit(run, (asked[0], bytes(31))), CommitmentMalformed)
    refuse(commit(run, private=[bytes(33)]), CommitmentMalformed)
    refuse(commit(run, private=[DIGEST, DIGEST]), CommitmentMalformed)
    free = next(i for i in range(8) if i not in {each.interval for each in list_judgements(world, run)})
    for interval in (free, 8, -1, 2**63 - 1):
        refuse(commit(run, (interval, DIGEST)), NotAssigned)
    refuse(commit(run, (asked[0], DIGEST)), NotAssigned, find_idle(world, run, crew, asked[0]))
    refuse(commit(run, private=[DIGEST]), NotAssigned, submitter)
    refuse(msgspec.structs.replace(commit(run, (asked[0], DIGEST)), round=1), WrongPhase)
    refuse(msgspec.structs.replace(commit(run, (asked[0], DIGEST)), submission=bytes(32)), SubmissionUnknown)
    refuse(reveal(run, [vote_honestly(run, "x", asked[0])]), WrongPhase)


def test_one_answer_in_a_round():
    """SUB-16, SUB-17, SUB-18: no second commitment and no abstention after it, nor the other way round."""
    world, _, crew, run = open_ledger(COMMIT)
    verifier, asked = find_busy(world, run, crew, 2)
    actor = verifier.actor
    assert_done(world, actor, commit(run, (asked[0], DIGEST), private=[DIGEST]))
    assert_refused(world, actor, commit(run, (asked[0], ZERO)), AlreadyCommitted)
    assert_refused(world, actor, commit(run, private=[ZERO]), AlreadyCommitted)
    assert_refused(world, actor, AbstainVotes(run.submission, 0, (asked[0],), False, "stopped"), AlreadyCommitted)
    assert_refused(world, actor, AbstainVotes(run.submission, 0, (), True, "stopped"), AlreadyCommitted)
    assert_done(world, actor, AbstainVotes(run.submission, 0, (asked[1],), False, "stopped"))
    assert_refused(world, actor, commit(run, (asked[1], DIGEST)), AlreadyCommitted)


def test_refused_abstentions():
    """SUB-18: a known code, something to abstain from, and only from what one is asked about."""
    world, _, crew, run = open_ledger(COMMIT)
    verifier, asked = find_busy(world, run, crew, 2)
    actor = verifier.actor
    for intervals, private, reason, refusal in (
        ((asked[0],), False, "holiday", CommitmentMalformed),
        ((), False, "profile", CommitmentMalformed),
        (tuple(reversed(asked)), False, "profile", CommitmentMalformed),
        ((8,), False, "profile", NotAssigned),
    ):
        assert_refused(world, actor, AbstainVotes(run.submission, 0, intervals, private, reason), refusal)
    idle = find_idle(world, run, crew, asked[0])
    assert_refused(world, idle, AbstainVotes(run.submission, 0, (asked[0],), False, "profile"), NotAssigned)


def test_own_intervals_need_a_secret():
    """SUB-17: who did not commit to a secret before the draw has no intervals of its own."""
    late = Verifier(make_actor("late"), attests=False)
    world, _, _, run = open_ledger(COMMIT, bad=[late], quorum=8)
    assert late.find_private(world, run) == ()
    assert_refused(world, late.actor, commit(run, private=[DIGEST]), NotAssigned)


def test_a_reveal_is_kept_with_the_claim():
    """SUB-19, SUB-20, SUB-22: votes are shown, and the checkpoints that say what was claimed about an interval."""
    world, _, crew, run = open_ledger(REVEAL)
    crew[0].reveal(world, run)
    asked = find_committed(world, run, crew[0].actor.account)
    world.make_block()
    for interval in asked:
        record = world.expect(vote_key(run.submission, interval, crew[0].actor.account), VoteRecord)
        assert record.vote == vote_honestly(run, crew[0].actor.name, interval)
        judgement = world.expect(judgement_key(run.submission, interval), IntervalJudgement)
        assert (judgement.start_root, judgement.end_root) == run.get_claim(interval)


def prepare_reveal(votes_of, terms=None):
    """Return a ledger in which one verifier committed to chosen votes: world, run, verifier, its intervals, votes."""
    world, _, crew, run = open_ledger(COMMIT, terms=terms)
    verifier, asked = find_busy(world, run, crew, 2)
    private = verifier.find_private(world, run)
    votes = {interval: votes_of(run, interval) for interval in (*asked, *private)}
    verifier.vote = lambda run, voter, interval: votes[interval]
    while world.get_status(run.submission).phase != REVEAL:
        carry_on(world, run, crew)
    return world, run, verifier, asked, votes


def test_a_reveal_is_exactly_the_commitment():
    """SUB-20: any changed field, also the salt, is refused."""
    world, run, verifier, asked, votes = prepare_reveal(lambda run, i: vote_honestly(run, "me", i))
    vote = votes[asked[0]]
    for changes in (
        {"salt": DIGEST},
        {"work_digest": DIGEST},
        {"known_answer": DIGEST},
        {"replays": 2},
        {"outcome": DIFFERS},
        {"end_root": DIGEST},
        {"start_root": DIGEST},
        {"leaves": NO_LEAVES},
    ):
        broken = msgspec.structs.replace(vote, **changes)
        assert_refused(world, verifier.actor, reveal(run, [broken], opened=asked), CommitmentBroken)
    assert_done(world, verifier.actor, reveal(run, [vote], opened=[asked[0]]))
    assert_refused(world, verifier.actor, reveal(run, [vote], opened=[asked[0]]), AlreadyRevealed)


def test_a_commitment_binds_account_round_and_ledger():
    """SUB-16: the same vote of another account, round, submission or ledger has another commitment."""
    _, _, _, run = open_ledger()
    vote = vote_honestly(run, "me", 3)
    found = {
        compute_vote_commitment(chain, submission, number, account, vote)
        for chain in (bytes(32), DIGEST)
        for submission in (bytes(32), DIGEST)
        for number in (0, 1)
        for account in (bytes(32), DIGEST)
    }
    assert len(found) == 16


def test_refused_reveals():
    """SUB-19, SUB-20, SUB-22: nothing, in disorder, not committed, without openings, own votes without the secret."""
    world, run, verifier, asked, votes = prepare_reveal(lambda run, i: vote_honestly(run, "me", i))
    actor = verifier.actor
    vote = votes[asked[0]]
    (own,) = verifier.find_private(world, run)
    secret = verifier.get_secret(run.submission)
    assert_refused(world, actor, reveal(run), CommitmentMalformed)
    assert_refused(world, actor, reveal(run, [votes[i] for i in reversed(asked)], opened=asked), CommitmentMalformed)
    assert_refused(world, actor, reveal(run, [vote], private=[votes[own]], opened=asked), CommitmentMalformed)
    assert_refused(world, actor, reveal(run, [vote]), OpeningRefused)
    assert_refused(world, actor, reveal(run, [vote], opened=[asked[1]]), OpeningRefused)
    opening = run.open(asked[0])
    for broken in (
        msgspec.structs.replace(opening, before=opening.after),
        msgspec.structs.replace(opening, after=msgspec.structs.replace(opening.after, path=())),
    ):
        body = RevealVotes(run.submission, 0, (vote,), b"", (), (broken,))
        assert_refused(world, actor, body, OpeningRefused)
    for interval in (2**62, -1):
        other = msgspec.structs.replace(vote, interval=interval)
        assert_refused(world, actor, reveal(run, [other], opened=asked), NotCommitted)
    assert_refused(world, actor, msgspec.structs.replace(reveal(run, [vote], opened=asked), round=1), WrongPhase)
    assert_refused(world, actor, reveal(run, secret=DIGEST, private=[votes[own]], opened=[own]), CommitmentBroken)
    assert_refused(world, actor, reveal(run, secret=secret, private=[], opened=[own]), CommitmentBroken)
    assert_refused(
        world, actor, reveal(run, secret=secret, private=[vote_honestly(run, "me", (own + 1) % 8)]), CommitmentBroken
    )
    wrong = msgspec.structs.replace(votes[own], salt=DIGEST)
    assert_refused(world, actor, reveal(run, secret=secret, private=[wrong], opened=[own]), CommitmentBroken)
    assert_done(world, actor, reveal(run, secret=secret, private=[votes[own]], opened=[own]))
    assert_refused(world, actor, reveal(run, secret=secret, private=[votes[own]], opened=[own]), AlreadyRevealed)


def test_who_committed_nothing_reveals_nothing():
    """SUB-19, SUB-20: an absent verifier cannot vote in the phase of reveals."""
    absent = Verifier(make_actor("absent"), commits=False)
    world, _, _, run = open_ledger(REVEAL, bad=[absent], quorum=8, terms={"sample": 8})
    vote = vote_honestly(run, "absent", 7)
    assert_refused(world, absent.actor, reveal(run, [vote], opened=[7]), NotCommitted)
    secret = absent.get_secret(run.submission)
    assert_refused(world, absent.actor, reveal(run, secret=secret, private=[vote], opened=[7]), NotCommitted)


@pytest.mark.parametrize(
    "make",
    [
        lambda run, i: make_vote(run, "me", i, MATCHES, DIGEST),
        lambda run, i: make_vote(run, "me", i, 4, DIGEST),
        lambda run, i: make_vote(run, "me", i, WITHHELD, DIGEST),
        lambda run, i: msgspec.structs.replace(make_vote(run, "me", i, WITHHELD, ZERO), start_root=DIGEST),
        lambda run, i: msgspec.structs.replace(make_vote(run, "me", i, DIFFERS, DIGEST), replays=1),
        lambda run, i: msgspec.structs.replace(vote_honestly(run, "me", i), replays=0),
        lambda run, i: msgspec.structs.replace(vote_honestly(run, "me", i), start_root=DIGEST),
    ],
)
def test_contradicting_votes_cannot_be_revealed(make):
    """SUB-21: a vote that contradicts itself or the claim is refused, however well it was committed."""
    world, run, verifier, asked, votes = prepare_reveal(make)
    assert_refused(world, verifier.actor, reveal(run, [votes[asked[0]]], opened=asked), VoteRefused)


def test_what_could_not_be_fetched_need_not_be_opened():
    """SUB-22: whoever says that blobs are missing has no checkpoints to show, for its own intervals neither."""
    world, run, verifier, asked, votes = prepare_reveal(lambda run, i: make_vote(run, "me", i, WITHHELD, ZERO))
    own = verifier.find_private(world, run)
    secret = verifier.get_secret(run.submission)
    body = reveal(run, [votes[i] for i in asked], secret, [votes[i] for i in own])
    assert not body.openings
    assert_done(world, verifier.actor, body)
    judgement = world.expect(judgement_key(run.submission, asked[0]), IntervalJudgement)
    assert judgement.end_root == b""


def test_rules_of_votes():
    """SUB-21: what each outcome needs, and what every field must look like."""
    _, _, _, run = open_ledger()
    start, end = run.get_claim(2)
    replace = msgspec.structs.replace
    matches, differs = vote_honestly(run, "me", 2), make_vote(run, "me", 2, DIFFERS, DIGEST)
    withheld, malformed = (make_vote(run, "me", 2, outcome, ZERO) for outcome in (WITHHELD, MALFORMED))
    elsewhere = replace(differs, start_root=DIGEST)
    for vote in (matches, differs, withheld, malformed, replace(differs, end_root=end), elsewhere):
        verify_vote(vote, start, end)
    for vote in (
        replace(matches, end_root=bytes(31)),
        replace(matches, salt=b""),
        replace(matches, work_digest=bytes(33)),
        replace(matches, known_answer=b""),
        replace(matches, replays=256),
        replace(matches, leaves=MerkleRoot(tags.TRANSCRIPT_TREE, 1, DIGEST)),
        replace(withheld, leaves=matches.leaves),
        replace(malformed, end_root=end),
        replace(malformed, start_root=start),
    ):
        with pytest.raises(VoteRefused):
            verify_vote(vote, start, end)


def test_phases_end_early_when_everybody_answered():
    """SUB-23: commit and reveal end with the last answer; otherwise at their deadline."""
    world, _, crew, run = open_ledger(COMMIT)
    begun = world.height
    for verifier in crew:
        verifier.commit(world, run)
    world.make_block()
    assert (world.get_status(run.submission).phase, world.height) == (REVEAL, begun + 1)
    for verifier in crew[:-1]:
        verifier.reveal(world, run)
    world.make_block()
    status = world.get_status(run.submission)
    assert status.phase == REVEAL
    assert status.expected > status.acted
    crew[-1].reveal(world, run)
    world.make_block()
    assert (world.get_status(run.submission).phase, world.height) == (WINDOW, begun + 3)


def test_the_deadline_ends_a_phase():
    """SUB-23: whoever is silent delays a phase to its deadline and no longer."""
    world, _, crew, run = open_ledger(COMMIT, bad=[Verifier(make_actor("silent"), commits=False)], quorum=8)
    deadline = world.get_status(run.submission).deadline
    for verifier in crew:
        verifier.commit(world, run)
    world.make_block()
    assert world.get_status(run.submission).phase == COMMIT
    world.pass_blocks(deadline - world.height)
    assert world.get_status(run.submission).phase == REVEAL


def test_if_nobody_commits_there_is_no_reveal():
    """SUB-23: the next round follows at once."""
    crew = [Verifier(make_actor(f"silent {i}"), commits=False) for i in range(7)]
    world, _, _, run = open_ledger(FLAGS, honest=0, bad=crew)
    carry_on(world, run, crew)
    assert world.get_status(run.submission).phase == COMMIT
    carry_on(world, run, crew)
    status = world.get_status(run.submission)
    assert (status.phase, status.round) == ("draw", 1)


def test_checks_are_voted_on_without_openings():
    """SUB-22: what the checks claim is in the submission itself."""
    terms = {"start_check": True, "metrics": make_digest("run", "metrics")}
    world, _, _, run = open_ledger(COMMIT, terms=terms)
    start, metrics = (world.expect(judgement_key(run.submission, i), IntervalJudgement) for i in (8, 9))
    assert (start.start_root, start.end_root) == (ZERO, run.checkpoints[0].state_root)
    assert (metrics.start_root, metrics.end_root) == (ZERO, make_digest("run", "metrics"))
