"""Simulated verifiers: honest ones, and every kind of bad one that the threat model names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from assay.protocol import tags
from assay.protocol.contracts.submission_bodies import (
    AbstainVotes,
    AttestAvailability,
    CommitVotes,
    FlagIntervals,
    IntervalCommitment,
    RevealVotes,
)
from assay.protocol.contracts.submission_keys import draw_key, judged_key, judgement_key, vote_key
from assay.protocol.contracts.submission_records import (
    AVAILABILITY,
    COMMIT,
    FINAL,
    FLAGS,
    REVEAL,
    UNDECIDED,
    WITHDRAWN,
    IntervalJudgement,
    IntervalList,
    SubmissionStatus,
    VoteRecord,
)
from assay.protocol.evidence.draw import Draw, select_private
from assay.protocol.evidence.votes import (
    DIFFERS,
    MATCHES,
    NOT_RECOMPUTED,
    WITHHELD,
    Vote,
    compute_secret_commitment,
    compute_vote_commitment,
)
from assay.protocol.hashing import ZERO
from assay.protocol.merkle import MerkleRoot, compute_data_root
from experiments.simulation.runs import PretendedRun, make_digest
from experiments.simulation.world import Actor, World

NO_LEAVES = MerkleRoot(tags.INTERVAL_LEAVES, 0, compute_data_root(tags.INTERVAL_LEAVES, ()))


def make_vote(run: PretendedRun, voter: str, interval: int, outcome: int, end_root: bytes) -> Vote:
    """Return a vote; its leaves follow from its end root, so that who computes the same also has the same leaves."""
    leaves = MerkleRoot(tags.INTERVAL_LEAVES, 1, compute_data_root(tags.INTERVAL_LEAVES, (end_root,)))
    return Vote(
        interval=interval,
        outcome=outcome,
        start_root=ZERO if outcome in NOT_RECOMPUTED else run.get_claim(interval)[0],
        end_root=end_root,
        leaves=NO_LEAVES if end_root == ZERO else leaves,
        work_digest=make_digest(voter, interval, "work"),
        known_answer=make_digest("known answer"),
        replays=1 if outcome == MATCHES else 2,
        salt=make_digest(voter, run.name, interval, "salt"),
    )


def vote_honestly(run: PretendedRun, voter: str, interval: int) -> Vote:
    """Say what came out."""
    found = run.recompute(interval)
    outcome = MATCHES if found == run.get_claim(interval)[1] else DIFFERS
    return make_vote(run, voter, interval, outcome, found)


def vote_lazily(run: PretendedRun, voter: str, interval: int) -> Vote:
    """Accept without computing; paper 000 calls doing so for invalid intervals "ordered" maliciousness."""
    return make_vote(run, voter, interval, MATCHES, run.get_claim(interval)[1])


def vote_chaotically(run: PretendedRun, voter: str, interval: int) -> Vote:
    """Say the opposite of what came out: accept what is false, and call what is true false, all with one same root."""
    if interval in run.false:
        return vote_lazily(run, voter, interval)
    return make_vote(run, voter, interval, DIFFERS, make_digest(run.name, "lie", interval))


def vote_withheld(run: PretendedRun, voter: str, interval: int) -> Vote:
    """Say that the blobs of the interval could not be fetched."""
    return make_vote(run, voter, interval, WITHHELD, ZERO)


Voting = Callable[[PretendedRun, str, int], Vote]


@dataclass
class Verifier:
    """One verifier at work.

    Attributes:
        actor: whose key it has.
        vote: what it says about an interval.
        attests: whether it says that it could fetch the blobs.
        commits: whether it commits.
        reveals: whether it reveals what it committed.
        abstains: the code with which it abstains; empty: it does not.
        flags: intervals that it flags if it is drawn.
    """

    actor: Actor
    vote: Voting = vote_honestly
    attests: bool = True
    commits: bool = True
    reveals: bool = True
    abstains: str = ""
    flags: tuple[int, ...] = ()
    _votes: dict[tuple[bytes, int, int], Vote] = field(default_factory=dict)

    def get_secret(self, submission: bytes) -> bytes:
        """Return its secret for a submission."""
        return make_digest(self.actor.name, submission, "secret")

    def attest(self, world: World, run: PretendedRun) -> None:
        """Attest availability and commit to the secret."""
        if self.attests:
            secret = self.get_secret(run.submission)
            commitment = compute_secret_commitment(world.chain_id, run.submission, self.actor.account, secret)
            world.send(self.actor, AttestAvailability(run.submission, commitment))

    def flag(self, world: World, run: PretendedRun) -> None:
        """Flag intervals, if it is in the quorum."""
        quorum = world.expect(draw_key(run.submission), Draw).quorum
        if self.flags and any(seat.account == self.actor.account for seat in quorum):
            world.send(self.actor, FlagIntervals(run.submission, self.flags))

    def commit(self, world: World, run: PretendedRun) -> None:
        """Commit to votes about everything it is asked, or abstain."""
        if not self.commits:
            return
        status = world.get_status(run.submission)
        asked = find_asked(world, run, self.actor.account)
        private = self.find_private(world, run)
        if self.abstains and (asked or private):
            body = AbstainVotes(run.submission, status.round, tuple(asked), bool(private), self.abstains)
            world.send(self.actor, body)
        elif asked or private:
            commitments = tuple(
                IntervalCommitment(interval, self._commit_one(world, run, status.round, interval)) for interval in asked
            )
            hidden = tuple(self._commit_one(world, run, status.round, interval) for interval in private)
            world.send(self.actor, CommitVotes(run.submission, status.round, commitments, hidden))

    def reveal(self, world: World, run: PretendedRun) -> None:
        """Reveal everything it committed in this round."""
        if not self.reveals or not self.commits or self.abstains:
            return
        status = world.get_status(run.submission)
        asked = find_committed(world, run, self.actor.account)
        private = self.find_private(world, run)
        if not asked and not private:
            return
        votes = tuple(self._votes[run.submission, status.round, interval] for interval in asked)
        hidden = tuple(self._votes[run.submission, status.round, interval] for interval in private)
        opened = sorted({*asked, *private})
        body = RevealVotes(
            submission=run.submission,
            round=status.round,
            votes=votes,
            secret=self.get_secret(run.submission) if private else b"",
            private=hidden,
            openings=tuple(run.open(interval) for interval in opened if interval < run.intervals),
        )
        world.send(self.actor, body)

    def find_private(self, world: World, run: PretendedRun) -> tuple[int, ...]:
        """Return its own intervals in the first round, if it is in the quorum and has a secret."""
        status = world.get_status(run.submission)
        count = world.parameters.submissions.private_intervals
        quorum = world.expect(draw_key(run.submission), Draw).quorum
        drawn = any(seat.account == self.actor.account for seat in quorum)
        if status.round or not drawn or not self.attests or self.actor.account not in list_attesters(world, run):
            return ()
        return select_private(status.draw, self.get_secret(run.submission), run.intervals, count)

    def _commit_one(self, world: World, run: PretendedRun, voting_round: int, interval: int) -> bytes:
        vote = self.vote(run, self.actor.name, interval)
        self._votes[run.submission, voting_round, interval] = vote
        return compute_vote_commitment(world.chain_id, run.submission, voting_round, self.actor.account, vote)


def list_attesters(world: World, run: PretendedRun) -> tuple[bytes, ...]:
    """Return who attested availability."""
    from assay.protocol.contracts.submission_keys import attesters_key
    from assay.protocol.contracts.submission_records import AccountList

    found = world.read(attesters_key(run.submission), AccountList)
    return () if found is None else found.accounts


def list_judgements(world: World, run: PretendedRun) -> list[IntervalJudgement]:
    """Return everything that sub-quorums judge of a run."""
    judged = world.read(judged_key(run.submission), IntervalList)
    intervals = () if judged is None else judged.intervals
    return [world.expect(judgement_key(run.submission, interval), IntervalJudgement) for interval in intervals]


def find_asked(world: World, run: PretendedRun, account: bytes) -> list[int]:
    """Return the intervals that an account is asked about and has no vote on."""
    found = []
    for judgement in list_judgements(world, run):
        if judgement.finding == UNDECIDED and any(seat.account == account for seat in judgement.seats):
            record = world.read(vote_key(run.submission, judgement.interval, account), VoteRecord)
            if record is None or record.vote is None:
                found.append(judgement.interval)
    return found


def find_committed(world: World, run: PretendedRun, account: bytes) -> list[int]:
    """Return the intervals on which an account committed in this round and did not reveal."""
    current = world.get_status(run.submission).round
    found = []
    for judgement in list_judgements(world, run):
        record = world.read(vote_key(run.submission, judgement.interval, account), VoteRecord)
        if record is not None and record.round == current and record.commitment and record.vote is None:
            found.append(judgement.interval)
    return found


def submit(world: World, submitter: Actor, run: PretendedRun, **terms: object) -> str:
    """Submit a run in a block of its own; return the code of its refusal, empty if there is none."""
    return world.do(submitter, run.make_body(world.height, **terms)).code


def carry_on(world: World, run: PretendedRun, verifiers: Iterable[Verifier]) -> None:
    """Let everybody do what the phase asks for, and make one block."""
    status = world.get_status(run.submission)
    act = {
        AVAILABILITY: Verifier.attest,
        FLAGS: Verifier.flag,
        COMMIT: Verifier.commit,
        REVEAL: Verifier.reveal,
    }.get(status.phase)
    if act is not None:
        for verifier in verifiers:
            act(verifier, world, run)
    world.make_block()
    while is_same_phase(world.get_status(run.submission), status):
        world.make_block()


def is_same_phase(one: SubmissionStatus, other: SubmissionStatus) -> bool:
    """Return whether two moments of a submission are in one phase and round."""
    return (one.phase, one.round) == (other.phase, other.round)


def judge(world: World, run: PretendedRun, verifiers: Iterable[Verifier]) -> str:
    """Carry a submitted run through to its end; return the verdict."""
    crew = list(verifiers)
    while world.get_status(run.submission).phase not in {FINAL, WITHDRAWN}:
        carry_on(world, run, crew)
    return world.get_status(run.submission).verdict


def open_world(
    honest: int, bad: Iterable[Verifier] = (), stake: int = 10_000, name: str = "simulated", **changes: int
) -> tuple[World, Actor, list[Verifier]]:
    """Return a ledger with a submitter and staked verifiers, the honest ones first."""
    from experiments.simulation.world import make_actor, make_parameters, name_actors

    submitter = make_actor("submitter")
    crew = [*(Verifier(actor) for actor in name_actors("honest", honest)), *bad]
    world = World(make_parameters(**changes), (submitter, *(each.actor for each in crew)), name=name)
    world.stake({each.actor: stake for each in crew})
    return world, submitter, crew


def replace_vote(vote: Vote, **changes: object) -> Vote:
    """Return a vote with other fields."""
    return msgspec.structs.replace(vote, **changes)
