import msgspec
import pytest

from assay.protocol.contracts.deadlines import REASONS
from assay.protocol.contracts.stake_records import Stake, WithdrawStake
from assay.protocol.contracts.stakes import stake_key
from assay.protocol.contracts.submission_bodies import (
    AttestAvailability,
    CommitVotes,
    IntervalCommitment,
    ReportEquivocation,
)
from assay.protocol.contracts.submission_keys import vote_key
from assay.protocol.contracts.submission_records import (
    COMMIT,
    DRAW,
    FINAL,
    REVEAL,
    WINDOW,
    VoteRecord,
)
from assay.protocol.contracts.submission_rejections import EquivocationUnproven, SubmissionUnknown
from experiments.simulation.runs import make_digest, pretend
from experiments.simulation.verifiers import (
    Verifier,
    carry_on,
    find_asked,
    judge,
    list_judgements,
    make_vote,
    open_world,
    submit,
    vote_chaotically,
    vote_honestly,
    vote_lazily,
    vote_withheld,
)
from experiments.simulation.world import make_actor, name_actors, verify_conserved
from tests.ledgers import assert_done, assert_refused, get_payments, get_stake, open_ledger


def test_an_honest_run_is_accepted_and_paid():
    """SUB-25, SUB-29, SUB-30: every vote is paid once, the bond returns, all of the escrow is accounted for."""
    world, submitter, crew, run = open_ledger(WINDOW)
    status = world.get_status(run.submission)
    assert (status.verdict, status.reason, status.round) == ("accepted", "matched", 0)
    escrow, bond = status.escrow, status.bond
    judge(world, run, crew)
    payments = get_payments(world, run)
    votes = {}
    for judgement in list_judgements(world, run):
        assert (judgement.finding, judgement.for_claim, judgement.against) == ("accepted", 50_000, 0)
        for seat in judgement.seats:
            votes[seat.account] = votes.get(seat.account, 0) + 1
    for verifier in crew:  # one own interval each
        assert payments[verifier.actor.account, "reward"] == 100 * (votes.get(verifier.actor.account, 0) + 1)
    assert payments[submitter.account, "bond-returned"] == bond
    paid = sum(amount for (_, kind), amount in payments.items() if kind in {"reward", "escrow-returned"})
    assert paid == escrow
    final = world.get_status(run.submission)
    assert (final.phase, final.final_height, final.bond, final.escrow) == (FINAL, world.height, 0, 0)
    assert final.final_height == final.verdict_height + world.parameters.submissions.window_blocks
    assert final.votes.size == 3 * 5 + 7
    verify_conserved(world.store.values)


def test_a_false_interval_is_rejected_and_the_bond_burned():
    """SUB-26, SUB-29, SUB-30: five verifiers find one same other root; they are paid, the bond is gone."""
    world, submitter, crew, run = open_ledger(WINDOW, false=(7,))
    status = world.get_status(run.submission)
    assert (status.verdict, status.reason) == ("rejected", "differs")
    judge(world, run, crew)
    last = list_judgements(world, run)[-1]
    assert (last.finding, last.against) == ("rejected", 50_000)
    assert last.answer.end_root == run.recompute(7)
    payments = get_payments(world, run)
    assert payments[submitter.account, "bond-lost"] == 100_000
    assert all(payments[seat.account, "reward"] >= 100 for seat in last.seats)
    verify_conserved(world.store.values)


@pytest.mark.parametrize("outcome", [2, 3])
def test_other_reasons_of_a_rejection(outcome):
    """SUB-26, SUB-29: blobs that are withheld or malformed reject, with their own reason."""
    say = lambda run, voter, i: make_vote(run, voter, i, outcome, bytes(32))  # noqa: E731
    world, _, crew = open_world(0, [Verifier(actor, say) for actor in name_actors("v", 7)])
    run = pretend(world, world.actors[0])
    submit(world, world.actors[0], run)
    assert judge(world, run, crew) == "rejected"
    assert world.get_status(run.submission).reason == REASONS[outcome]


