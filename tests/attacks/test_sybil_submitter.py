"""The submitter holds stake under other names and wants to judge its own run."""

from math import comb

from assay.protocol.contracts.submission_bodies import AttestAvailability, SubmitRun
from assay.protocol.contracts.submission_keys import draw_key
from assay.protocol.contracts.submission_rejections import NotAssigned, NotEligible
from assay.protocol.evidence.draw import Draw, DrawFacts, Seat, compute_draw_id, draw_quorum, draw_sub_quorum
from experiments.simulation.runs import make_digest, pretend
from experiments.simulation.verifiers import open_world, submit
from tests.ledgers import assert_done, assert_refused, open_ledger


def test_its_own_account_is_never_drawn():
    """An honest submission first; then a verifier submits, and may neither attest nor vote."""
    world, _, crew, _ = open_ledger("window", honest=9)
    insider = crew[0].actor
    run = pretend(world, insider, "own run")
    assert submit(world, insider, run) == ""
    assert_refused(world, insider, AttestAvailability(run.submission, bytes(32)), NotEligible)
    for verifier in crew[1:]:
        verifier.attest(world, run)
    world.pass_blocks(3)
    quorum = world.expect(draw_key(run.submission), Draw).quorum
    assert insider.account not in {seat.account for seat in quorum}


def test_other_names_are_worth_their_stake_and_no_more():
    """Not stopped, but bounded: ten names with one share each and one name with ten get the same expected weight."""
    counts = []
    for names in ((10,), (1,) * 10):
        seats = [Seat(make_digest("other", i), 1) for i in range(20)]
        own = [Seat(make_digest("own", i), stake) for i, stake in enumerate(names)]
        table = tuple(sorted([*seats, *own], key=lambda seat: seat.account))
        accounts = {seat.account for seat in own}
        first = 0
        for number in range(2000):
            (seat,) = draw_quorum(make_digest("draw", number), table, 1)
            first += seat.account in accounts
        counts.append(first)
    # A third of the stake: 667 expected of 2,000, standard deviation 21; four of them either way.
    assert all(abs(count - 667) < 84 for count in counts)


def test_a_corrupt_sub_quorum_comes_as_often_as_the_formula_says():
    """With 30 % of equal stakes in the submitter's hands, four of five seats come with the hypergeometric chance."""
    total, own, q, draws = 50, 15, 5, 4000
    seats = tuple(sorted((Seat(make_digest("v", i), 1) for i in range(total)), key=lambda seat: seat.account))
    mine = {make_digest("v", i) for i in range(own)}
    hits = 0
    for number in range(draws):
        facts = DrawFacts(make_digest(number), 1, 2, make_digest("beacon", number), 0, 1, 9, q, 0)
        draw = compute_draw_id(facts)
        drawn = draw_sub_quorum(draw, facts.beacon, 8, 0, seats, q)
        hits += 3 * sum(seat.account in mine for seat in drawn) >= 2 * q
    chance = sum(comb(own, k) * comb(total - own, q - k) for k in (4, 5)) / comb(total, q)
    # 99 % interval of the binomial: 2.576 standard deviations.
    assert abs(hits - draws * chance) < 2.576 * (draws * chance * (1 - chance)) ** 0.5


def test_the_verdict_is_not_for_the_submitter_to_give():
    """A submission has no field for a verdict, and the submitter cannot commit to a vote on it."""
    assert not {"verdict", "finding", "outcome", "votes"} & set(SubmitRun.__struct_fields__)
    world, submitter, crew, run = open_ledger("commit")
    from assay.protocol.contracts.submission_bodies import CommitVotes, IntervalCommitment

    assert_refused(
        world, submitter, CommitVotes(run.submission, 0, (IntervalCommitment(7, bytes(32)),), ()), NotAssigned
    )
    world, submitter, _ = open_world(8)
    other = pretend(world, submitter)
    assert_done(world, submitter, other.make_body(world.height))
    assert world.get_status(other.submission).verdict == ""
    assert crew
