"""A verifier copies the commitment, the secret or the revealed vote of another one instead of computing."""

from assay.protocol.contracts.submission_bodies import CommitVotes, IntervalCommitment, RevealVotes
from assay.protocol.contracts.submission_keys import attestation_key, vote_key
from assay.protocol.contracts.submission_records import COMMIT, REVEAL, WINDOW, Attestation, VoteRecord
from assay.protocol.contracts.submission_rejections import CommitmentBroken, NotCommitted
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import Verifier, carry_on, find_asked, judge, open_world, submit
from experiments.simulation.world import make_actor
from tests.ledgers import assert_done, assert_refused


class Copycat(Verifier):
    """Commits to whatever another verifier committed to."""

    def copy(self, world, run, victim):
        """Copy the victim's commitments for intervals that both are asked about."""
        asked = find_asked(world, run, self.actor.account)
        pairs = []
        for interval in asked:
            record = world.read(vote_key(run.submission, interval, victim.actor.account), VoteRecord)
            if record is not None:
                pairs.append(IntervalCommitment(interval, record.commitment))
        assert_done(world, self.actor, CommitVotes(run.submission, 0, tuple(pairs), ()))
        return [pair.interval for pair in pairs]


def prepare():
    """Return a ledger in which the thief copied commitments of an honest verifier, and everybody is to reveal."""
    thief = Copycat(make_actor("thief"))
    world, submitter, crew = open_world(7, [thief], quorum=8)
    run = pretend(world, submitter)
    assert submit(world, submitter, run, sample=8, sub_quorum=8) == ""
    while world.get_status(run.submission).phase != COMMIT:
        carry_on(world, run, crew)
    honest = crew[:-1]
    for verifier in honest:
        verifier.commit(world, run)
    world.make_block()
    copied = thief.copy(world, run, honest[0])
    world.pass_blocks(world.get_status(run.submission).deadline - world.height)
    assert world.get_status(run.submission).phase == REVEAL
    return world, run, honest, thief, copied


def test_a_copied_commitment_cannot_be_opened():
    """The commitment holds its account: the victim opens it, the thief cannot, and loses a share of its stake."""
    world, run, honest, thief, copied = prepare()
    assert copied
    honest[0].reveal(world, run)
    world.make_block()
    record = world.expect(vote_key(run.submission, copied[0], honest[0].actor.account), VoteRecord)
    assert record.vote is not None
    stolen = RevealVotes(run.submission, 0, (record.vote,), b"", (), (run.open(copied[0]),))
    assert_refused(world, thief.actor, stolen, CommitmentBroken)
    for verifier in honest[1:]:
        verifier.reveal(world, run)
    world.pass_blocks(world.get_status(run.submission).deadline - world.height)
    status = world.get_status(run.submission)
    assert (status.phase, status.verdict) == (WINDOW, "accepted")
    from tests.ledgers import get_payments, get_stake

    assert get_payments(world, run)[thief.actor.account, "broken-reveal"] > 0
    assert get_stake(world, thief.actor) < 10_000


def test_a_copied_secret_opens_nothing():
    """A secret's commitment holds its account too; copying it gives intervals that the thief can never show."""
    world, run, honest, thief, _ = prepare()
    victim = honest[0]
    commitments = [
        world.expect(attestation_key(run.submission, each.actor.account), Attestation).secret_commitment
        for each in honest
    ]
    assert len(set(commitments)) == len(honest)
    secret = victim.get_secret(run.submission)
    assert_refused(world, thief.actor, RevealVotes(run.submission, 0, (), secret, (), ()), NotCommitted)


def test_nobody_sees_a_vote_before_committing():
    """While votes are committed, the state holds no outcome, no root and no salt of any vote."""
    world, submitter, crew = open_world(7)
    run = pretend(world, submitter, false=(7,))
    assert submit(world, submitter, run) == ""
    while world.get_status(run.submission).phase != REVEAL:
        carry_on(world, run, crew)
    truth = run.recompute(7)
    assert not any(truth in value for value in world.store.values.values())
    for verifier in crew:
        verifier.reveal(world, run)
    world.make_block()
    assert any(truth in value for value in world.store.values.values())
    assert judge(world, run, crew) == "rejected"