def test_outvoted_verifiers_lose_the_reward_alone():
    """SUB-30, SUB-32: a lie that does not win costs what the vote would have earned, and no stake."""
    bad = [Verifier(make_actor("liar"), vote_chaotically)]
    world, _, crew = open_world(9, bad, quorum=10, private_intervals=0)
    run = pretend(world, world.actors[0])
    submit(world, world.actors[0], run, sample=8)
    assert judge(world, run, crew) == "accepted"
    asked = [each for each in list_judgements(world, run) if bad[0].actor.account in {s.account for s in each.seats}]
    assert asked
    assert (bad[0].actor.account, "reward") not in get_payments(world, run)
    assert get_stake(world, bad[0].actor) == 10_000


def test_disagreement_escalates_to_more_and_then_to_everybody():
    """SUB-28, DRW-7: 5, then 11, then all seats; those of earlier rounds stay and are not asked again."""
    liars = [Verifier(actor, vote_chaotically) for actor in name_actors("liar", 8)]
    world, submitter, crew = open_world(12, liars, private_intervals=0)
    run = pretend(world, submitter)
    submit(world, submitter, run, sample=8)
    seen = []
    while world.get_status(run.submission).phase != FINAL:
        if world.get_status(run.submission).phase == COMMIT:
            current = world.get_status(run.submission).round
            undecided = [each for each in list_judgements(world, run) if each.finding == ""]
            seen.append((current, {len(each.seats) for each in undecided}, undecided[0].interval))
            voted = world.read(
                vote_key(run.submission, undecided[0].interval, undecided[0].seats[0].account), VoteRecord
            )
            assert (voted is None) == (current == 0)
        carry_on(world, run, crew)
    assert [(number, sizes) for number, sizes, _ in seen] == [(0, {5}), (1, {11}), (2, {20})]
    status = world.get_status(run.submission)
    assert (status.verdict, status.reason, status.round) == ("inconclusive", "no-agreement", 2)
    payments = get_payments(world, run)
    assert payments[submitter.account, "bond-returned"] == 100_000
    for judgement in list_judgements(world, run):
        if judgement.finding == "":
            assert (judgement.for_claim, judgement.against) == (120_000, 80_000)
    verify_conserved(world.store.values)


def test_escalation_finds_the_majority():
    """SUB-28: three liars of ten can stop a sub-quorum from agreeing and never decide; everybody together does."""
    for number in range(6):
        liars = [Verifier(actor, vote_chaotically) for actor in name_actors("liar", 3)]
        world, submitter, crew = open_world(7, liars, name=f"escalation {number}")
        run = pretend(world, submitter, false=(7,) if number % 2 else ())
        submit(world, submitter, run)
        verdict = judge(world, run, crew)
        assert verdict == ("rejected" if number % 2 else "accepted")
        verify_conserved(world.store.values)


def test_an_own_interval_is_judged_by_others():
    """SUB-27: one verifier who finds another result alone decides nothing, but everybody looks."""
    for number in range(20):
        world, submitter, crew = open_world(9, name=f"private {number}")
        run = pretend(world, submitter, intervals=30, false=(4,))
        submit(world, submitter, run, sample=1)
        carry_on(world, run, crew)
        carry_on(world, run, crew)
        if any(verifier.find_private(world, run) == (4,) for verifier in crew):
            break
    assert judge(world, run, crew) == "rejected"
    accused = next(each for each in list_judgements(world, run) if each.interval == 4)
    assert (accused.origin, accused.round, len(accused.seats)) == ("accused", 1, 9)
    assert accused.finding == "rejected"
    verify_conserved(world.store.values)


def test_a_false_accusation_is_paid_nothing():
    """SUB-27, SUB-30: an own interval called false by its verifier alone is accepted by the others."""
    accuser = Verifier(make_actor("accuser"), vote_chaotically)
    world, submitter, crew = open_world(9, [accuser])
    run = pretend(world, submitter, intervals=30)
    submit(world, submitter, run, sample=1)
    assert judge(world, run, crew) == "accepted"
    assert (accuser.actor.account, "reward") not in get_payments(world, run)
    assert get_stake(world, accuser.actor) == 10_000


