"""Verifiers flag everything, to make the submitter pay, or flag what friends would judge."""

from assay.protocol.contracts.submission_bodies import FlagIntervals
from assay.protocol.contracts.submission_keys import draw_key
from assay.protocol.contracts.submission_rejections import FlagRefused
from assay.protocol.evidence.draw import Draw, draw_sub_quorum
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import (
    Verifier,
    judge,
    list_judgements,
    open_world,
    submit,
    vote_chaotically,
)
from experiments.simulation.world import name_actors, verify_conserved
from tests.ledgers import assert_done, assert_refused, get_payments, open_ledger


def test_flags_are_bounded_and_paid_from_the_escrow():
    """Two flags a verifier and three in all: a flood ends there, and the submitter pays what it put aside at most."""
    world, submitter, crew, run = open_ledger(
        "flags", intervals=30, max_flags=3, flags_per_verifier=2, flag_blocks=20, terms={"sample": 1}
    )
    escrow = world.get_status(run.submission).escrow
    assert_done(world, crew[0].actor, FlagIntervals(run.submission, (0, 1)))
    assert_refused(world, crew[0].actor, FlagIntervals(run.submission, (2,)), FlagRefused)
    assert_done(world, crew[1].actor, FlagIntervals(run.submission, (2,)))
    for verifier in crew[2:]:
        assert_refused(world, verifier.actor, FlagIntervals(run.submission, (5,)), FlagRefused)
    assert judge(world, run, crew) == "accepted"
    assert [each.interval for each in list_judgements(world, run)] == [0, 1, 2, 29]
    payments = get_payments(world, run)
    paid = sum(amount for (_, kind), amount in payments.items() if kind == "reward")
    assert paid + payments[submitter.account, "escrow-returned"] == escrow
    assert paid == 100 * (4 * 5 + 7)


def test_flags_never_replace_the_sample():
    """A false interval in the sample is judged however many others are flagged."""
    world, _, crew, run = open_ledger("flags", intervals=30, false=(29,), max_flags=8, terms={"sample": 1})
    for verifier, flags in zip(crew, [(0, 1), (2, 3), (4, 5), (6, 7)], strict=False):
        world.send(verifier.actor, FlagIntervals(run.submission, flags))
    world.make_block()
    assert judge(world, run, crew) == "rejected"


def test_nobody_knows_who_will_judge_a_flagged_interval():
    """The sub-quorum of a flagged interval follows from the beacon at the end of the flags, not that of the draw."""
    world, _, crew, run = open_ledger("flags", honest=12, intervals=30, quorum=12, terms={"sample": 1})
    draw = world.expect(draw_key(run.submission), Draw)
    seats = tuple(sorted(draw.quorum, key=lambda seat: seat.account))
    foreseen = draw_sub_quorum(world.get_status(run.submission).draw, draw.facts.beacon, 4, 0, seats, 5)
    assert_done(world, crew[0].actor, FlagIntervals(run.submission, (4,)))
    while world.get_status(run.submission).phase == "flags":
        world.make_block()
    found = next(each for each in list_judgements(world, run) if each.interval == 4)
    beacon = world.engine.blocks[-1].header.beacon
    assert found.seats == draw_sub_quorum(world.get_status(run.submission).draw, beacon, 4, 0, seats, 5)
    assert found.seats != foreseen


def test_accusations_are_bounded_by_own_intervals():
    """Three of ten call their own intervals false: at most three more are judged, all accepted, within the escrow."""
    accusers = [Verifier(actor, vote_chaotically) for actor in name_actors("accuser", 3)]
    world, submitter, crew = open_world(7, accusers)
    run = pretend(world, submitter, intervals=40)
    assert submit(world, submitter, run, sample=1) == ""
    escrow = world.get_status(run.submission).escrow
    assert judge(world, run, crew) == "accepted"
    accused = [each for each in list_judgements(world, run) if each.origin == "accused"]
    assert 1 <= len(accused) <= 3
    assert {each.finding for each in accused} == {"accepted"}
    payments = get_payments(world, run)
    assert not any(
        account in {each.actor.account for each in accusers} for account, kind in payments if kind == "reward"
    )
    moved = sum(amount for (_, kind), amount in payments.items() if kind in {"reward", "escrow-returned"})
    assert moved == escrow
    verify_conserved(world.store.values)
