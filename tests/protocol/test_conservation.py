"""Money: whatever anybody does, after every block all points are somewhere."""

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.protocol.contracts.account_records import Transfer
from assay.protocol.contracts.stake_records import DepositStake, WithdrawStake
from assay.protocol.contracts.submission_bodies import ReportEquivocation, WithdrawSubmission
from assay.protocol.contracts.submission_records import FINAL, WITHDRAWN
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import (
    Verifier,
    carry_on,
    open_world,
    submit,
    vote_chaotically,
    vote_honestly,
    vote_lazily,
    vote_withheld,
)
from experiments.simulation.world import WEALTH, World, make_actor, make_parameters, verify_conserved

PEOPLE = tuple(make_actor(f"person {i}") for i in range(3))
AMOUNTS = st.one_of(st.integers(0, 40), st.sampled_from([WEALTH, WEALTH - 1, 2**63 - 1, 2**63, -1]))
MOVES = st.one_of(
    st.builds(Transfer, st.sampled_from([person.account for person in PEOPLE]), AMOUNTS),
    st.builds(DepositStake, AMOUNTS),
    st.builds(WithdrawStake, AMOUNTS),
    st.builds(WithdrawSubmission, st.just(bytes(32))),
    st.builds(ReportEquivocation, st.binary(max_size=4), st.binary(max_size=4)),
)
BLOCKS = st.lists(st.lists(st.tuples(st.sampled_from(PEOPLE), MOVES), max_size=5), max_size=8)

BEHAVIOURS = st.fixed_dictionaries(
    {
        "vote": st.sampled_from([vote_honestly, vote_honestly, vote_lazily, vote_chaotically, vote_withheld]),
        "attests": st.sampled_from([True, True, True, False]),
        "commits": st.sampled_from([True, True, True, False]),
        "reveals": st.sampled_from([True, True, True, False]),
        "abstains": st.sampled_from(["", "", "", "profile"]),
        "flags": st.sampled_from([(), (), (1,), (2, 5)]),
    }
)


@settings(deadline=None, max_examples=60)
@given(BLOCKS)
def test_transfers_and_stakes_conserve(blocks):
    """ACC-6: any sequence of transfers, deposits and withdrawals, refused or not."""
    world = World(make_parameters(minimum_stake=5), PEOPLE)
    for moves in blocks:
        for actor, body in moves:
            if abs(getattr(body, "amount", 0)) < 2**64:
                world.send(actor, body)
        world.make_block()
        verify_conserved(world.store.values)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(BEHAVIOURS, min_size=6, max_size=11),
    st.lists(st.integers(1000, 50_000), min_size=11, max_size=11),
    st.lists(st.integers(0, 9), max_size=3),
    st.integers(0, 10**6),
)
def test_whole_submissions_conserve(behaviours, stakes, false, number):
    """ACC-6, SUB-30 to SUB-32: whatever verifiers do, after every block of a life no point is lost or made."""
    crew = [Verifier(make_actor(f"verifier {i}"), **each) for i, each in enumerate(behaviours)]
    submitter = make_actor("submitter")
    world = World(make_parameters(), (submitter, *(each.actor for each in crew)), name=f"conservation {number}")
    world.stake({each.actor: stake for each, stake in zip(crew, stakes, strict=False)})
    run = pretend(world, submitter, false=tuple(false))
    assert submit(world, submitter, run) == ""
    verdicts = set()
    while (status := world.get_status(run.submission)).phase not in {FINAL, WITHDRAWN}:
        carry_on(world, run, crew)
        verdicts.add(status.verdict)
        verify_conserved(world.store.values)
    assert world.get_status(run.submission).bond == world.get_status(run.submission).escrow == 0
    assert len(verdicts - {""}) <= 1


def test_many_submissions_at_once():
    """ACC-6, SUB-23: submissions of several people in several phases do not touch each other's points."""
    chance = random.Random(4)
    world, submitter, crew = open_world(9, [Verifier(make_actor("liar"), vote_chaotically)])
    runs = [pretend(world, submitter, f"run {i}", nonce=i, false=(7,) if i % 2 else ()) for i in range(5)]
    for run in runs:
        assert submit(world, submitter, run) == ""
    for _ in range(80):
        active = [run for run in runs if world.get_status(run.submission).phase != FINAL]
        if not active:
            break
        carry_on(world, chance.choice(active), crew)
        verify_conserved(world.store.values)
    found = {(world.get_status(run.submission).verdict, world.get_status(run.submission).reason) for run in runs}
    # a run whose turn comes too late is attested by nobody: it lapses, which says nothing about it
    judged = {verdict for verdict, reason in found if reason != "unavailable"}
    assert judged
    assert judged <= {"accepted", "rejected"}
    assert {verdict for verdict, reason in found if reason == "unavailable"} <= {"inconclusive"}
    assert all(world.get_status(run.submission).bond == 0 for run in runs)


def test_a_tampered_state_is_noticed():
    """The check itself: one point more on an account is seen."""
    world = World(make_parameters(), PEOPLE)
    verify_conserved(world.store.values)
    from assay.protocol.contracts.account_records import Account
    from assay.protocol.contracts.accounts import account_key
    from assay.protocol.encoding import encode

    world.store.values[account_key(PEOPLE[0].account)] = encode(Account(WEALTH + 1, 0))
    try:
        verify_conserved(world.store.values)
    except ArithmeticError:
        return
    raise AssertionError("a point too many was not seen")