def test_absence_costs_little_and_abstaining_nothing():
    """SUB-18, SUB-31: for each vote the penalty, burned; with a code, nothing."""
    absent = Verifier(make_actor("absent"), commits=False)
    excused = Verifier(make_actor("excused"), abstains="profile")
    world, submitter, crew = open_world(7, [absent, excused], quorum=9, absence_penalty=3)
    run = pretend(world, submitter)
    submit(world, submitter, run, sample=8)
    judge(world, run, crew)
    asked = [each for each in list_judgements(world, run) if absent.actor.account in {s.account for s in each.seats}]
    lost = 10_000 - get_stake(world, absent.actor)
    assert lost == get_payments(world, run)[absent.actor.account, "absence"]
    assert lost >= 3 * (len(asked) + 1) > 3
    assert lost % 3 == 0
    assert get_stake(world, excused.actor) == 10_000
    verify_conserved(world.store.values)


def test_a_broken_reveal_costs_a_share_of_the_stake():
    """SUB-32: whoever commits and does not reveal loses more than any reward, once a round."""
    holder = Verifier(make_actor("holder"), reveals=False)
    world, submitter, crew = open_world(9, [holder], quorum=10, broken_reveal_ppm=50_000)
    run = pretend(world, submitter)
    submit(world, submitter, run, sample=8)
    while world.get_status(run.submission).phase in {"availability", DRAW, "flags", COMMIT, REVEAL}:
        if world.get_status(run.submission).round:
            break
        carry_on(world, run, crew)
    assert get_payments(world, run)[holder.actor.account, "broken-reveal"] == 500
    assert get_stake(world, holder.actor) == 9_500
    verify_conserved(world.store.values)


def prepare_equivocation(reporter_ppm=500_000):
    """Return a ledger with two signed commitments of one verifier to different votes on one interval."""
    world, submitter, crew, run = open_ledger(COMMIT, honest=8, reporter_ppm=reporter_ppm)
    offender = next(verifier for verifier in crew if find_asked(world, run, verifier.actor.account))
    interval = find_asked(world, run, offender.actor.account)[0]
    bodies = [CommitVotes(run.submission, 0, (IntervalCommitment(interval, bytes([i] * 32)),), ()) for i in (1, 2)]
    return world, submitter, crew, run, offender, [world.sign(offender.actor, body) for body in bodies]


def test_equivocation_is_slashed():
    """SUB-33: half of the stake is lost; half of that goes to the reporter, the rest is burned."""
    world, submitter, _, _, offender, evidence = prepare_equivocation()
    balance = world.get_balance(submitter)
    assert_done(world, submitter, ReportEquivocation(*evidence))
    assert get_stake(world, offender.actor) == 5_000
    assert world.get_balance(submitter) == balance - 1 + 2_500
    assert_refused(world, submitter, ReportEquivocation(*evidence), EquivocationUnproven)
    verify_conserved(world.store.values)


def test_a_withdrawal_does_not_escape_the_slash():
    """SUB-33, STK-7: stake on its way out is reached as well."""
    world, submitter, _, _, offender, evidence = prepare_equivocation()
    assert_done(world, offender.actor, WithdrawStake(10_000))
    assert_done(world, submitter, ReportEquivocation(*evidence))
    stake = world.expect(stake_key(offender.actor.account), Stake)
    assert (stake.bonded, [waiting.amount for waiting in stake.unbondings]) == (0, [5_000])


def test_votes_of_an_equivocator_do_not_count():
    """SUB-24, SUB-30: its stake stays assigned, its vote is neither counted nor paid."""
    world, submitter, crew, run, offender, evidence = prepare_equivocation()
    while world.get_status(run.submission).phase != REVEAL:
        carry_on(world, run, crew)
    assert_done(world, submitter, ReportEquivocation(*evidence))
    judge(world, run, crew)
    touched = [
        each for each in list_judgements(world, run) if offender.actor.account in {s.account for s in each.seats}
    ]
    assert touched
    assert all(each.for_claim == (len(each.seats) - 1) * 10_000 for each in touched)
    assert (offender.actor.account, "reward") not in get_payments(world, run)


def test_two_secrets_for_one_submission_are_equivocation():
    """SUB-33: attestations with different secrets contradict each other."""
    world, submitter, crew, run = open_ledger()
    bodies = [AttestAvailability(run.submission, bytes([i] * 32)) for i in (1, 2)]
    evidence = [world.sign(crew[0].actor, body) for body in bodies]
    assert_done(world, submitter, ReportEquivocation(*evidence))
    assert get_stake(world, crew[0].actor) == 5_000


