"""A submitter shows its blobs until they are attested, and then withholds those of the sampled intervals."""

from assay.protocol.contracts.submission_keys import draw_key
from assay.protocol.evidence.draw import Draw
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import (
    Verifier,
    carry_on,
    judge,
    open_world,
    submit,
    vote_honestly,
    vote_withheld,
)
from experiments.simulation.world import name_actors
from tests.ledgers import get_payments


def submit_and_withhold(refused, name="withheld"):
    """Return ledger, run and crew where verifiers cannot fetch the given intervals after the draw."""

    def fetch_and_vote(run, voter, interval):
        return vote_withheld(run, voter, interval) if interval in refused else vote_honestly(run, voter, interval)

    crew = [Verifier(actor, fetch_and_vote) for actor in name_actors("verifier", 9)]
    world, submitter, crew = open_world(0, crew, name=name)
    run = pretend(world, submitter)
    assert submit(world, submitter, run) == ""
    return world, submitter, run, crew


def test_what_is_withheld_after_the_draw_rejects_and_costs_the_bond():
    """Everything was retrievable before the draw; a sampled interval that is not any more is as bad as a false one."""
    world, submitter, run, crew = submit_and_withhold({7})
    assert judge(world, run, crew) == "rejected"
    assert world.get_status(run.submission).reason == "withheld"
    assert get_payments(world, run)[submitter.account, "bond-lost"] == 100_000


def test_without_attestation_there_is_no_draw():
    """The sample is drawn only when more than half of the stake said that it could fetch everything."""
    world, _, run, crew = submit_and_withhold(set())
    for verifier in crew[:4]:
        verifier.attest(world, run)
    world.make_block()
    assert world.get_status(run.submission).phase == "availability"
    assert world.read(draw_key(run.submission), Draw) is None
    for verifier in crew[4:]:
        verifier.attest(world, run)
    world.make_block()
    carry_on(world, run, crew)
    assert world.read(draw_key(run.submission), Draw) is not None


def test_half_of_the_stake_can_lie_about_availability():
    """Not stopped: verifiers who attest what they never fetched settle the draw; the votes show it afterwards."""
    crew = [Verifier(actor, vote_withheld) for actor in name_actors("gullible", 9)]
    world, submitter, crew = open_world(0, crew)
    run = pretend(world, submitter)
    assert submit(world, submitter, run) == ""
    assert judge(world, run, crew) == "rejected"
    assert world.get_status(run.submission).attested == 90_000