def test_what_proves_no_equivocation():
    """SUB-33: the same commitment twice, other intervals, other rounds, other signers, oneself, no transactions."""
    world, submitter, crew, run, offender, evidence = prepare_equivocation()
    actor = offender.actor
    one = CommitVotes(run.submission, 0, (IntervalCommitment(3, bytes([1] * 32)),), (bytes(32),))
    replace = msgspec.structs.replace
    other = crew[-1].actor if crew[-1].actor != actor else crew[0].actor
    for first, second in (
        (world.sign(actor, one), world.sign(actor, one, nonce=7)),
        (world.sign(actor, one), world.sign(actor, replace(one, commitments=(IntervalCommitment(4, bytes(32)),)))),
        (world.sign(actor, one), world.sign(actor, replace(one, round=1, private=(bytes([2] * 32),)))),
        (world.sign(actor, one), world.sign(actor, replace(one, submission=bytes(32), private=(bytes([2] * 32),)))),
        (world.sign(actor, one), world.sign(actor, replace(one, private=()))),
        (evidence[0], world.sign(other, one)),
        (evidence[0], evidence[1][:-1] + bytes([evidence[1][-1] ^ 1])),
        (evidence[0], b""),
        (evidence[0], world.sign(actor, WithdrawStake(1))),
    ):
        assert_refused(world, submitter, ReportEquivocation(first, second), EquivocationUnproven)
    assert_refused(world, actor, ReportEquivocation(*evidence), EquivocationUnproven)
    unknown = [world.sign(actor, AttestAvailability(bytes(32), bytes([i] * 32))) for i in (1, 2)]
    assert_refused(world, submitter, ReportEquivocation(*unknown), SubmissionUnknown)
    both = (replace(one, private=(bytes([2] * 32),)), one)
    assert_done(world, submitter, ReportEquivocation(*(world.sign(actor, body) for body in both)))


def test_nothing_is_slashed_after_the_end():
    """SUB-33: when a submission is final, equivocation about it is no longer punished."""
    world, submitter, crew, run, _, evidence = prepare_equivocation()
    judge(world, run, crew)
    assert_refused(world, submitter, ReportEquivocation(*evidence), EquivocationUnproven)


def test_more_paid_votes_than_the_escrow_holds():
    """SUB-30: if everybody had to judge everything, the escrow is shared equally and never exceeded."""
    liars = [Verifier(actor, vote_lazily) for actor in name_actors("lazy", 10)]
    world, submitter, crew = open_world(20, liars, escalated_votes=0, max_flags=0, private_intervals=0)
    run = pretend(world, submitter, false=(7,))
    submit(world, submitter, run, sample=1)
    assert judge(world, run, crew) == "rejected"
    payments = get_payments(world, run)
    rewards = {amount for (_, kind), amount in payments.items() if kind == "reward"}
    if world.get_status(run.submission).round:
        assert len(rewards) == 1
        assert rewards.pop() < 100
    verify_conserved(world.store.values)


def test_withheld_blobs_after_the_draw_cost_the_bond():
    """SUB-26, SUB-30: what was attested and cannot be fetched when it is needed rejects the run."""
    world, submitter, crew = open_world(0, [Verifier(actor, vote_withheld) for actor in name_actors("v", 7)])
    run = pretend(world, submitter)
    submit(world, submitter, run)
    assert judge(world, run, crew) == "rejected"
    assert world.get_status(run.submission).reason == "withheld"
    assert get_payments(world, run)[submitter.account, "bond-lost"] == 100_000


def test_metrics_and_start_are_judged():
    """SUB-12, SUB-29: a start that was not computed from the seed is found by the check, not by any interval."""
    metrics = make_digest("run", "metrics")
    for false in ((), (8,), (9,)):
        world, submitter, crew = open_world(7, name=f"checks {false}")
        run = pretend(world, submitter, false=false)
        submit(world, submitter, run, start_check=True, metrics=metrics)
        assert judge(world, run, crew) == ("rejected" if false else "accepted")


def test_honest_votes_say_what_came_out():
    """The simulated verifiers themselves: matching where the truth is the claim, differing elsewhere."""
    world, submitter, _ = open_world(5)
    run = pretend(world, submitter, false=(2,))
    assert vote_honestly(run, "x", 1).outcome == 0
    assert vote_honestly(run, "x", 2).outcome == 1
    assert vote_lazily(run, "x", 2).outcome == 0
    assert vote_chaotically(run, "x", 1).outcome == 1
